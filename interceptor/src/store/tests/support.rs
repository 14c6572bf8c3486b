//! Rows to write, and readers that look at a trace folder as anyone else would.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use arrow::ipc::reader::StreamReader;
use arrow::record_batch::RecordBatch;
use cascade_proto::tables::{
    Branch, Call, CallOutcome, CallShape, CauseType, Change, ChangeSource, Gap, GapKind, Mergelog,
    Moment, Object, ObjectCpid, Op, Owner, SentMoment, Span, State, Table, Timestamp, ValueFormat,
    read_rows,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::super::files::{Files, Step};
use super::super::writer::Clock;
use super::super::{Checkpoint, Identity, Recovered, Rows, Store, StoreConfig, Surroundings};

pub(super) const CLUSTER: &str = "cdf818194e3a8c32";
pub(super) const SECOND: i64 = 1_000_000_000;
/// 2026-01-02 03:00:00 UTC.
pub(super) const THREE_O_CLOCK: i64 = 1_767_322_800 * SECOND;

pub(super) fn config(trace: &Path) -> StoreConfig {
    StoreConfig {
        instance: Some("test".to_owned()),
        producer: "tests 1".to_owned(),
        // Tests say when to flush.
        flush_interval: std::time::Duration::from_secs(3600),
        ..StoreConfig::new(trace)
    }
}

pub(super) fn identity(epoch: i32) -> Identity {
    Identity {
        cluster_id: CLUSTER.to_owned(),
        epoch,
    }
}

pub(super) fn checkpoint(revision: i64) -> Checkpoint {
    Checkpoint {
        cluster_id: CLUSTER.to_owned(),
        epoch: 0,
        revision,
        raft_term: 3,
        snapshot_revision: Some(1),
        ..Checkpoint::default()
    }
}

fn moment(seconds: i64) -> Moment {
    Moment {
        unix_nano: THREE_O_CLOCK + seconds * SECOND + 123_456_789,
    }
}

fn object(revision: i64) -> Object {
    Object {
        api_group: Some(String::new()),
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        resource: Some("pods".to_owned()),
        namespace: Some("default".to_owned()),
        name: Some(format!("web-{}", revision % 7)),
        uid: Some(format!("6b1f5a3e-0000-4000-8000-{:012}", revision % 7)),
        creation_time: Some(Timestamp(1_767_322_800_000_000)),
        finalizers: Some(Vec::new()),
        owners: Some(vec![Owner {
            kind: "ReplicaSet".to_owned(),
            controller: true,
            ..Owner::default()
        }]),
        labels: Some(r#"{"app":"web"}"#.to_owned()),
        value_hash: Some(revision.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64)),
        value_bytes: Some(1024),
        value_format: Some(ValueFormat::Protobuf),
        ..Object::default()
    }
}

/// Row `ordinal` of a revision of `size` keys.
pub(super) fn change(epoch: i32, revision: i64, ordinal: i32, size: i32) -> Change {
    Change {
        cluster_id: CLUSTER.to_owned(),
        epoch,
        revision,
        ordinal,
        revision_size: size,
        key: format!("/registry/pods/default/web-{revision}-{ordinal}"),
        op: Op::Update,
        source: ChangeSource::Watch,
        prev_revision: Some(revision - 1),
        create_revision: Some(1),
        version: Some(2),
        lease_id: Some(0),
        seen: Some(moment(revision)),
        object: object(revision),
        changed: Some(vec!["status".to_owned()]),
        cpid: ObjectCpid::default(),
        prev_cpid: None,
        cpid_transition: None,
        instance: "test".to_owned(),
    }
}

/// All rows of a revision; every third revision has two keys.
pub(super) fn revision(epoch: i32, revision: i64) -> Vec<Change> {
    let size = if revision % 3 == 0 { 2 } else { 1 };
    (0..size)
        .map(|ordinal| change(epoch, revision, ordinal, size))
        .collect()
}

/// All rows of some revisions.
pub(super) fn revisions(range: impl IntoIterator<Item = i64>) -> Rows {
    Rows::Changes(range.into_iter().flat_map(|at| revision(0, at)).collect())
}

pub(super) fn state(snapshot_revision: i64, revision: i64) -> State {
    State {
        cluster_id: CLUSTER.to_owned(),
        epoch: 0,
        snapshot_revision,
        revision,
        key: format!("/registry/pods/default/web-{revision}"),
        create_revision: 1,
        version: 1,
        lease_id: 0,
        seen: Some(moment(0)),
        object: object(revision),
        cpid: ObjectCpid::default(),
        instance: "test".to_owned(),
    }
}

pub(super) fn call(number: i64) -> Call {
    Call {
        call_id: format!("test-1-{number}"),
        op_index: 0,
        cluster_id: None,
        epoch: None,
        instance: "test".to_owned(),
        connection: 1,
        stream: number,
        method: "/etcdserverpb.KV/Txn".to_owned(),
        shape: CallShape::Update,
        branch: Some(Branch::Success),
        key: Some("/registry/pods/default/web".to_owned()),
        range_end: None,
        deleted: None,
        compare_revision: Some(number - 1),
        outcome: CallOutcome::Committed,
        grpc_status: Some(0),
        revision: Some(number),
        value_hash: Some(7),
        request: moment(number),
        response: Some(moment(number)),
        duration_ns: Some(1_000_000),
        request_bytes: 2048,
        deadline_ns: None,
        trace_id: None,
        span_id: None,
        trace_flags: None,
        baggage: None,
        cpid: None,
        lease_id: None,
        lease_ttl: None,
    }
}

pub(super) fn gap() -> Gap {
    Gap {
        cluster_id: None,
        epoch: None,
        instance: "test".to_owned(),
        kind: GapKind::Restart,
        covers_revisions: false,
        from_revision: None,
        to_revision: None,
        count: None,
        from: Some(moment(0)),
        to: Some(moment(1)),
        detail: None,
    }
}

/// A mergelog that makes CPID `number` of the two before it.
pub(super) fn mergelog(number: i64) -> Mergelog {
    Mergelog {
        new_cpid: number.to_string(),
        source_cpids: vec![(number - 1).to_string(), (number - 2).to_string()],
        sent: Some(SentMoment(moment(number))),
        cause_type: CauseType::Merge,
        cause_message: None,
        reported_by: Some("controller".to_owned()),
        received: moment(number),
        instance: "test".to_owned(),
    }
}

pub(super) fn span(number: i64) -> Span {
    Span {
        cpid: number.to_string(),
        start: Some(moment(number)),
        end: None,
        service: Some("controller".to_owned()),
        object_kind: Some("Pod".to_owned()),
        object_name: Some("web".to_owned()),
        message: None,
        span_id: Some(number.to_string()),
        parent_id: None,
        received: moment(number),
        instance: "test".to_owned(),
    }
}

/// Files of a table, hidden ones included, in order of name within their folders.
pub(super) fn table_files(trace: &Path, table: &str) -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        let Ok(listing) = fs::read_dir(folder) else {
            return;
        };
        let mut paths: Vec<_> = listing.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                walk(&path, found);
            } else {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&trace.join(table), &mut found);
    found
}

pub(super) fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

/// Rows of all sealed files of a table, read as any Parquet reader would.
pub(super) fn sealed_rows<T: Table>(trace: &Path) -> Vec<T> {
    table_files(trace, T::NAME)
        .iter()
        .filter(|path| has_extension(path, "parquet"))
        .flat_map(|path| {
            let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap())
                .unwrap()
                .build()
                .unwrap();
            rows_of(reader.map(Result::unwrap))
        })
        .collect()
}

/// Rows of a table's journals up to the first error, as the analyzer reads a running trace.
pub(super) fn journal_rows<T: Table>(trace: &Path) -> Vec<T> {
    table_files(trace, T::NAME)
        .iter()
        .filter(|path| has_extension(path, "journal"))
        .flat_map(|path| {
            let Ok(reader) = StreamReader::try_new(File::open(path).unwrap(), None) else {
                return Vec::new();
            };
            rows_of(reader.map_while(Result::ok))
        })
        .collect()
}

fn rows_of<T: Table>(batches: impl Iterator<Item = RecordBatch>) -> Vec<T> {
    batches
        .flat_map(|batch| read_rows(&batch).unwrap())
        .collect()
}

/// Footer metadata of a Parquet file.
pub(super) fn footer(path: &Path, key: &str) -> Option<String> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let entries = builder.metadata().file_metadata().key_value_metadata()?;
    let entry = entries.iter().find(|entry| entry.key == key)?;
    entry.value.clone()
}

/// A disk that refuses steps on demand, as a full one does.
#[derive(Clone, Default)]
pub(super) struct BadDisk {
    refuses: Arc<Mutex<Refusal>>,
    refused: Arc<AtomicBool>,
}

#[derive(Default)]
enum Refusal {
    #[default]
    Nothing,
    /// Every step of a kind.
    Kind(Step),
    /// Every step after this many.
    After(usize),
}

impl BadDisk {
    /// From now on every step of this kind fails.
    pub(super) fn refuse(&self, step: Step) {
        *self.refuses.lock().unwrap() = Refusal::Kind(step);
    }

    /// Lets some steps succeed; all after them fail.
    pub(super) fn refuse_after(&self, steps: usize) {
        *self.refuses.lock().unwrap() = Refusal::After(steps);
    }

    /// From now on every step succeeds.
    pub(super) fn recover(&self) {
        *self.refuses.lock().unwrap() = Refusal::Nothing;
    }

    /// Whether any step was refused so far.
    pub(super) fn has_refused(&self) -> bool {
        self.refused.load(Ordering::SeqCst)
    }

    pub(super) fn files(&self) -> Files {
        let refuses = Arc::clone(&self.refuses);
        let refused_any = Arc::clone(&self.refused);
        Files::with_hook(Arc::new(move |step, _path| {
            let refused = match &mut *refuses.lock().unwrap() {
                Refusal::Nothing => false,
                Refusal::Kind(kind) => *kind == step,
                Refusal::After(0) => true,
                Refusal::After(steps) => {
                    *steps -= 1;
                    false
                }
            };
            if refused {
                refused_any.store(true, Ordering::SeqCst);
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            Ok(Box::new(()))
        }))
    }
}

/// A clock that stands still until it is set.
#[derive(Clone)]
pub(super) struct SetClock(Arc<AtomicI64>);

impl SetClock {
    pub(super) fn at(unix_nano: i64) -> Self {
        Self(Arc::new(AtomicI64::new(unix_nano)))
    }

    pub(super) fn set(&self, unix_nano: i64) {
        self.0.store(unix_nano, Ordering::SeqCst);
    }

    pub(super) fn clock(&self) -> Clock {
        let time = Arc::clone(&self.0);
        Arc::new(move || Moment {
            unix_nano: time.load(Ordering::SeqCst),
        })
    }
}

pub(super) fn open_with(config: StoreConfig, files: Files, clock: &SetClock) -> (Store, Recovered) {
    let surroundings = Surroundings {
        files,
        clock: clock.clock(),
    };
    Store::open_in(config, surroundings).unwrap()
}

/// A folder where an fsync costs nothing, for tests that open many.
pub(super) fn folder_in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// Copies a folder with all that is in it.
pub(super) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// Waits until another thread has brought something about.
pub(super) async fn wait_until(condition: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "it never happened");
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}
