//! A real etcd for tests: the helper of the interceptor's tests, without what only those need.

// Only a part is used here.
#![allow(dead_code, unused_imports)]
// Helpers of tests fail by panicking, but clippy's exemption covers `#[test]` functions only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../../interceptor/tests/support/etcd.rs"]
mod etcd;
#[path = "../../../interceptor/tests/support/wait.rs"]
mod wait;

pub(crate) use etcd::{Etcd, etcdctl};
pub(crate) use wait::{PATIENCE, end_of};
