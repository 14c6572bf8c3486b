//! Requests and their audit events.

use super::*;

fn limits() -> Limits {
    Limits {
        audit: Some(Duration::from_secs(5)),
        ..Limits::default()
    }
}

fn request(id: u8, target: &str, audit_id: &str) -> ExportTraceServiceRequest {
    let mut span = server(id, 0, target);
    span.attributes.push(text("audit-id", audit_id));
    message(vec![span])
}

fn event(audit_id: &str, uri: &str, received: i64, user: &str) -> AuditEvent {
    AuditEvent {
        audit_id: audit_id.to_owned(),
        request_uri: Some(uri.to_owned()),
        received_unix_nano: Some(received),
        user: Some(user.to_owned()),
        groups: Some(vec!["system:masters".to_owned()]),
        source_ip: Some("192.0.2.1".to_owned()),
        decision: Some("allow".to_owned()),
        ..AuditEvent::default()
    }
}

/// `span:user` of each request, `-` without one.
fn users(requests: &[Request]) -> Vec<String> {
    let mut users: Vec<_> = requests
        .iter()
        .map(|request| {
            let user = request.user.as_deref().unwrap_or("-");
            format!("{}:{user}", &request.span_id[..2])
        })
        .collect();
    users.sort();
    users
}

#[test]
fn recorded_events_find_their_requests() {
    for events_first in [true, false] {
        let (mut assembler, metrics) = assembler(&limits());
        let now = Instant::now();
        let take_events = |assembler: &mut Assembler| {
            for event in recorded_events() {
                assembler.take_event(event, now);
            }
        };
        if events_first {
            take_events(&mut assembler);
        }
        for message in recording() {
            assembler.take(&message, None, RECEIVED, now);
        }
        if !events_first {
            take_events(&mut assembler);
        }
        let assembled = assembler.take_ready(now + limits().settle);
        assert_eq!(assembled.requests.len(), 16);
        assert!(
            assembled
                .requests
                .iter()
                .all(|request| request.user.is_some())
        );
        let forbidden: Vec<_> = assembled
            .requests
            .iter()
            .filter(|request| request.decision.as_deref() == Some("forbid"))
            .map(|request| request.status_code)
            .collect();
        assert_eq!(forbidden, [Some(403)]);
        let binding = assembled
            .requests
            .iter()
            .find(|request| request.subresource.as_deref() == Some("binding"))
            .unwrap();
        assert_eq!(binding.user.as_deref(), Some("system:kube-scheduler"));
        assert_eq!(
            binding.groups.as_deref(),
            Some(
                &[
                    "system:masters".to_owned(),
                    "system:authenticated".to_owned()
                ][..]
            )
        );
        assert_eq!(binding.source_ip.as_deref(), Some("127.0.0.1"));
        assert_eq!(binding.decision.as_deref(), Some("allow"));
        assembler.take_ready(now + Duration::from_secs(1_000));
        assert_eq!(metrics.unmatched_events.get(), 0);
    }
}

#[test]
fn a_request_waits_for_its_event_only_so_long() {
    let (mut assembler, metrics) = assembler(&limits());
    let begin = Instant::now();
    assembler.take(&request(1, "/api/v1/nodes/a", "a"), None, RECEIVED, begin);
    assembler.take(&request(2, "/api/v1/nodes/b", "b"), None, RECEIVED, begin);
    let settled = begin + limits().settle;
    assert_eq!(assembler.take_ready(settled).requests, []);
    assembler.take_event(event("a", "/api/v1/nodes/a", 1_001, "x"), settled);
    assert_eq!(users(&assembler.take_ready(settled).requests), ["01:x"]);
    let late = begin + Duration::from_secs(5);
    assert_eq!(users(&assembler.take_ready(late).requests), ["02:-"]);
    // Too late: the row is written, and no second one is.
    assembler.take_event(event("b", "/api/v1/nodes/b", 1_002, "y"), late);
    let after = late + limits().remember_ends;
    assert_eq!(assembler.take_ready(after), Assembled::default());
    assert_eq!(metrics.unmatched_events.get(), 1);
}

#[test]
fn without_an_audit_log_nothing_waits_for_it() {
    let (mut assembler, _) = assembler(&Limits::default());
    let begin = Instant::now();
    assembler.take(&request(1, "/api/v1/nodes/a", "a"), None, RECEIVED, begin);
    let settled = begin + limits().settle;
    assert_eq!(users(&assembler.take_ready(settled).requests), ["01:-"]);
}

/// A client may send an audit id of its own, the same each time.
#[test]
fn an_audit_id_may_be_that_of_many_requests() {
    for events_first in [true, false] {
        let (mut assembler, _) = assembler(&limits());
        let now = Instant::now();
        let take_events = |assembler: &mut Assembler| {
            assembler.take_event(event("a", "/api/v1/nodes/b", 1_002, "b"), now);
            assembler.take_event(event("a", "/api/v1/nodes/c", 1_003, "c"), now);
            assembler.take_event(event("a", "/api/v1/nodes/a", 1_004, "a again"), now);
            assembler.take_event(event("a", "/api/v1/nodes/a", 1_001, "a"), now);
        };
        if events_first {
            take_events(&mut assembler);
        }
        for (id, node) in [(1, "a"), (2, "b"), (4, "a"), (5, "d")] {
            let target = format!("/api/v1/nodes/{node}");
            assembler.take(&request(id, &target, "a"), None, RECEIVED, now);
        }
        if !events_first {
            take_events(&mut assembler);
        }
        assert_eq!(
            users(&assembler.finish().requests),
            ["01:a", "02:b", "04:a again", "05:-"]
        );
    }
}

proptest! {
    #[test]
    fn each_request_gives_one_row(
        steps in prop::collection::vec((any::<bool>(), 0..4_u8, 0..3_u8, 0..4_000_u64), 0..60),
    ) {
        let limits = Limits { requests: 6, ..limits() };
        let (mut assembler, metrics) = assembler(&limits);
        let mut now = Instant::now();
        let (mut sent, mut events, mut rows) = (0_u8, 0_u64, Vec::new());
        for (is_request, audit_id, node, milliseconds) in steps {
            let (audit_id, target) = (audit_id.to_string(), format!("/api/v1/nodes/{node}"));
            if is_request {
                sent += 1;
                assembler.take(&request(sent, &target, &audit_id), None, RECEIVED, now);
            } else {
                events += 1;
                assembler.take_event(event(&audit_id, &target, 1_000, "x"), now);
            }
            now += Duration::from_millis(milliseconds);
            rows.extend(assembler.take_ready(now).requests);
        }
        rows.extend(assembler.finish().requests);
        rows.extend(assembler.take_ready(now + Duration::from_secs(1_000)).requests);
        let mut ids: Vec<_> = rows.iter().map(|row| row.span_id.clone()).collect();
        ids.sort();
        ids.dedup();
        prop_assert_eq!(rows.len(), usize::from(sent));
        prop_assert_eq!(ids.len(), usize::from(sent));
        let matched = rows.iter().filter(|row| row.user.is_some()).count() as u64;
        prop_assert_eq!(matched + metrics.unmatched_events.get(), events);
    }
}
