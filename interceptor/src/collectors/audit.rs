//! Reads kube-apiserver's audit log: a file of JSON lines.

mod event;
mod follow;

pub use event::{AuditEvent, EventError, read};
pub use follow::{Follower, MAX_LINE_BYTES, Progress};
