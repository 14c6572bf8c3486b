//! What is known of a change before it is put into integers.

use super::change::Op;

/// A reference from one object to another.
#[derive(Debug, Clone, Copy)]
pub struct OwnerRow<'a> {
    /// The owner's uid.
    pub uid: &'a str,
    /// Whether it is the managing owner.
    pub controller: bool,
}

/// A reference by name.
#[derive(Debug, Clone, Copy)]
pub struct NameRow<'a> {
    /// Kind without its group.
    pub kind: &'a str,
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: &'a str,
    /// Name.
    pub name: &'a str,
}

/// An entry of `changes.writers`.
#[derive(Debug, Clone, Copy)]
pub struct WriterRow<'a> {
    /// Field manager.
    pub manager: &'a str,
    /// Subresource, empty for the object itself.
    pub subresource: &'a str,
    /// Its time in seconds since 1970; managers have no finer one.
    pub second: i64,
}

/// One row of the trace, borrowed from wherever it is stored. Rows come in the order of
/// (revision, ordinal).
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// etcd revision.
    pub revision: i64,
    /// Position within the revision.
    pub ordinal: i32,
    /// etcd key.
    pub key: &'a str,
    /// What happened to the key.
    pub op: Op,
    /// Commit, nanoseconds since 1970.
    pub commit: Option<i64>,
    /// API request, nanoseconds since 1970.
    pub request: Option<i64>,
    /// etcd call, nanoseconds since 1970.
    pub call: Option<i64>,
    /// The actor named by the API request.
    pub actor: Option<&'a str>,
    /// Subresource of the API request.
    pub subresource: Option<&'a str>,
    /// API group, empty for the core group.
    pub group: &'a str,
    /// Kind; empty when the value could not be decoded.
    pub kind: &'a str,
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: &'a str,
    /// Name.
    pub name: &'a str,
    /// uid, empty if there is none.
    pub uid: &'a str,
    /// Whether `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// Whether the key is bound to an etcd lease.
    pub leased: bool,
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// `status.observedGeneration`.
    pub observed_generation: Option<i64>,
    /// Whether the status counts fewer updated replicas than replicas.
    pub outdated: bool,
    /// Hash of the spec, or of the data of an object without one.
    pub wanted: Option<i64>,
    /// `metadata.ownerReferences`.
    pub owners: &'a [OwnerRow<'a>],
    /// uids of other objects that the value mentions.
    pub related: &'a [&'a str],
    /// References by name.
    pub names: &'a [NameRow<'a>],
    /// Labels as JSON.
    pub labels: Option<&'a str>,
    /// Selector as JSON.
    pub selector: Option<&'a str>,
    /// New and changed field managers.
    pub writers: &'a [WriterRow<'a>],
    /// `spec.nodeName`.
    pub node: Option<&'a str>,
    /// What changed.
    pub changed: &'a [&'a str],
    /// For an Event: its reason and who reports it.
    pub reason: Option<&'a str>,
    /// CPID that this very write carries.
    pub cpid: Option<&'a str>,
}
