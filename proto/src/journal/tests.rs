//! What was written is read back, and of anything else only what is intact.

use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::ipc::reader::StreamReader;
use proptest::prelude::*;

use super::*;

fn batch(first: i64, rows: usize) -> RecordBatch {
    let numbers: Int64Array = (first..).take(rows).map(Some).collect();
    let texts: StringArray = (first..)
        .take(rows)
        .map(|number| (number % 3 != 0).then(|| format!("text {number}")))
        .collect();
    RecordBatch::try_from_iter_with_nullable([
        ("number", Arc::new(numbers) as ArrayRef, true),
        ("text", Arc::new(texts) as ArrayRef, true),
    ])
    .unwrap()
}

fn batches() -> Vec<RecordBatch> {
    vec![batch(0, 3), batch(3, 0), batch(3, 5)]
}

/// A journal and where each of its messages ends, the schema's first.
fn journal() -> (Vec<u8>, Vec<usize>) {
    let mut encoder = Encoder::new().unwrap();
    let mut bytes = Vec::new();
    encoder.schema(&batch(0, 0).schema(), &mut bytes).unwrap();
    let mut ends = vec![bytes.len()];
    for batch in batches() {
        encoder.batch(&batch, &mut bytes).unwrap();
        ends.push(bytes.len());
    }
    (bytes, ends)
}

fn read(bytes: &[u8]) -> Result<(Vec<RecordBatch>, u64), JournalError> {
    let mut reader = JournalReader::open(Cursor::new(bytes), bytes.len() as u64)?;
    let mut batches = Vec::new();
    while let Some(batch) = reader.next_batch()? {
        batches.push(batch);
    }
    Ok((batches, reader.good()))
}

#[test]
fn batches_survive_and_any_arrow_library_reads_them() {
    let (bytes, _) = journal();
    let (read, good) = read(&bytes).unwrap();
    assert_eq!(read, batches());
    assert_eq!(good, bytes.len() as u64);
    let plain: Result<Vec<_>, _> = StreamReader::try_new(Cursor::new(&bytes), None)
        .unwrap()
        .collect();
    assert_eq!(plain.unwrap(), batches());
}

#[test]
fn a_journal_cut_anywhere_gives_the_batches_before_the_cut() {
    let (bytes, ends) = journal();
    for length in 0..bytes.len() {
        let (read, good) = read(&bytes[..length]).unwrap();
        let messages = ends.iter().filter(|end| **end <= length).count();
        assert_eq!(read.len(), messages.saturating_sub(1), "cut at {length}");
        assert_eq!(read, batches()[..read.len()]);
        let expected = messages.checked_sub(1).map_or(0, |last| ends[last]);
        assert_eq!(good, expected as u64, "cut at {length}");
    }
}

#[test]
fn zeros_instead_of_data_are_noticed() {
    let (mut bytes, ends) = journal();
    // The last eight bytes of the last body, as after a power loss.
    let length = bytes.len();
    bytes[length - 8..].fill(0xaa);
    let (read, good) = read(&bytes).unwrap();
    assert_eq!(read, batches()[..2]);
    assert_eq!(good, ends[2] as u64);
}

proptest! {
    #[test]
    fn damage_anywhere_loses_only_what_follows(
        position in 0_usize..2000,
        damage in 1_u8..=255,
    ) {
        let (mut bytes, ends) = journal();
        let position = position % bytes.len();
        bytes[position] ^= damage;
        let intact = ends.iter().filter(|end| **end <= position).count();
        let (read, good) = read(&bytes).unwrap();
        prop_assert_eq!(read.as_slice(), &batches()[..intact.saturating_sub(1)]);
        prop_assert_eq!(good, intact.checked_sub(1).map_or(0, |last| ends[last]) as u64);
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(read(&bytes).unwrap().0.is_empty());
    }
}
