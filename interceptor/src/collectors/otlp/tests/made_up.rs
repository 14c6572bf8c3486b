//! Trees that are rare or wrong.

use super::*;

fn assembled(spans: Vec<Span>) -> (Assembled, OtlpMetrics) {
    let (mut assembler, metrics) = assembler(&Limits::default());
    assembler.take(&message(spans), None, RECEIVED, Instant::now());
    (assembler.finish(), metrics)
}

#[test]
fn the_nearest_server_span_is_the_request() {
    // An aggregated API server behind kube-apiserver, which both call etcd.
    let proxied = span(3, 2, SpanKind::Client, "HTTP POST");
    let spans = vec![
        txn(6, 5),
        internal(5, 4),
        server(4, 3, "/apis/example.com/v1/namespaces/a/things"),
        proxied,
        txn(7, 2),
        internal(2, 1),
        server(1, 0, "/apis/example.com/v1/namespaces/a/things"),
    ];
    let (assembled, _) = assembled(spans);
    assert_eq!(links(&assembled), ["06>04", "07>01"]);
    let parents: Vec<_> = assembled
        .requests
        .iter()
        .map(|request| request.parent_span_id.as_deref())
        .collect();
    assert_eq!(parents, [None, Some("0303030303030303")]);
}

#[test]
fn span_ids_are_of_their_trace_only() {
    let mut other = vec![txn(2, 1), server(1, 0, "/api/v1/nodes/b")];
    for span in &mut other {
        span.trace_id = vec![2; 16];
    }
    let mut spans = vec![txn(2, 1), txn(3, 1), server(1, 0, "/api/v1/nodes/a")];
    spans.splice(1..1, other);
    let (assembled, _) = assembled(spans);
    assert_eq!(assembled.requests.len(), 2);
    assert_eq!(links(&assembled), ["02>01", "02>01", "03>01"]);
    let traces: Vec<_> = assembled
        .calls
        .iter()
        .map(|call| &call.trace_id[..2])
        .collect();
    assert_eq!(traces.iter().filter(|trace| **trace == "02").count(), 1);
}

#[test]
fn other_servers_are_no_requests() {
    // A kubelet: an HTTP server that is no apiserver and has no audit ids.
    let (mut assembler, _) = assembler(&Limits::default());
    let mut kubelet = message(vec![txn(2, 1), server(1, 0, "/pods")]);
    kubelet.resource_spans[0].resource = None;
    assembler.take(&kubelet, Some("192.0.2.1"), RECEIVED, Instant::now());
    // etcd, below kube-apiserver's call.
    let etcd = span(5, 4, SpanKind::Server, "etcdserverpb.KV/Txn");
    let spans = vec![etcd, txn(4, 3), server(3, 0, "/api/v1/nodes/a")];
    assembler.take(&message(spans), None, RECEIVED, Instant::now());
    let assembled = assembler.finish();
    assert_eq!(links(&assembled), ["04>03"]);
    assert_eq!(assembled.requests.len(), 1);
}

#[test]
fn an_apiserver_without_a_name_goes_by_its_address() {
    let (mut assembler, _) = assembler(&Limits::default());
    let mut nameless = message(vec![server(1, 0, "/healthz")]);
    nameless.resource_spans[0].resource = None;
    nameless.resource_spans[0].scope_spans[0].spans[0]
        .attributes
        .push(text("audit-id", "a"));
    assembler.take(&nameless, Some("192.0.2.1"), RECEIVED, Instant::now());
    let assembled = assembler.finish();
    let [request] = assembled.requests.as_slice() else {
        panic!("{assembled:?}")
    };
    assert_eq!(request.apiserver.as_deref(), Some("192.0.2.1"));
    assert_eq!(request.audit_id.as_deref(), Some("a"));
    assert_eq!(
        (request.resource.as_ref(), request.name.as_ref()),
        (None, None)
    );
    assert_eq!(request.received_unix_nano, RECEIVED.unix_nano);
}

#[test]
fn newer_names_of_attributes_are_known() {
    let spans = vec![
        Span {
            attributes: vec![text("rpc.method", "etcdserverpb.KV/Txn")],
            ..span(2, 1, SpanKind::Client, "etcdserverpb.KV/Txn")
        },
        Span {
            attributes: vec![
                text("http.request.method", "DELETE"),
                text("url.path", "/api/v1/namespaces/a/pods"),
                text("url.query", "limit=5"),
                text("user_agent.original", "curl"),
                attribute("http.response.status_code", Value::IntValue(200)),
            ],
            ..span(1, 0, SpanKind::Server, "DELETE")
        },
    ];
    let (assembled, _) = assembled(spans);
    assert_eq!(links(&assembled), ["02>01"]);
    let request = &assembled.requests[0];
    assert_eq!(request.method.as_deref(), Some("DELETE"));
    assert_eq!(request.resource.as_deref(), Some("pods"));
    assert_eq!(request.name, None);
    assert_eq!(request.status_code, Some(200));
}

#[test]
fn reads_take_time_but_are_no_rows() {
    let range = Span {
        attributes: vec![
            text("rpc.service", "etcdserverpb.KV"),
            text("rpc.method", "Range"),
        ],
        ..txn(2, 1)
    };
    let (assembled, _) = assembled(vec![range, server(1, 0, "/api/v1/nodes/a")]);
    assert_eq!(assembled.calls, []);
    assert_eq!(assembled.requests[0].etcd_ns, Some(1_000));
}

#[test]
fn admission_is_what_lies_between() {
    let event = |name: &str, time| Event {
        name: name.to_owned(),
        time_unix_nano: time,
        ..Event::default()
    };
    let update = Span {
        events: vec![
            event("initial value restored", 1_500),
            event("About to Encode", 1_510),
            event("Txn call completed", 1_700),
            event("Retry value restored", 1_710),
            event("About to Encode", 1_730),
        ],
        start_time_unix_nano: 1_400,
        ..span(3, 2, SpanKind::Internal, "GuaranteedUpdate etcd3")
    };
    let handler = Span {
        events: vec![event("About to store object in database", 1_390)],
        ..span(2, 1, SpanKind::Internal, "Update")
    };
    let (assembled, _) = assembled(vec![update, handler, server(1, 0, "/api/v1/nodes/a")]);
    assert_eq!(assembled.requests[0].admission_ns, Some(10 + 10 + 20));
}

#[test]
fn calls_without_a_request_are_counted() {
    let (assembled, metrics) = assembled(vec![txn(1, 0), txn(3, 2), internal(2, 0), txn(5, 4)]);
    assert_eq!(assembled.calls, []);
    assert_eq!(metrics.background_calls.get(), 2);
    assert_eq!(metrics.unresolved_calls.get(), 1, "4 never came");
}

#[test]
fn a_cycle_has_an_end() {
    let (assembled, metrics) = assembled(vec![
        internal(1, 2),
        internal(2, 1),
        txn(3, 2),
        txn(4, 4),
        internal(6, 5),
        txn(7, 6),
        internal(5, 6),
    ]);
    assert_eq!(assembled, Assembled::default());
    assert_eq!(metrics.unresolved_calls.get(), 3);
}

#[test]
fn late_children_find_their_request() {
    let limits = Limits::default();
    let (mut assembler, _) = assembler(&limits);
    let begin = Instant::now();
    assembler.take(
        &message(vec![internal(2, 1), server(1, 0, "/api/v1/nodes/a")]),
        None,
        RECEIVED,
        begin,
    );
    assert_eq!(assembler.take_ready(begin).requests.len(), 0, "not settled");
    let settled = begin + limits.settle;
    assert_eq!(assembler.take_ready(settled).requests.len(), 1);
    assembler.take(&message(vec![txn(3, 2)]), None, RECEIVED, settled);
    assert_eq!(links(&assembler.take_ready(settled)), ["03>01"]);
}

#[test]
fn calls_wait_for_long_requests() {
    let limits = Limits::default();
    let (mut assembler, metrics) = assembler(&limits);
    let begin = Instant::now();
    assembler.take(&message(vec![txn(3, 2), txn(4, 9)]), None, RECEIVED, begin);
    let later = begin + limits.wait - Duration::from_secs(1);
    assembler.take_ready(later);
    assembler.take(
        &message(vec![internal(2, 1), server(1, 0, "/api/v1/nodes/a")]),
        None,
        RECEIVED,
        later,
    );
    assert_eq!(links(&assembler.take_ready(later)), ["03>01"]);
    assembler.take_ready(begin + limits.wait);
    assert_eq!(metrics.unresolved_calls.get(), 1);
}

#[test]
fn memory_is_bounded() {
    let limits = Limits {
        spans: 50,
        waiting: 20,
        requests: 10,
        ..Limits::default()
    };
    let (mut assembler, metrics) = assembler(&limits);
    let now = Instant::now();
    let (mut requests, mut dropped) = (0, 0);
    for trace in 1..=100_u8 {
        let mut spans = vec![txn(3, 2), server(1, 0, "/api/v1/nodes/a")];
        for span in &mut spans {
            span.trace_id = vec![trace; 16];
        }
        assembler.take(&message(spans), None, RECEIVED, now);
        let ready = assembler.take_ready(now);
        requests += ready.requests.len();
        dropped += ready.dropped;
        assert!(metrics.remembered_spans.get() <= 50);
        assert!(metrics.waiting_requests.get() <= 10);
    }
    assert_eq!(requests, 90, "none is lost for want of room");
    assert_eq!(dropped, 80);
    assert_eq!(metrics.dropped_calls.get(), 80);
    assert_eq!(assembler.finish().requests.len(), 10);
}

#[test]
fn malformed_spans_are_refused() {
    let right = server(1, 0, "/api/v1/nodes/a");
    let wrong: [fn(&mut Span); 10] = [
        |span| span.trace_id = vec![],
        |span| span.trace_id = vec![0; 16],
        |span| span.trace_id = vec![1; 17],
        |span| span.span_id = vec![1; 7],
        |span| span.span_id = vec![0; 8],
        |span| span.parent_span_id = vec![1; 16],
        |span| span.start_time_unix_nano = 0,
        |span| span.end_time_unix_nano = 0,
        |span| span.start_time_unix_nano = span.end_time_unix_nano + 1,
        |span| span.end_time_unix_nano = u64::MAX,
    ];
    let (mut assembler, metrics) = assembler(&Limits::default());
    let mut spans: Vec<_> = wrong
        .into_iter()
        .map(|spoil| {
            let mut span = right.clone();
            spoil(&mut span);
            span
        })
        .collect();
    spans.push(right);
    let (refused, reason) = assembler.take(&message(spans), None, RECEIVED, Instant::now());
    assert_eq!(refused, 10);
    assert_eq!(
        reason.as_deref(),
        Some("a trace id that is not 16 bytes, or all zero")
    );
    assert_eq!(metrics.refused_spans.get(), 10);
    assert_eq!(assembler.finish().requests.len(), 1);
}

#[test]
fn long_texts_are_cut_where_a_character_ends() {
    let mut long = server(1, 0, "/api/v1/nodes/a");
    long.attributes.push(text(
        "user_agent.original",
        &"ä".repeat(5_000).replacen("ää", "äx", 1),
    ));
    let (assembled, _) = assembled(vec![long]);
    let agent = assembled.requests[0].user_agent.clone().unwrap();
    assert!((1_020..=1_024).contains(&agent.len()), "{}", agent.len());
}

/// A span of any form, that often refers to others.
fn any_span() -> impl Strategy<Value = Span> {
    let id = |length: usize| {
        prop_oneof![
            9 => (0..6_u8).prop_map(move |id| vec![id; length]),
            1 => prop::collection::vec(any::<u8>(), 0..20),
        ]
    };
    let name = prop_oneof![
        Just("GuaranteedUpdate etcd3".to_owned()),
        Just("Create etcd3".to_owned()),
        Just("Create".to_owned()),
        Just("etcdserverpb.KV/Txn".to_owned()),
        ".{0,10}",
    ];
    let events = prop::collection::vec(
        (
            prop_oneof![
                Just("initial value restored"),
                Just("About to Encode"),
                Just("About to store object in database"),
            ],
            any::<u64>(),
        ),
        0..4,
    );
    let attributes = prop::collection::vec(
        (
            prop_oneof![
                Just("http.method"),
                Just("http.target"),
                Just("http.status_code"),
                Just("url.query"),
                Just("audit-id"),
                Just("rpc.service"),
                Just("rpc.method"),
            ],
            prop_oneof![
                ".{0,20}".prop_map(|text| Some(Value::StringValue(text))),
                Just(Some(Value::StringValue("etcdserverpb.KV".to_owned()))),
                any::<i64>().prop_map(|number| Some(Value::IntValue(number))),
                Just(None),
            ],
        ),
        0..6,
    );
    let times = prop_oneof![
        9 => (1..5_000_u64, 1..5_000_u64),
        1 => (any::<u64>(), any::<u64>()),
    ];
    (
        id(16),
        id(8),
        id(8),
        0..6_i32,
        name,
        events,
        attributes,
        times,
    )
        .prop_map(
            |(trace_id, span_id, parent_span_id, kind, name, events, attributes, (start, end))| {
                Span {
                    trace_id,
                    span_id,
                    parent_span_id,
                    kind,
                    name,
                    start_time_unix_nano: start,
                    end_time_unix_nano: end,
                    events: events
                        .into_iter()
                        .map(|(name, time)| Event {
                            name: name.to_owned(),
                            time_unix_nano: time,
                            ..Event::default()
                        })
                        .collect(),
                    attributes: attributes
                        .into_iter()
                        .map(|(key, value)| KeyValue {
                            key: key.to_owned(),
                            value: Some(AnyValue { value }),
                            ..KeyValue::default()
                        })
                        .collect(),
                    ..Span::default()
                }
            },
        )
}

proptest! {
    /// Whatever is sent: no panic, no request twice, and every call to a request that is there.
    #[test]
    fn anything_may_be_sent(
        batches in prop::collection::vec((prop::collection::vec(any_span(), 0..20), 0..200_u64), 0..10),
    ) {
        let limits = Limits { spans: 40, waiting: 10, requests: 5, ..Limits::default() };
        let (mut assembler, _) = assembler(&limits);
        let mut now = Instant::now();
        let mut all = Vec::new();
        for (spans, seconds) in batches {
            assembler.take(&message(spans), None, RECEIVED, now);
            now += Duration::from_secs(seconds);
            all.push(assembler.take_ready(now));
        }
        all.push(assembler.finish());
        for assembled in all {
            for request in assembled.requests {
                prop_assert!(request.etcd_ns.unwrap_or_default() >= 0);
                prop_assert!(request.admission_ns.unwrap_or_default() >= 0);
                prop_assert!(request.end.unix_nano >= request.start.unix_nano);
            }
        }
    }
}
