//! The analyzer over traces that the tests write: as a library, and as the program `cascade`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests may panic: that is how they fail

mod cascade_functions;
mod catalog;
mod causality;
mod coverage;
mod cpids;
mod derivation;
mod etcd;
mod gate;
mod hops;
mod memory;
mod paths;
mod program;
mod recorded;
mod reports;
mod sql;
mod stages;
#[path = "../support/mod.rs"]
mod support;
mod trace;
mod trace_changes;
mod verify;
mod views;
mod writes;
