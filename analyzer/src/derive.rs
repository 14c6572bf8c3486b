//! Tables that are derived from the recorded ones: who made each change, when, and for which reason.
//!
//! Opening a trace computes nothing. A derived table is a [`DerivedTable`]: its [`Derivation`] computes
//! the rows when they are first read and keeps them in [`Derived`], once per session, whatever number of
//! queries and tables need them.
//!
//! A new derived table is an entry of [`tables`], a `OnceCell` in [`Derived`], a [`Derivation`], and one
//! line in [`register`].

mod columns;
mod cpid_functions;
mod mergelogs;
mod table;
mod violations;
pub(crate) mod writes;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use cascade_proto::tables::{ColumnDefinition, TableInfo};
use datafusion::execution::context::SessionContext;
use tokio::sync::OnceCell;
use tracing::warn;

use mergelogs::Mergelogs;
pub(crate) use table::{Chunks, Derivation, DerivedTable};

use crate::catalog::Trace;
use crate::causality::kernel::Without;
use crate::causality::{self, Causes};
use crate::derivation::Found;
use crate::error::Error;
use crate::session::{EngineOptions, RAW_SCHEMA};
use violations::ViolationsDerivation;
use writes::{ChangesTable, Writes, WritesDerivation};

/// Derived tables that are plain SQL over others.
const VIEWS: &[(&str, &str)] = &[
    ("merges", include_str!("derive/merges.sql")),
    ("hops", include_str!("derive/hops.sql")),
];

/// What a session has derived so far.
#[derive(Debug)]
pub(crate) struct Derived {
    trace: Arc<Trace>,
    /// Names of actors that start cascades begin with one of these.
    clients: Vec<String>,
    /// Number of written derivations that do not fit.
    unfit: usize,
    /// Evidence that is not used to find causes.
    causes_without: Without,
    mergelogs: OnceCell<Arc<Mergelogs>>,
    writes: OnceCell<Arc<Writes>>,
    causes: OnceCell<Arc<Causes>>,
}

impl Derived {
    /// Nothing yet, of a trace; `unfit` is the number of written derivations that do not fit it.
    pub(crate) fn new(trace: Arc<Trace>, options: &EngineOptions, unfit: usize) -> Self {
        Self {
            trace,
            clients: options.clients.clone(),
            unfit,
            causes_without: options.causes_without,
            mergelogs: OnceCell::new(),
            writes: OnceCell::new(),
            causes: OnceCell::new(),
        }
    }

    /// The reported mergelogs.
    ///
    /// # Errors
    /// When the raw tables cannot be read.
    pub(crate) async fn mergelogs(
        &self,
        context: &SessionContext,
    ) -> Result<Arc<Mergelogs>, Error> {
        let compute = async { Mergelogs::read(context).await.map(Arc::new) };
        self.mergelogs.get_or_try_init(|| compute).await.cloned()
    }

    /// Who made each change.
    ///
    /// # Errors
    /// When the raw tables cannot be read, or memory is not enough.
    pub(crate) async fn writes(&self, context: &SessionContext) -> Result<Arc<Writes>, Error> {
        let compute = async {
            let mergelogs = self.mergelogs(context).await?;
            let writes = Writes::compute(context, &self.trace, &mergelogs).await?;
            Ok(Arc::new(writes))
        };
        self.writes.get_or_try_init(|| compute).await.cloned()
    }

    /// What set each change off.
    ///
    /// # Errors
    /// When the changes cannot be read.
    pub(crate) async fn causes(&self, context: &SessionContext) -> Result<Arc<Causes>, Error> {
        let compute = async {
            if self.unfit > 0 {
                warn!(
                    derivations = self.unfit,
                    "the derived tables that were written are of another state of the trace, of other rules or \
                    of other clients: deriving anew; cascade derive writes them"
                );
            }
            Causes::compute(context, &self.clients, self.causes_without)
                .await
                .map(Arc::new)
        };
        self.causes.get_or_try_init(|| compute).await.cloned()
    }
}

/// The derived tables, for `cascade schema`.
#[must_use]
pub(crate) fn tables() -> Vec<TableInfo> {
    let mut tables = vec![
        writes::table_info(),
        merges_info(),
        violations::table_info(),
    ];
    tables.extend(causality::tables::infos());
    tables
}

/// The view `merges`, as documented.
fn merges_info() -> TableInfo {
    let column = |name: &str, data_type, nullable, documentation| ColumnDefinition {
        name: name.to_owned(),
        data_type,
        nullable,
        documentation,
    };
    let cpids = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
    let (text, int32, int64) = (DataType::Utf8, DataType::Int32, DataType::Int64);
    TableInfo {
        name: "merges",
        documentation: "One row per merge of CPIDs: several changes met on one object.",
        columns: vec![
            column("new_cpid", text.clone(), false, "The CPID that was made."),
            column(
                "source_cpids",
                cpids,
                false,
                "The CPIDs it was made of, sorted.",
            ),
            column(
                "cluster_id",
                text.clone(),
                true,
                "Cluster of the first change that carries it; this and the other columns about that \
                change are NULL when there is none.",
            ),
            column("epoch", int32.clone(), true, "Epoch of that change."),
            column("revision", int64, true, "Revision of that change."),
            column("ordinal", int32, true, "Ordinal of that change."),
            column("origin", text, false, "`reported`: by a mergelog."),
        ],
    }
}

/// Registers the derived tables in the default schema, and `changes`, which is the raw table with
/// what `writes` says. Tables that were written are read, the others derived.
///
/// # Errors
/// [`Error::Query`] when a name is taken, which would be a mistake here.
pub(crate) async fn register(
    context: &SessionContext,
    derived: &Arc<Derived>,
    written: &Found,
) -> Result<(), Error> {
    let raw_changes = context
        .table_provider(format!("{RAW_SCHEMA}.changes").as_str())
        .await?;
    let changes = ChangesTable::new(raw_changes, Arc::clone(derived));
    context.register_table("changes", Arc::new(changes))?;
    let mut derivations: Vec<Arc<dyn Derivation>> = vec![
        Arc::new(WritesDerivation::new(Arc::clone(derived))),
        Arc::new(ViolationsDerivation::new(Arc::clone(derived))),
    ];
    derivations.extend(causality::tables::derivations(derived));
    for derivation in derivations {
        let name = derivation.name();
        let table = match written.table(context, name, &derivation.schema())? {
            Some(table) => table,
            None => Arc::new(DerivedTable::new(derivation)),
        };
        context.register_table(name, table)?;
    }
    cpid_functions::register(context, derived);
    for (name, sql) in VIEWS {
        let view = context.sql(sql).await?.into_view();
        let table = written.table(context, name, &view.schema())?;
        context.register_table(*name, table.unwrap_or(view))?;
    }
    Ok(())
}
