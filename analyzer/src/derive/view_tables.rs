//! The derived tables that are SQL over others, as documented.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use cascade_proto::tables::{ColumnDefinition, TableInfo};

fn column(name: &str, data_type: &DataType, documentation: &'static str) -> ColumnDefinition {
    ColumnDefinition {
        name: name.to_owned(),
        data_type: data_type.clone(),
        nullable: false,
        documentation,
    }
}

fn nullable(name: &str, data_type: &DataType, documentation: &'static str) -> ColumnDefinition {
    ColumnDefinition {
        nullable: true,
        ..column(name, data_type, documentation)
    }
}

const CLUSTER: &str = "etcd cluster id, lowercase hex.";
const EPOCH: &str = "Counts restores of the same cluster, from 0.";
const ORDINAL: &str = "Its position within the revision.";

/// `merges`.
pub(super) fn merges() -> TableInfo {
    let cpids = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
    let (text, int32, int64) = (&DataType::Utf8, &DataType::Int32, &DataType::Int64);
    TableInfo {
        name: "merges",
        documentation: "One row per merge of CPIDs: several changes met on one object.",
        columns: vec![
            column("new_cpid", text, "The CPID that was made."),
            column("source_cpids", &cpids, "The CPIDs it was made of, sorted."),
            nullable(
                "cluster_id",
                text,
                "Cluster of the first change that carries it; this and the other columns about that \
                change are NULL when there is none.",
            ),
            nullable("epoch", int32, "Epoch of that change."),
            nullable("revision", int64, "Revision of that change."),
            nullable("ordinal", int32, "Ordinal of that change."),
            column(
                "origin",
                text,
                "`reported`: by a mergelog; `derived`: by the same rule, over the causes that were found.",
            ),
        ],
    }
}

/// `cascades`.
pub(super) fn cascades() -> TableInfo {
    let (text, int32, int64) = (&DataType::Utf8, &DataType::Int32, &DataType::Int64);
    let time = &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    TableInfo {
        name: "cascades",
        documentation: "One row per root: what came of it, when it settled, and when every object that it changed \
            was as its spec wants it.",
        columns: vec![
            column("cluster_id", text, CLUSTER),
            column("epoch", int32, EPOCH),
            column("revision", int64, "Revision of the root."),
            column("ordinal", int32, ORDINAL),
            column("root_class", text, "As in `roots`."),
            nullable("action_id", text, "As in `roots`."),
            column("kind", text, "Kind of the root, with its group."),
            column("op", text, "What happened to it."),
            nullable("actor", text, "Who wrote it."),
            column(
                "changes_exclusive",
                int64,
                "Changes that came of this root alone, itself included.",
            ),
            column(
                "changes_shared",
                int64,
                "Changes that came of other roots too; do not add these up over roots.",
            ),
            column(
                "bytes",
                int64,
                "Bytes of the values that these changes wrote.",
            ),
            column("objects", int64, "Objects that were changed."),
            column("kinds", int64, "Kinds of these objects."),
            column("actors", int64, "Actors that changed them."),
            column("depth", int64, "Longest critical path, in triggers."),
            column(
                "merged_with",
                int64,
                "Other roots that it shares changes with.",
            ),
            nullable(
                "settled_time",
                time,
                "Commit of the last change, Events, Leases and heartbeats aside, that 30 s of quiet \
                followed; NULL when the trace ends before.",
            ),
            nullable(
                "settled_unix_nano",
                int64,
                "The same, nanoseconds since 1970.",
            ),
            nullable(
                "settled_ns",
                int64,
                "From the root's commit until then, nanoseconds.",
            ),
            nullable(
                "converged_time",
                time,
                "When the last of the objects that it changed first was as its spec wants it (see \
                docs/causality.md, milestones); NULL unless all are. If it changed only objects that are so as \
                soon as they are written, when it settled.",
            ),
            nullable(
                "converged_unix_nano",
                int64,
                "The same, nanoseconds since 1970.",
            ),
            nullable(
                "converged_ns",
                int64,
                "From the root's commit until then, nanoseconds.",
            ),
            column(
                "outcome",
                text,
                "`converged`; `superseded`: an object got a newer spec, or was deleted by another cascade, first; \
                `truncated`: the trace ends first; `never`: it settled without.",
            ),
            nullable(
                "path_id",
                int64,
                "Signature of the critical path to the change that it settled with, see `path_steps`.",
            ),
        ],
    }
}
