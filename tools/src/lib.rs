//! Developer programs around Cascade: recording and replaying control-plane traffic, load.
//!
//! - [`capture`] is a relay that keeps a copy of every byte; [`truth`] watches what etcd stored;
//! - [`extract`] makes the sequence of mutating calls out of both;
//! - [`replay`] sends that sequence into a fresh etcd, which gives the same revisions;
//! - [`load`] gives load in the shape of kube-apiserver's, for benchmarks;
//! - [`generate`] makes large traces out of recorded ones, for benchmarks;
//! - [`fuzz`] is what the fuzzer runs;
//! - [`recording`] is the format of the files between them.
//!
//! Nothing here is part of what runs in front of a production etcd.

pub mod capture;
pub mod extract;
pub mod fuzz;
pub mod generate;
pub mod load;
pub mod otlp_load;
pub mod recording;
pub mod replay;
pub mod truth;
