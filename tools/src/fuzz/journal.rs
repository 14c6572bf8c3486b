//! Journals as they are found after a power loss.

use std::sync::LazyLock;

use cascade_proto::journal::{Encoder, JournalReader};
use cascade_proto::tables::{BatchBuilder, Gap, GapKind, read_rows};

use super::{take_byte, take_piece};

/// A whole journal: three batches.
pub(super) static JOURNAL: LazyLock<Vec<u8>> = LazyLock::new(|| journal().unwrap_or_default());
const BATCHES: i64 = 3;
const ROWS: i64 = 4;

/// Input: a byte of flags, then either (lowest bit set) a whole file, or damages of a whole journal:
/// a position (two bytes), and a piece that is written over what stands there. The second lowest
/// bit cuts the file after the last of them.
///
/// # Panics
/// When a damaged journal gives anything but the first rows of the whole one.
pub(super) fn run(mut input: &[u8]) {
    let flags = take_byte(&mut input);
    if flags & 1 != 0 {
        let _ = read(input);
        return;
    }
    let mut journal = JOURNAL.clone();
    let mut end = journal.len();
    while !input.is_empty() {
        let at = usize::from(u16::from_be_bytes([
            take_byte(&mut input),
            take_byte(&mut input),
        ]));
        let position = at % journal.len().max(1);
        let piece = take_piece(&mut input);
        for (byte, other) in journal.iter_mut().skip(position).zip(piece) {
            *byte = *other;
        }
        end = position + piece.len();
    }
    if flags & 2 != 0 {
        journal.truncate(end);
    }
    let whole = read(&JOURNAL);
    assert_eq!(
        whole.len(),
        usize::try_from(BATCHES * ROWS).unwrap_or_default()
    );
    let rows = read(&journal);
    assert!(whole.starts_with(&rows), "invented: {rows:?}");
}

/// The rows that can be read; what is intact by its checksum and makes no sense gives none.
///
/// # Panics
/// When more of the file is held to be good than there is.
fn read(bytes: &[u8]) -> Vec<Gap> {
    let length = bytes.len() as u64;
    let Ok(mut reader) = JournalReader::open(bytes, length) else {
        return Vec::new();
    };
    let mut rows = Vec::new();
    while let Ok(Some(batch)) = reader.next_batch() {
        rows.extend(read_rows::<Gap>(&batch).unwrap_or_default());
        assert!(reader.good() <= length);
    }
    rows
}

fn journal() -> anyhow::Result<Vec<u8>> {
    let mut encoder = Encoder::new()?;
    let mut builder = BatchBuilder::<Gap>::default();
    let mut bytes = Vec::new();
    encoder.schema(&builder.schema(), &mut bytes)?;
    for batch in 0..BATCHES {
        for row in 0..ROWS {
            builder.push(&Gap {
                cluster_id: None,
                epoch: None,
                instance: "fuzz".to_owned(),
                kind: GapKind::Restart,
                covers_revisions: false,
                from_revision: Some(batch),
                to_revision: Some(row),
                count: None,
                from: None,
                to: None,
                detail: Some(format!("batch {batch}, row {row}")),
            });
        }
        encoder.batch(&builder.finish()?, &mut bytes)?;
    }
    Ok(bytes)
}
