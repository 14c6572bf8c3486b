//! What others send us about themselves. Nothing here is in the path of the traffic.
//!
//! - [`mergelog`] is the trace server: controllers report CPIDs, mergelogs and spans.

pub mod listener;
pub mod mergelog;
