//! What is told of a recorded trace, wherever its lists are.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;

use super::convergence::Endings;
use super::stages::StageChunks;
use super::*;
use crate::derive::histories::HistoryName;
use crate::derive::{Chunks, Derivation};
use crate::session::{EngineOptions, Session};
use crate::storage::Storage;

/// The rows of a table.
fn rows(chunks: &dyn Chunks, derivation: &dyn Derivation) -> Vec<RecordBatch> {
    let columns: Vec<usize> = (0..derivation.schema().fields().len()).collect();
    (0..chunks.count())
        .map(|chunk| chunks.chunk(chunk, &columns).unwrap())
        .collect()
}

#[tokio::test]
async fn rows_are_the_same_wherever_lists_are() {
    let trace = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/traces/mixed");
    let options = EngineOptions {
        derive_anew: true,
        ..EngineOptions::default()
    };
    let session = Session::open(&[trace.to_owned()], &options).await.unwrap();
    let (context, derived) = (session.context(), session.derived());
    let causes = derived.causes(context).await.unwrap();
    let histories = causes.histories.iter();
    let names = histories.map(|history| HistoryName {
        cluster_id: history.cluster_id.as_str().into(),
        epoch: history.epoch,
    });
    let names: Vec<HistoryName> = names.collect();
    let declarations = Declarations::load(None).unwrap();
    let in_file = Storage::in_file(&std::env::temp_dir(), 40_000).unwrap();
    let mut found = Vec::new();
    for storage in [Storage::default(), in_file.clone()] {
        let timelines = Timelines::follow(context, &declarations, &names, &storage);
        let mut timelines = timelines.await.unwrap();
        timelines.date(&causes);
        let timelines = Arc::new(timelines);
        let convergence = ConvergenceDerivation::new(Arc::clone(derived));
        let endings = Endings::new(Arc::clone(&causes), &timelines, convergence.schema());
        let endings = rows(&endings, &convergence);
        let stages = StageChunks::new(Arc::clone(&causes), timelines);
        let stages = rows(&stages, &StagesDerivation::new(Arc::clone(derived)));
        for batches in [&endings, &stages] {
            let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
            assert!(rows > 100, "{rows}");
        }
        found.push((endings, stages));
    }
    assert_eq!(found[0], found[1]);
    in_file.check().unwrap();
}
