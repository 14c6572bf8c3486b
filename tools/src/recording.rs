//! Files that hold recorded traffic between kube-apiserver and etcd.
//!
//! Two kinds, both a zstd stream of a header line and length-delimited protobuf messages:
//! - *connections* ([`Chunk`]): the bytes of every connection in both directions, with times;
//! - *calls* ([`RecordedCall`]): every mutating call in commit order, ready to be replayed.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use prost::Message;
use thiserror::Error;

/// Largest message a file may hold: etcd's request limit with room for a large watch answer's chunk.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// zstd level of recordings: they are written once and kept in the repository.
const COMPRESSION_LEVEL: i32 = 19;

/// Why a recording could not be read or written.
#[derive(Debug, Error)]
pub enum RecordingError {
    /// The file could not be opened, read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not a recording of the kind that was asked for.
    #[error("{path}: not a recording of {expected} (its first line is {found:?})")]
    Kind {
        /// The file.
        path: PathBuf,
        /// The kind that was asked for.
        expected: &'static str,
        /// The first line, as far as it is text.
        found: String,
    },
    /// A message is damaged.
    #[error("{path}: message {index} is damaged: {detail}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Position of the message, from 0.
        index: u64,
        /// What is wrong.
        detail: String,
    },
}

/// A message that recordings are made of.
pub trait Recorded: Message + Default {
    /// First line of a file of such messages.
    const HEADER: &'static str;
}

/// A piece of a recorded connection.
#[derive(Clone, PartialEq, Message)]
pub struct Chunk {
    /// Nanoseconds since the recording began, monotonic clock.
    #[prost(int64, tag = "1")]
    pub offset_ns: i64,
    /// Number of the connection, from 1 in order of acceptance.
    #[prost(int64, tag = "2")]
    pub connection: i64,
    /// What happened.
    #[prost(enumeration = "ChunkKind", tag = "3")]
    pub kind: i32,
    /// The bytes, for requests and responses.
    #[prost(bytes = "bytes", tag = "4")]
    pub bytes: bytes::Bytes,
}

/// What a [`Chunk`] stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum ChunkKind {
    /// Never written.
    Unspecified = 0,
    /// The connection was accepted.
    Open = 1,
    /// Bytes from kube-apiserver.
    Request = 2,
    /// Bytes from etcd.
    Response = 3,
    /// kube-apiserver closed its direction.
    RequestEnd = 4,
    /// etcd closed its direction.
    ResponseEnd = 5,
    /// The connection is gone.
    Close = 6,
}

impl Recorded for Chunk {
    const HEADER: &'static str = "cascade connections 1\n";
}

/// A mutating call, or a lease expiry told as the call that has the same effect.
#[derive(Clone, PartialEq, Message)]
pub struct RecordedCall {
    /// When the request was seen, nanoseconds since the recording began.
    #[prost(int64, tag = "1")]
    pub offset_ns: i64,
    /// Number of the connection it came on; 0 for what no client asked for.
    #[prost(int64, tag = "2")]
    pub connection: i64,
    /// gRPC method, `/package.Service/Method`.
    #[prost(string, tag = "3")]
    pub method: String,
    /// The request message as it is to be sent.
    #[prost(bytes = "bytes", tag = "4")]
    pub request: bytes::Bytes,
    /// `header.revision` of the answer: of the commit, or current when nothing was written.
    #[prost(int64, tag = "5")]
    pub revision: i64,
    /// Whether the call made that revision.
    #[prost(bool, tag = "6")]
    pub committed: bool,
    /// `traceparent` of the call; empty without one.
    #[prost(string, tag = "7")]
    pub traceparent: String,
    /// `baggage` of the call; empty without one.
    #[prost(string, tag = "8")]
    pub baggage: String,
    /// Whether this stands for the expiry of a lease.
    #[prost(bool, tag = "9")]
    pub lease_expiry: bool,
}

impl Recorded for RecordedCall {
    const HEADER: &'static str = "cascade calls 1\n";
}

/// Writes messages to a recording.
#[allow(missing_debug_implementations)] // the encoder has no Debug
pub struct RecordingWriter<M> {
    path: PathBuf,
    encoder: zstd::Encoder<'static, File>,
    message: PhantomData<M>,
}

impl<M: Recorded> RecordingWriter<M> {
    /// Creates the file, replacing an older one.
    ///
    /// # Errors
    /// [`RecordingError::Io`] when the file cannot be written.
    pub fn create(path: &Path) -> Result<Self, RecordingError> {
        let io_error = |source| RecordingError::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::create(path).map_err(io_error)?;
        let mut encoder = zstd::Encoder::new(file, COMPRESSION_LEVEL).map_err(io_error)?;
        encoder.write_all(M::HEADER.as_bytes()).map_err(io_error)?;
        Ok(Self {
            path: path.to_owned(),
            encoder,
            message: PhantomData,
        })
    }

    /// Adds a message.
    ///
    /// # Errors
    /// [`RecordingError::Io`] when the file cannot be written.
    pub fn write(&mut self, message: &M) -> Result<(), RecordingError> {
        self.encoder
            .write_all(&message.encode_length_delimited_to_vec())
            .map_err(|source| RecordingError::Io {
                path: self.path.clone(),
                source,
            })
    }

    /// Ends the file; without this it is cut short.
    ///
    /// # Errors
    /// [`RecordingError::Io`] when the file cannot be written.
    pub fn finish(self) -> Result<(), RecordingError> {
        let Self { path, encoder, .. } = self;
        let file = encoder.finish().map_err(|source| RecordingError::Io {
            path: path.clone(),
            source,
        })?;
        file.sync_all()
            .map_err(|source| RecordingError::Io { path, source })
    }
}

/// Reads the messages of a recording in order.
#[allow(missing_debug_implementations)] // the decoder has no Debug
pub struct RecordingReader<M> {
    path: PathBuf,
    decoder: BufReader<zstd::Decoder<'static, BufReader<File>>>,
    index: u64,
    message: PhantomData<M>,
}

impl<M: Recorded> RecordingReader<M> {
    /// Opens the file and checks its kind.
    ///
    /// # Errors
    /// [`RecordingError::Io`] when the file cannot be read, [`RecordingError::Kind`] when it is
    /// something else.
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        let io_error = |source| RecordingError::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(io_error)?;
        let mut decoder = BufReader::new(zstd::Decoder::new(file).map_err(io_error)?);
        let mut header = vec![0; M::HEADER.len()];
        match decoder.read_exact(&mut header) {
            Ok(()) if header == M::HEADER.as_bytes() => {}
            Err(source) if source.kind() != io::ErrorKind::UnexpectedEof => {
                // Whatever zstd cannot read is no recording.
                return Err(RecordingError::Kind {
                    path: path.to_owned(),
                    expected: M::HEADER.trim_end(),
                    found: source.to_string(),
                });
            }
            _ => {
                return Err(RecordingError::Kind {
                    path: path.to_owned(),
                    expected: M::HEADER.trim_end(),
                    found: String::from_utf8_lossy(&header).into_owned(),
                });
            }
        }
        Ok(Self {
            path: path.to_owned(),
            decoder,
            index: 0,
            message: PhantomData,
        })
    }

    fn damaged(&self, detail: impl ToString) -> RecordingError {
        RecordingError::Damaged {
            path: self.path.clone(),
            index: self.index,
            detail: detail.to_string(),
        }
    }

    /// Length of the next message; `None` at the end of the file.
    fn read_length(&mut self) -> Result<Option<usize>, RecordingError> {
        let mut length = 0_u64;
        for shift in (0..64).step_by(7) {
            let mut byte = [0_u8];
            match self.decoder.read(&mut byte) {
                Ok(0) if shift == 0 => return Ok(None),
                Ok(0) => return Err(self.damaged("the file ends inside a length")),
                Ok(_) => {}
                Err(error) => return Err(self.damaged(error)),
            }
            length |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] & 0x80 == 0 {
                return match usize::try_from(length) {
                    Ok(length) if length <= MAX_MESSAGE_BYTES => Ok(Some(length)),
                    _ => Err(self.damaged(format!("length {length} is beyond all reason"))),
                };
            }
        }
        Err(self.damaged("the length does not end"))
    }

    fn read_message(&mut self) -> Result<Option<M>, RecordingError> {
        let Some(length) = self.read_length()? else {
            return Ok(None);
        };
        let mut bytes = vec![0; length];
        self.decoder
            .read_exact(&mut bytes)
            .map_err(|error| self.damaged(error))?;
        let message = M::decode(bytes::Bytes::from(bytes)).map_err(|error| self.damaged(error))?;
        self.index += 1;
        Ok(Some(message))
    }
}

impl<M: Recorded> Iterator for RecordingReader<M> {
    type Item = Result<M, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read_message().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(revision: i64) -> RecordedCall {
        RecordedCall {
            revision,
            method: "/etcdserverpb.KV/Txn".to_owned(),
            request: bytes::Bytes::from(vec![0; 300]),
            ..RecordedCall::default()
        }
    }

    fn write(path: &Path, calls: &[RecordedCall]) {
        let mut writer = RecordingWriter::create(path).unwrap();
        for call in calls {
            writer.write(call).unwrap();
        }
        writer.finish().unwrap();
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calls");
        let calls: Vec<_> = (2..40).map(call).collect();
        write(&path, &calls);
        let read: Result<Vec<_>, _> = RecordingReader::<RecordedCall>::open(&path)
            .unwrap()
            .collect();
        assert_eq!(read.unwrap(), calls);
    }

    #[test]
    fn another_kind_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calls");
        write(&path, &[call(2)]);
        let error = RecordingReader::<Chunk>::open(&path)
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.contains("not a recording of cascade connections 1"),
            "{error}"
        );
        std::fs::write(&path, "plain text, no zstd").unwrap();
        let error = RecordingReader::<Chunk>::open(&path)
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("not a recording"), "{error}");
    }

    #[test]
    fn a_cut_file_is_an_error_that_says_where() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calls");
        let mut encoder = zstd::Encoder::new(File::create(&path).unwrap(), 1).unwrap();
        encoder.write_all(RecordedCall::HEADER.as_bytes()).unwrap();
        encoder
            .write_all(&call(2).encode_length_delimited_to_vec())
            .unwrap();
        encoder
            .write_all(&call(3).encode_length_delimited_to_vec()[..50])
            .unwrap();
        encoder.finish().unwrap();
        let mut reader = RecordingReader::<RecordedCall>::open(&path).unwrap();
        assert_eq!(reader.next().unwrap().unwrap(), call(2));
        let error = reader.next().unwrap().unwrap_err().to_string();
        assert!(error.contains("message 1 is damaged"), "{error}");
    }
}
