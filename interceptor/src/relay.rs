//! Accepts connections and copies bytes between kube-apiserver and etcd.
//!
//! One upstream connection per downstream connection, closed together; HTTP/2 is never terminated,
//! so settings, pings, windows, resets, errors and unknown methods pass end to end by construction.
//! A connection is one task that polls both directions and is never parked on one of them.
//!
//! Memory: a direction reads into a buffer that belongs to the thread, and writes from it. Only
//! what its sink does not take at once is kept, at most one such buffer ([`MAXIMUM_BACKLOG`]), and
//! nothing more is read until it is gone: that is the back-pressure. An idle connection holds no
//! buffer at all.
//!
//! TLS ends here on both legs: a client's handshake comes first, and etcd is then offered exactly what
//! was agreed with the client. What is relayed, and seen by the observer, is what is inside.
//!
//! The only bytes that are ever originated are those of one GOAWAY per connection when the
//! interceptor itself shuts down.

mod connection;
mod descriptors;
mod frames;
mod latency;
mod metrics;
mod route;
mod server;
mod stream;
mod tap;
#[cfg(test)]
mod tests;
mod transfer;

pub use connection::{Ending, Patience};
pub use descriptors::{DescriptorLimit, raise_descriptor_limit};
pub use metrics::RelayMetrics;
pub use route::RelayRoute;
pub use server::{Relay, RelayOptions};
pub use stream::RelayStream;
pub use tap::{Observe, Tap, Unobserved};
pub use transfer::MAXIMUM_BACKLOG;
