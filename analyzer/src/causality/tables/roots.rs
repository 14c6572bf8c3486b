//! `roots`: the changes that no other change set off.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder};
use arrow::datatypes::DataType;
use cascade_proto::tables::TableInfo;

use super::{CauseTable, change_columns, keys, optional, required};
use crate::causality::History;

#[derive(Debug)]
pub(super) struct Roots;

impl CauseTable for Roots {
    fn info(&self) -> TableInfo {
        let columns = change_columns("Revision of the change.").into_iter().chain([
            required(
                "root_class",
                DataType::Utf8,
                "`client` (a person or pipeline), `timer` (schedules, heartbeats), `lease` (an etcd lease ran \
                out), `preexisting` (started before the trace), `external` (a program that starts, or \
                something outside of the cluster), `orphan` (a cause must exist but was not found).",
            ),
            optional(
                "action_id",
                DataType::Utf8,
                "What was done at once: the same for the changes of one client with gaps of at most a \
                second, as `kubectl apply` makes them. NULL for what no client did.",
            ),
        ]);
        TableInfo {
            name: "roots",
            documentation: "Changes that no other change set off: where cascades start.",
            columns: columns.collect(),
        }
    }

    fn columns(&self, history: &History, changes: Range<u32>) -> Vec<ArrayRef> {
        let mut roots = Vec::new();
        let mut classes = StringBuilder::new();
        let mut actions = StringBuilder::new();
        for change in changes {
            let Some(class) = history.graph.root_class(change) else {
                continue;
            };
            roots.push(change);
            classes.append_value(class.name());
            let action = history.action_id(change);
            actions.append_option(action.map(|id| id.to_string()));
        }
        let mut columns: Vec<ArrayRef> = keys(history, &roots).into();
        columns.push(Arc::new(classes.finish()));
        columns.push(Arc::new(actions.finish()));
        columns
    }
}
