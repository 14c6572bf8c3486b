//! One table of what is reported: posts go in, rows come back from the disk, deletions hide them.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use cascade_proto::tables::{Mergelog, Moment, Span, Table};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::content::{Content, Known};
use super::index::{Index, MergelogIndex, SpanIndex};
use super::metrics::{TableLabel, TraceServerMetrics};
use crate::clock::wall_clock;
use crate::store::{Rows, Store, StoreError, Wanted, read_table};

/// A row that somebody reports.
pub(super) trait Reported: Table + Content + Clone + Send + 'static {
    /// What is kept in memory of such rows.
    type Index: Index<Self>;
    /// File that remembers the last deletion.
    const HIDDEN_FILE: &'static str;

    /// Fills in when and where it arrived.
    fn arrive(&mut self, received: Moment, instance: &str);
    /// When it arrived.
    fn received(&self) -> Moment;
    /// Rows as the store takes them.
    fn for_store(rows: Vec<Self>) -> Rows;
}

impl Reported for Mergelog {
    type Index = MergelogIndex;
    const HIDDEN_FILE: &'static str = "mergelogs-hidden.json";

    fn arrive(&mut self, received: Moment, instance: &str) {
        self.received = received;
        instance.clone_into(&mut self.instance);
    }
    fn received(&self) -> Moment {
        self.received
    }
    fn for_store(rows: Vec<Self>) -> Rows {
        Rows::Mergelogs(rows)
    }
}

impl Reported for Span {
    type Index = SpanIndex;
    const HIDDEN_FILE: &'static str = "spans-hidden.json";

    fn arrive(&mut self, received: Moment, instance: &str) {
        self.received = received;
        instance.clone_into(&mut self.instance);
    }
    fn received(&self) -> Moment {
        self.received
    }
    fn for_store(rows: Vec<Self>) -> Rows {
        Rows::Spans(rows)
    }
}

/// `.cascade/<table>-hidden.json`: rows that arrived up to this moment are not answered any more.
/// They stay in the trace.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Hidden {
    until_unix_nano: i64,
}

/// One table.
#[derive(Clone)]
pub(super) struct Collection<T: Reported> {
    store: Store,
    metrics: TraceServerMetrics,
    max_index_bytes: usize,
    /// Held from looking whether rows are known until they are with the store: two posts of the same
    /// cannot both be new.
    state: Arc<Mutex<State<T>>>,
}

/// What is in memory.
pub(super) struct State<T: Reported> {
    known: Known,
    pub(super) index: T::Index,
    /// Rows that arrived up to this moment are hidden.
    hidden: Option<Moment>,
    /// Latest arrival.
    latest: Option<Moment>,
    /// Whether the index has reached its limit: it may lack rows then.
    pub(super) full: bool,
}

impl<T: Reported> State<T> {
    fn new(metrics: &TraceServerMetrics) -> Self {
        Self {
            known: Known::default(),
            index: T::Index::new(metrics),
            hidden: None,
            latest: None,
            full: false,
        }
    }

    fn is_hidden(&self, moment: Moment) -> bool {
        self.hidden.is_some_and(|hidden| moment <= hidden)
    }

    fn memory_bytes(&self) -> usize {
        self.known.memory_bytes() + self.index.memory_bytes()
    }

    /// Adds a row that is stored, or about to be.
    fn add(&mut self, row: &T) {
        let hash = self.known.hash(row);
        self.known.insert(hash);
        self.index.add(row);
        self.latest = self.latest.max(Some(row.received()));
    }

    /// The present, after everything that is hidden also when the clock was set back.
    fn now(&self) -> Moment {
        let now = wall_clock();
        match self.hidden {
            Some(hidden) if now <= hidden => Moment {
                unix_nano: hidden.unix_nano.saturating_add(1),
            },
            _ => now,
        }
    }
}

impl<T: Reported> Collection<T> {
    /// Reads what is stored already. Blocks for as long as that takes, or until `cancelled`.
    ///
    /// # Errors
    /// The deletions cannot be read. Rows that cannot be read are missing, and the log says so.
    pub(super) fn load(
        store: &Store,
        metrics: &TraceServerMetrics,
        max_index_bytes: usize,
        cancelled: &CancellationToken,
    ) -> Result<Self, StoreError> {
        let mut state = State::new(metrics);
        let hidden: Option<Hidden> = store.state_file(T::HIDDEN_FILE).read()?;
        state.hidden = hidden.map(|hidden| Moment {
            unix_nano: hidden.until_unix_nano,
        });
        let read = read_table(store.trace_dir(), None, |row: T| {
            if cancelled.is_cancelled() {
                return ControlFlow::Break(());
            }
            state.latest = state.latest.max(Some(row.received()));
            if !state.is_hidden(row.received()) && !state.full {
                state.add(&row);
                state.full = state.memory_bytes() > max_index_bytes;
            }
            ControlFlow::Continue(())
        });
        if let Err(error) = read {
            tracing::error!(table = T::NAME, %error, "stored rows are missing among those that are answered");
        }
        tell_size::<T>(metrics, &state);
        tracing::info!(
            table = T::NAME,
            rows = state.known.len(),
            index_bytes = state.memory_bytes(),
            "read what was reported before"
        );
        Ok(Self {
            store: store.clone(),
            metrics: metrics.clone(),
            max_index_bytes,
            state: Arc::new(Mutex::new(state)),
        })
    }

    /// Stores the rows that are not stored yet, and waits until all would survive a power loss.
    pub(super) async fn post(&self, rows: Vec<T>) -> Result<(), Status> {
        let mut state = self.state.lock().await;
        let new = self.only_new(&state, rows);
        if !new.is_empty() {
            if state.full {
                self.metrics.refuse(T::NAME, "index_full");
                return Err(self.index_full());
            }
            let added = new.clone();
            self.store
                .append(T::for_store(new))
                .await
                .map_err(|error| self.not_stored(&error))?;
            // No waiting between these two: what is with the store is known.
            let table = TableLabel { table: T::NAME };
            self.metrics
                .rows
                .get_or_create(&table)
                .inc_by(added.len() as u64);
            for row in &added {
                state.add(row);
            }
            state.full = state.memory_bytes() > self.max_index_bytes;
            if state.full {
                tracing::error!(
                    table = T::NAME,
                    limit_bytes = self.max_index_bytes,
                    "the index is full: posts are refused from now on; see docs/trace-server.md"
                );
            }
            tell_size(&self.metrics, &state);
        }
        drop(state);
        // Also when all were known: those who posted them first may still be waiting.
        self.store
            .acknowledge()
            .await
            .map_err(|error| self.not_stored(&error))?;
        let table = TableLabel { table: T::NAME };
        self.metrics.posts.get_or_create(&table).inc();
        Ok(())
    }

    fn only_new(&self, state: &State<T>, rows: Vec<T>) -> Vec<T> {
        let received = state.now();
        let instance = self.store.instance();
        let total = rows.len();
        let mut in_this_post = HashSet::new();
        let mut new = rows;
        new.retain_mut(|row| {
            row.arrive(received, &instance);
            let hash = state.known.hash(row);
            !state.known.contains(hash) && in_this_post.insert(hash)
        });
        let repeated = (total - new.len()) as u64;
        let table = TableLabel { table: T::NAME };
        self.metrics
            .repeated_rows
            .get_or_create(&table)
            .inc_by(repeated);
        new
    }

    /// Hides everything that arrived so far, also from those who ask after a restart.
    pub(super) async fn hide_all(&self) -> Result<(), Status> {
        let mut state = self.state.lock().await;
        let until = state.latest.max(Some(state.now()));
        let Some(until) = until else { return Ok(()) };
        let file = self.store.state_file(T::HIDDEN_FILE);
        let hidden = Hidden {
            until_unix_nano: until.unix_nano,
        };
        // Blocks this thread, which only serves those who report: whoever gives up waiting must not
        // leave the file and the memory in disagreement.
        file.write(&hidden)
            .map_err(|error| self.not_stored(&error))?;
        state.hidden = Some(until);
        state.known.clear();
        state.index = T::Index::new(&self.metrics);
        state.full = false;
        tell_size(&self.metrics, &state);
        tracing::info!(
            table = T::NAME,
            until = until.unix_nano,
            "hidden on request; the rows stay in the trace"
        );
        Ok(())
    }

    /// What is in memory, for looking at.
    pub(super) async fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().await
    }

    /// Shows `visit` the rows on the disk that are not hidden, in order of arrival, until it breaks.
    /// Gives `visit` back.
    pub(super) async fn read<V>(&self, wanted: Option<Wanted>, mut visit: V) -> Result<V, Status>
    where
        V: Visit<T>,
    {
        let hidden = self.state.lock().await.hidden;
        let trace_dir = self.store.trace_dir().to_path_buf();
        let read = move || {
            let result = read_table(&trace_dir, wanted.as_ref(), |row: T| {
                if hidden.is_some_and(|hidden| row.received() <= hidden) {
                    return ControlFlow::Continue(());
                }
                visit.row(row)
            });
            result.map(|()| visit)
        };
        tokio::task::spawn_blocking(read)
            .await
            .map_err(|error| Status::internal(error.to_string()))?
            .map_err(|error| {
                self.metrics.refuse(T::NAME, "unreadable");
                Status::data_loss(error.to_string())
            })
    }

    /// What to answer when the index may lack rows.
    pub(super) fn index_full(&self) -> Status {
        Status::resource_exhausted(format!(
            "the index of {} has reached its limit of {} bytes: begin a new trace folder, hide what was \
             posted (DeleteAll), or raise --mergelog-max-index-bytes",
            T::NAME,
            self.max_index_bytes
        ))
    }

    fn not_stored(&self, error: &StoreError) -> Status {
        self.metrics.refuse(T::NAME, "storage");
        // Whoever asks for the same again does no harm: what was stored meanwhile is stored once.
        Status::unavailable(format!("not durable yet, try again: {error}"))
    }
}

fn tell_size<T: Reported>(metrics: &TraceServerMetrics, state: &State<T>) {
    let table = TableLabel { table: T::NAME };
    let number = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
    let (rows, bytes) = (&metrics.index_rows, &metrics.index_bytes);
    rows.get_or_create(&table).set(number(state.known.len()));
    bytes
        .get_or_create(&table)
        .set(number(state.memory_bytes()));
}

/// Takes rows, one by one.
pub(super) trait Visit<T>: Send + 'static {
    /// Takes a row; breaks when it wants no more.
    fn row(&mut self, row: T) -> ControlFlow<()>;
}
