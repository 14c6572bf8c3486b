//! Cascade's analyzer: SQL, reports and gates over the traces that the interceptor records.
//!
//! A trace is opened by [`session::Session::open`]: [`catalog`] finds its files and makes tables of
//! them, [`views`] lays the tables that people query on top, `derive` those that are computed from them,
//! [`functions`] adds what SQL lacks.
//! Everything else asks the session in SQL. [`cli`] is the program.

mod cascade_functions;
pub mod catalog;
pub mod causality;
pub mod cli;
mod config_file;
pub mod derivation;
mod derive;
pub mod error;
pub mod exit;
pub mod functions;
pub mod gate;
mod heap;
mod logging;
mod milestones;
pub mod output;
pub mod paths;
mod printable;
mod progress;
pub mod report;
pub mod schema;
pub mod session;
pub mod sql;
pub mod stages;
pub mod storage;
pub mod trace;
pub mod verify;
pub mod views;

#[cfg(test)]
#[path = "../tests/support/mod.rs"]
mod support;
