//! The view `changes`: the rows of `raw.changes`, each with what `writes` says about it.

use std::sync::Arc;

use arrow::array::{ArrayRef, new_null_array};
use arrow::datatypes::{DataType, Field};
use async_trait::async_trait;
use datafusion::execution::context::SessionContext;

use super::Writes;
use super::columns::WRITE_COLUMNS;
use super::rows::{Cursor, Row};
use crate::derive::Derived;
use crate::derive::beside::{Beside, ChangeKeys, Lookup};
use crate::error::Error;

/// What `writes` says of changes.
#[derive(Debug)]
pub(crate) struct WritesBeside {
    derived: Arc<Derived>,
}

impl WritesBeside {
    pub(crate) fn new(derived: Arc<Derived>) -> Self {
        Self { derived }
    }
}

#[async_trait]
impl Beside for WritesBeside {
    fn fields(&self) -> Vec<Field> {
        WRITE_COLUMNS
            .map(|column| Field::new(column.name(), column.data_type(), true))
            .into()
    }

    async fn lookup(&self, context: &SessionContext) -> Result<Arc<dyn Lookup>, Error> {
        let writes: Arc<dyn Lookup> = self.derived.writes(context).await?;
        Ok(writes)
    }
}

impl Lookup for Writes {
    fn array(&self, column: usize, keys: &ChangeKeys<'_>) -> ArrayRef {
        let mut cursor = Cursor::default();
        let rows: Vec<Option<Row>> = keys
            .iter()
            .map(|(cluster_id, epoch, revision, ordinal)| {
                self.find(&mut cursor, cluster_id, epoch, revision, ordinal)
            })
            .collect();
        let rows: Vec<Option<&Row>> = rows.iter().map(Option::as_ref).collect();
        match WRITE_COLUMNS.get(column) {
            Some(column) => column.array(self, &rows),
            // The table asks for columns that it has.
            None => new_null_array(&DataType::Null, rows.len()),
        }
    }
}
