//! The CPID of every change, and the merges, by the paper's rule.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, ListBuilder, StringBuilder};
use arrow::datatypes::{DataType, Field};
use async_trait::async_trait;
use cascade_proto::tables::TableInfo;
use datafusion::execution::context::SessionContext;
use uuid::Uuid;

use super::{CauseTable, change_columns, keys, required};
use crate::causality::{Causes, History};
use crate::derive::Derived;
use crate::derive::beside::{Beside, ChangeKeys, Lookup};
use crate::error::Error;

/// `cpids`, as documented.
pub(crate) fn cpids_info() -> TableInfo {
    let key = required("key", DataType::Utf8, "etcd key of the object.");
    let derived = [
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
    ];
    let columns = change_columns("Revision of the change.").into_iter();
    TableInfo {
        name: "cpids",
        documentation: "The CPID of every change: that of its cause, or a new one where causes with different \
            ones meet. The same trace gives the same CPIDs.",
        columns: columns.chain([key]).chain(derived).collect(),
    }
}

/// Columns of `raw.changes` that `cpids` has.
pub(crate) const CPIDS_RAW_COLUMNS: [&str; 5] =
    ["cluster_id", "epoch", "revision", "ordinal", "key"];

/// The columns of `cpids` beside those. Causes know changes by number: what a key's text is, the raw table tells.
#[derive(Debug)]
pub(crate) struct CpidsBeside {
    derived: Arc<Derived>,
}

impl CpidsBeside {
    pub(crate) fn new(derived: Arc<Derived>) -> Self {
        Self { derived }
    }
}

#[async_trait]
impl Beside for CpidsBeside {
    fn fields(&self) -> Vec<Field> {
        let columns = cpids_info().columns.into_iter();
        columns
            .skip(CPIDS_RAW_COLUMNS.len())
            .map(|column| Field::new(column.name, column.data_type, column.nullable))
            .collect()
    }

    async fn lookup(&self, context: &SessionContext) -> Result<Arc<dyn Lookup>, Error> {
        let causes = self.derived.causes(context).await?;
        Ok(Arc::new(CpidsLookup { causes }))
    }
}

#[derive(Debug)]
struct CpidsLookup {
    causes: Arc<Causes>,
}

impl Lookup for CpidsLookup {
    fn array(&self, column: usize, keys: &ChangeKeys<'_>) -> ArrayRef {
        let mut near = 0;
        let found = keys.iter().map(|(cluster_id, epoch, revision, ordinal)| {
            let history = self.causes.history(cluster_id, epoch)?;
            let change = history.find(&mut near, revision, ordinal)?;
            Some((history, change))
        });
        match column {
            0 => {
                let mut cpids = StringBuilder::new();
                let mut text = Uuid::encode_buffer();
                found.for_each(|found| {
                    let id = found.and_then(|(history, change)| history.cpids().of_change(change));
                    let id = id.map(|id| &*id.hyphenated().encode_lower(&mut text));
                    cpids.append_option(id);
                });
                Arc::new(cpids.finish())
            }
            1 => {
                let mut origins = StringBuilder::new();
                found.for_each(|found| origins.append_option(found.map(|_| "derived")));
                Arc::new(origins.finish())
            }
            2 => Arc::new(BooleanArray::from_iter(found.map(|found| {
                found.map(|(history, change)| history.graph.root_class(change).is_some())
            }))),
            _ => Arc::new(Int64Array::from_iter(found.map(|found| {
                let (history, change) = found?;
                i64::try_from(history.roots().roots(change).len()).ok()
            }))),
        }
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
            let merged = derived.cpids.sources(cpid);
            if merged.is_empty() || derived.cpids.first(cpid) != Some(change) {
                continue;
            }
            first.push(change);
            made.append_value(derived.id(cpid).unwrap_or_default().to_string());
            let merged = merged.iter().filter_map(|source| derived.id(*source));
            let mut merged: Vec<Uuid> = merged.collect();
            // As their texts are sorted.
            merged.sort_unstable();
            for source in merged {
                sources.values().append_value(source.to_string());
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
