//! `path_steps`: the signatures of critical paths, step by step.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringBuilder};
use arrow::datatypes::DataType;
use cascade_proto::tables::TableInfo;

use super::{CauseTable, history_columns, optional, required};
use crate::causality::History;
use crate::causality::kernel::{op_and_facet, step_text};

#[derive(Debug)]
pub(super) struct PathSteps;

impl CauseTable for PathSteps {
    fn info(&self) -> TableInfo {
        let columns = history_columns().into_iter().chain([
            required("path_id", DataType::Int64, "The signature; `reach` and `cascades` have it."),
            required("position", DataType::Int64, "Position of the step, the root being 0."),
            required(
                "step",
                DataType::Utf8,
                "`Kind.group/op[facet]@actor`; joined by ` > ` the steps are the signature.",
            ),
            required("kind", DataType::Utf8, "Kind, with its group."),
            required("op", DataType::Utf8, "`create`, `update` or `delete`."),
            optional(
                "facet",
                DataType::Utf8,
                "What an update was mostly about: `deletion`, `spec`, `data`, `ready`, `condition`, `status` or \
                `metadata`.",
            ),
            optional("actor", DataType::Utf8, "Who wrote it."),
        ]);
        TableInfo {
            name: "path_steps",
            documentation: "The signatures of critical paths. Where an object passes through the same facet \
                more than once, the last counts; of more than 32 steps the last are told.",
            columns: columns.collect(),
        }
    }

    fn order(&self) -> &'static [&'static str] {
        &["cluster_id", "epoch"]
    }

    /// Each signature belongs to the first change that has it.
    fn columns(&self, history: &History, changes: Range<u32>) -> Vec<ArrayRef> {
        let reach = history.reach();
        let (mut ids, mut positions) = (Vec::new(), Vec::new());
        let mut texts: [StringBuilder; 5] = Default::default();
        for path in history.new_paths(changes) {
            for (position, step) in (0_i64..).zip(reach.paths().steps(path)) {
                ids.push(history.path_id(path));
                positions.push(position);
                let [signature, kind, op, facet, actor] = &mut texts;
                let (op_name, facet_name) = op_and_facet(step.aspect);
                signature.append_value(step_text(&history.changes, step));
                kind.append_value(history.changes.kind(step.kind));
                op.append_value(op_name);
                facet.append_option(facet_name);
                actor.append_option(history.changes.actor(step.actor));
            }
        }
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(ids)),
            Arc::new(Int64Array::from(positions)),
        ];
        columns.extend(texts.map(|mut text| Arc::new(text.finish()) as ArrayRef));
        columns
    }
}
