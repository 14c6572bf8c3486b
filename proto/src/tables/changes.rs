//! `changes`: every stored revision, from the ledger.

use super::define::{columns, text_enum};
use super::{Moment, Object, ObjectCpid, Table};

text_enum! {
    /// What a change did to its key.
    pub enum Op {
        /// The key did not exist before.
        Create = "create",
        /// The key existed.
        Update = "update",
        /// The key was removed.
        Delete = "delete",
    }
}

text_enum! {
    /// Where a change was read from.
    pub enum ChangeSource {
        /// The ledger's own etcd watch.
        Watch = "watch",
        /// An etcd snapshot file.
        Import = "import",
    }
}

text_enum! {
    /// What became of the CPID on an object, comparing this revision's with the previous one's.
    pub enum CpidTransition {
        /// There was none before.
        Set = "set",
        /// Unchanged.
        Carry = "carry",
        /// Another one, which names the previous one among its ancestors.
        Merge = "merge",
        /// Another one, which does not name the previous one.
        Replace = "replace",
        /// There was one and now there is none.
        Drop = "drop",
        /// The object with the CPID was deleted.
        End = "end",
    }
}

columns! {
    /// A row of `changes`.
    #[derive(Debug, Clone, PartialEq)]
    pub struct Change / ChangeBuilder / ChangeView {
        /// etcd cluster id, lowercase hex.
        cluster_id: String,
        /// Counts restores of the same cluster, from 0.
        epoch: i32,
        /// etcd mod_revision.
        revision: i64,
        /// Position within the revision, from 0.
        ordinal: i32,
        /// Number of keys in the revision.
        revision_size: i32,
        /// etcd key; bytes that are not UTF-8 as `\xNN`, a backslash before `xNN` as `\x5c`.
        key: String,
        /// `create`, `update` or `delete`.
        op: Op,
        /// `watch` or `import`.
        source: ChangeSource,
        /// Revision that this one replaced; NULL on an update or delete means that the previous
        /// value was not available.
        prev_revision: Option<i64>,
        /// Revision that created the key; for a delete that of the deleted value.
        create_revision: Option<i64>,
        /// etcd's version of the key; for a delete that of the deleted value.
        version: Option<i64>,
        /// Lease the key is attached to, 0 without one; for a delete that of the deleted value.
        lease_id: Option<i64>,
        /// Arrival of the ledger's event, interceptor's clock; NULL for `import`.
        seen: Option<Moment>,
        /// What the value says; for a delete the deleted value.
        object: Object,
        /// What differs from the previous revision: `apiVersion`, `metadata.labels` (`.annotations`,
        /// `.finalizers`, `.ownerReferences`, `.deletionTimestamp`, `.deletionGracePeriodSeconds`,
        /// `.generation`, `.managedFields`), `spec`, `status`, `data`, and `conditions.Ready` and so on for each
        /// condition whose status, reason or transition time differs; NULL when there is nothing to
        /// compare.
        changed: Option<Vec<String>>,
        /// The CPID as stored on the object; a delete stores none.
        cpid: ObjectCpid,
        /// CPID of the previous revision of the same object; an object with another uid is another one.
        prev_cpid: Option<String>,
        /// `set`, `carry`, `merge`, `replace`, `drop` or `end`; NULL when there is neither a CPID
        /// nor a previous one, or when one of them is not known: a malformed carrier, a value that
        /// cannot be read, a previous one that is not available.
        cpid_transition: Option<CpidTransition>,
        /// Interceptor instance.
        instance: String,
    }
}

impl Table for Change {
    const NAME: &'static str = "changes";
    const DOCUMENTATION: &'static str = "One row per (cluster_id, epoch, revision, key): every \
        stored revision, in order, whoever wrote it. Ground truth, from the interceptor's own \
        etcd watch.";

    fn revision(&self) -> Option<i64> {
        Some(self.revision)
    }
}
