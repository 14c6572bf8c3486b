//! Change Propagation IDs.
