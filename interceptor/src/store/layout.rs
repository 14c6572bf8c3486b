//! Names inside a trace folder.
//!
//! ```text
//! <trace>/.cascade/                                  the store's own state
//! <trace>/<table>/date=2026-01-02/hour=03/           UTC hour in which the segment was begun
//!     .<instance>-<segment>.journal                  being written: an Arrow IPC stream
//!     .<instance>-<segment>.sealing                  being sealed: an unfinished Parquet file
//!     <instance>-<segment>.parquet                   sealed
//! ```

use std::path::{Path, PathBuf};

use cascade_proto::tables::Moment;
use chrono::DateTime;
use uuid::Uuid;

/// Folder of the store's own state within a trace folder.
pub(super) const STATE_FOLDER: &str = ".cascade";

const JOURNAL: &str = "journal";
const SEALING: &str = "sealing";
const DAMAGED: &str = "damaged";
const SEALED: &str = "parquet";

/// Longest instance name: with the segment id, the dot and the suffix it stays far below the 255
/// bytes that file systems allow.
const MAX_INSTANCE_BYTES: usize = 64;

/// The files of one segment: they differ in prefix and suffix only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SegmentFiles {
    folder: PathBuf,
    stem: String,
}

impl SegmentFiles {
    /// Names the files of a new segment that is begun at `begun`.
    pub(super) fn new(
        trace: &Path,
        table: &str,
        instance: &str,
        segment: Uuid,
        begun: Moment,
    ) -> Self {
        Self {
            folder: trace.join(table).join(hour_folder(begun)),
            stem: format!("{instance}-{segment}"),
        }
    }

    /// Hour folder that holds the files.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Segment id as text. Ids are UUIDs of version 7, so their order is the order of creation.
    pub(super) fn segment(&self) -> &str {
        segment_of_stem(&self.stem).unwrap_or_default()
    }

    /// The journal.
    pub(super) fn journal(&self) -> PathBuf {
        self.hidden(JOURNAL)
    }

    /// The Parquet file while it is written.
    pub(super) fn sealing(&self) -> PathBuf {
        self.hidden(SEALING)
    }

    /// A journal that could not be read to its end, kept for inspection.
    pub(super) fn damaged(&self) -> PathBuf {
        self.hidden(DAMAGED)
    }

    /// The finished Parquet file.
    pub(super) fn sealed(&self) -> PathBuf {
        self.folder.join(format!("{}.{SEALED}", self.stem))
    }

    fn hidden(&self, suffix: &str) -> PathBuf {
        self.folder.join(format!(".{}.{suffix}", self.stem))
    }
}

/// What a file in an hour folder is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SegmentFile {
    /// A journal.
    Journal(SegmentFiles),
    /// An unfinished Parquet file, of no use to anyone.
    Sealing,
    /// A finished Parquet file.
    Sealed(SegmentFiles),
}

/// Recognises a file of a segment by its name; `None` for anything else, which is left alone.
pub(super) fn parse(path: &Path) -> Option<SegmentFile> {
    let folder = path.parent()?.to_path_buf();
    let (name, suffix) = path.file_name()?.to_str()?.rsplit_once('.')?;
    let hidden = name.strip_prefix('.');
    let stem = hidden.unwrap_or(name);
    segment_of_stem(stem)?;
    let files = SegmentFiles {
        folder,
        stem: stem.to_owned(),
    };
    match (hidden, suffix) {
        (Some(_), JOURNAL) => Some(SegmentFile::Journal(files)),
        (Some(_), SEALING) => Some(SegmentFile::Sealing),
        (None, SEALED) => Some(SegmentFile::Sealed(files)),
        _ => None,
    }
}

fn segment_of_stem(stem: &str) -> Option<&str> {
    let start = stem.len().checked_sub(uuid::fmt::Hyphenated::LENGTH)?;
    let segment = stem.get(start..)?;
    let instance = stem.get(..start)?.strip_suffix('-')?;
    (!instance.is_empty() && Uuid::try_parse(segment).is_ok()).then_some(segment)
}

/// The folders of the UTC hour of `moment`, below the table's folder.
fn hour_folder(moment: Moment) -> PathBuf {
    let time = DateTime::from_timestamp_nanos(moment.unix_nano);
    PathBuf::from(time.format("date=%Y-%m-%d").to_string()).join(time.format("hour=%H").to_string())
}

/// Number of the UTC hour of `moment`, counted from the Unix epoch.
pub(super) fn hour_of(moment: Moment) -> i64 {
    const NANOS_PER_HOUR: i64 = 3_600_000_000_000;
    moment.unix_nano.div_euclid(NANOS_PER_HOUR)
}

/// Makes an instance name fit for file names: ASCII letters, digits, `.`, `_` and `-` stay, each
/// run of anything else becomes one `-`, and the ends are trimmed. `None` when nothing is left.
pub(crate) fn sanitise_instance(name: &str) -> Option<String> {
    let mut clean = String::with_capacity(name.len().min(MAX_INSTANCE_BYTES));
    for character in name.chars() {
        if clean.len() == MAX_INSTANCE_BYTES {
            break;
        }
        if character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-') {
            clean.push(character);
        } else if !clean.ends_with('-') {
            clean.push('-');
        }
    }
    // A leading dot or underscore would hide the files from most readers.
    let trimmed = clean.trim_matches(['-', '.', '_']);
    (!trimmed.is_empty()).then(|| trimmed.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(instance: &str) -> SegmentFiles {
        let moment = Moment {
            unix_nano: 1_767_322_799_999_999_999, // 2026-01-02 02:59:59.999999999
        };
        SegmentFiles::new(
            Path::new("/t"),
            "changes",
            instance,
            Uuid::from_u128(7),
            moment,
        )
    }

    #[test]
    fn files_lie_in_the_utc_hour_in_which_the_segment_was_begun() {
        let files = files("node-1");
        assert_eq!(
            files.sealed(),
            Path::new("/t/changes/date=2026-01-02/hour=02")
                .join("node-1-00000000-0000-0000-0000-000000000007.parquet")
        );
        let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        for hidden in [files.journal(), files.sealing(), files.damaged()] {
            assert!(name(hidden.clone()).starts_with('.'));
            assert!(!name(hidden).ends_with(".parquet"));
        }
    }

    #[test]
    fn names_are_recognised_and_foreign_ones_are_not() {
        let files = files("a-b.c");
        assert_eq!(
            parse(&files.journal()),
            Some(SegmentFile::Journal(files.clone()))
        );
        assert_eq!(parse(&files.sealing()), Some(SegmentFile::Sealing));
        assert_eq!(
            parse(&files.sealed()),
            Some(SegmentFile::Sealed(files.clone()))
        );
        assert_eq!(parse(&files.damaged()), None);
        assert_eq!(files.segment(), Uuid::from_u128(7).to_string());
        for foreign in [
            "x.parquet",
            ".journal",
            "ü-00000000-0000-0000-0000-00000000000.parquet",
            "00000000-0000-0000-0000-000000000007.parquet",
            "-00000000-0000-0000-0000-000000000007.parquet",
            "a-00000000-0000-0000-0000-000000000007.journal",
        ] {
            assert_eq!(parse(&Path::new("/t").join(foreign)), None, "{foreign}");
        }
    }

    #[test]
    fn hours_before_the_epoch_round_down() {
        assert_eq!(hour_of(Moment { unix_nano: -1 }), -1);
        assert_eq!(hour_of(Moment { unix_nano: 0 }), 0);
    }

    #[test]
    fn instance_names_become_file_names() {
        let cases = [
            ("node-1.example", Some("node-1.example")),
            ("../../etc/passwd", Some("etc-passwd")),
            ("a b\n\tc", Some("a-b-c")),
            (".hidden", Some("hidden")),
            ("_x_", Some("x")),
            ("", None),
            ("///", None),
            ("ü", None),
        ];
        for (name, expected) in cases {
            assert_eq!(sanitise_instance(name).as_deref(), expected, "{name:?}");
        }
        assert_eq!(sanitise_instance(&"x".repeat(300)).unwrap().len(), 64);
    }
}
