//! The ground truth: a snapshot and a watch of the whole keyspace.
