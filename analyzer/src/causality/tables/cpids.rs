//! The CPID of every change, and the merges, by the paper's rule.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, ListBuilder, StringBuilder};
use arrow::datatypes::{DataType, Field};
use cascade_proto::tables::TableInfo;

use super::{CauseTable, change_columns, keys, required};
use crate::causality::History;
use crate::causality::kernel::CpidOrigin;

/// `cpids`.
#[derive(Debug)]
pub(super) struct CpidsTable;

impl CauseTable for CpidsTable {
    fn info(&self) -> TableInfo {
        let columns = change_columns("Revision of the change.")
            .into_iter()
            .chain([
                required("cpid", DataType::Utf8, "The CPID that the change has."),
                required(
                    "origin",
                    DataType::Utf8,
                    "`derived`: by the paper's rule, over trigger edges.",
                ),
                required(
                    "is_root",
                    DataType::Boolean,
                    "Whether the change starts its CPID.",
                ),
                required(
                    "root_count",
                    DataType::Int64,
                    "Roots that the change comes of, at most 64.",
                ),
            ]);
        TableInfo {
            name: "cpids",
            documentation: "The CPID of every change: that of its cause, or a new one where causes with different \
                ones meet. The same trace gives the same CPIDs.",
            columns: columns.collect(),
        }
    }

    fn columns(&self, history: &History, changes: Range<u32>) -> Vec<ArrayRef> {
        let changes: Vec<u32> = changes.collect();
        let (roots, derived) = (history.roots(), history.cpids());
        let mut cpids = StringBuilder::new();
        let mut origins = StringBuilder::new();
        for change in &changes {
            cpids.append_value(derived.text(*change).unwrap_or_default());
            origins.append_value("derived");
        }
        let is_root = changes
            .iter()
            .map(|change| Some(history.graph.root_class(*change).is_some()));
        let counts = changes
            .iter()
            .map(|change| i64::try_from(roots.roots(*change).len()).unwrap_or(i64::MAX));
        let mut columns: Vec<ArrayRef> = keys(history, &changes).into();
        columns.push(Arc::new(cpids.finish()));
        columns.push(Arc::new(origins.finish()));
        columns.push(Arc::new(BooleanArray::from_iter(is_root)));
        columns.push(Arc::new(Int64Array::from_iter_values(counts)));
        columns
    }
}

/// The derived rows of `merges`.
#[derive(Debug)]
pub(super) struct MergesTable;

impl CauseTable for MergesTable {
    fn info(&self) -> TableInfo {
        let texts = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
        let columns = change_columns("Revision of the first change that has the new CPID.")
            .into_iter()
            .chain([
                required("new_cpid", DataType::Utf8, "The CPID that was made."),
                required("source_cpids", texts, "The CPIDs it was made of, sorted."),
                required("origin", DataType::Utf8, "`derived`."),
            ]);
        TableInfo {
            name: "causes.merges",
            documentation: "One row per derived merge of CPIDs: several changes met on one object.",
            columns: columns.collect(),
        }
    }

    fn columns(&self, history: &History, changes: Range<u32>) -> Vec<ArrayRef> {
        let derived = history.cpids();
        let mut first = Vec::new();
        let mut made = StringBuilder::new();
        let mut sources = ListBuilder::new(StringBuilder::new());
        let mut origins = StringBuilder::new();
        for change in changes {
            let Some(cpid) = derived.cpids.cpid(change) else {
                continue;
            };
            let Some(CpidOrigin::Merge(merged)) = derived.cpids.origins().get(cpid as usize) else {
                continue;
            };
            if derived.cpids.first(cpid) != Some(change) {
                continue;
            }
            first.push(change);
            made.append_value(derived.text(change).unwrap_or_default());
            let mut texts: Vec<&str> = merged
                .iter()
                .filter_map(|source| derived.texts.get(*source as usize))
                .map(String::as_str)
                .collect();
            texts.sort_unstable();
            for text in texts {
                sources.values().append_value(text);
            }
            sources.append(true);
            origins.append_value("derived");
        }
        let mut columns: Vec<ArrayRef> = keys(history, &first).into();
        columns.push(Arc::new(made.finish()));
        columns.push(Arc::new(sources.finish()));
        columns.push(Arc::new(origins.finish()));
        columns
    }
}
