//! What the collectors read: audit events and spans.

use std::time::Instant;

use cascade_interceptor::collectors::audit;
use cascade_interceptor::collectors::otlp::{Assembled, Assembler, Limits, OtlpMetrics};
use cascade_proto::tables::Moment;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

use super::{take_byte, take_piece};

/// Longest list of groups that an event keeps.
const MAX_GROUPS: usize = 256;

/// Input: a line of an audit log.
///
/// # Panics
/// When a row of an event is beyond its limits, or another reader of JSON finds another id in it.
pub(super) fn run_audit(input: &[u8]) {
    let Ok(Some(event)) = audit::read(input) else {
        return;
    };
    assert!(
        event
            .groups
            .as_ref()
            .is_none_or(|groups| groups.len() <= MAX_GROUPS)
    );
    // What an event does not use may be anything, so another reader may refuse the line.
    if let Ok(json) = serde_json::from_slice::<serde_json::Value>(input) {
        let id = json.get("auditID").and_then(|id| id.as_str());
        assert_eq!(id, Some(event.audit_id.as_str()));
    }
    let mut assembler = assembler();
    assembler.take_event(event, Instant::now());
    assert!(
        assembler.finish().requests.is_empty(),
        "a request without a span"
    );
}

fn assembler() -> Assembler {
    let limits = Limits::default();
    Assembler::new("fuzz".into(), &limits, OtlpMetrics::default())
}

/// Input: a byte, messages (pieces, as many as the byte says, at most eight), and a last message.
///
/// # Panics
/// When the rows depend on how spans are put into messages, or there are more rows than spans.
pub(super) fn run_otlp(mut input: &[u8]) {
    let before = take_byte(&mut input) % 8;
    let mut messages = Vec::new();
    for _ in 0..before {
        messages.extend(ExportTraceServiceRequest::decode(take_piece(&mut input)));
    }
    messages.extend(ExportTraceServiceRequest::decode(input));
    let spans = messages
        .iter()
        .flat_map(|message| &message.resource_spans)
        .flat_map(|resource| &resource.scope_spans)
        .map(|scope| scope.spans.len())
        .sum::<usize>();

    let together = assembled(&messages);
    let apart: Vec<_> = messages.into_iter().flat_map(one_span_each).collect();
    let apart = assembled(&apart);
    assert_eq!(apart.requests, together.requests, "of the same spans");
    assert_eq!(apart.calls, together.calls, "of the same spans");
    assert!(together.requests.len() + together.calls.len() <= spans);
}

fn assembled(messages: &[ExportTraceServiceRequest]) -> Assembled {
    let mut assembler = assembler();
    let now = Instant::now();
    for message in messages {
        let _ = assembler.take(message, Some("peer"), Moment { unix_nano: 1 }, now);
    }
    let mut assembled = assembler.finish();
    assembled.requests.sort_by(|one, other| {
        (&one.trace_id, &one.span_id).cmp(&(&other.trace_id, &other.span_id))
    });
    assembled.calls.sort_by(|one, other| {
        (&one.trace_id, &one.call_span_id).cmp(&(&other.trace_id, &other.call_span_id))
    });
    assembled
}

/// The same spans in the same order, a message for each.
fn one_span_each(message: ExportTraceServiceRequest) -> Vec<ExportTraceServiceRequest> {
    let mut messages = Vec::new();
    for resource in message.resource_spans {
        for scope in &resource.scope_spans {
            for span in &scope.spans {
                let mut scope = scope.clone();
                scope.spans = vec![span.clone()];
                let mut resource = resource.clone();
                resource.scope_spans = vec![scope];
                messages.push(ExportTraceServiceRequest {
                    resource_spans: vec![resource],
                });
            }
        }
    }
    messages
}
