//! What integration tests share: a real etcd as a child process, and waiting for something to
//! become true without guessing how long that takes.
//!
//! Use it with `mod support;` in a test file. Tests that block on an etcd (start, stop, restart)
//! while tasks of the code under test run need `#[tokio::test(flavor = "multi_thread")]`.

// Every test file compiles this module for itself and uses a part of it.
#![allow(dead_code, unused_imports)]
// Helpers of tests fail by panicking, but clippy's exemption covers `#[test]` functions only.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

pub(crate) mod certificates;
mod etcd;
mod front;
mod interceptor;
pub(crate) mod mergelogs;
pub(crate) mod oracle;
pub(crate) mod patch;
pub(crate) mod pki;
mod recorder;
mod site;
pub(crate) mod trace;
mod wait;
mod workload;

pub(crate) use etcd::{Etcd, EtcdOptions, SavedData, TlsFlags, etcdctl};
pub(crate) use front::Front;
pub(crate) use interceptor::{Interceptor, http_get, interceptor_command, limited_command};
pub(crate) use recorder::{Recorder, RecorderProcess, config};
pub(crate) use site::{Site, Target};
pub(crate) use wait::{PATIENCE, end_of, eventually, within_patience};
pub(crate) use workload::{Workload, revision};
