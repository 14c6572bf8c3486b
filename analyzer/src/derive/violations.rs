//! `mergelog_violations`: mergelogs that break the rules.

use std::sync::Arc;

use arrow::array::{ListBuilder, StringBuilder};
use arrow::datatypes::{DataType, Field, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use cascade_cpid::graph::Violation;
use cascade_proto::tables::{ColumnDefinition, TableInfo};
use datafusion::execution::context::SessionContext;

use super::{Chunks, Derivation, Derived};
use crate::error::Error;

/// The table, as documented.
pub(super) fn table_info() -> TableInfo {
    let column = |name: &str, data_type, documentation| ColumnDefinition {
        name: name.to_owned(),
        data_type,
        nullable: false,
        documentation,
    };
    let cpids = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
    TableInfo {
        name: "mergelog_violations",
        documentation: "One row per rule that mergelogs break. The graph is followed all the same.",
        columns: vec![
            column(
                "rule",
                DataType::Utf8,
                "`made_twice`: from different sources; `one_source`: a merge takes two; `own_source`: made \
                of itself; `cycle`: each came of the others; `no_cpid`: mergelogs with an empty CPID.",
            ),
            column("cpids", cpids, "The CPIDs concerned."),
            column("detail", DataType::Utf8, "The same in words."),
        ],
    }
}

/// The derivation of the table.
#[derive(Debug)]
pub(super) struct ViolationsDerivation {
    derived: Arc<Derived>,
}

impl ViolationsDerivation {
    pub(super) fn new(derived: Arc<Derived>) -> Self {
        Self { derived }
    }
}

#[async_trait]
impl Derivation for ViolationsDerivation {
    fn name(&self) -> &'static str {
        "mergelog_violations"
    }

    fn schema(&self) -> SchemaRef {
        table_info().schema()
    }

    async fn rows(&self, context: &SessionContext) -> Result<Arc<dyn Chunks>, Error> {
        let mergelogs = self.derived.mergelogs(context).await?;
        let (mut rules, mut details) = (StringBuilder::new(), StringBuilder::new());
        let mut cpids = ListBuilder::new(StringBuilder::new());
        for violation in mergelogs.graph.violations() {
            let (rule, concerned) = match &violation {
                Violation::MadeTwice { cpid } => ("made_twice", std::slice::from_ref(cpid)),
                Violation::OneSource { cpid, .. } => ("one_source", std::slice::from_ref(cpid)),
                Violation::OwnSource { cpid } => ("own_source", std::slice::from_ref(cpid)),
                Violation::Cycle { cpids } => ("cycle", cpids.as_slice()),
                _ => ("other", [].as_slice()),
            };
            rules.append_value(rule);
            details.append_value(violation.to_string());
            for cpid in concerned {
                cpids.values().append_value(cpid);
            }
            cpids.append(true);
        }
        if mergelogs.without_cpid > 0 {
            rules.append_value("no_cpid");
            details.append_value(format!(
                "{} mergelogs have an empty CPID and say nothing",
                mergelogs.without_cpid
            ));
            cpids.append(true);
        }
        let arrays: Vec<arrow::array::ArrayRef> = vec![
            Arc::new(rules.finish()),
            Arc::new(cpids.finish()),
            Arc::new(details.finish()),
        ];
        let batch = RecordBatch::try_new(self.schema(), arrays)
            .map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Arc::new(vec![batch]))
    }
}
