//! `hops`: one row per chosen trigger, made of the graph as it is in memory. A join of `edges` with `changes` on both
//! sides would hash all changes twice.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, StringBuilder};
use arrow::datatypes::DataType;
use cascade_proto::tables::{ColumnDefinition, TableInfo};

use super::edges::{shown, strongest};
use super::{CauseTable, history_columns, keys, optional, required};
use crate::causality::History;
use crate::causality::kernel::{Change, Edge, NO_TIME};

#[derive(Debug)]
pub(super) struct Hops;

const ORDINAL: &str = "Its position within the revision.";

/// A chosen trigger.
#[derive(Debug, Clone, Copy)]
struct Hop {
    edge: Edge,
    cause: Change,
    effect: Change,
    cause_number: u32,
    effect_number: u32,
    is_last_cause: bool,
}

impl Hop {
    /// From the cause's commit until the request that reacted; without a request span until the effect's commit.
    fn reaction(&self) -> Option<i64> {
        let effect = self.effect;
        let reacted = match (time(effect.request), time(effect.call)) {
            (Some(request), Some(_)) => Some(request),
            _ => time(effect.commit),
        };
        Some(reacted? - time(self.cause.commit)?)
    }

    fn api(&self) -> Option<i64> {
        Some(time(self.effect.call)? - time(self.effect.request)?)
    }

    fn storage(&self) -> Option<i64> {
        time(self.effect.request)?;
        Some(time(self.effect.commit)? - time(self.effect.call)?)
    }

    fn total(&self) -> Option<i64> {
        Some(time(self.effect.commit)? - time(self.cause.commit)?)
    }
}

fn time(nanos: i64) -> Option<i64> {
    (nanos != NO_TIME).then_some(nanos)
}

/// The chosen triggers of some changes.
fn hops(history: &History, changes: Range<u32>) -> Vec<Hop> {
    let mut hops = Vec::new();
    for number in changes {
        let Some(effect) = history.changes.row(number) else {
            continue;
        };
        let first = hops.len();
        let mut last = None;
        for edge in history.graph.chosen(number) {
            let Some(cause) = history.changes.row(edge.cause) else {
                continue;
            };
            // A commit that is not known is before all others.
            let place = (cause.commit, edge.cause);
            if last.is_none_or(|(newest, _)| place > newest) {
                last = Some((place, hops.len()));
            }
            hops.push(Hop {
                edge,
                cause,
                effect,
                cause_number: edge.cause,
                effect_number: number,
                is_last_cause: false,
            });
        }
        let last = last.map_or(first, |(_, last)| last);
        if let Some(hop) = hops.get_mut(last) {
            hop.is_last_cause = true;
        }
    }
    hops
}

impl CauseTable for Hops {
    fn info(&self) -> TableInfo {
        let integer = |name, documentation| required(name, DataType::Int64, documentation);
        let nanos = |name, documentation| optional(name, DataType::Int64, documentation);
        let mut columns: Vec<ColumnDefinition> = history_columns().into();
        columns.extend([
            integer(
                "effect_revision",
                "Revision of the change that was set off.",
            ),
            required("effect_ordinal", DataType::Int32, ORDINAL),
            integer("cause_revision", "Revision of the change that set it off."),
            required("cause_ordinal", DataType::Int32, ORDINAL),
        ]);
        for (names, end) in [
            (
                [
                    "cause_kind",
                    "cause_op",
                    "cause_actor",
                    "cause_namespace",
                    "cause_name",
                ],
                "Of the cause; see `changes`.",
            ),
            (
                [
                    "effect_kind",
                    "effect_op",
                    "effect_actor",
                    "effect_namespace",
                    "effect_name",
                ],
                "Of the effect; see `changes`.",
            ),
        ] {
            columns.extend(names.map(|name| optional(name, DataType::Utf8, end)));
        }
        columns.extend([
            nanos(
                "reaction_ns",
                "From the cause's commit to the request that reacted, nanoseconds; to the effect's commit, where there \
                is no request span. Never clamped: it can be negative.",
            ),
            nanos(
                "api_ns",
                "From that request to the etcd call; NULL without a request span.",
            ),
            nanos(
                "storage_ns",
                "From the call to the effect's commit; NULL without a request span.",
            ),
            nanos("total_ns", "Between the commits: the sum of the parts."),
            nanos(
                "clock_offset_ns",
                "Nanoseconds by which the interceptor's clock was ahead of kube-apiserver's. Without the correction \
                `reaction_ns` would be smaller by this, `api_ns` larger.",
            ),
            required(
                "evidence",
                DataType::Utf8,
                "Strongest evidence for the trigger, as in `edges`.",
            ),
            required(
                "confidence",
                DataType::Float64,
                "How sure the trigger is, as in `edges`.",
            ),
            required(
                "is_last_cause",
                DataType::Boolean,
                "Whether the cause is the last one of the effect's causes.",
            ),
        ]);
        TableInfo {
            name: "hops",
            documentation: "One row per chosen trigger: who was at both ends, and where the time between went.",
            columns,
        }
    }

    fn order(&self) -> &'static [&'static str] {
        &["cluster_id", "epoch", "effect_revision", "effect_ordinal"]
    }

    fn columns(&self, history: &History, changes: Range<u32>) -> Vec<ArrayRef> {
        let hops = hops(history, changes);
        let effects: Vec<u32> = hops.iter().map(|hop| hop.effect_number).collect();
        let causes: Vec<u32> = hops.iter().map(|hop| hop.cause_number).collect();
        let mut columns: Vec<ArrayRef> = Vec::new();
        columns.extend(keys(history, &effects));
        columns.extend(keys(history, &causes));
        columns.extend(end(
            history,
            hops.iter().map(|hop| (hop.cause, hop.cause_number)),
        ));
        columns.extend(end(
            history,
            hops.iter().map(|hop| (hop.effect, hop.effect_number)),
        ));
        for part in [Hop::reaction, Hop::api, Hop::storage, Hop::total] {
            columns.push(Arc::new(Int64Array::from_iter(hops.iter().map(part))));
        }
        columns.push(Arc::new(Int64Array::from_iter(
            hops.iter()
                .map(|hop| history.clock_offset(hop.effect_number)),
        )));
        columns.push(Arc::new(StringArray::from_iter_values(
            hops.iter().map(|hop| strongest(hop.edge.evidence)),
        )));
        columns.push(Arc::new(Float64Array::from_iter_values(
            hops.iter().map(|hop| shown(hop.edge.confidence.into())),
        )));
        let is_last = hops.iter().map(|hop| Some(hop.is_last_cause));
        columns.push(Arc::new(BooleanArray::from_iter(is_last)));
        columns
    }
}

/// Kind, operation, actor, namespace and name of changes.
fn end(history: &History, changes: impl Iterator<Item = (Change, u32)>) -> [ArrayRef; 5] {
    let mut texts: [StringBuilder; 5] = Default::default();
    for (change, number) in changes {
        let [kinds, ops, actors, namespaces, names] = &mut texts;
        let name = history.changes.name(change.name);
        let some = |text| Some(text).filter(|text: &&str| !text.is_empty());
        let [kind, namespace, name] = name.parts().map(some);
        kinds.append_option(kind);
        ops.append_value(change.op.name());
        actors.append_option(history.named_actor(number));
        namespaces.append_option(namespace);
        names.append_option(name);
    }
    texts.map(|mut text| Arc::new(text.finish()) as ArrayRef)
}
