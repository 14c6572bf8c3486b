//! What kube-apiserver really sends; see `testdata/otlp`.

use super::*;

/// One line per request, by its begin.
fn told(requests: &[Request], assembled: &Assembled) -> Vec<String> {
    let mut requests: Vec<_> = requests.iter().collect();
    requests.sort_by_key(|request| request.start.unix_nano);
    requests
        .into_iter()
        .map(|request| {
            let text = |part: &Option<String>| part.clone().unwrap_or_else(|| "-".to_owned());
            let calls = assembled
                .calls
                .iter()
                .filter(|call| {
                    call.request_span_id == request.span_id && call.trace_id == request.trace_id
                })
                .count();
            let agent = text(&request.user_agent);
            format!(
                "{} {} {}/{} {}/{}/{} in {} by {}: {} calls{}{}",
                request.status_code.unwrap_or_default(),
                text(&request.method),
                text(&request.api_group),
                text(&request.api_version),
                text(&request.resource),
                text(&request.name),
                text(&request.subresource),
                text(&request.namespace),
                agent.rsplit('/').next().unwrap_or_default(),
                calls,
                request.etcd_ns.map_or("", |_| ", etcd time"),
                request.admission_ns.map_or("", |_| ", admission time"),
            )
        })
        .collect()
}

fn assembled(messages: &[ExportTraceServiceRequest]) -> Assembled {
    let (mut assembler, metrics) = assembler(&Limits::default());
    let now = Instant::now();
    for message in messages {
        assert_eq!(assembler.take(message, None, RECEIVED, now), (0, None));
    }
    let assembled = assembler.finish();
    assert_eq!(assembled.dropped, 0);
    assert_eq!(metrics.unresolved_calls.get(), 0);
    assert_eq!(metrics.duplicate_spans.get(), 0);
    assert_eq!(
        metrics.background_calls.get(),
        2,
        "a lease and an allocator"
    );
    assembled
}

#[test]
fn recorded_spans_become_requests() {
    let assembled = assembled(&recording());
    let told = told(&assembled.requests, &assembled);
    let expected: Vec<&str> = EXPECTED.trim().lines().map(str::trim).collect();
    assert_eq!(told, expected, "\n{}", told.join("\n"));
    for request in &assembled.requests {
        assert!(request.end.unix_nano > request.start.unix_nano);
        let taken = request.end.unix_nano - request.start.unix_nano;
        for part in [request.etcd_ns, request.admission_ns]
            .into_iter()
            .flatten()
        {
            assert!((0..=taken).contains(&part), "{request:?}");
        }
        assert!(request.audit_id.is_some());
        assert_eq!(
            request.apiserver.as_deref(),
            Some("apiserver-wlv32tlttr4jl3gtroqexyxapa")
        );
    }
}

/// Three requests of one client that always sends the same trace id: each has its own calls.
#[test]
fn a_trace_id_may_be_that_of_many_requests() {
    let assembled = assembled(&recording());
    let same = |trace_id: &str| trace_id == "0af7651916cd43dd8448eb211c80319c";
    let requests: Vec<_> = assembled
        .requests
        .iter()
        .filter(|request| same(&request.trace_id))
        .collect();
    assert_eq!(requests.len(), 3);
    let mut called: Vec<_> = assembled
        .calls
        .iter()
        .filter(|call| same(&call.trace_id))
        .map(|call| call.request_span_id.clone())
        .collect();
    called.sort();
    // The first of them changed nothing.
    assert_eq!(called, ["79a4c98141715210", "fb90b6a331710d23"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However late or early a span arrives, and in whichever message.
    #[test]
    fn order_does_not_matter(keys in prop::collection::vec(any::<u64>(), 200), size in 1..60_usize) {
        let recording = recording();
        let in_order = assembled(&recording);
        let mut spans: Vec<_> = recording
            .into_iter()
            .flat_map(|message| message.resource_spans)
            .flat_map(|resource| resource.scope_spans)
            .flat_map(|scope| scope.spans)
            .collect();
        prop_assert!(spans.len() <= keys.len());
        let mut keys = keys.into_iter();
        spans.sort_by_cached_key(|_| keys.next());
        let messages: Vec<_> = spans
            .chunks(size)
            .map(|spans| {
                let mut message = message(spans.to_vec());
                message.resource_spans[0].resource.as_mut().unwrap().attributes[1] =
                    text("service.instance.id", "apiserver-wlv32tlttr4jl3gtroqexyxapa");
                message
            })
            .collect();
        let shuffled = assembled(&messages);
        prop_assert_eq!(shuffled.requests, in_order.requests);
        prop_assert_eq!(sorted(shuffled.calls), sorted(in_order.calls));
    }
}

fn sorted(
    mut calls: Vec<cascade_proto::tables::RequestCall>,
) -> Vec<cascade_proto::tables::RequestCall> {
    calls.sort_by(|one, other| one.call_span_id.cmp(&other.call_span_id));
    calls
}

#[test]
fn batches_that_are_sent_again_give_no_second_rows() {
    let (mut assembler, metrics) = assembler(&Limits::default());
    let now = Instant::now();
    let take_all = |assembler: &mut Assembler, now| {
        for message in recording() {
            assembler.take(&message, None, RECEIVED, now);
        }
    };
    take_all(&mut assembler, now);
    let later = now + Limits::default().remember * 3;
    let first = assembler.take_ready(later);
    assert_eq!(first.requests.len(), 16);
    take_all(&mut assembler, later);
    let second = assembler.finish();
    assert_eq!(second, Assembled::default());
    assert!(metrics.duplicate_spans.get() > 0);
}

/// Recorded once, and read through: each line was compared with what the workload did.
const EXPECTED: &str = "
403 GET -/- -/-/- in - by 7.88.1: 0 calls
201 POST flowcontrol.apiserver.k8s.io/v1 prioritylevelconfigurations/-/- in - by unknown: 1 calls, etcd time, admission time
200 PATCH networking.k8s.io/v1 servicecidrs/kubernetes/status in - by unknown: 1 calls, etcd time, admission time
201 POST apiregistration.k8s.io/v1 apiservices/-/- in - by unknown: 1 calls, etcd time, admission time
200 GET -/- -/-/- in - by shared-informers: 0 calls
200 PATCH /v1 nodes/node-1/status in - by amd64): 2 calls, etcd time, admission time
200 GET /v1 nodes/-/- in - by unknown: 0 calls
201 POST /v1 pods/-/- in default by replicaset-controller: 1 calls, etcd time, admission time
201 POST /v1 pods/web-85d49fd46d-5zmhw/binding in default by scheduler: 1 calls, etcd time, admission time
409 PUT apps/v1 deployments/web/status in default by deployment-controller: 0 calls, etcd time, admission time
200 PATCH /v1 configmaps/a/- in default by 7.88.1: 0 calls, etcd time, admission time
200 PATCH /v1 configmaps/a/- in default by 7.88.1: 1 calls, etcd time, admission time
200 PATCH /v1 configmaps/a/- in default by 7.88.1: 1 calls, etcd time, admission time
200 PATCH /v1 configmaps/a/- in default by 7.88.1: 0 calls, etcd time, admission time
200 PATCH apps/v1 deployments/web/scale in default by unknown: 1 calls, etcd time, admission time
200 DELETE apps/v1 deployments/web/- in default by unknown: 1 calls, etcd time";
