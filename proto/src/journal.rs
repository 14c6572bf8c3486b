//! The journal of a segment: an Arrow IPC stream that any Arrow library reads, with a checksum in
//! every message.
//!
//! After a power loss a file can have its full length and still hold zeros or old bytes where data
//! was to be, and the format itself would not notice: numbers would read as 0, a fact nobody
//! observed. So each message carries its body's length and a checksum, in the padding that the
//! format has between a message's metadata and its body:
//!
//! ```text
//! ff ff ff ff | size: u32 | metadata | padding to 8 | "CASCADE1" | body length: u64 | checksum: u64 | body
//!                          \_________________________ size ____________________________________/
//! ```
//!
//! Integers are little-endian; the checksum is SipHash-1-3 with an all-zero key over everything
//! from the metadata on but itself. There is no end-of-stream mark: the file ends with the last
//! complete message. Whoever changes this raises
//! [`SCHEMA_VERSION`](crate::tables::SCHEMA_VERSION).

use std::hash::Hasher;
use std::io::{self, Read};

use arrow::buffer::{Buffer, MutableBuffer};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::MetadataVersion;
use arrow::ipc::reader::{StreamDecoder, StreamReader};
use arrow::ipc::writer::{
    DictionaryTracker, EncodedData, IpcDataGenerator, IpcWriteContext, IpcWriteOptions,
};
use arrow::record_batch::RecordBatch;
use siphasher::sip::SipHasher13;
use thiserror::Error;

use crate::tables::ReadError;

const CONTINUATION: [u8; 4] = [0xff; 4];
const MAGIC: [u8; 8] = *b"CASCADE1";
/// Continuation mark and size.
const HEAD_BYTES: usize = 8;
/// Magic, body length and checksum.
const TRAILER_BYTES: usize = 24;
/// The format wants bodies and their buffers aligned to this; more would only cost space, and a
/// batch of a few rows has some two hundred buffers.
const ALIGNMENT: usize = 8;

/// Turns batches into the bytes of a journal.
#[allow(missing_debug_implementations)] // Arrow's parts have none
pub struct Encoder {
    options: IpcWriteOptions,
    generator: IpcDataGenerator,
    context: IpcWriteContext,
}

impl Encoder {
    /// Makes an encoder for any number of journals.
    ///
    /// # Errors
    /// When Arrow refuses the options, which would be a mistake here.
    pub fn new() -> Result<Self, ArrowError> {
        Ok(Self {
            options: IpcWriteOptions::try_new(ALIGNMENT, false, MetadataVersion::V5)?,
            generator: IpcDataGenerator {},
            context: IpcWriteContext::default(),
        })
    }

    /// Appends the message that a journal begins with to `out`. The schema's metadata is kept.
    ///
    /// # Errors
    /// When the schema cannot be put into a message.
    pub fn schema(&self, schema: &Schema, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        let mut dictionaries = DictionaryTracker::new(true);
        let message = self.generator.schema_to_bytes_with_dictionary_tracker(
            schema,
            &mut dictionaries,
            &self.options,
        );
        frame(&message, out)
    }

    /// Appends the message of one batch to `out`. It depends on nothing but the batch, so it can be
    /// written again, to this journal or to another one of the same table.
    ///
    /// # Errors
    /// When the batch cannot be put into a message.
    pub fn batch(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        let mut dictionaries = DictionaryTracker::new(true);
        // No table has dictionary columns, so there are no dictionary messages.
        let (_, message) =
            self.generator
                .encode(batch, &mut dictionaries, &self.options, &mut self.context)?;
        frame(&message, out)
    }
}

fn frame(message: &EncodedData, out: &mut Vec<u8>) -> Result<(), ArrowError> {
    let metadata = &message.ipc_message;
    let body = &message.arrow_data;
    let padded = metadata.len().next_multiple_of(ALIGNMENT);
    let size = u32::try_from(padded + TRAILER_BYTES)
        .map_err(|_| ArrowError::IpcError("a batch has too many columns".to_owned()))?;
    out.reserve(HEAD_BYTES + padded + TRAILER_BYTES + body.len());
    out.extend_from_slice(&CONTINUATION);
    out.extend_from_slice(&size.to_le_bytes());
    let checked_from = out.len();
    out.extend_from_slice(metadata);
    out.resize(checked_from + padded, 0);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&(body.len() as u64).to_le_bytes());
    let checksum = checksum(out.get(checked_from..).unwrap_or_default(), body);
    out.extend_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(body);
    Ok(())
}

fn checksum(metadata: &[u8], body: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(metadata);
    hasher.write(body);
    hasher.finish()
}

/// Why a journal could not be read.
#[derive(Debug, Error)]
pub enum JournalError {
    /// The system refused to read it.
    #[error("cannot read the journal: {0}")]
    Io(#[from] io::Error),
    /// A message that was written as it is, by its checksum, is none that this program knows.
    #[error("the journal was written by another program: {0}")]
    Arrow(#[from] ArrowError),
    /// The same, of rows.
    #[error("the journal was written by another program: {0}")]
    Rows(#[from] ReadError),
}

/// Reads a journal up to its end, or to the first message that is not complete.
#[allow(missing_debug_implementations)] // Arrow's decoder has none
pub struct JournalReader<R> {
    input: R,
    /// Bytes of the file that were not read yet.
    remaining: u64,
    /// Bytes up to the end of the last complete message.
    good: u64,
    decoder: StreamDecoder,
    schema: Option<SchemaRef>,
}

impl<R: Read> JournalReader<R> {
    /// Starts reading; `length` is the number of bytes to be read from `input` at most.
    ///
    /// # Errors
    /// [`JournalError`] when `input` fails, or does not begin with a schema although it is intact.
    pub fn open(input: R, length: u64) -> Result<Self, JournalError> {
        let mut reader = Self {
            input,
            remaining: length,
            good: 0,
            decoder: StreamDecoder::new(),
            schema: None,
        };
        if let Some(mut message) = reader.message()? {
            // The decoder tells the schema only once it has seen the first batch.
            reader.schema = Some(StreamReader::try_new(message.as_slice(), None)?.schema());
            reader.decoder.decode(&mut message)?;
        }
        Ok(reader)
    }

    /// Schema of the batches, with its metadata; `None` when not even that was complete.
    #[must_use]
    pub fn schema(&self) -> Option<SchemaRef> {
        self.schema.clone()
    }

    /// Bytes up to the end of the last complete message read so far.
    #[must_use]
    pub fn good(&self) -> u64 {
        self.good
    }

    /// The next batch; `None` at the end, and from the first incomplete message on.
    ///
    /// # Errors
    /// [`JournalError`] when the input fails, or an intact message makes no sense.
    pub fn next_batch(&mut self) -> Result<Option<RecordBatch>, JournalError> {
        if self.schema.is_none() {
            return Ok(None);
        }
        while let Some(mut message) = self.message()? {
            if let Some(batch) = self.decoder.decode(&mut message)? {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    /// The bytes of the next complete message.
    fn message(&mut self) -> io::Result<Option<Buffer>> {
        let before = self.remaining;
        let message = self.checked_message()?;
        match &message {
            Some(_) => self.good += before - self.remaining,
            // Nothing after a torn message can be trusted to be what was written after it.
            None => self.remaining = 0,
        }
        Ok(message)
    }

    fn checked_message(&mut self) -> io::Result<Option<Buffer>> {
        let mut head = [0; HEAD_BYTES];
        if !self.fill(&mut head)? {
            return Ok(None);
        }
        let [m0, m1, m2, m3, s0, s1, s2, s3] = head;
        let size = u32::from_le_bytes([s0, s1, s2, s3]);
        if [m0, m1, m2, m3] != CONTINUATION
            || u64::from(size) > self.remaining
            || size % ALIGNMENT as u32 != 0
        {
            return Ok(None);
        }
        let Ok(size) = usize::try_from(size) else {
            return Ok(None);
        };
        // `size` is at most what the file still holds: no torn number makes this too large.
        let mut metadata = vec![0; size];
        if !self.fill(&mut metadata)? {
            return Ok(None);
        }
        let Some(trailer) = Trailer::of(&metadata) else {
            return Ok(None);
        };
        if trailer.body_length > self.remaining {
            return Ok(None);
        }
        let Ok(body_length) = usize::try_from(trailer.body_length) else {
            return Ok(None);
        };
        let mut message = MutableBuffer::with_capacity(HEAD_BYTES + size + body_length);
        message.extend_from_slice(&head);
        message.extend_from_slice(&metadata);
        message.resize(HEAD_BYTES + size + body_length, 0);
        let (_, body) = message.as_slice_mut().split_at_mut(HEAD_BYTES + size);
        if !self.fill(body)? || checksum(trailer.checked, body) != trailer.checksum {
            return Ok(None);
        }
        Ok(Some(message.into()))
    }

    /// Fills `bytes`; false when the file ends before.
    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<bool> {
        let wanted = bytes.len() as u64;
        if wanted > self.remaining {
            return Ok(false);
        }
        match self.input.read_exact(bytes) {
            Ok(()) => {
                self.remaining -= wanted;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// What the padding of a message says about it.
struct Trailer<'a> {
    /// The bytes before the checksum.
    checked: &'a [u8],
    body_length: u64,
    checksum: u64,
}

impl<'a> Trailer<'a> {
    /// `None` when there is none.
    fn of(metadata: &'a [u8]) -> Option<Self> {
        let (checked, checksum) = metadata.split_last_chunk::<8>()?;
        let (rest, body_length) = checked.split_last_chunk::<8>()?;
        let (_, magic) = rest.split_last_chunk::<8>()?;
        (*magic == MAGIC).then(|| Self {
            checked,
            body_length: u64::from_le_bytes(*body_length),
            checksum: u64::from_le_bytes(*checksum),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tables::{BatchBuilder, Gap, GapKind, read_rows};

    fn gap(number: i64) -> Gap {
        Gap {
            cluster_id: None,
            epoch: None,
            instance: "test".to_owned(),
            kind: GapKind::Restart,
            covers_revisions: false,
            from_revision: Some(number),
            to_revision: None,
            count: Some(number + 1),
            from: None,
            to: None,
            detail: Some(format!("gap {number}")),
        }
    }

    /// A journal of batches of these sizes, and where each message ends.
    fn journal(sizes: &[usize]) -> (Vec<u8>, Vec<usize>) {
        let mut encoder = Encoder::new().unwrap();
        let mut builder = BatchBuilder::<Gap>::default();
        let mut bytes = Vec::new();
        encoder.schema(&builder.schema(), &mut bytes).unwrap();
        let mut ends = vec![bytes.len()];
        let mut number = 0;
        for size in sizes {
            for _ in 0..*size {
                builder.push(&gap(number));
                number += 1;
            }
            encoder
                .batch(&builder.finish().unwrap(), &mut bytes)
                .unwrap();
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    /// Rows that can be read, and how far.
    fn read(bytes: &[u8]) -> (Vec<Gap>, u64) {
        let mut reader = JournalReader::open(bytes, bytes.len() as u64).unwrap();
        let mut rows = Vec::new();
        while let Some(batch) = reader.next_batch().unwrap() {
            rows.extend(read_rows::<Gap>(&batch).unwrap());
        }
        (rows, reader.good())
    }

    fn rows(count: usize) -> Vec<Gap> {
        (0..count as i64).map(gap).collect()
    }

    #[test]
    fn a_journal_cut_at_any_byte_reads_up_to_its_last_complete_batch() {
        let sizes = [1, 3, 2];
        let (bytes, ends) = journal(&sizes);
        for length in 0..=bytes.len() {
            let complete = ends.iter().filter(|end| **end <= length).count();
            let expected: usize = sizes.iter().take(complete.saturating_sub(1)).sum();
            let (found, good) = read(&bytes[..length]);
            assert_eq!(found, rows(expected), "cut at {length}");
            let end = complete.checked_sub(1).map_or(0, |last| ends[last]);
            assert_eq!(good, end as u64, "cut at {length}");
        }
    }

    #[test]
    fn any_arrow_library_reads_a_journal() {
        let (bytes, _) = journal(&[1, 3, 2]);
        let reader = StreamReader::try_new(bytes.as_slice(), None).unwrap();
        let found: Vec<Gap> = reader
            .flat_map(|batch| read_rows::<Gap>(&batch.unwrap()).unwrap())
            .collect();
        assert_eq!(found, rows(6));
    }

    #[test]
    fn bodies_are_aligned_so_that_nothing_is_copied() {
        let (_, ends) = journal(&[1, 3, 2]);
        assert!(ends.iter().all(|end| end % ALIGNMENT == 0), "{ends:?}");
    }

    proptest! {
        #[test]
        fn a_damaged_byte_costs_its_batch_and_those_after_and_invents_nothing(
            sizes in proptest::collection::vec(1_usize..4, 1..4),
            position in any::<prop::sample::Index>(),
            flip in 1_u8..,
        ) {
            let (mut bytes, ends) = journal(&sizes);
            let position = position.index(bytes.len());
            bytes[position] ^= flip;
            let whole = ends.iter().filter(|end| **end <= position).count();
            let expected: usize = sizes.iter().take(whole.saturating_sub(1)).sum();
            prop_assert_eq!(read(&bytes).0, rows(expected));
        }

        #[test]
        fn bytes_from_elsewhere_are_no_journal(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(read(&bytes), (Vec::new(), 0));
        }

        #[test]
        fn what_follows_a_torn_message_does_not_count(
            garbage in proptest::collection::vec(any::<u8>(), 0..200),
            cut in 1_usize..50,
        ) {
            let (mut bytes, ends) = journal(&[2, 2]);
            bytes.truncate(bytes.len() - cut);
            bytes.extend(garbage);
            prop_assert_eq!(read(&bytes), (rows(2), ends[1] as u64));
        }
    }
}
