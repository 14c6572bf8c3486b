//! Receives kube-apiserver's spans over OTLP/gRPC, and finds the request behind each etcd call.
//!
//! - `server` is the gRPC service;
//! - `span` reads what is of interest of one span, `path` a request's path;
//! - `tree` walks from each etcd client span to the server span above it;
//! - `held` keeps a request until what belongs to it has arrived;
//! - `assembly` leads a span through these to rows.
//!
//! Spans come in batches, children mostly before their parents, because a span is sent when it
//! ends. What a client may choose is never trusted to be unique: neither its trace id (kube-apiserver
//! goes on with that of privileged clients) nor its audit id. A span is known by both its ids.

mod assembly;
mod held;
mod metrics;
mod path;
mod server;
mod span;
#[cfg(test)]
mod tests;
mod tree;

pub use assembly::{Assembled, Assembler, Limits};
pub use metrics::{KindLabel, OtlpMetrics};
pub use server::{MAX_MESSAGE_BYTES, MAX_REQUESTS_PER_SECOND, serve};
