//! Quotas: kube-apiserver counts an object against the quotas of its namespace before it stores the object, so the
//! quota's change comes of what the object's change comes of, which is not known yet.

use super::Engine;
use crate::causality::kernel::change::{Change, NO_TIME, Op};
use crate::causality::kernel::evidence::{Evidence, Relation};
use crate::causality::kernel::hash::FastMap;
use crate::causality::kernel::intern::NONE;
use crate::causality::kernel::kinds::KindClass;
use crate::causality::kernel::output::Edge;

/// How long after a quota was counted up the object that it was counted for is stored, where nothing tells when the
/// object's request came in.
const UNKNOWN_REQUEST_NS: i64 = 400_000_000;
/// The longest that a request may take.
const REQUEST_NS: i64 = 60_000_000_000;
/// Writes to the quotas of one namespace that wait for their objects.
const MAX_PENDING: usize = 64;

/// Writes to quotas inside of requests.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    /// Per namespace: those whose own object is still to come.
    pending: FastMap<u32, Vec<u32>>,
    /// What they came of, found when the object was stored.
    late: FastMap<u32, Vec<Edge>>,
}

impl Quotas {
    /// The causes of such writes.
    pub(super) fn into_causes(self) -> Vec<(u32, Edge)> {
        self.late
            .into_iter()
            .flat_map(|(quota, edges)| edges.into_iter().map(move |edge| (quota, edge)))
            .collect()
    }

    /// The causes of one such write, if they are known by now.
    pub(super) fn causes(&self, quota: u32) -> Option<&[Edge]> {
        self.late.get(&quota).map(Vec::as_slice)
    }
}

impl Engine<'_> {
    /// Takes notice of a write to a quota inside of a request, or finds those that belong to an object's creation.
    pub(super) fn settle_quotas(&mut self, index: u32, change: &Change) {
        if self.without.relation(Relation::Request) {
            return;
        }
        let class = self.changes.class(change.kind);
        let namespace = self.changes.ties(change).namespace;
        if class == KindClass::Quota {
            let is_apiservers = change.actor == NONE || change.actor == self.changes.apiserver;
            if is_apiservers && change.op == Op::Update && change.facets.is_status_only() {
                let pending = self.quotas.pending.entry(namespace).or_default();
                if pending.len() == MAX_PENDING {
                    pending.remove(0);
                }
                pending.push(index);
            }
            return;
        }
        let is_counted = change.op == Op::Create
            && change.commit != NO_TIME
            && !matches!(class, KindClass::Event | KindClass::Lease);
        if !is_counted {
            return;
        }
        let Some(pending) = self.quotas.pending.get_mut(&namespace) else {
            return;
        };
        let changes = self.changes;
        let mut found = Vec::new();
        pending.retain(|quota| {
            let Some(commit) = changes.row(*quota).map(|quota| quota.commit) else {
                return false;
            };
            let is_inside = if change.request == NO_TIME {
                change.commit - commit <= UNKNOWN_REQUEST_NS
            } else {
                change.request <= commit
            };
            if is_inside {
                found.push(*quota);
            }
            !is_inside && change.commit - commit <= REQUEST_NS
        });
        for quota in found {
            self.settle_quota(quota);
        }
    }

    /// Gives a write to a quota the causes of the current change.
    fn settle_quota(&mut self, quota: u32) {
        let edges: Vec<Edge> = self
            .graph
            .open()
            .iter()
            .filter(|edge| edge.is_chosen && edge.cause < quota)
            .map(|edge| Edge {
                evidence: Evidence::of(Relation::Request),
                ..*edge
            })
            .collect();
        if !edges.is_empty() {
            self.roots
                .replace(quota, edges.iter().map(|edge| edge.cause));
            self.quotas.late.insert(quota, edges);
        }
    }
}
