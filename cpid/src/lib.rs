//! Change Propagation IDs (CPIDs): following one change through the objects of a Kubernetes
//! cluster, as proposed by arXiv:2411.01336.
//!
//! Controllers never call each other: each watches objects and writes others. An identifier that
//! is to follow a change therefore has to stand on the objects. Whoever starts a change makes a
//! CPID and writes it on the object; whoever reacts to an object copies its CPID to what it writes.
//! Where several changes meet on one object, a new CPID is made, and a *mergelog* records which
//! ones it came from. The mergelogs are the edges of a graph, in which everything that came of a
//! change are the descendants of its CPID.
//!
//! This crate is the rule, and nothing else: it does no I/O and knows no client library.
//!
//! | module | what it does |
//! |---|---|
//! | [`merge`](mod@merge) | decides what an object that reacts to others carries, and whether a mergelog is due |
//! | [`carriers`] | reads and writes the places where a CPID travels: annotations, labels, the `baggage` header |
//! | [`graph`] | answers what came of a CPID, from mergelogs in any order |
//!
//! # A controller in three steps
//!
//! ```
//! use cascade_cpid::carriers::{KOC_ANNOTATION, baggage, koc};
//! use cascade_cpid::{ChangeContext, DEFAULT_KEEP_ANCESTORS, Merged, merge};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // 1. Read what the objects carry that made this reconcile run.
//! let app = koc::read(r#"{"cpid":"app-changed","ancCpids":[]}"#)?;
//! let config = koc::read(r#"{"cpid":"config-changed","ancCpids":["older"]}"#)?;
//!
//! // 2. Merge. Two changes have met: a new CPID, and a mergelog for the trace server.
//! let merged = merge([app, config].into_iter().flatten(), DEFAULT_KEEP_ANCESTORS);
//! let Merged::New { context, source_cpids } = &merged else {
//!     panic!("neither knows of the other")
//! };
//! assert_eq!(source_cpids, &["app-changed", "config-changed"]);
//! assert_eq!(context.ancestors, ["app-changed", "config-changed", "older"]);
//!
//! // 3. Write it on the object, and send it along with the request: the header also reaches
//! //    deletions, which write no object.
//! let annotation = (KOC_ANNOTATION, koc::write(context)?);
//! let header = ("baggage", baggage::write(Some("team=web"), &context.cpid)?);
//! # assert!(annotation.1.starts_with(r#"{"cpid":""#));
//! # assert!(header.1.starts_with("team=web,cpid="));
//!
//! // The next controller sees only this object, and one that still carries the older change:
//! // that one is among the ancestors, so there is nothing to merge and no mergelog.
//! let older = ChangeContext { cpid: "app-changed".to_owned(), ancestors: Vec::new() };
//! let next = merge([context.clone(), older], DEFAULT_KEEP_ANCESTORS);
//! assert!(matches!(next, Merged::Reuse(reused) if reused.cpid == context.cpid));
//! # Ok(())
//! # }
//! ```

pub mod carriers;
mod context;
pub mod graph;
pub mod merge;

pub use context::{ChangeContext, InvalidContext};
pub use merge::{DEFAULT_KEEP_ANCESTORS, Merged, merge, merge_with};
