//! The observer against another parser: what it makes of the bytes of a real control plane's
//! connections is what `extract` made of them, however the bytes are cut into pieces.
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests fail by panicking

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cascade_interceptor::clock::Reading;
use cascade_interceptor::decode::{HashKey, SharedHashKey};
use cascade_interceptor::observer::{ConnectionObserver, Observation, ObserverMetrics};
use cascade_proto::tables::{Call, CallOutcome, CallShape};
use cascade_tools::recording::{Chunk, ChunkKind, RecordedCall, RecordingReader};

fn recording(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../testdata/recordings/rollout")
        .join(name)
}

/// Shows the recorded bytes to one observer per connection, in pieces of at most these sizes, one
/// after the other, over and over.
fn observe(pieces: &[usize]) -> Vec<Vec<Call>> {
    let hash_key = SharedHashKey::default();
    hash_key.set(HashKey::from_cluster_id(1));
    let mut sizes = pieces.iter().cycle();
    let mut observers = BTreeMap::new();
    let mut observations = Vec::new();
    for chunk in RecordingReader::<Chunk>::open(&recording("connections.zst")).unwrap() {
        let chunk = chunk.unwrap();
        let observer = observers.entry(chunk.connection).or_insert_with(|| {
            let metrics = ObserverMetrics::default();
            ConnectionObserver::new(chunk.connection, "test".into(), hash_key.clone(), metrics)
        });
        let mut rest = &chunk.bytes[..];
        while !rest.is_empty() {
            let (bytes, after) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
            rest = after;
            let now = Reading::now();
            match chunk.kind() {
                ChunkKind::Request => observer.request_bytes(bytes, now, &mut observations),
                ChunkKind::Response => observer.response_bytes(bytes, now, &mut observations),
                _ => {}
            }
        }
    }
    for observer in observers.values_mut() {
        observer.closed(Reading::now(), &mut observations);
    }
    let calls = observations
        .into_iter()
        .filter_map(|observation| match observation {
            Observation::Call(operations) => Some(operations),
            Observation::Unparsed { .. } => None,
            Observation::Missed { reason, .. } => panic!("calls were missed: {reason}"),
        });
    calls.collect()
}

/// What both parsers can say of a call: connection, method, `traceparent` and baggage, and the
/// revision if it was committed.
type Fact = (i64, String, Option<i64>, String, String);

fn observed_fact(operations: &[Call]) -> Fact {
    let call = &operations[0];
    let traceparent = match (&call.trace_id, &call.span_id, call.trace_flags) {
        (Some(trace), Some(span), Some(flags)) => format!("00-{trace}-{span}-{flags:02x}"),
        _ => String::new(),
    };
    let baggage = call.baggage.clone().unwrap_or_default();
    (
        call.connection,
        call.method.clone(),
        call.revision,
        traceparent,
        baggage,
    )
}

fn recorded_fact(call: &RecordedCall) -> Fact {
    let revision = call.committed.then_some(call.revision);
    let (traceparent, baggage) = (call.traceparent.clone(), call.baggage.clone());
    (
        call.connection,
        call.method.clone(),
        revision,
        traceparent,
        baggage,
    )
}

#[test]
fn the_observer_agrees_with_another_parser() {
    let recorded = RecordingReader::<RecordedCall>::open(&recording("calls.zst")).unwrap();
    let mut expected: Vec<Fact> = recorded
        .map(Result::unwrap)
        .filter(|call| !call.lease_expiry)
        .map(|call| recorded_fact(&call))
        .collect();
    let mut answered: Vec<Fact> = observe(&[usize::MAX])
        .iter()
        .filter(|operations| operations[0].outcome != CallOutcome::Unknown)
        .map(|operations| observed_fact(operations))
        .collect();
    expected.sort();
    answered.sort();
    assert!(
        expected.len() > 1000,
        "the recording holds {} calls",
        expected.len()
    );
    let missing: Vec<_> = expected
        .iter()
        .filter(|fact| !answered.contains(fact))
        .take(5)
        .collect();
    let invented: Vec<_> = answered
        .iter()
        .filter(|fact| !expected.contains(fact))
        .take(5)
        .collect();
    assert!(
        missing.is_empty() && invented.is_empty(),
        "missing {missing:?}, invented {invented:?}"
    );
    assert_eq!(
        answered.len(),
        expected.len(),
        "the same facts, each as often"
    );
}

#[test]
fn the_recording_has_what_a_control_plane_does() {
    let calls: Vec<Call> = observe(&[usize::MAX]).into_iter().flatten().collect();
    let count = |shape, outcome| {
        calls
            .iter()
            .filter(|call| call.shape == shape && call.outcome == outcome)
            .count()
    };
    assert!(count(CallShape::Create, CallOutcome::Committed) > 100);
    assert!(count(CallShape::Update, CallOutcome::Committed) > 100);
    assert!(count(CallShape::Delete, CallOutcome::Committed) > 10);
    assert!(
        count(CallShape::Update, CallOutcome::Conflict) > 0,
        "a failed compare"
    );
    assert!(count(CallShape::LeaseGrant, CallOutcome::Committed) > 0);
    let traced: Vec<_> = calls
        .iter()
        .filter(|call| call.cpid.is_some())
        .map(|call| call.shape)
        .collect();
    assert_eq!(
        traced,
        [CallShape::Create, CallShape::Update, CallShape::Delete]
    );
}

#[test]
fn the_cut_into_pieces_does_not_matter() {
    let comparable = |pieces: &[usize]| {
        let mut calls = observe(pieces);
        for call in calls.iter_mut().flatten() {
            // Made anew or measured in each run.
            call.call_id.clear();
            call.request.unix_nano = 0;
            call.response = None;
            call.duration_ns = None;
        }
        // Which connection's answer comes first depends on the pieces.
        calls.sort_by_key(|operations| (operations[0].connection, operations[0].stream));
        calls
    };
    let whole = comparable(&[usize::MAX]);
    let mixed = [1, 9, 16_384, 2, 5, 333, 65_536, 24];
    for pieces in [&[1][..], &[7], &[1000], &[8, 1], &mixed] {
        assert_eq!(comparable(pieces), whole, "pieces of {pieces:?} bytes");
    }
}
