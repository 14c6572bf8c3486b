//! Tables that are derived from the recorded ones: who made each change, when, and for which reason.
//!
//! Opening a trace computes nothing. A derived table is a [`DerivedTable`]: its [`Derivation`] computes
//! the rows when they are first read and keeps them in [`Derived`], once per session, whatever number of
//! queries and tables need them.
//!
//! A new derived table is an entry of [`tables`], a `OnceCell` in [`Derived`], a [`Derivation`], and one
//! line in [`register`].

pub(crate) mod beside;
mod clocks;
pub(crate) mod columns;
mod cpid_functions;
pub(crate) mod histories;
mod mergelogs;
mod table;
mod view_tables;
mod violations;
pub(crate) mod writes;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use arrow::datatypes::SchemaRef;
use cascade_proto::tables::TableInfo;
use datafusion::catalog::TableProvider;
use datafusion::execution::context::SessionContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use tokio::sync::{Notify, OnceCell};
use tracing::warn;

pub(crate) use mergelogs::Mergelogs;
pub(crate) use table::{Chunks, Derivation, DerivedTable};

use crate::catalog::Trace;
use crate::causality::agreement::{self, AgreementDerivation};
use crate::causality::kernel::Without;
use crate::causality::tables::{CPIDS_RAW_COLUMNS, CpidsBeside};
use crate::causality::{self, Causes};
use crate::derivation::Found;
use crate::error::Error;
use crate::milestones::{self, ConvergenceDerivation, Declarations, StagesDerivation, Timelines};
use crate::session::RAW_SCHEMA;
use crate::storage::Storage;
use beside::BesideTable;
use clocks::ClocksDerivation;
use histories::HistoryName;
use violations::ViolationsDerivation;
use writes::{Writes, WritesBeside, WritesDerivation};

/// Derived tables that are plain SQL over others.
const VIEWS: &[(&str, &str)] = &[
    ("merges", include_str!("derive/merges.sql")),
    ("cascades", CASCADES),
];

/// What came of each root, and how it ended.
pub(crate) const CASCADES: &str = include_str!("derive/cascades.sql");

/// The merges of a trace without mergelogs.
const DERIVED_MERGES: &str = "SELECT new_cpid, source_cpids, cluster_id, epoch, revision, ordinal, origin FROM causes.merges";

/// Whether controllers reported what they made of what.
pub(crate) fn has_mergelogs(trace: &Trace) -> bool {
    trace.table("mergelogs").is_some_and(|table| table.rows > 0)
}

/// Bytes that deriving takes for each change, and besides: measured with generated traces.
const DERIVED_BYTES: usize = 350;
const OTHER_BYTES: usize = 300 << 20;

/// The share of the memory that pages of lists may take.
const PAGES_SHARE: usize = 5;

/// What a session has derived so far.
#[derive(Debug)]
pub(crate) struct Derived {
    trace: Arc<Trace>,
    settings: Settings,
    /// Folder for what is put aside, if not the one for temporary files.
    folder: OnceLock<PathBuf>,
    storage: OnceLock<KeptStorage>,
    /// Held while it is made.
    making_storage: Mutex<()>,
    histories: OnceCell<Arc<[HistoryName]>>,
    mergelogs: OnceCell<Arc<Mergelogs>>,
    writes: Mutex<KeptWrites>,
    causes: OnceCell<Arc<Causes>>,
    /// Tells that all changes are in memory, and their causes are being found.
    changes_loaded: Notify,
    timelines: OnceCell<Arc<Timelines>>,
}

/// Where lists are that have an entry for each change.
#[derive(Debug)]
struct KeptStorage {
    storage: Storage,
    /// Their part of what the session may use.
    _memory: MemoryReservation,
}

/// Who made each change: kept, or about to be given back.
#[derive(Debug, Default)]
struct KeptWrites {
    cell: Arc<OnceCell<Arc<Writes>>>,
    given_back: Weak<Writes>,
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
    /// Whether who made each change is kept in memory when the causes have been found. Where everything is derived
    /// once, one after the other, nobody needs it then.
    pub(crate) keep_writes: bool,
    /// Bytes of memory that may be used.
    pub(crate) memory_limit: Option<usize>,
}

impl Derived {
    /// Nothing yet, of a trace.
    pub(crate) fn new(trace: Arc<Trace>, settings: Settings) -> Self {
        Self {
            trace,
            settings,
            folder: OnceLock::new(),
            storage: OnceLock::new(),
            making_storage: Mutex::default(),
            histories: OnceCell::new(),
            mergelogs: OnceCell::new(),
            writes: Mutex::default(),
            causes: OnceCell::new(),
            changes_loaded: Notify::new(),
            timelines: OnceCell::new(),
        }
    }

    /// Has what does not fit into memory put aside in a folder, unless something was put aside already.
    pub(crate) fn put_aside_in(&self, folder: &Path) {
        drop(self.folder.set(folder.to_owned()));
    }

    /// Where lists are that have an entry for each change.
    ///
    /// # Errors
    /// When there is too little memory, or there can be no file.
    fn storage(&self, context: &SessionContext) -> Result<&Storage, Error> {
        // Made twice, it would take its share of the memory twice. Nothing that panics holds the lock.
        let making = self.making_storage.lock();
        let _making = making.unwrap_or_else(PoisonError::into_inner);
        if self.storage.get().is_none() {
            let pool = &context.runtime_env().memory_pool;
            let memory = MemoryConsumer::new("lists").register(pool);
            let storage = match self.settings.memory_limit {
                Some(limit) if !fits(&self.trace, limit) => {
                    // A quarter is for queries. The rest is for pages, and for what is of about the same size whatever the trace.
                    memory.try_grow(limit / 4 * 3)?;
                    sort_to_join(context);
                    let folder = self.folder.get().cloned();
                    put_aside(
                        &folder.unwrap_or_else(std::env::temp_dir),
                        limit / PAGES_SHARE,
                    )?
                }
                _ => Storage::default(),
            };
            let kept = KeptStorage {
                storage,
                _memory: memory,
            };
            // Nobody else makes one.
            drop(self.storage.set(kept));
        }
        let missing = || Error::Internal("no storage".to_owned());
        Ok(&self.storage.get().ok_or_else(missing)?.storage)
    }

    /// The histories that changes are of.
    pub(crate) async fn histories(
        &self,
        context: &SessionContext,
    ) -> Result<Arc<[HistoryName]>, Error> {
        let compute = async { histories::read(context).await.map(Arc::from) };
        self.histories.get_or_try_init(|| compute).await.cloned()
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
            let names = self.histories(context).await?;
            let storage = self.storage(context)?;
            let writes = Writes::compute(context, &self.trace, &names, &mergelogs, storage).await?;
            self.check_storage()?;
            Ok(Arc::new(writes))
        };
        let cell = {
            let kept = self.kept_writes();
            if let Some(writes) = kept.given_back.upgrade() {
                return Ok(writes);
            }
            Arc::clone(&kept.cell)
        };
        cell.get_or_try_init(|| compute).await.cloned()
    }

    /// Gives the memory of [`Self::writes`] back as soon as nobody reads them any more. Who asks for them later makes them
    /// be computed again.
    fn give_back_writes(&self) {
        let mut kept = self.kept_writes();
        let cell = std::mem::take(&mut kept.cell);
        kept.given_back = cell.get().map(Arc::downgrade).unwrap_or_default();
    }

    fn kept_writes(&self) -> MutexGuard<'_, KeptWrites> {
        // Nothing that panics holds the lock.
        self.writes.lock().unwrap_or_else(PoisonError::into_inner)
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
            let storage = self.storage(context)?;
            let writes = self.writes(context).await?;
            if !self.settings.keep_writes {
                self.give_back_writes();
            }
            let names = self.histories(context).await?;
            let loaded =
                causality::load(context, &names, &writes, clients, *causes_without, storage)
                    .await?;
            // Nobody else may need them.
            drop(writes);
            self.changes_loaded.notify_one();
            let causes = Causes::of(loaded, *causes_without);
            self.check_storage()?;
            Ok(Arc::new(causes))
        };
        self.causes.get_or_try_init(|| compute).await.cloned()
    }

    /// Tells whether everything that was put aside in a file could be read again.
    ///
    /// # Errors
    /// [`Error::Io`] if not: then what was derived lacks something.
    pub(crate) fn check_storage(&self) -> Result<(), Error> {
        let storage = self.storage.get().map(|kept| &kept.storage);
        let checked = storage.map_or(Ok(()), Storage::check);
        checked.map_err(|source| Error::io("cannot read what was put aside on the disk", source))
    }

    /// Whether what is derived is put aside, since memory is too short for it.
    pub(crate) fn is_short_of_memory(&self) -> bool {
        self.storage
            .get()
            .is_some_and(|kept| kept.storage.is_file())
    }

    /// Begins to follow the objects as soon as the causes are about to be found, which leaves processors idle; who asks for
    /// [`Self::timelines`] waits for it. Where memory is short, one is done after the other.
    pub(crate) fn follow_objects(self: &Arc<Self>, context: &SessionContext) {
        if self.storage(context).is_ok_and(Storage::is_file) {
            return;
        }
        let (derived, context) = (Arc::clone(self), context.clone());
        // Should it fail, who asks for them tries again, and is told.
        drop(tokio::spawn(async move {
            derived.changes_loaded.notified().await;
            drop(derived.timelines(&context).await);
        }));
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
            let names = self.histories(context).await?;
            let declarations = &self.settings.declarations;
            let storage = self.storage(context)?;
            let mut timelines = Timelines::follow(context, declarations, &names, storage).await?;
            let causes = Box::pin(self.causes(context)).await?;
            timelines.date(&causes);
            self.check_storage()?;
            Ok(Arc::new(timelines))
        };
        self.timelines.get_or_try_init(|| compute).await.cloned()
    }
}

/// Whether what is derived of a trace fits into so many bytes of memory.
fn fits(trace: &Trace, limit: usize) -> bool {
    let changes = trace.table("changes").map_or(0, |table| table.rows);
    let needed = usize::try_from(changes)
        .unwrap_or(usize::MAX)
        .saturating_mul(DERIVED_BYTES);
    needed <= limit.saturating_sub(OTHER_BYTES).max(limit / 4)
}

/// Has joins sort both sides, which can go to disk; a hash table cannot.
fn sort_to_join(context: &SessionContext) {
    let state = context.state_ref();
    let mut state = state.write();
    state.config_mut().options_mut().optimizer.prefer_hash_join = false;
}

/// Storage in a file, of which so many bytes are in memory.
fn put_aside(folder: &Path, memory: usize) -> Result<Storage, Error> {
    Storage::in_file(folder, memory).map_err(|source| {
        Error::io(
            format!("cannot make a file in {}", folder.display()),
            source,
        )
    })
}

/// The rows of a table that is derived in memory, and its columns; `None` if it is another, or if its rows are not sorted
/// by `order`.
///
/// # Errors
/// When it cannot be derived.
pub(crate) async fn computed(
    context: &SessionContext,
    name: &str,
    order: &[&str],
) -> Result<Option<(Arc<dyn Chunks>, SchemaRef)>, Error> {
    let table = context.table_provider(name).await?;
    let Some(table) = table.downcast_ref::<DerivedTable>() else {
        return Ok(None);
    };
    if table.order() != order {
        return Ok(None);
    }
    Ok(Some((table.rows(context).await?, table.schema())))
}

/// The derived tables, for `cascade schema`.
#[must_use]
pub(crate) fn tables() -> Vec<TableInfo> {
    let mut tables = vec![
        writes::table_info(),
        view_tables::merges(),
        violations::table_info(),
        clocks::table_info(),
    ];
    tables.extend(causality::tables::infos());
    tables.extend([causality::tables::cpids_info(), agreement::table_info()]);
    tables.extend([view_tables::cascades(), milestones::stages_info()]);
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
    let beside = Arc::new(WritesBeside::new(Arc::clone(derived)));
    let changes = BesideTable::with_all(Arc::clone(&raw_changes), beside);
    context.register_table("changes", Arc::new(changes))?;
    let mut derivations: Vec<Arc<dyn Derivation>> = vec![
        Arc::new(WritesDerivation::new(Arc::clone(derived))),
        Arc::new(ViolationsDerivation::new(Arc::clone(derived))),
        Arc::new(ClocksDerivation::new(Arc::clone(derived))),
        Arc::new(AgreementDerivation::new(Arc::clone(derived))),
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
    let beside = Arc::new(CpidsBeside::new(Arc::clone(derived)));
    let cpids: Arc<dyn TableProvider> = Arc::new(BesideTable::with_some(
        raw_changes,
        &CPIDS_RAW_COLUMNS,
        beside,
    )?);
    let table = written.table(context, "cpids", &cpids.schema())?;
    context.register_table("cpids", table.unwrap_or(cpids))?;
    cpid_functions::register(context, derived);
    let has_mergelogs = has_mergelogs(&derived.trace);
    for (name, sql) in VIEWS {
        let sql = match *name {
            // Nothing is reported, and no change need be read to see that.
            "merges" if !has_mergelogs => DERIVED_MERGES,
            _ => *sql,
        };
        let view = context.sql(sql).await?.into_view();
        let table = written.table(context, name, &view.schema())?;
        context.register_table(*name, table.unwrap_or(view))?;
    }
    Ok(())
}
