//! `calls`: mutating etcd calls that the observer saw.

use super::define::{columns, text_enum};
use super::{Moment, Table};

text_enum! {
    /// What an operation of a call does.
    pub enum CallShape {
        /// Writes a key that is compared to not exist.
        Create = "create",
        /// Writes a key that is compared to an existing revision, or without a compare.
        Update = "update",
        /// Deletes one key.
        Delete = "delete",
        /// Deletes a range of keys.
        DeleteRange = "delete_range",
        /// Compacts the history.
        Compact = "compact",
        /// Grants a lease.
        LeaseGrant = "lease_grant",
        /// Revokes a lease.
        LeaseRevoke = "lease_revoke",
        /// Any other mutating call or operation.
        Other = "other",
    }
}

text_enum! {
    /// Which branch of a transaction ran.
    pub enum Branch {
        /// The compares held.
        Success = "success",
        /// They did not.
        Failure = "failure",
    }
}

text_enum! {
    /// How a call ended.
    pub enum CallOutcome {
        /// etcd carried it out.
        Committed = "committed",
        /// The compares chose the other branch; nothing was written.
        Conflict = "conflict",
        /// etcd refused it, and did not carry it out.
        Error = "error",
        /// The stream was reset before the answer; it may have been committed all the same.
        Cancelled = "cancelled",
        /// No answer, or one that leaves it open (a timeout); it may have been committed.
        Unknown = "unknown",
    }
}

columns! {
    /// A row of `calls`.
    #[derive(Debug, Clone, PartialEq)]
    pub struct Call / CallBuilder / CallView {
        /// Id of the call, the same on all its operations.
        call_id: String,
        /// Position of the operation within the call, from 0.
        op_index: i32,
        /// etcd cluster id, lowercase hex.
        cluster_id: Option<String>,
        /// Counts restores of the same cluster, from 0.
        epoch: Option<i32>,
        /// Interceptor instance.
        instance: String,
        /// Number of the connection within the instance.
        connection: i64,
        /// HTTP/2 stream id within the connection.
        stream: i64,
        /// gRPC method, `/package.Service/Method`.
        method: String,
        /// `create`, `update`, `delete`, `delete_range`, `compact`, `lease_grant`, `lease_revoke`
        /// or `other`.
        shape: CallShape,
        /// `success` or `failure`: which branch of a Txn ran; NULL for other methods or when it
        /// is not known.
        branch: Option<Branch>,
        /// etcd key of the operation, written as in `changes`.
        key: Option<String>,
        /// End of the range of a range delete.
        range_end: Option<String>,
        /// Number of keys that a delete removed.
        deleted: Option<i64>,
        /// mod_revision the key was compared to, 0 for a create; for `compact` the revision
        /// compacted to.
        compare_revision: Option<i64>,
        /// `committed`, `conflict`, `error`, `cancelled` or `unknown`.
        outcome: CallOutcome,
        /// gRPC status code; NULL when no status was seen.
        grpc_status: Option<i32>,
        /// Revision of the commit; equals `changes.revision`. NULL unless keys were written: for
        /// leases, compactions, and deletes that found nothing.
        revision: Option<i64>,
        /// Keyed hash of the value to be written, to settle `unknown` against `changes`.
        value_hash: Option<i64>,
        /// First byte of the request message seen, interceptor's clock.
        request: Moment,
        /// Answer seen, interceptor's clock.
        response: Option<Moment>,
        /// From request to answer, nanoseconds, monotonic clock.
        duration_ns: Option<i64>,
        /// Size of the request message in bytes.
        request_bytes: i64,
        /// Deadline that the caller gave (grpc-timeout), nanoseconds.
        deadline_ns: Option<i64>,
        /// Trace id from `traceparent`, lowercase hex.
        trace_id: Option<String>,
        /// Span id from `traceparent`: the caller's etcd client span.
        span_id: Option<String>,
        /// Flags from `traceparent`.
        trace_flags: Option<i32>,
        /// `baggage` header as sent.
        baggage: Option<String>,
        /// Baggage member `cpid`.
        cpid: Option<String>,
        /// Lease granted, revoked, or attached to the key.
        lease_id: Option<i64>,
        /// Time to live of a granted lease, seconds.
        lease_ttl: Option<i64>,
    }
}

impl Table for Call {
    const NAME: &'static str = "calls";
    const DOCUMENTATION: &'static str = "One row per (call_id, op_index): each operation of a \
        mutating etcd call the observer saw, failed ones included.";

    fn revision(&self) -> Option<i64> {
        self.revision
    }
}
