//! The contract between Cascade's programs: the wire messages they read ([`wire`]), the tables of a
//! trace ([`tables`]), the text that keys have there ([`keys`]), and the journals ([`journal`]) that hold
//! what is not yet sealed, each defined once and used by writer and reader alike.
//!
//! This crate does no I/O.

pub mod journal;
pub mod keys;
pub mod tables;
pub mod wire;
