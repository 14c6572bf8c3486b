//! The kernel: from changes as integers to the cause of each. Pure, without I/O, usable alone.
//!
//! Two passes in revision order. The first counts who creates what (`statistics`) and learns what each
//! actor reacts to and how fast (`model`); the second decides (`engine`). Rows go in through a
//! [`Builder`], a [`Graph`] comes out.

mod actors;
mod blocks;
mod builder;
mod candidates;
mod cascades;
mod change;
mod changes;
mod clients;
mod cpids;
mod engine;
mod evidence;
mod foresight;
mod gatherer;
mod hash;
mod intern;
mod kinds;
mod model;
mod names;
mod objects;
mod observed;
mod output;
mod paths;
mod postponed;
mod reach;
mod reported;
mod root_sets;
mod row;
mod selectors;
mod statistics;
#[cfg(test)]
mod story;
#[cfg(test)]
mod tests;
mod ties;
mod without;

pub(crate) use blocks::{BLOCK_ROWS, block_at, blocks};
pub use builder::Builder;
pub use cascades::{Cascade, QUIET_NS};
pub use change::{ActorSource, Aspect, Change, Facets, Generation, NO_TIME, Op};
pub use changes::{Changes, ObjectName};
pub use clients::{CLIENTS, is_client};
pub use cpids::{CpidOrigin, Cpids, KEPT_ANCESTORS};
pub use evidence::{Evidence, Relation};
pub(crate) use hash::{FastHasher, FastMap};
pub(crate) use intern::{Interner, hash_of_text};
pub use intern::{NONE, Texts};
pub use output::{Edge, Graph, RootClass};
pub(crate) use paths::MAX_STEPS;
pub use paths::{Paths, Step, op_and_facet, step_text};
pub use reach::{ByRoot, Reach, Reached, hop_parts};
pub use root_sets::{MAX_ROOTS, RootSets};
pub use row::{NameRow, OwnerRow, Row, WriterRow};
pub use without::{UnknownEvidence, Without};

/// Finds the cause of every change, without some of the evidence.
///
/// Request spans and generations have to be left out when the rows are collected: see [`Builder::without`].
#[must_use]
pub fn find_causes(mut changes: Changes, without: Without) -> (Changes, Graph) {
    actors::infer(&mut changes);
    changes.forget_writers();
    let statistics = statistics::Statistics::of(&changes);
    let graph = engine::causes(&changes, &statistics, without);
    changes.shrink();
    (changes, graph)
}
