//! Reads `changes` into the kernel, one history (cluster and epoch) after the other.

use std::borrow::Cow;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, ListArray, StringArray,
    StructArray, TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use datafusion::execution::context::SessionContext;
use futures::StreamExt;
use serde::Deserialize;

use super::kernel::{Builder, Changes, NameRow, Op, OwnerRow, Row, Without, WriterRow, block_at};
use super::mergelogs::Mergelogs;
use super::told::Told;
use crate::derive::columns::stream_in_order;
use crate::derive::histories::{HistoryName, conditions};
use crate::derive::writes::{Cursor, Write, Writes};
use crate::error::Error;
use crate::session::RAW_SCHEMA;
use crate::storage::Storage;

/// What the kernel needs of each change. How it was made is known already, see [`Writes`].
const COLUMNS: &str = "SELECT cluster_id, epoch, revision, ordinal, key, op,
    api_group, kind, namespace, name, uid,
    deletion_time IS NOT NULL AS deleting, coalesce(lease_id, 0) <> 0 AS leased,
    generation, observed_generation, coalesce(updated_replicas < replicas, false) AS outdated,
    coalesce(spec_hash, data_hash) AS wanted, owners, related_uids, name_refs, labels, selector, writers, node_name, changed,
    CASE WHEN kind = 'Event' THEN facts END AS event_facts,
    coalesce(value_bytes, 0) AS value_bytes";

/// The changes of one cluster between two restores.
#[derive(Debug)]
pub(crate) struct LoadedHistory {
    pub(super) cluster_id: String,
    pub(super) epoch: i32,
    pub(super) changes: Changes,
    /// What tables tell of each beside its cause.
    pub(super) told: Told,
}

/// Reads all changes of a session. Actors whose names begin with one of `clients` start cascades.
///
/// # Errors
/// [`Error::Query`] when they cannot be read.
pub(crate) async fn load(
    context: &SessionContext,
    names: &[HistoryName],
    writes: &Writes,
    clients: &[String],
    without: Without,
    storage: &Storage,
) -> Result<Vec<LoadedHistory>, Error> {
    let mergelogs = Mergelogs::read(context).await?;
    let mut loader = Loader {
        writes,
        cursor: Cursor::default(),
        clients,
        without,
        storage,
        mergelogs,
        histories: Vec::new(),
        current: None,
    };
    for condition in conditions(names) {
        let query = format!(
            "{COLUMNS} FROM {RAW_SCHEMA}.changes WHERE {condition} ORDER BY epoch, revision, ordinal"
        );
        let mut batches = stream_in_order(context, &query).await?;
        while let Some(batch) = batches.next().await {
            loader.add(&batch?)?;
        }
    }
    loader.close();
    Ok(loader.histories)
}

/// The history that is being read.
struct Current {
    cluster_id: String,
    epoch: i32,
    builder: Builder,
    told: Told,
}

struct Loader<'c> {
    writes: &'c Writes,
    cursor: Cursor,
    clients: &'c [String],
    without: Without,
    storage: &'c Storage,
    mergelogs: Mergelogs,
    histories: Vec<LoadedHistory>,
    current: Option<Current>,
}

impl Loader<'_> {
    fn add(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        let columns = Columns::of(batch)?;
        let mut lists = Lists::default();
        for row in 0..batch.num_rows() {
            let (cluster_id, epoch) = (columns.cluster_id.value(row), columns.epoch.value(row));
            let is_current = self
                .current
                .as_ref()
                .is_some_and(|known| known.cluster_id == cluster_id && known.epoch == epoch);
            if !is_current {
                self.close();
                let mut builder = Builder::new(self.clients, self.storage).without(self.without);
                self.mergelogs.tell(&mut builder);
                self.current = Some(Current {
                    cluster_id: cluster_id.to_owned(),
                    epoch,
                    builder,
                    told: Told::new(self.storage),
                });
            }
            if let Some(current) = &mut self.current {
                if let Some(block) = block_at(row, batch.num_rows()) {
                    current.builder.fetch(block.map(|row| columns.names(row)));
                }
                let place = (columns.revision.value(row), columns.ordinal.value(row));
                let history = (cluster_id, epoch);
                let write = self.writes.of_change(&mut self.cursor, history, place);
                columns.push(row, &write, &mut lists, &mut current.builder);
                current.told.push(&write, columns.value_bytes.value(row));
            }
        }
        Ok(())
    }

    fn close(&mut self) {
        if let Some(current) = self.current.take() {
            self.histories.push(LoadedHistory {
                cluster_id: current.cluster_id,
                epoch: current.epoch,
                changes: current.builder.finish(),
                told: current.told,
            });
        }
    }
}

/// What an Event says happened, and who reports it.
#[derive(Deserialize)]
struct EventFacts<'a> {
    #[serde(borrow, default)]
    reason: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "reportingComponent")]
    reporter: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "source.component")]
    source: Option<Cow<'a, str>>,
}

impl<'a> EventFacts<'a> {
    /// Reads the facts of an Event; `None` if they are none.
    fn parse(facts: &'a str) -> Option<Self> {
        serde_json::from_str(facts).ok()
    }

    /// Puts reason and reporter into a text that is equal for Events of one kind.
    fn write_to(&self, text: &mut String) {
        text.clear();
        text.push_str(self.reason.as_deref().unwrap_or_default());
        text.push('@');
        let reporter = self.reporter.as_ref().or(self.source.as_ref());
        text.push_str(reporter.map_or("", |reporter| reporter));
    }
}

/// Buffers for the lists of one row.
#[derive(Default)]
struct Lists<'a> {
    owners: Vec<OwnerRow<'a>>,
    related: Vec<&'a str>,
    names: Vec<NameRow<'a>>,
    writers: Vec<WriterRow<'a>>,
    changed: Vec<&'a str>,
    /// Reason and reporter of an Event.
    reason: String,
}

/// The columns of a batch, by type.
struct Columns {
    cluster_id: StringArray,
    epoch: Int32Array,
    revision: Int64Array,
    ordinal: Int32Array,
    key: StringArray,
    op: StringArray,
    group: StringArray,
    kind: StringArray,
    namespace: StringArray,
    name: StringArray,
    uid: StringArray,
    deleting: BooleanArray,
    leased: BooleanArray,
    generation: Int64Array,
    observed_generation: Int64Array,
    outdated: BooleanArray,
    wanted: Int64Array,
    owners: Structs,
    related: TextLists,
    names: Structs,
    labels: StringArray,
    selector: StringArray,
    writers: Structs,
    writer_times: TimestampMicrosecondArray,
    node: StringArray,
    changed: TextLists,
    event_facts: StringArray,
    value_bytes: Int32Array,
}

/// A column of lists of texts.
struct TextLists {
    lists: ListArray,
    texts: StringArray,
}

/// A column of lists of structs.
struct Structs {
    lists: ListArray,
    texts: Vec<StringArray>,
    flags: Option<BooleanArray>,
}

fn wrong(name: &str) -> Error {
    Error::Internal(format!("column {name} of changes is not as expected"))
}

fn column(batch: &RecordBatch, name: &str, data_type: &DataType) -> Result<ArrayRef, Error> {
    let array = batch.column_by_name(name).ok_or_else(|| wrong(name))?;
    cast(array, data_type).map_err(|_| wrong(name))
}

fn texts(batch: &RecordBatch, name: &str) -> Result<StringArray, Error> {
    let array = column(batch, name, &DataType::Utf8)?;
    array
        .as_string_opt::<i32>()
        .cloned()
        .ok_or_else(|| wrong(name))
}

fn int64s(batch: &RecordBatch, name: &str) -> Result<Int64Array, Error> {
    let array = column(batch, name, &DataType::Int64)?;
    array
        .as_primitive_opt::<Int64Type>()
        .cloned()
        .ok_or_else(|| wrong(name))
}

fn int32s(batch: &RecordBatch, name: &str) -> Result<Int32Array, Error> {
    let array = column(batch, name, &DataType::Int32)?;
    array
        .as_primitive_opt::<Int32Type>()
        .cloned()
        .ok_or_else(|| wrong(name))
}

fn flags(batch: &RecordBatch, name: &str) -> Result<BooleanArray, Error> {
    let array = column(batch, name, &DataType::Boolean)?;
    array.as_boolean_opt().cloned().ok_or_else(|| wrong(name))
}

fn lists(batch: &RecordBatch, name: &str) -> Result<ListArray, Error> {
    let array = batch.column_by_name(name).ok_or_else(|| wrong(name))?;
    array
        .as_list_opt::<i32>()
        .cloned()
        .ok_or_else(|| wrong(name))
}

fn text_lists(batch: &RecordBatch, name: &str) -> Result<TextLists, Error> {
    let lists = lists(batch, name)?;
    let texts = lists
        .values()
        .as_string_opt::<i32>()
        .cloned()
        .ok_or_else(|| wrong(name))?;
    Ok(TextLists { lists, texts })
}

/// Members of a list of structs: some texts, and at most one flag.
fn structs(
    batch: &RecordBatch,
    name: &str,
    members: &[&str],
    flag: Option<&str>,
) -> Result<Structs, Error> {
    let lists = lists(batch, name)?;
    let entries: StructArray = lists
        .values()
        .as_struct_opt()
        .cloned()
        .ok_or_else(|| wrong(name))?;
    let member = |member: &str| entries.column_by_name(member).ok_or_else(|| wrong(name));
    let texts = members
        .iter()
        .map(|text| {
            member(text)?
                .as_string_opt::<i32>()
                .cloned()
                .ok_or_else(|| wrong(name))
        })
        .collect::<Result<_, _>>()?;
    let flags = match flag {
        Some(flag) => member(flag)?.as_boolean_opt().cloned(),
        None => None,
    };
    Ok(Structs {
        lists,
        texts,
        flags,
    })
}

fn entries(lists: &ListArray, row: usize) -> std::ops::Range<usize> {
    if !lists.is_valid(row) {
        return 0..0;
    }
    // Offsets of a list array ascend and are not negative.
    match lists.value_offsets().get(row..row + 2) {
        Some([start, end]) => {
            usize::try_from(*start).unwrap_or(0)..usize::try_from(*end).unwrap_or(0)
        }
        _ => 0..0,
    }
}

fn text(array: &StringArray, row: usize) -> Option<&str> {
    (row < array.len() && array.is_valid(row)).then(|| array.value(row))
}

fn number(array: &Int64Array, row: usize) -> Option<i64> {
    array.is_valid(row).then(|| array.value(row))
}

impl Structs {
    fn text(&self, member: usize, entry: usize) -> &str {
        self.texts
            .get(member)
            .and_then(|texts| text(texts, entry))
            .unwrap_or_default()
    }
}

impl Columns {
    fn of(batch: &RecordBatch) -> Result<Self, Error> {
        let writers = structs(batch, "writers", &["manager", "subresource"], None)?;
        let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let writer_times = writers
            .lists
            .values()
            .as_struct_opt()
            .and_then(|entries| entries.column_by_name("time"))
            .and_then(|times| cast(times, &micros).ok())
            .and_then(|times| {
                times
                    .as_primitive_opt::<TimestampMicrosecondType>()
                    .cloned()
            })
            .ok_or_else(|| wrong("writers"))?;
        Ok(Self {
            cluster_id: texts(batch, "cluster_id")?,
            epoch: int32s(batch, "epoch")?,
            revision: int64s(batch, "revision")?,
            ordinal: int32s(batch, "ordinal")?,
            key: texts(batch, "key")?,
            op: texts(batch, "op")?,
            group: texts(batch, "api_group")?,
            kind: texts(batch, "kind")?,
            namespace: texts(batch, "namespace")?,
            name: texts(batch, "name")?,
            uid: texts(batch, "uid")?,
            deleting: flags(batch, "deleting")?,
            leased: flags(batch, "leased")?,
            generation: int64s(batch, "generation")?,
            observed_generation: int64s(batch, "observed_generation")?,
            outdated: flags(batch, "outdated")?,
            wanted: int64s(batch, "wanted")?,
            owners: structs(batch, "owners", &["uid"], Some("controller"))?,
            related: text_lists(batch, "related_uids")?,
            names: structs(batch, "name_refs", &["kind", "namespace", "name"], None)?,
            labels: texts(batch, "labels")?,
            selector: texts(batch, "selector")?,
            writers,
            writer_times,
            node: texts(batch, "node_name")?,
            changed: text_lists(batch, "changed")?,
            event_facts: texts(batch, "event_facts")?,
            value_bytes: int32s(batch, "value_bytes")?,
        })
    }

    /// The names of a row's object: key, uid, kind, namespace and name.
    fn names(&self, row: usize) -> [&str; 5] {
        let known = |column| text(column, row).unwrap_or_default();
        [
            self.key.value(row),
            known(&self.uid),
            known(&self.kind),
            known(&self.namespace),
            known(&self.name),
        ]
    }

    fn push<'a>(
        &'a self,
        row: usize,
        write: &Write<'_>,
        lists: &mut Lists<'a>,
        builder: &mut Builder,
    ) {
        lists.owners.clear();
        for entry in entries(&self.owners.lists, row) {
            let controller = self
                .owners
                .flags
                .as_ref()
                .is_some_and(|flags| flags.is_valid(entry) && flags.value(entry));
            lists.owners.push(OwnerRow {
                uid: self.owners.text(0, entry),
                controller,
            });
        }
        lists.names.clear();
        for entry in entries(&self.names.lists, row) {
            lists.names.push(NameRow {
                kind: self.names.text(0, entry),
                namespace: self.names.text(1, entry),
                name: self.names.text(2, entry),
            });
        }
        lists.writers.clear();
        for entry in entries(&self.writers.lists, row) {
            let second = if self.writer_times.is_valid(entry) {
                self.writer_times.value(entry).div_euclid(1_000_000)
            } else {
                i64::MIN
            };
            lists.writers.push(WriterRow {
                manager: self.writers.text(0, entry),
                subresource: self.writers.text(1, entry),
                second,
            });
        }
        for (list, column) in [
            (&mut lists.related, &self.related),
            (&mut lists.changed, &self.changed),
        ] {
            list.clear();
            let range = entries(&column.lists, row);
            list.extend(range.filter_map(|entry| text(&column.texts, entry)));
        }
        let event = text(&self.event_facts, row).and_then(EventFacts::parse);
        if let Some(event) = &event {
            event.write_to(&mut lists.reason);
        }
        builder.push(&Row {
            revision: self.revision.value(row),
            ordinal: self.ordinal.value(row),
            key: self.key.value(row),
            op: match self.op.value(row) {
                "create" => Op::Create,
                "delete" => Op::Delete,
                _ => Op::Update,
            },
            commit: write.commit,
            request: write.request,
            call: write.call,
            actor: write.requester,
            subresource: write.subresource,
            group: text(&self.group, row).unwrap_or_default(),
            kind: text(&self.kind, row).unwrap_or_default(),
            namespace: text(&self.namespace, row).unwrap_or_default(),
            name: text(&self.name, row).unwrap_or_default(),
            uid: text(&self.uid, row).unwrap_or_default(),
            deleting: self.deleting.value(row),
            leased: self.leased.value(row),
            generation: number(&self.generation, row),
            observed_generation: number(&self.observed_generation, row),
            outdated: self.outdated.value(row),
            wanted: number(&self.wanted, row),
            owners: &lists.owners,
            related: &lists.related,
            names: &lists.names,
            labels: text(&self.labels, row),
            selector: text(&self.selector, row),
            writers: &lists.writers,
            node: text(&self.node, row),
            changed: &lists.changed,
            reason: event.is_some().then_some(lists.reason.as_str()),
            cpid: write.cpid_reported,
        });
    }
}
