//! Who made each change is the same wherever the rows are, and in whatever way calls find their requests.

use std::path::Path;

use super::*;
use crate::session::{EngineOptions, Session};
use crate::support::{Random, TraceFolder, call, change, link, moment, request};

/// All rows and windows.
#[derive(Debug, PartialEq)]
struct Told {
    rows: Vec<RecordBatch>,
    windows: Vec<String>,
}

fn told(writes: &Writes) -> Told {
    let columns: Vec<usize> = (0..table_info().columns.len()).collect();
    let chunks = 0..writes.count();
    let windows = writes.clocks().map(|window| format!("{window:?}"));
    Told {
        rows: chunks
            .map(|chunk| writes.chunk(chunk, &columns).unwrap())
            .collect(),
        windows: windows.collect(),
    }
}

impl Told {
    /// Rows with a value in a column.
    fn known(&self, column: &str) -> usize {
        let known = |rows: &RecordBatch| {
            let array = rows.column_by_name(column).unwrap();
            array.len() - array.null_count()
        };
        self.rows.iter().map(known).sum()
    }
}

/// What is told of a trace by rows in memory and in a file, with calls and requests matched in as many parts as given.
async fn told_in_every_way(trace: &str) -> Vec<(String, Told)> {
    let session = Session::open(&[trace.to_owned()], &EngineOptions::default())
        .await
        .unwrap();
    let (context, derived) = (session.context(), session.derived());
    let names = derived.histories(context).await.unwrap();
    let mergelogs = derived.mergelogs(context).await.unwrap();
    let links = derived.trace.table("request_calls").unwrap().rows;
    let links = usize::try_from(links).unwrap();
    let file = |memory| Storage::in_file(&std::env::temp_dir(), memory).unwrap();
    let mut found = Vec::new();
    for (name, storage, parts) in [
        ("memory", Storage::default(), None),
        ("memory", Storage::default(), Some(1)),
        ("memory", Storage::default(), Some(7)),
        ("file", file(40_000), None),
        ("file", file(40_000), Some(1)),
        ("file", file(40_000), Some(3)),
        ("large file", file(1 << 30), Some(16)),
    ] {
        let matching = Matching {
            links,
            parts: parts.map(Parts::new),
        };
        let writes = Writes::compute_by(
            context,
            &derived.trace,
            &names,
            &mergelogs,
            &storage,
            matching,
        );
        let writes = writes.await.unwrap();
        found.push((format!("{name}, {parts:?} parts"), told(&writes)));
    }
    found
}

fn assert_same(found: &[(String, Told)]) {
    let (_, expected) = &found[0];
    for (name, told) in found {
        assert!(told == expected, "{name}: {told:#?}\nnot {expected:#?}");
    }
}

#[tokio::test]
async fn recorded_writes_are_the_same_wherever_they_are() {
    for trace in ["cluster", "operator"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/truth");
        let trace = folder.join(trace).join("trace");
        let found = told_in_every_way(trace.to_str().unwrap()).await;
        assert!(found[0].1.known("request_unix_nano") > 100);
        assert!(!found[0].1.windows.is_empty());
        assert_same(&found);
    }
}

/// Requests of few traces claim the same spans and calls, many of them at the same moment, and some were not recorded.
#[tokio::test]
async fn requests_that_claim_the_same_are_told_apart_in_the_same_way() {
    let mut numbers = Random::new(12);
    let mut trace = TraceFolder::new();
    let (mut changes, mut calls, mut requests, mut links) = (vec![], vec![], vec![], vec![]);
    for revision in 10..400 {
        let made = change(revision, &format!("key {revision}"));
        let mut called = call(&made);
        let trace_id = format!("{:032x}", numbers.below(3));
        let call_span = format!("{:016x}", 1000 + numbers.below(300));
        for _ in 0..=numbers.below(3) {
            let mut sent = request(&made, &format!("client-{}/1.0", numbers.below(9)));
            sent.trace_id.clone_from(&trace_id);
            sent.span_id = format!("{:016x}", numbers.below(300));
            sent.apiserver = Some(format!("apiserver-{}", numbers.below(4)));
            sent.start = moment(100 - i64::try_from(numbers.below(2)).unwrap());
            sent.end = moment(500);
            let mut linked = link(&mut called, &sent);
            linked.call_span_id.clone_from(&call_span);
            if numbers.below(3) > 0 {
                requests.push(sent);
            }
            links.push(linked);
        }
        called.span_id = Some(call_span);
        changes.push(made);
        calls.push(called);
    }
    trace.write(&changes);
    trace.write(&calls);
    trace.write(&requests);
    trace.write(&links);
    let found = told_in_every_way(trace.path().to_str().unwrap()).await;
    let known = found[0].1.known("request_unix_nano");
    assert!((200..390).contains(&known), "{known}");
    assert_same(&found);
}
