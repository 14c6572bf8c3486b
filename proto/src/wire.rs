//! What Cascade reads of etcd and Kubernetes, compiled from the subsets in `proto/wire/`.
//!
//! For reading only: what Cascade forwards, it forwards as bytes.

pub mod kubernetes;

/// etcd's client API, version 3 (`proto/wire/etcd.proto`).
#[allow(missing_docs, clippy::all, unreachable_pub)] // generated; documented in the .proto file
pub mod etcd {
    include!(concat!(env!("OUT_DIR"), "/etcd.rs"));
}
