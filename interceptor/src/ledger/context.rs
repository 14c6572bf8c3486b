//! What all parts of the ledger use.

use std::collections::BTreeMap;

use cascade_proto::tables::{Gap, GapKind};
use tokio_util::sync::CancellationToken;

use super::config::LedgerConfig;
use super::error::Interruption;
use super::gaps::GapMaker;
use super::history::Known;
use super::metrics::LedgerMetrics;
use crate::clock::wall_clock;
use crate::store::{Checkpoint, Identity, Rows, Store};

/// What all parts of the ledger use.
pub(super) struct Context {
    pub(super) config: LedgerConfig,
    pub(super) store: Store,
    pub(super) metrics: LedgerMetrics,
    pub(super) shutdown: CancellationToken,
    /// The highest epoch used for each cluster.
    pub(super) epochs: BTreeMap<String, i32>,
    /// Tells hash keys apart.
    pub(super) hash_key_id: Option<i64>,
}

impl Context {
    pub(super) fn new(
        config: LedgerConfig,
        store: Store,
        metrics: LedgerMetrics,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            config,
            store,
            metrics,
            shutdown,
            epochs: BTreeMap::new(),
            hash_key_id: None,
        }
    }

    /// Remembers that an epoch is used.
    pub(super) fn note_epoch(&mut self, identity: &Identity) {
        let Identity { cluster_id, epoch } = identity.clone();
        let used = self.epochs.entry(cluster_id).or_insert(epoch);
        *used = epoch.max(*used);
    }

    /// Makes rows of `gaps` for a history.
    pub(super) fn gap_maker<'a>(&'a self, identity: &'a Identity) -> GapMaker<'a> {
        GapMaker {
            instance: &self.config.instance,
            identity,
            now: wall_clock(),
        }
    }

    /// Stores rows of `gaps`, and counts them.
    pub(super) async fn append_gaps(&self, gaps: Vec<Gap>) -> Result<(), Interruption> {
        let kinds: Vec<GapKind> = gaps.iter().map(|gap| gap.kind).collect();
        self.store.append(Rows::Gaps(gaps)).await?;
        for kind in kinds {
            self.metrics.count_gap(kind);
        }
        Ok(())
    }

    /// Stores how far the ledger has come.
    pub(super) async fn append_checkpoint(&self, known: &Known) -> Result<(), Interruption> {
        let checkpoint = Checkpoint {
            cluster_id: known.identity.cluster_id.clone(),
            epoch: known.identity.epoch,
            revision: known.revision,
            raft_term: known.raft_term,
            snapshot_revision: known.snapshot_revision,
            snapshot_under_way: known.snapshot_under_way,
            epochs: self.epochs.clone(),
            hash_key_id: self.hash_key_id,
        };
        Ok(self.store.append(Rows::Checkpoint(checkpoint)).await?)
    }
}
