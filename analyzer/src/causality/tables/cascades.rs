//! What the kernel knows for `cascades`: what came of each root, in one row.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringBuilder};
use arrow::datatypes::DataType;
use cascade_proto::tables::TableInfo;

use super::{CauseTable, change_columns, keys, optional, required};
use crate::causality::History;

#[derive(Debug)]
pub(super) struct CascadesTable;

impl CauseTable for CascadesTable {
    fn info(&self) -> TableInfo {
        let integer = |name, documentation| required(name, DataType::Int64, documentation);
        let columns = change_columns("Revision of the root.").into_iter().chain([
            required("root_class", DataType::Utf8, "As in `roots`."),
            optional("action_id", DataType::Utf8, "As in `roots`."),
            required("kind", DataType::Utf8, "Kind of the root, with its group."),
            required("op", DataType::Utf8, "What happened to it."),
            optional("actor", DataType::Utf8, "Who wrote it."),
            integer("changes_exclusive", "Changes that came of this root alone, itself included."),
            integer(
                "changes_shared",
                "Changes that came of other roots too; do not add these up over roots.",
            ),
            integer("bytes", "Bytes of the values that these changes wrote."),
            integer("objects", "Objects that were changed."),
            integer("kinds", "Kinds of these objects."),
            integer("actors", "Actors that changed them."),
            integer("depth", "Longest critical path, in triggers."),
            integer("merged_with", "Other roots that it shares changes with."),
            optional(
                "settled_unix_nano",
                DataType::Int64,
                "Commit of the last change, Events, Leases and heartbeats aside, that 30 s of quiet \
                followed; NULL when the trace ends before.",
            ),
            optional("settled_ns", DataType::Int64, "From the root's commit until then, nanoseconds."),
            optional(
                "path_id",
                DataType::Int64,
                "Signature of the critical path to that last change, see `path_steps`.",
            ),
        ]);
        TableInfo {
            name: "causes.cascades",
            documentation: "One row per root: what came of it, and when it settled.",
            columns: columns.collect(),
        }
    }

    fn columns(&self, history: &History, changes: Range<u32>) -> Vec<ArrayRef> {
        let cascades: Vec<_> = changes
            .filter_map(|change| history.cascade(change))
            .collect();
        let roots: Vec<u32> = cascades.iter().map(|cascade| cascade.root).collect();
        let texts = |text: &dyn Fn(u32) -> Option<String>| -> ArrayRef {
            let mut texts = StringBuilder::new();
            for root in &roots {
                texts.append_option(text(*root));
            }
            Arc::new(texts.finish())
        };
        let change = |root: u32| history.changes.row(root);
        let counts = |count: &dyn Fn(usize) -> u32| -> ArrayRef {
            let counts = (0..cascades.len()).map(|index| i64::from(count(index)));
            Arc::new(Int64Array::from_iter_values(counts))
        };
        let of = |index: usize| cascades.get(index).copied();
        let mut columns: Vec<ArrayRef> = keys(history, &roots).into();
        columns.push(texts(&|root| {
            let class = history.graph.root_class(root)?;
            Some(class.name().to_owned())
        }));
        columns.push(texts(&|root| {
            history.action_id(root).map(|id| id.to_string())
        }));
        columns.push(texts(&|root| {
            Some(history.changes.kind(change(root)?.kind).to_owned())
        }));
        columns.push(texts(&|root| Some(change(root)?.op.name().to_owned())));
        columns.push(texts(&|root| {
            history
                .changes
                .actor(change(root)?.actor)
                .map(str::to_owned)
        }));
        columns.push(counts(&|index| {
            of(index).map_or(0, |found| found.exclusive)
        }));
        columns.push(counts(&|index| of(index).map_or(0, |found| found.shared)));
        let bytes = roots.iter().map(|root| history.bytes(*root));
        columns.push(Arc::new(Int64Array::from_iter_values(bytes)));
        columns.push(counts(&|index| of(index).map_or(0, |found| found.objects)));
        columns.push(counts(&|index| of(index).map_or(0, |found| found.kinds)));
        columns.push(counts(&|index| of(index).map_or(0, |found| found.actors)));
        columns.push(counts(&|index| of(index).map_or(0, |found| found.depth)));
        columns.push(counts(&|index| {
            of(index).map_or(0, |found| found.merged_with)
        }));
        let settled =
            |value: &dyn Fn(&crate::causality::kernel::Cascade) -> Option<i64>| -> ArrayRef {
                Arc::new(Int64Array::from_iter(cascades.iter().map(value)))
            };
        columns.push(settled(&|found| found.settled));
        columns.push(settled(&|found| found.settled_after));
        columns.push(settled(&|found| Some(history.path_id(found.path?))));
        columns
    }
}
