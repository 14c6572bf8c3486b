//! A change that may be the cause of another.

use super::change::{Aspect, Change, Facets, Op};
use super::changes::Changes;
use super::evidence::{Evidence, Relation};
use super::kinds::KindClass;
use super::model::CandidateType;

/// A change that may be the cause of another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    pub(crate) change: u32,
    /// The strongest relation.
    pub(crate) relation: Relation,
    /// All relations.
    pub(crate) evidence: Evidence,
    /// Whether the writer itself wrote it.
    pub(crate) is_own: bool,
    /// Whether the writer's program wrote it into something that the loop's object owns: what comes out of a
    /// reconcile rather than what goes in.
    pub(crate) is_output: bool,
    /// Whether it was looked up through a reference, not delivered to the object that the loop works on.
    pub(crate) is_pulled: bool,
    /// Whether it gave the loop's object a generation that the loop had not seen before, and saw then.
    pub(crate) is_due: bool,
    /// Whether it explains by itself that there is this very object.
    pub(crate) is_certain: bool,
    /// Of the same reconcile's write before: whether that wrote the same of the same object, which few reconciles do twice.
    pub(crate) is_repeat: bool,
    /// Its weight before anything was learnt.
    pub(crate) prior: f64,
    /// When it was committed.
    pub(crate) commit: i64,
    /// From its commit until the writer acted.
    pub(crate) delay: i64,
}

/// The kind of a candidate, for the model: relation, kind of object, aspect, own or not.
pub(crate) fn candidate_type(changes: &Changes, candidate: &Candidate) -> CandidateType {
    let Some(change) = changes.row(candidate.change) else {
        return 0;
    };
    let relation = candidate.relation as u64;
    if candidate.relation == Relation::SameReconcile {
        return relation | (u64::from(candidate.is_repeat) << 8);
    }
    let aspect = change.aspect() as u64;
    (u64::from(change.kind) << 16)
        | (aspect << 8)
        | (u64::from(candidate.is_due) << 7)
        | (relation << 2)
        | (u64::from(candidate.is_pulled) << 1)
        | u64::from(candidate.is_own)
}

/// Prior weight of what gave a loop something new to do.
pub(crate) const DUE_PRIOR: f64 = 0.95;

/// Prior weight of a second write of the same by one reconcile.
pub(crate) const REPEAT_PRIOR: f64 = 0.1;

/// How much a kind of candidate weighs before anything was learnt: loops react to the object they work
/// on and to what it owns; seldom to what merely mentions it.
pub(crate) fn prior_weight(candidate: &Candidate, cause: &Change, class: KindClass) -> f64 {
    if candidate.is_due {
        return DUE_PRIOR;
    }
    if candidate.is_output {
        return 0.15;
    }
    if candidate.is_own {
        return 0.1;
    }
    let is_limit = matches!(class, KindClass::Node | KindClass::Quota)
        && matches!(cause.aspect(), Aspect::Spec | Aspect::Deleted);
    match (candidate.relation, candidate.is_pulled) {
        (Relation::Cpid | Relation::Request | Relation::Deletion, _) => 0.9,
        (Relation::SameObject | Relation::Owner, false) => 0.6,
        (Relation::Child | Relation::SameReconcile, _) => 0.4,
        (Relation::Name, true) if is_limit => 0.4,
        (Relation::Selector, _) => 0.3,
        (Relation::Uid | Relation::Owner | Relation::SameObject, true) => 0.2,
        (Relation::Uid, false) | (Relation::Name, true) => 0.1,
        (Relation::Name, false) => 0.05,
    }
}

/// Whether a change only announces that its object is about to be deleted: nothing that selects it sees a difference yet.
pub(crate) fn is_announcement(cause: &Change) -> bool {
    cause.op == Op::Update
        && cause.facets.has(Facets::DISRUPTION)
        && cause.facets.is_status_only()
        && !cause.facets.has(Facets::READINESS)
}

/// Heartbeats set nothing off.
pub(crate) fn is_heartbeat(changes: &Changes, cause: &Change) -> bool {
    match changes.class(cause.kind) {
        _ if changes.is_lease(cause) => true,
        KindClass::Event => true,
        KindClass::Node => cause.facets.is_status_only() && !cause.facets.has(Facets::CONDITION),
        _ => false,
    }
}
