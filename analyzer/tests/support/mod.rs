//! Traces for tests, written the way an interceptor writes them.
#![allow(dead_code, unreachable_pub)] // each test binary uses a part

pub mod history;
pub mod rewrite;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use arrow::record_batch::RecordBatch;
use cascade_proto::journal::Encoder;
use cascade_proto::tables::{
    BatchBuilder, Call, CallOutcome, CallShape, CauseType, Change, ChangeSource, CpidTransition,
    Gap, GapKind, Mergelog, Moment, Object, ObjectCpid, Op, Request, RequestCall, SCHEMA_VERSION,
    State, Table, metadata_keys,
};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use tempfile::TempDir;

/// Numbers that look random and are the same in every run (SplitMix64).
pub struct Random(u64);

impl Random {
    /// A sequence of its own per seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `limit` - 1.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// Cluster that test rows are of.
pub const CLUSTER: &str = "ab12";
/// Instance that test rows are of.
pub const INSTANCE: &str = "test";
/// 2026-01-02T03:00:00Z: the hour that test files are in.
pub const HOUR_UNIX_NANO: i64 = 1_767_322_800_000_000_000;

/// A trace in a temporary folder.
pub struct TraceFolder {
    folder: TempDir,
    segments: u32,
    /// Partition that files go to.
    pub partition: String,
    /// Version that footers claim.
    pub schema_version: String,
    /// Instance that file names and footers claim.
    pub instance: String,
}

impl TraceFolder {
    /// An empty folder.
    pub fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            segments: 0,
            partition: "date=2026-01-02/hour=03".to_owned(),
            schema_version: SCHEMA_VERSION.to_string(),
            instance: INSTANCE.to_owned(),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The folder as an argument.
    pub fn argument(&self) -> String {
        self.path().to_str().unwrap().to_owned()
    }

    fn stem(&mut self) -> String {
        self.segments += 1;
        let segment = format!("0190a5d0-7b7e-7000-8000-{:012}", self.segments);
        format!("{}-{segment}", self.instance)
    }

    /// The folder of today's files of a table.
    pub fn table_folder(&self, table: &str) -> PathBuf {
        let folder = self.path().join(table).join(&self.partition);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// Writes rows as a sealed file.
    pub fn write<T: Table>(&mut self, rows: &[T]) -> PathBuf {
        self.write_batch(T::NAME, &batch(rows))
    }

    /// Writes a batch as a sealed file of `table`.
    pub fn write_batch(&mut self, table: &str, batch: &RecordBatch) -> PathBuf {
        let stem = self.stem();
        self.write_as(table, &format!("{stem}.parquet"), batch)
    }

    /// Writes changes, which are in their order, as a sealed file that says so, as those of an interceptor do.
    pub fn write_in_order(&mut self, changes: &[Change]) -> PathBuf {
        let name = format!("{}.parquet", self.stem());
        let batch = batch(changes);
        let columns = ["epoch", "revision", "ordinal"].map(|name| {
            // No nested column is before them.
            let column = i32::try_from(batch.schema().index_of(name).unwrap()).unwrap();
            SortingColumn {
                column_idx: column,
                descending: false,
                nulls_first: false,
            }
        });
        let properties = WriterProperties::builder().set_sorting_columns(Some(columns.to_vec()));
        self.write_with(properties, Change::NAME, &name, &batch)
    }

    /// Writes a batch as a sealed file of a given name.
    pub fn write_as(&mut self, table: &str, name: &str, batch: &RecordBatch) -> PathBuf {
        self.write_with(WriterProperties::builder(), table, name, batch)
    }

    fn write_with(
        &mut self,
        properties: WriterPropertiesBuilder,
        table: &str,
        name: &str,
        batch: &RecordBatch,
    ) -> PathBuf {
        let metadata = [
            (metadata_keys::SCHEMA_VERSION, self.schema_version.as_str()),
            (metadata_keys::TABLE, table),
            (metadata_keys::INSTANCE, &self.instance),
            (metadata_keys::CLUSTER_ID, CLUSTER),
        ];
        let metadata: Vec<KeyValue> = metadata
            .into_iter()
            .map(|(key, value)| KeyValue::new(key.to_owned(), Some(value.to_owned())))
            .collect();
        let properties = properties.set_key_value_metadata(Some(metadata)).build();
        let path = self.table_folder(table).join(name);
        let file = File::create(&path).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
        writer.write(batch).unwrap();
        writer.close().unwrap();
        path
    }

    /// Writes rows as a sealed file whose pages are compressed, as those of an interceptor are.
    pub fn write_compressed<T: Table>(&mut self, rows: &[T]) -> PathBuf {
        let path = self.write(rows);
        let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap();
        let metadata = builder
            .metadata()
            .file_metadata()
            .key_value_metadata()
            .cloned();
        let properties = WriterProperties::builder()
            .set_key_value_metadata(metadata)
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .build();
        let batch = batch(rows);
        let file = File::create(&path).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        path
    }

    /// Writes rows as an open journal, one batch per slice.
    pub fn journal<T: Table>(&mut self, batches: &[&[T]]) -> PathBuf {
        let stem = self.stem();
        let path = self.table_folder(T::NAME).join(format!(".{stem}.journal"));
        let schema = BatchBuilder::<T>::default().schema();
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new().unwrap();
        encoder.schema(&schema, &mut bytes).unwrap();
        for rows in batches {
            encoder.batch(&batch(rows), &mut bytes).unwrap();
        }
        fs::write(&path, bytes).unwrap();
        path
    }
}

/// Rows as a batch.
pub fn batch<T: Table>(rows: &[T]) -> RecordBatch {
    let mut builder = BatchBuilder::<T>::default();
    for row in rows {
        builder.push(row);
    }
    builder.finish().unwrap()
}

/// A moment `millis` milliseconds into [`HOUR_UNIX_NANO`].
pub fn moment(millis: i64) -> Moment {
    Moment {
        unix_nano: HOUR_UNIX_NANO + millis * 1_000_000,
    }
}

/// The creation of `key` alone at `revision`, seen `revision` milliseconds into the hour.
pub fn change(revision: i64, key: &str) -> Change {
    Change {
        cluster_id: CLUSTER.to_owned(),
        epoch: 0,
        revision,
        ordinal: 0,
        revision_size: 1,
        key: key.to_owned(),
        op: Op::Create,
        source: ChangeSource::Watch,
        prev_revision: None,
        create_revision: Some(revision),
        version: Some(1),
        lease_id: Some(0),
        seen: Some(moment(revision)),
        object: Object::default(),
        changed: None,
        cpid: ObjectCpid::default(),
        prev_cpid: None,
        cpid_transition: None,
        instance: INSTANCE.to_owned(),
    }
}

/// The update of a key at `revision` whose previous change was `previous`.
pub fn update(revision: i64, previous: &Change) -> Change {
    Change {
        op: Op::Update,
        prev_revision: Some(previous.revision),
        create_revision: previous.create_revision,
        version: previous.version.map(|version| version + 1),
        lease_id: previous.lease_id,
        ..change(revision, &previous.key)
    }
}

/// The deletion of a key at `revision` whose previous change was `previous`.
pub fn delete(revision: i64, previous: &Change) -> Change {
    Change {
        op: Op::Delete,
        prev_revision: Some(previous.revision),
        create_revision: previous.create_revision,
        version: previous.version,
        lease_id: previous.lease_id,
        ..change(revision, &previous.key)
    }
}

/// A committed call that made `change`, sent 2 ms before and answered 1 ms before it was seen.
pub fn call(change: &Change) -> Call {
    let shape = match change.op {
        Op::Create => CallShape::Create,
        Op::Update => CallShape::Update,
        Op::Delete => CallShape::Delete,
    };
    Call {
        call_id: format!("call-{}", change.revision),
        op_index: 0,
        cluster_id: Some(change.cluster_id.clone()),
        epoch: Some(change.epoch),
        instance: INSTANCE.to_owned(),
        connection: 1,
        stream: 2 * change.revision + 1,
        method: "/etcdserverpb.KV/Txn".to_owned(),
        shape,
        branch: None,
        key: Some(change.key.clone()),
        range_end: None,
        deleted: None,
        compare_revision: Some(change.prev_revision.unwrap_or(0)),
        outcome: CallOutcome::Committed,
        grpc_status: Some(0),
        revision: Some(change.revision),
        value_hash: change.object.value_hash,
        request: moment(change.revision - 2),
        response: Some(moment(change.revision - 1)),
        duration_ns: Some(1_000_000),
        request_bytes: 100,
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

/// What `change` left behind, as part of a snapshot.
pub fn state(snapshot_revision: i64, change: &Change) -> State {
    State {
        cluster_id: change.cluster_id.clone(),
        epoch: change.epoch,
        snapshot_revision,
        revision: change.revision,
        key: change.key.clone(),
        create_revision: change.create_revision.unwrap_or(change.revision),
        version: change.version.unwrap_or(1),
        lease_id: change.lease_id.unwrap_or(0),
        seen: Some(moment(snapshot_revision)),
        object: change.object.clone(),
        cpid: change.cpid.clone(),
        instance: INSTANCE.to_owned(),
    }
}

/// A known loss of the revisions `from` to `to`.
pub fn gap(from: i64, to: i64) -> Gap {
    Gap {
        cluster_id: Some(CLUSTER.to_owned()),
        epoch: Some(0),
        instance: INSTANCE.to_owned(),
        kind: GapKind::Compacted,
        covers_revisions: true,
        from_revision: Some(from),
        to_revision: Some(to),
        count: Some(to - from + 1),
        from: None,
        to: None,
        detail: None,
    }
}

/// An API request by a client with a user agent, received 3 ms before `change` was seen.
pub fn request(change: &Change, user_agent: &str) -> Request {
    Request {
        cluster_id: Some(change.cluster_id.clone()),
        instance: INSTANCE.to_owned(),
        trace_id: format!("trace-{}", change.revision),
        span_id: format!("request-{}", change.revision),
        parent_span_id: None,
        apiserver: Some("apiserver".to_owned()),
        method: Some("PUT".to_owned()),
        api_group: None,
        api_version: Some("v1".to_owned()),
        resource: change.object.resource.clone(),
        subresource: None,
        namespace: change.object.namespace.clone(),
        name: change.object.name.clone(),
        user_agent: Some(user_agent.to_owned()),
        audit_id: None,
        status_code: Some(200),
        start: moment(change.revision - 3),
        end: moment(change.revision),
        received_unix_nano: moment(change.revision + 5_000).unix_nano,
        admission_ns: None,
        etcd_ns: None,
        user: None,
        groups: None,
        source_ip: None,
        decision: None,
    }
}

/// Joins `request` to `call`: both get the ids of kube-apiserver's spans.
pub fn link(call: &mut Call, request: &Request) -> RequestCall {
    call.trace_id = Some(request.trace_id.clone());
    let span = format!("call-of-{}", request.span_id);
    call.span_id = Some(span.clone());
    RequestCall {
        cluster_id: request.cluster_id.clone(),
        instance: INSTANCE.to_owned(),
        call_span_id: span,
        request_span_id: request.span_id.clone(),
        trace_id: request.trace_id.clone(),
    }
}

/// A mergelog, posted `millis` milliseconds into the hour.
pub fn mergelog(millis: i64, new_cpid: &str, sources: &[&str], reported_by: &str) -> Mergelog {
    Mergelog {
        new_cpid: new_cpid.to_owned(),
        source_cpids: sources.iter().map(|source| (*source).to_owned()).collect(),
        sent: None,
        cause_type: if sources.is_empty() {
            CauseType::NewChange
        } else {
            CauseType::Merge
        },
        cause_message: None,
        reported_by: Some(reported_by.to_owned()),
        received: moment(millis),
        instance: INSTANCE.to_owned(),
    }
}

/// The change with a CPID on the object, where there was `previous` before.
pub fn carrying(change: Change, previous: Option<&str>, cpid: &str) -> Change {
    let transition = match previous {
        None => CpidTransition::Set,
        Some(previous) if previous == cpid => CpidTransition::Carry,
        Some(_) => CpidTransition::Replace,
    };
    Change {
        cpid: ObjectCpid {
            cpid: Some(cpid.to_owned()),
            cpid_ancestors: Some(Vec::new()),
            cpid_carrier: Some("eppppi.github.io/koc".to_owned()),
        },
        prev_cpid: previous.map(str::to_owned),
        cpid_transition: Some(transition),
        ..change
    }
}

/// The change of an object that had `previous` and has no CPID afterwards.
pub fn without_cpid(change: Change, previous: &str) -> Change {
    let transition = match change.op {
        Op::Delete => CpidTransition::End,
        Op::Create | Op::Update => CpidTransition::Drop,
    };
    Change {
        prev_cpid: Some(previous.to_owned()),
        cpid_transition: Some(transition),
        ..change
    }
}
