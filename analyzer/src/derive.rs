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
mod view_tables;
mod violations;
pub(crate) mod writes;

use std::sync::Arc;

use cascade_proto::tables::TableInfo;
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
use crate::milestones::{self, ConvergenceDerivation, Declarations, StagesDerivation, Timelines};
use crate::session::RAW_SCHEMA;
use violations::ViolationsDerivation;
use writes::{ChangesTable, Writes, WritesDerivation};

/// Derived tables that are plain SQL over others.
const VIEWS: &[(&str, &str)] = &[
    ("merges", include_str!("derive/merges.sql")),
    ("hops", include_str!("derive/hops.sql")),
    ("cascades", include_str!("derive/cascades.sql")),
];

/// What a session has derived so far.
#[derive(Debug)]
pub(crate) struct Derived {
    trace: Arc<Trace>,
    settings: Settings,
    mergelogs: OnceCell<Arc<Mergelogs>>,
    writes: OnceCell<Arc<Writes>>,
    causes: OnceCell<Arc<Causes>>,
    timelines: OnceCell<Arc<Timelines>>,
}

/// What derived tables depend on besides the trace.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Names of actors that start cascades begin with one of these.
    pub(crate) clients: Vec<String>,
    /// Evidence that is not used to find causes.
    pub(crate) causes_without: Without,
    /// Which milestones there are.
    pub(crate) declarations: Declarations,
    /// Number of written derivations that do not fit.
    pub(crate) unfit: usize,
}

impl Derived {
    /// Nothing yet, of a trace.
    pub(crate) fn new(trace: Arc<Trace>, settings: Settings) -> Self {
        Self {
            trace,
            settings,
            mergelogs: OnceCell::new(),
            writes: OnceCell::new(),
            causes: OnceCell::new(),
            timelines: OnceCell::new(),
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
            if self.settings.unfit > 0 {
                warn!(
                    derivations = self.settings.unfit,
                    "the derived tables that were written are of another state of the trace, of other rules or \
                    with other settings: deriving anew; cascade derive writes them"
                );
            }
            let Settings {
                clients,
                causes_without,
                ..
            } = &self.settings;
            let causes = Causes::compute(context, clients, *causes_without).await?;
            Ok(Arc::new(causes))
        };
        self.causes.get_or_try_init(|| compute).await.cloned()
    }

    /// What became of each object.
    ///
    /// # Errors
    /// When a declared milestone is none, or the changes cannot be read.
    pub(crate) async fn timelines(
        &self,
        context: &SessionContext,
    ) -> Result<Arc<Timelines>, Error> {
        let compute = async {
            let declarations = &self.settings.declarations;
            Timelines::compute(context, declarations)
                .await
                .map(Arc::new)
        };
        self.timelines.get_or_try_init(|| compute).await.cloned()
    }
}

/// The derived tables, for `cascade schema`.
#[must_use]
pub(crate) fn tables() -> Vec<TableInfo> {
    let mut tables = vec![
        writes::table_info(),
        view_tables::merges(),
        violations::table_info(),
    ];
    tables.extend(causality::tables::infos());
    tables.extend([
        view_tables::hops(),
        view_tables::cascades(),
        milestones::stages_info(),
    ]);
    tables
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
        Arc::new(StagesDerivation::new(Arc::clone(derived))),
        Arc::new(ConvergenceDerivation::new(Arc::clone(derived))),
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
