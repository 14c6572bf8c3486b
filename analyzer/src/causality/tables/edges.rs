//! `edges`: which change set off which, and which it overwrote.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, ListBuilder, StringBuilder};
use arrow::datatypes::{DataType, Field};
use cascade_proto::tables::TableInfo;

use super::{CauseTable, history_columns, keys, required};
use crate::causality::History;
use crate::causality::kernel::{Evidence, NONE, Relation};

#[derive(Debug)]
pub(super) struct Edges;

/// Relation of an edge to what set the change off.
const TRIGGER: &str = "trigger";
/// Relation of an edge to the revision that was overwritten.
const BASE: &str = "base";

impl CauseTable for Edges {
    fn info(&self) -> TableInfo {
        let text_list = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
        let columns = history_columns().into_iter().chain([
            required(
                "effect_revision",
                DataType::Int64,
                "Revision of the change that was set off.",
            ),
            required(
                "effect_ordinal",
                DataType::Int32,
                "Its position within the revision.",
            ),
            required(
                "cause_revision",
                DataType::Int64,
                "Revision of the change that set it off, or that it overwrote. Always before the effect.",
            ),
            required(
                "cause_ordinal",
                DataType::Int32,
                "Its position within the revision.",
            ),
            required(
                "relation",
                DataType::Utf8,
                "`trigger`: the cause made the actor act; `base`: the revision that it overwrote. \
                Cascades follow triggers only.",
            ),
            required("evidence", DataType::Utf8, "The strongest evidence."),
            required(
                "evidence_all",
                text_list,
                "All evidence, strongest first: `cpid`, `request`, `deletion`, `owner` (a change of \
                the owner), `child` (of what it owns), `uid`, `selector`, `name` (one refers to the other), \
                `same_object`, `same_reconcile` (the causes of what the same reconcile wrote just before).",
            ),
            required(
                "confidence",
                DataType::Float64,
                "Of the edges with this confidence, this share is right.",
            ),
            required(
                "chosen",
                DataType::Boolean,
                "Whether the edge is part of the graph; rejected candidates are kept to calibrate \
                the confidence.",
            ),
        ]);
        TableInfo {
            name: "edges",
            documentation: "What set each change off, and what it overwrote. Found from what is recorded \
                of the objects and requests; docs/causality.md has the rules.",
            columns: columns.collect(),
        }
    }

    fn order(&self) -> &'static [&'static str] {
        &["cluster_id", "epoch", "effect_revision", "effect_ordinal"]
    }

    fn columns(&self, history: &History, changes: Range<u32>) -> Vec<ArrayRef> {
        let (mut effects, mut causes) = (Vec::new(), Vec::new());
        let mut relations = StringBuilder::new();
        let mut evidences = StringBuilder::new();
        let mut all = ListBuilder::new(StringBuilder::new());
        let (mut confidences, mut chosen) = (Vec::new(), Vec::new());
        let mut add = |effect, cause, relation, evidence: Evidence, confidence: f64, is_chosen| {
            effects.push(effect);
            causes.push(cause);
            relations.append_value(relation);
            evidences.append_value(strongest(evidence));
            for name in evidence.relations().map(Relation::name) {
                all.values().append_value(name);
            }
            all.append(true);
            confidences.push(shown(confidence));
            chosen.push(is_chosen);
        };
        for effect in changes {
            for edge in history.graph.edges(effect) {
                add(
                    effect,
                    edge.cause,
                    TRIGGER,
                    edge.evidence,
                    f64::from(edge.confidence),
                    edge.is_chosen,
                );
            }
            let base = history.graph.base(effect);
            if base != NONE {
                let evidence = Evidence::of(Relation::SameObject);
                add(effect, base, BASE, evidence, 1.0, true);
            }
        }
        let mut columns: Vec<ArrayRef> = Vec::new();
        columns.extend(keys(history, &effects));
        columns.extend(keys(history, &causes));
        columns.push(Arc::new(relations.finish()));
        columns.push(Arc::new(evidences.finish()));
        columns.push(Arc::new(all.finish()));
        columns.push(Arc::new(Float64Array::from(confidences)));
        columns.push(Arc::new(BooleanArray::from(chosen)));
        columns
    }
}

/// The evidence that speaks loudest.
pub(super) fn strongest(evidence: Evidence) -> &'static str {
    let mut names = evidence.relations().map(Relation::name);
    names.next().unwrap_or_default()
}

/// A confidence with two decimals more than anything measures.
pub(super) fn shown(confidence: f64) -> f64 {
    (confidence * 1e4).round() / 1e4
}
