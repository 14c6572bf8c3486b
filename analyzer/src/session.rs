//! A session: opened traces as tables of a DataFusion context.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use datafusion::catalog::MemorySchemaProvider;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::FutureExt;

use crate::catalog::{self, Trace};
use crate::causality::kernel::Without;
use crate::derive::{self, Derived, Settings};
use crate::error::Error;
use crate::milestones::Declarations;
use crate::{cascade_functions, derivation, functions, stages, views};

/// Name of the catalog that holds the tables.
const CATALOG: &str = "cascade";
/// Schema of the views that people query; the default.
const VIEWS_SCHEMA: &str = "public";
/// Schema of the tables as recorded.
pub(crate) const RAW_SCHEMA: &str = "raw";
/// Schema of the tables as stored, before rows that two interceptors recorded are merged.
pub(crate) const STORED_SCHEMA: &str = "stored";
/// View of the gaps that says which of them another recording fills.
pub(crate) const JUDGED_GAPS: &str = "stored.judged_gaps";
/// Schema of tables that others are made of.
pub(crate) const CAUSES_SCHEMA: &str = "causes";

/// Limits of the query engine, and how tables are derived.
#[derive(Debug, Clone, Default)]
pub struct EngineOptions {
    /// Bytes that may be used before queries, and what is derived of each change, go to disk; without it there is no limit.
    pub memory_limit: Option<usize>,
    /// Threads that one query may use; without it one per core.
    pub threads: Option<usize>,
    /// Folder with derived tables; without it those beside the trace are read.
    pub derived: Option<PathBuf>,
    /// Names of actors that start cascades begin with one of these, or with one of those that are
    /// known ([`crate::causality::kernel::CLIENTS`]).
    pub clients: Vec<String>,
    /// TOML file with milestones, beside those that are built in.
    pub milestones: Option<PathBuf>,
    /// Derive tables even if they were written before.
    pub derive_anew: bool,
    /// Evidence that is not used to find causes, to measure what it is worth.
    pub causes_without: Without,
}

/// Opened traces, ready for SQL. Cheap to clone.
#[derive(Clone)]
#[allow(missing_debug_implementations)] // SessionContext has none
pub struct Session {
    context: SessionContext,
    trace: Arc<Trace>,
    derived: Arc<Derived>,
}

impl Session {
    /// Opens traces of one cluster as one.
    ///
    /// What is opened stays as it is: files and journals that appear later are not seen, those
    /// that a query needs must still be there.
    ///
    /// # Errors
    /// [`Error::Trace`] when something is not a readable trace; the text says what to do.
    pub async fn open(traces: &[String], options: &EngineOptions) -> Result<Self, Error> {
        let context = context(options)?;
        let trace = catalog::open(&context, traces).await?;
        let trace = Arc::new(trace);
        let declarations = Declarations::load(options.milestones.as_deref())?;
        let found = derivation::find(&context, &trace, options, &declarations).await?;
        let settings = Settings {
            clients: options.clients.clone(),
            causes_without: options.causes_without,
            declarations,
            unfit: found.others,
            keep_writes: !options.derive_anew || derive::has_mergelogs(&trace),
            memory_limit: options.memory_limit,
        };
        let derived = Derived::new(Arc::clone(&trace), settings);
        let derived = Arc::new(derived);
        views::register(&context, &trace).await?;
        derive::register(&context, &derived, &found).await?;
        stages::register(&context).await?;
        cascade_functions::register(&context);
        Ok(Self {
            context,
            trace,
            derived,
        })
    }

    /// The context, for everything that DataFusion can do.
    #[must_use]
    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    /// What was opened.
    #[must_use]
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// What was derived so far.
    pub(crate) fn derived(&self) -> &Arc<Derived> {
        &self.derived
    }

    /// Answers one statement, all rows at once.
    ///
    /// # Errors
    /// [`Error::Query`] when the statement is wrong or cannot be finished, [`Error::Panic`] when the
    /// engine panics, as the Parquet reader does on some damaged pages.
    pub async fn query(&self, sql: &str) -> Result<Vec<RecordBatch>, Error> {
        let answer = async { self.context.sql(sql).await?.collect().await };
        // Nothing of a query that panicked is used again.
        match AssertUnwindSafe(answer).catch_unwind().await {
            Ok(batches) => batches.map_err(Error::from),
            Err(payload) => Err(Error::panic(payload.as_ref())),
        }
    }
}

/// An empty context with our functions and settings.
fn context(options: &EngineOptions) -> Result<SessionContext, Error> {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(CATALOG, VIEWS_SCHEMA)
        .with_information_schema(true);
    if let Some(threads) = options.threads {
        config = config.with_target_partitions(threads);
    }
    let parquet = &mut config.options_mut().execution.parquet;
    // Filters run while decoding: rows that they drop are never materialised. Over nine million rows
    // that halves the time for one key and costs nothing for filters that keep most rows.
    parquet.pushdown_filters = true;
    parquet.reorder_filters = true;
    // Facts are parsed where they are asked for: moved to the scan, those of every row would be, whatever its kind.
    config
        .options_mut()
        .optimizer
        .enable_leaf_expression_pushdown = false;

    if let Some(limit) = options.memory_limit {
        // What every sort keeps to merge with, when it has gone to disk: all sorts together may have a quarter, see `derive`.
        let execution = &mut config.options_mut().execution;
        execution.sort_spill_reservation_bytes =
            execution.sort_spill_reservation_bytes.min(limit / 64);
    }

    let mut runtime = RuntimeEnvBuilder::new();
    if let Some(limit) = options.memory_limit {
        runtime = runtime.with_memory_limit(limit, 1.0);
    }
    let mut context = SessionContext::new_with_config_rt(config, runtime.build_arc()?);
    let catalog = context
        .catalog(CATALOG)
        .ok_or_else(|| Error::Internal(format!("catalog {CATALOG} was not made")))?;
    for name in [RAW_SCHEMA, STORED_SCHEMA, CAUSES_SCHEMA] {
        catalog.register_schema(name, Arc::new(MemorySchemaProvider::new()))?;
    }
    functions::register(&mut context)?;
    Ok(context)
}
