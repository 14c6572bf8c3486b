//! What lies in a trace's folders, judged by names alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use chrono::NaiveDate;
use datafusion::scalar::ScalarValue;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};

use super::{Location, TraceError};

/// Columns that come from folder names: the UTC date and hour in which a file was begun.
pub const PARTITION_COLUMNS: [(&str, DataType); 2] =
    [("date", DataType::Date32), ("hour", DataType::Int32)];

/// The partition columns as fields; never NULL.
pub(super) fn partition_fields() -> Vec<Arc<Field>> {
    PARTITION_COLUMNS
        .iter()
        .map(|(name, data_type)| Arc::new(Field::new(*name, data_type.clone(), false)))
        .collect()
}

/// One file of a table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FoundFile {
    /// Place and size.
    pub(super) meta: ObjectMeta,
    /// Values of [`PARTITION_COLUMNS`].
    pub(super) partition: Vec<ScalarValue>,
    /// Instance and segment from the name; sealed files repeat both in their footer.
    pub(super) instance: String,
    /// Segment from the name.
    pub(super) segment: String,
}

/// The files of one table.
#[derive(Debug, Clone, Default)]
pub(super) struct TableFiles {
    /// Sealed Parquet files, in the order of their paths.
    pub(super) sealed: Vec<FoundFile>,
    /// Journals without a sealed file, in the order of their paths.
    pub(super) journals: Vec<FoundFile>,
}

/// Length of a UUID as text.
const UUID_LENGTH: usize = 36;

/// How often a table is listed until two lists agree.
const MAX_LISTS: usize = 5;

/// Lists the files of `table`.
///
/// Sealing makes the Parquet file and then removes the journal. One list that runs meanwhile can
/// miss both, so lists are repeated until two agree.
pub(super) async fn table_files(
    store: &dyn ObjectStore,
    location: &Location,
    table: &str,
) -> Result<TableFiles, TraceError> {
    let mut files = list(store, location, table).await?;
    for _ in 1..MAX_LISTS {
        let again = list(store, location, table).await?;
        if names(&again) == names(&files) {
            let sealed: BTreeSet<&str> = again
                .sealed
                .iter()
                .map(|file| file.segment.as_str())
                .collect();
            let journals = again
                .journals
                .iter()
                .filter(|journal| !sealed.contains(journal.segment.as_str()))
                .cloned()
                .collect();
            return Ok(TableFiles {
                journals,
                sealed: again.sealed,
            });
        }
        files = again;
    }
    Err(TraceError::Unstable {
        location: location.given.clone(),
    })
}

fn names(files: &TableFiles) -> Vec<&Path> {
    let sealed = files.sealed.iter();
    sealed
        .chain(&files.journals)
        .map(|file| &file.meta.location)
        .collect()
}

async fn list(
    store: &dyn ObjectStore,
    location: &Location,
    table: &str,
) -> Result<TableFiles, TraceError> {
    let folder = location.prefix.clone().join(table);
    let mut found: Vec<ObjectMeta> =
        store
            .list(Some(&folder))
            .try_collect()
            .await
            .map_err(|error| TraceError::Unreadable {
                location: location.name_of(&folder),
                reason: error.to_string(),
            })?;
    found.sort_by(|left, right| left.location.cmp(&right.location));
    let mut files = TableFiles::default();
    for meta in found {
        let name = meta.location.filename().unwrap_or_default().to_owned();
        // A dot marks files that are being written: journals, and Parquet files not yet complete.
        let (stem, list) = if let Some(stem) = name
            .strip_suffix(".parquet")
            .filter(|stem| !stem.starts_with('.'))
        {
            (stem, &mut files.sealed)
        } else if let Some(stem) = name
            .strip_prefix('.')
            .and_then(|rest| rest.strip_suffix(".journal"))
        {
            (stem, &mut files.journals)
        } else {
            continue;
        };
        let partition =
            partition_of(&folder, &meta.location).ok_or_else(|| TraceError::Misplaced {
                file: location.name_of(&meta.location),
            })?;
        let (instance, segment) = instance_and_segment(stem);
        list.push(FoundFile {
            instance: instance.to_owned(),
            segment: segment.to_owned(),
            meta,
            partition,
        });
    }
    Ok(files)
}

/// Splits `<instance>-<uuid>`; a name without a UUID is a segment of an unnamed instance.
fn instance_and_segment(stem: &str) -> (&str, &str) {
    stem.len()
        .checked_sub(UUID_LENGTH)
        .and_then(|at| stem.split_at_checked(at))
        .and_then(|(head, segment)| Some((head.strip_suffix('-')?, segment)))
        .unwrap_or(("", stem))
}

/// The values of `date=…/hour=…` between a table's folder and a file in it.
fn partition_of(folder: &Path, file: &Path) -> Option<Vec<ScalarValue>> {
    let parts: Vec<_> = file.prefix_match(folder)?.collect();
    let [date, hour, _name] = parts.as_slice() else {
        return None;
    };
    let date = date.as_ref().strip_prefix("date=")?;
    let date = NaiveDate::parse_from_str(date, "%Y-%m-%d").ok()?;
    let days = date.signed_duration_since(NaiveDate::default()).num_days();
    let hour: i32 = hour.as_ref().strip_prefix("hour=")?.parse().ok()?;
    if !(0..24).contains(&hour) {
        return None;
    }
    Some(vec![
        ScalarValue::Date32(Some(i32::try_from(days).ok()?)),
        ScalarValue::Int32(Some(hour)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_come_from_folder_names() {
        let folder = Path::from("t/changes");
        let of = |rest: &str| partition_of(&folder, &Path::from(format!("t/changes/{rest}")));
        assert_eq!(
            of("date=1970-01-02/hour=07/a.parquet"),
            Some(vec![
                ScalarValue::Date32(Some(1)),
                ScalarValue::Int32(Some(7))
            ])
        );
        for wrong in [
            "a.parquet",
            "date=1970-01-02/a.parquet",
            "date=1970-13-02/hour=07/a.parquet",
            "date=1970-01-02/hour=24/a.parquet",
            "hour=07/date=1970-01-02/a.parquet",
            "date=1970-01-02/hour=07/deeper/a.parquet",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn names_hold_instance_and_segment() {
        let uuid = "0190a5d0-7b7e-7000-8000-000000000001";
        let split = |stem: &str| {
            let (instance, segment) = instance_and_segment(stem);
            (instance.to_owned(), segment.to_owned())
        };
        let expected = ("node-a".to_owned(), uuid.to_owned());
        assert_eq!(split(&format!("node-a-{uuid}")), expected);
        assert_eq!(split("part-0"), (String::new(), "part-0".to_owned()));
        let without_hyphen = format!("é{}", &uuid[1..]);
        assert_eq!(
            split(&without_hyphen),
            (String::new(), without_hyphen.clone())
        );
    }
}
