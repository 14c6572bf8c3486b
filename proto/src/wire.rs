//! Messages of etcd and Kubernetes, compiled from the subsets in `proto/wire/`.
//!
//! They are for reading: what Cascade forwards, it forwards as bytes.

/// etcd's client API, version 3 (`proto/wire/etcd.proto`).
#[allow(missing_docs, clippy::all, unreachable_pub)] // generated; documented in the .proto file
pub mod etcd {
    include!(concat!(env!("OUT_DIR"), "/etcd.rs"));
}

/// Kubernetes' stored objects (`proto/wire/kubernetes.proto`).
#[allow(missing_docs, clippy::all, unreachable_pub)] // generated; documented in the .proto file
pub mod kubernetes {
    include!(concat!(env!("OUT_DIR"), "/kubernetes.rs"));
}
