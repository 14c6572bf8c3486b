//! A passive parser of HTTP/2 and gRPC that reports mutating etcd calls.
//!
//! It sees the bytes that the relay copies, in both directions, and touches none of them. What it
//! costs is kept small by what it leaves out: frames of streams that are of no interest are skipped
//! by length, header fields are decoded only where a call needs them, messages are read in place.
//!
//! It reports facts. What the answer does not tell stays open: a call whose answer was never seen
//! is [`Unknown`](cascade_proto::tables::CallOutcome::Unknown), a status that was not seen is NULL.
//!
//! From the bytes to rows:
//!
//! - `frame` cuts a direction into frames;
//! - `hpack`, `huffman` decode header blocks, `metadata` what the fields say;
//! - `grpc` puts messages together, within the limits of `budget`;
//! - `protobuf`, `request`, `answer` read them;
//! - `call` makes rows of both;
//! - `streams` holds the open calls of a connection, `direction` the header table of each direction,
//!   and `sides` says what the frames of each mean for the calls;
//! - `connection` is what the relay sees of it all.

mod answer;
mod budget;
mod call;
mod connection;
#[cfg(test)]
mod conversation_tests;
mod direction;
mod frame;
#[doc(hidden)]
pub mod fuzzing;
mod grpc;
mod hpack;
mod huffman;
mod metadata;
mod methods;
mod metrics;
mod protobuf;
mod request;
mod sides;
mod streams;
#[cfg(test)]
mod testing;

use cascade_proto::tables::{Call, Moment};

pub use connection::ConnectionObserver;
pub use metrics::ObserverMetrics;

/// What the observer has to report.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// A mutating call ended: all its operations. `epoch` is never set, `cluster_id` only if the
    /// answer named it.
    Call(Vec<Call>),
    /// Calls that may have been mutating were not followed, so they are missing in the trace.
    Missed {
        /// How many.
        count: i64,
        /// Why, for people.
        reason: &'static str,
        /// When the first was missed.
        from: Moment,
        /// When the last was missed.
        to: Moment,
    },
    /// The connection cannot be observed (any further). Reported at most once per connection.
    Unparsed {
        /// Why, for people.
        reason: String,
        /// When that was found.
        moment: Moment,
    },
}
