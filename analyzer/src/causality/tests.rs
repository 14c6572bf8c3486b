//! What is told of causes is the same wherever the lists of changes are.

use std::sync::Arc;

use arrow::array::StringArray;
use arrow::record_batch::RecordBatch;

use super::*;
use crate::session::{EngineOptions, Session};
use crate::storage::Storage;

/// The rows of all tables of causes, and the CPID of every change.
fn told(causes: &Arc<Causes>) -> Vec<Vec<RecordBatch>> {
    let mut told = tables::rows(causes);
    let cpids = causes.histories.iter().map(|history| {
        let of_change = |change| history.cpids().of_change(change).map(|id| id.to_string());
        let cpids = StringArray::from_iter((0..history.len()).map(of_change));
        RecordBatch::try_from_iter([("cpid", Arc::new(cpids) as _)]).unwrap()
    });
    told.push(cpids.collect());
    told
}

#[tokio::test]
async fn causes_are_the_same_wherever_lists_are() {
    for trace in ["cluster", "operator", "trouble"] {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/truth");
        let trace = format!("{folder}/{trace}/trace");
        let session = Session::open(&[trace], &EngineOptions::default())
            .await
            .unwrap();
        let (context, derived) = (session.context(), session.derived());
        let writes = derived.writes(context).await.unwrap();
        let names = derived.histories(context).await.unwrap();
        let in_file = Storage::in_file(&std::env::temp_dir(), 100_000).unwrap();
        let mut found = Vec::new();
        for storage in [Storage::default(), in_file.clone()] {
            let without = Without::default();
            let loaded = load(context, &names, &writes, &[], without, &storage);
            let causes = Arc::new(Causes::of(loaded.await.unwrap(), without));
            found.push(told(&causes));
        }
        for (in_memory, in_file) in found[0].iter().zip(&found[1]) {
            assert_eq!(in_memory, in_file);
        }
        let rows = found[0].iter().flatten().map(RecordBatch::num_rows);
        assert!(rows.sum::<usize>() > 5_000);
        in_file.check().unwrap();
    }
}
