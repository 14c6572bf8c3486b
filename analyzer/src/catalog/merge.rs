//! Several recordings of one cluster as one: rows that were recorded twice appear once.

/// How rows of a table that are the same fact are recognised.
#[derive(Debug, Clone, Copy)]
struct Merge {
    /// Columns that identify the fact.
    key: &'static str,
    /// Which of several recordings is taken.
    preference: &'static str,
}

/// The rule of each table.
fn merge_of(table: &str) -> Option<Merge> {
    let (key, preference) = match table {
        // The ledger of each instance sees every revision; who saw it first knows its time best.
        "changes" => (
            "cluster_id, epoch, revision, key",
            "seen_unix_nano NULLS LAST, instance",
        ),
        "states" => (
            "cluster_id, epoch, snapshot_revision, key",
            "seen_unix_nano NULLS LAST, instance",
        ),
        // What follows is seen by one instance only; copies come from copied or compacted files.
        "calls" => ("call_id, op_index", "request_unix_nano"),
        "requests" => ("instance, trace_id, span_id", "received_unix_nano"),
        "request_calls" => ("instance, call_span_id, request_span_id", "trace_id"),
        "mergelogs" => (
            "instance, new_cpid, received_unix_nano, source_cpids",
            "unix_nano",
        ),
        "spans" => (
            "instance, cpid, span_id, received_unix_nano, message",
            "start_unix_nano",
        ),
        "gaps" => (
            "cluster_id, epoch, instance, kind, from_revision, to_revision, from_unix_nano, \
             to_unix_nano",
            "count",
        ),
        _ => return None,
    };
    Some(Merge { key, preference })
}

/// The query that merges a stored table; `None` for a table without a rule.
pub(super) fn merged_query(table: &str, stored: &str, columns: &[String]) -> Option<String> {
    let Merge { key, preference } = merge_of(table)?;
    let columns = columns
        .iter()
        .map(|column| format!("\"{column}\""))
        .collect::<Vec<_>>()
        .join(", ");
    Some(format!(
        "SELECT {columns} FROM (SELECT *, row_number() OVER (PARTITION BY {key} ORDER BY \
         {preference}) AS recording FROM {stored}) WHERE recording = 1"
    ))
}

#[cfg(test)]
mod tests {
    use cascade_proto::tables::raw_tables;

    use super::*;

    #[test]
    fn every_table_has_a_rule_over_its_own_columns() {
        for table in raw_tables() {
            let Merge { key, preference } =
                merge_of(table.name).unwrap_or_else(|| panic!("{} has no rule", table.name));
            let preference = preference.replace(" NULLS LAST", "");
            for column in format!("{key}, {preference}").split(", ") {
                assert!(
                    table.columns.iter().any(|known| known.name == column),
                    "{} has no column {column}",
                    table.name
                );
            }
        }
    }
}
