//! The contract between Cascade's programs: the wire messages they read ([`wire`]) and the tables
//! of a trace ([`tables`]), each defined once and used by writer and reader alike.
//!
//! This crate does no I/O.

pub mod tables;
pub mod wire;
