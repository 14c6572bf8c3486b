//! `reach`: what each root reached, when, and by which critical path.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array};
use arrow::datatypes::DataType;
use cascade_proto::tables::TableInfo;

use super::{CauseTable, history_columns, keys, optional, required};
use crate::causality::History;
use crate::causality::kernel::Reached;

#[derive(Debug)]
pub(super) struct ReachTable;

impl CauseTable for ReachTable {
    fn info(&self) -> TableInfo {
        let integer = |name, documentation| required(name, DataType::Int64, documentation);
        let columns = history_columns().into_iter().chain([
            integer("root_revision", "Revision of the root."),
            required("root_ordinal", DataType::Int32, "Its position within the revision."),
            integer("revision", "Revision of a change that came of it; the root itself too."),
            required("ordinal", DataType::Int32, "Its position within the revision."),
            integer("depth", "Triggers between the root and the change, along the critical path."),
            optional(
                "predecessor_revision",
                DataType::Int64,
                "The change before it on the critical path: of its causes within the root's reach the one \
                that was committed last. NULL for the root itself.",
            ),
            optional("predecessor_ordinal", DataType::Int32, "Its position within the revision."),
            integer("since_root_ns", "From the root's commit to this one's, nanoseconds."),
            integer(
                "reaction_ns",
                "Of these: from commits to the requests that reacted to them (to the commits of the reactions, \
                where there are no request spans).",
            ),
            integer("api_ns", "Of these: from requests to etcd calls."),
            integer("storage_ns", "Of these: from etcd calls to commits."),
            integer(
                "path_id",
                "Signature of the critical path, see `path_steps`; equal signatures have equal ids.",
            ),
            required(
                "min_confidence",
                DataType::Float64,
                "Smallest confidence of a trigger on the critical path.",
            ),
            integer("arrival", "How often the cascade had changed this object, this change included."),
            required(
                "is_last_arrival",
                DataType::Boolean,
                "Whether the cascade changes this object no more.",
            ),
        ]);
        TableInfo {
            name: "reach",
            documentation: "One row per root and change that came of it. A change with several roots is \
                in the reach of each, of at most 64.",
            columns: columns.collect(),
        }
    }

    fn columns(&self, history: &History, changes: Range<u32>) -> Vec<ArrayRef> {
        let reach = history.reach();
        let rows: Vec<Reached> = changes.flat_map(|change| reach.rows_of(change)).collect();
        let roots: Vec<u32> = rows.iter().map(|row| row.root).collect();
        let reached: Vec<u32> = rows.iter().map(|row| row.change).collect();
        let before: Vec<u32> = rows
            .iter()
            .map(|row| {
                let before = reach.rows().get(row.predecessor as usize);
                before.map_or(u32::MAX, |before| before.change)
            })
            .collect();
        let integers = |value: &dyn Fn(&Reached) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(rows.iter().map(value)))
        };
        let mut columns: Vec<ArrayRef> = Vec::new();
        columns.extend(keys(history, &roots));
        columns.extend(keys(history, &reached));
        columns.push(integers(&|row| i64::from(row.depth)));
        columns.extend(keys(history, &before));
        columns.push(integers(&|row| row.since_root()));
        columns.push(integers(&|row| row.reaction));
        columns.push(integers(&|row| row.api));
        columns.push(integers(&|row| row.storage));
        columns.push(integers(&|row| history.path_id(row.path)));
        columns.push(Arc::new(Float64Array::from_iter_values(
            rows.iter().map(|row| f64::from(row.min_confidence)),
        )));
        columns.push(integers(&|row| i64::from(row.arrival)));
        columns.push(Arc::new(BooleanArray::from_iter(
            rows.iter().map(|row| Some(row.is_last_arrival)),
        )));
        columns
    }
}
