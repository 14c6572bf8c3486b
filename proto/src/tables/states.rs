//! `states`: what existed at a snapshot revision.

use super::define::columns;
use super::{Moment, Object, ObjectCpid, Table};

columns! {
    /// A row of `states`.
    #[derive(Debug, Clone, PartialEq)]
    pub struct State / StateBuilder / StateView {
        /// etcd cluster id, lowercase hex.
        cluster_id: String,
        /// Counts restores of the same cluster, from 0.
        epoch: i32,
        /// Revision at which the whole keyspace was read.
        snapshot_revision: i64,
        /// etcd mod_revision of the key at that revision.
        revision: i64,
        /// etcd key, written as in `changes`.
        key: String,
        /// Revision that created the key.
        create_revision: i64,
        /// etcd's version of the key.
        version: i64,
        /// Lease the key is attached to, 0 without one.
        lease_id: i64,
        /// When the snapshot's page was read, interceptor's clock.
        seen: Option<Moment>,
        /// What the value says.
        object: Object,
        /// The CPID as stored on the object.
        cpid: ObjectCpid,
        /// Interceptor instance.
        instance: String,
    }
}

impl Table for State {
    const NAME: &'static str = "states";
    const DOCUMENTATION: &'static str = "One row per (cluster_id, epoch, snapshot_revision, key): \
        what existed at snapshot_revision, written at first start and after a gap. A key that is \
        not in it did not exist then, unless the snapshot was abandoned: then a row of `gaps` with \
        covers_revisions false has it as from_revision and to_revision.";

    fn revision(&self) -> Option<i64> {
        Some(self.snapshot_revision)
    }
}
