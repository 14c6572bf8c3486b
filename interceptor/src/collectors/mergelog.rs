//! The trace server: controllers report over gRPC how Change Propagation IDs came from one another
//! (mergelogs) and what they worked on (spans), and ask what came of a change. The protocol is that
//! of arXiv:2411.01336's trace server.
//!
//! # What is promised
//! - A post that was answered with OK survives a power loss, as rows of `mergelogs` and `spans`.
//! - The same mergelog or span, posted again, is stored once. Whoever got no answer can repeat it.
//! - Mergelogs may come in any order, before those of their sources too.
//! - Nothing that was stored is removed: a deletion only hides it from those who ask.
//!
//! # How
//! | file | duty |
//! |---|---|
//! | `wire` | messages to rows and back; what cannot be a row is refused |
//! | `content` | tells whether a row was stored before |
//! | `index` | the graph of the mergelogs, and which break the rules |
//! | `collection` | one table: posts in, rows back from the disk, deletions |
//! | `answer` | collects what was asked for, up to a limit |
//! | `service` | the eight calls |
//! | `admission` | how many are served at a time |
//! | `paced` | an answer on its way to a client, which has to take it |
//! | `server` | listens, with TLS, limit, health and reflection, on a thread of its own |
//!
//! In memory is only what cannot be looked up quickly: the edges of the graph, and a hash of each
//! row. Everything else is read back from the trace when somebody asks.

mod admission;
mod answer;
mod collection;
mod content;
mod index;
mod metrics;
mod paced;
mod server;
mod service;
mod wire;

pub use metrics::{RefusalLabels, RuleLabel, TableLabel, TraceServerMetrics};
pub use server::{TraceServer, TraceServerConfig, TraceServerError};
