//! The columns that `writes` has, and `changes` gains.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, StringBuilder, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, TimeUnit};
use cascade_proto::tables::ColumnDefinition;

use super::Writes;
use super::callers::at;
use super::rows::{CallId, History, Row};

/// A column about how a change was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum WriteColumn {
    CommitTime,
    CommitUnixNano,
    CommitSource,
    CallId,
    CallTime,
    CallUnixNano,
    StorageNs,
    RequestTime,
    RequestUnixNano,
    Actor,
    ActorSource,
    User,
    Verb,
    Subresource,
    ApiNs,
    ClockOffsetNs,
    CpidTransition,
    CpidReported,
}

/// In the order of the tables.
pub(super) const WRITE_COLUMNS: [WriteColumn; 18] = [
    WriteColumn::CommitTime,
    WriteColumn::CommitUnixNano,
    WriteColumn::CommitSource,
    WriteColumn::CallId,
    WriteColumn::CallTime,
    WriteColumn::CallUnixNano,
    WriteColumn::StorageNs,
    WriteColumn::RequestTime,
    WriteColumn::RequestUnixNano,
    WriteColumn::Actor,
    WriteColumn::ActorSource,
    WriteColumn::User,
    WriteColumn::Verb,
    WriteColumn::Subresource,
    WriteColumn::ApiNs,
    WriteColumn::ClockOffsetNs,
    WriteColumn::CpidTransition,
    WriteColumn::CpidReported,
];

/// The columns that name the change: name, type and documentation.
const KEY_COLUMNS: [(&str, DataType, &str); 4] = [
    (
        "cluster_id",
        DataType::Utf8,
        "etcd cluster id, lowercase hex.",
    ),
    (
        "epoch",
        DataType::Int32,
        "Counts restores of the same cluster, from 0.",
    ),
    (
        "revision",
        DataType::Int64,
        "etcd mod_revision of the change.",
    ),
    (
        "ordinal",
        DataType::Int32,
        "Position of the change within the revision, from 0.",
    ),
];

impl WriteColumn {
    /// Name in SQL.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::CommitTime => "commit_time",
            Self::CommitUnixNano => "commit_unix_nano",
            Self::CommitSource => "commit_source",
            Self::CallId => "call_id",
            Self::CallTime => "call_time",
            Self::CallUnixNano => "call_unix_nano",
            Self::StorageNs => "storage_ns",
            Self::RequestTime => "request_time",
            Self::RequestUnixNano => "request_unix_nano",
            Self::Actor => "actor",
            Self::ActorSource => "actor_source",
            Self::User => "user",
            Self::Verb => "verb",
            Self::Subresource => "subresource",
            Self::ApiNs => "api_ns",
            Self::ClockOffsetNs => "clock_offset_ns",
            Self::CpidTransition => "cpid_transition",
            Self::CpidReported => "cpid_reported",
        }
    }

    /// Arrow type.
    pub(super) fn data_type(self) -> DataType {
        match self {
            Self::CommitTime | Self::CallTime | Self::RequestTime => {
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
            }
            Self::CommitUnixNano
            | Self::CallUnixNano
            | Self::RequestUnixNano
            | Self::StorageNs
            | Self::ApiNs
            | Self::ClockOffsetNs => DataType::Int64,
            _ => DataType::Utf8,
        }
    }

    const fn documentation(self) -> &'static str {
        match self {
            Self::CommitTime | Self::CommitUnixNano => {
                "Commit: the call's answer or the ledger's event, whichever came first; \
                interceptor's clock."
            }
            Self::CommitSource => "`call` or `ledger`: which of the two dates the commit.",
            Self::CallId => "The call that made the change; NULL when none was seen.",
            Self::CallTime | Self::CallUnixNano => {
                "First byte of that call's request seen; interceptor's clock."
            }
            Self::StorageNs => "From call to commit, nanoseconds.",
            Self::RequestTime | Self::RequestUnixNano => {
                "kube-apiserver received the API request, in terms of the interceptor's clock: by its own, plus \
                `clock_offset_ns`. NULL without request spans."
            }
            Self::Actor => {
                "Who wrote it: the controller loop or program in the request's user agent (the last \
                path segment of client-go's `program/version (os/arch) kubernetes/commit/loop`, else \
                what stands before the first `/`); without a request span the field manager that \
                wrote last."
            }
            Self::ActorSource => {
                "`request` or `manager`: what the actor is known from; NULL when it is not known."
            }
            Self::User => "User, from an audit event of the request.",
            Self::Verb => {
                "Kubernetes' verb of the request: `create`, `update`, `patch`, `delete`, \
                `deletecollection`."
            }
            Self::Subresource => "Subresource that the request wrote through.",
            Self::ApiNs => {
                "From API request to etcd call, nanoseconds. Never clamped: it is negative where the two clocks \
                cannot be reconciled."
            }
            Self::ClockOffsetNs => {
                "Nanoseconds by which the interceptor's clock was ahead of kube-apiserver's when the request came \
                in, as in `clocks`; they are part of `request_unix_nano` already. NULL without a request span, \
                and where nothing reconciles the clocks."
            }
            Self::CpidTransition => {
                "What became of the CPID on the object: `start` (first seen in the trace), `adopt` (seen \
                before), `carry`, `merge` (the previous one is an ancestor, by the object or by a \
                mergelog), `replace`, `drop` or `end`; NULL when there is neither a CPID nor a previous one."
            }
            Self::CpidReported => {
                "CPID that this write carries by itself: a changed carrier, baggage on its call, or the \
                carrier of a writer known to maintain carriers. NULL for an annotation that was merely \
                kept or copied: that one does not say what caused the write."
            }
        }
    }

    /// Its values for `rows`; NULL where there is no row.
    pub(super) fn array(self, writes: &Writes, rows: &[Option<&Row>]) -> ArrayRef {
        let texts = |text: &dyn Fn(&Row) -> Option<&'static str>| texts(rows, text);
        match self {
            Self::CommitTime => times(rows, Row::committed),
            Self::CommitUnixNano => integers(rows, Row::committed),
            Self::CommitSource => texts(&Row::commit_source),
            Self::CallId => call_ids(writes, rows),
            Self::CallTime => times(rows, |row| row.called.get()),
            Self::CallUnixNano => integers(rows, |row| row.called.get()),
            Self::StorageNs => integers(rows, Row::storage_ns),
            Self::RequestTime => times(rows, |row| row.requested.get()),
            Self::RequestUnixNano => integers(rows, |row| row.requested.get()),
            Self::Actor => words(rows, |row| writes.actor(row).map(|(actor, _)| actor)),
            Self::ActorSource => texts(&|row| writes.actor(row).map(|(_, source)| source)),
            Self::User => words(rows, |row| {
                writes.words.text(at(&writes.callers, row.caller)?.user)
            }),
            Self::Verb => words(rows, |row| {
                writes.words.text(at(&writes.callers, row.caller)?.verb)
            }),
            Self::Subresource => words(rows, |row| {
                writes
                    .words
                    .text(at(&writes.callers, row.caller)?.subresource)
            }),
            Self::ApiNs => integers(rows, Row::api_ns),
            Self::ClockOffsetNs => integers(rows, |row| writes.clocks.offset_of(row)),
            Self::CpidTransition => texts(&|row| row.transition.as_str()),
            Self::CpidReported => words(rows, |row| writes.words.text(row.reported)),
        }
    }
}

/// The columns of the table `writes`.
pub(super) fn table_columns() -> Vec<ColumnDefinition> {
    let keys = KEY_COLUMNS.map(|(name, data_type, documentation)| ColumnDefinition {
        name: name.to_owned(),
        data_type,
        nullable: false,
        documentation,
    });
    let others = WRITE_COLUMNS.map(|column| ColumnDefinition {
        name: column.name().to_owned(),
        data_type: column.data_type(),
        nullable: true,
        documentation: column.documentation(),
    });
    keys.into_iter().chain(others).collect()
}

/// Column `index` of the table `writes`, for rows of one history.
pub(super) fn array_of_table(
    index: usize,
    writes: &Writes,
    history: &History,
    rows: &[Option<&Row>],
) -> ArrayRef {
    let found = rows.iter().flatten();
    match index {
        0 => {
            let mut clusters = StringBuilder::new();
            found.for_each(|_| clusters.append_value(&history.name.cluster_id));
            Arc::new(clusters.finish())
        }
        1 => Arc::new(Int32Array::from_iter_values(
            found.map(|_| history.name.epoch),
        )),
        2 => Arc::new(Int64Array::from_iter_values(found.map(|row| row.revision))),
        3 => Arc::new(Int32Array::from_iter_values(found.map(|row| row.ordinal))),
        _ => match WRITE_COLUMNS.get(index - KEY_COLUMNS.len()) {
            Some(column) => column.array(writes, rows),
            // A projection is of columns that the schema has.
            None => Arc::new(Int64Array::new_null(rows.len())),
        },
    }
}

fn integers(rows: &[Option<&Row>], value: impl Fn(&Row) -> Option<i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter(
        rows.iter().map(|row| row.and_then(&value)),
    ))
}

/// Rounded down to microseconds, as in the raw tables.
fn times(rows: &[Option<&Row>], value: impl Fn(&Row) -> Option<i64>) -> ArrayRef {
    let micros = rows
        .iter()
        .map(|row| Some(row.and_then(&value)?.div_euclid(1_000)));
    Arc::new(TimestampMicrosecondArray::from_iter(micros).with_timezone("UTC"))
}

fn texts(rows: &[Option<&Row>], text: &dyn Fn(&Row) -> Option<&'static str>) -> ArrayRef {
    words(rows, text)
}

fn words<'a>(rows: &[Option<&Row>], text: impl Fn(&Row) -> Option<&'a str>) -> ArrayRef {
    let mut texts = StringBuilder::new();
    for row in rows {
        texts.append_option(row.and_then(&text));
    }
    Arc::new(texts.finish())
}

fn call_ids(writes: &Writes, rows: &[Option<&Row>]) -> ArrayRef {
    use std::fmt::Write as _;

    let mut ids = StringBuilder::new();
    for row in rows {
        let call = row.map(|row| row.call);
        let head = call.and_then(|call| writes.words.text(call.head));
        match (head, call.and_then(CallId::number)) {
            (None, _) => ids.append_null(),
            (Some(head), None) => ids.append_value(head),
            (Some(head), Some(number)) => {
                // Writing to a builder cannot fail.
                let _ = write!(ids, "{head}-{number}");
                ids.append_value("");
            }
        }
    }
    Arc::new(ids.finish())
}
