//! Milestones: what objects pass through on their way to being as their spec wants them.
//!
//! [`Declaration`]s say which, per kind; [`timelines`] follows every object through the changes once, and says when
//! each milestone was reached, and when the object was as its spec wanted it. `stages` tells the first,
//! `convergence` makes of the second how each cascade ended.

mod convergence;
mod declaration;
mod stages;
#[cfg(test)]
mod tests;
mod timelines;

pub(crate) use convergence::{ConvergenceDerivation, OUTCOMES};
pub(crate) use declaration::Declarations;
pub(crate) use stages::{StagesDerivation, table_info as stages_info};
pub(crate) use timelines::Timelines;
