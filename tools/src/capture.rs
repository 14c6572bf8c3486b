//! A relay in front of etcd that keeps a copy of every byte.
//!
//! It is for making recordings, not for production: it copies, and it never sheds load.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::recording::{Chunk, ChunkKind, RecordingWriter};

/// Size of one read; a recording's chunks are at most this long.
const READ_BYTES: usize = 64 << 10;

/// Relays connections from `listener` to `etcd` until `shutdown`, and writes them to `path`.
///
/// # Errors
/// When the recording cannot be written. A connection that fails is closed on both sides.
pub async fn capture(
    listener: TcpListener,
    etcd: SocketAddr,
    path: &Path,
    begun: Instant,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let (sender, mut receiver) = mpsc::unbounded_channel::<Chunk>();
    let recorder = Recorder {
        begun,
        sender,
        connection: 0,
    };
    let mut writer = RecordingWriter::create(path)?;
    // Compression is slow work: off the relay's threads.
    let writing = tokio::task::spawn_blocking(move || {
        while let Some(chunk) = receiver.blocking_recv() {
            writer.write(&chunk)?;
        }
        writer.finish()
    });

    let connections = Arc::new(AtomicI64::new(0));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        let (downstream, _) = accepted.context("cannot accept connections")?;
        let recorder = Recorder {
            connection: connections.fetch_add(1, Ordering::Relaxed) + 1,
            ..recorder.clone()
        };
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                ended = relay(downstream, etcd, &recorder) => {
                    if let Err(error) = ended {
                        warn!(connection = recorder.connection, %error, "connection failed");
                    }
                }
                () = shutdown.cancelled() => {}
            }
            recorder.record(ChunkKind::Close, Bytes::new());
        });
    }
    drop(recorder);
    writing
        .await
        .context("the recording's writer ended early")??;
    Ok(())
}

/// Stamps what happens on one connection.
#[derive(Clone)]
struct Recorder {
    begun: Instant,
    sender: mpsc::UnboundedSender<Chunk>,
    connection: i64,
}

impl Recorder {
    fn record(&self, kind: ChunkKind, bytes: Bytes) {
        let offset_ns = i64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(i64::MAX);
        let chunk = Chunk {
            offset_ns,
            connection: self.connection,
            kind: kind.into(),
            bytes,
        };
        // The writer is gone only after an error that ends the recording anyway.
        let _ = self.sender.send(chunk);
    }
}

async fn relay(downstream: TcpStream, etcd: SocketAddr, recorder: &Recorder) -> anyhow::Result<()> {
    recorder.record(ChunkKind::Open, Bytes::new());
    let upstream = TcpStream::connect(etcd)
        .await
        .context("cannot connect to etcd")?;
    downstream.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    let (downstream_read, downstream_write) = downstream.into_split();
    let (upstream_read, upstream_write) = upstream.into_split();
    tokio::try_join!(
        copy(
            downstream_read,
            upstream_write,
            recorder,
            ChunkKind::Request,
            ChunkKind::RequestEnd
        ),
        copy(
            upstream_read,
            downstream_write,
            recorder,
            ChunkKind::Response,
            ChunkKind::ResponseEnd
        ),
    )?;
    Ok(())
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    recorder: &Recorder,
    data: ChunkKind,
    end: ChunkKind,
) -> anyhow::Result<()> {
    loop {
        let mut buffer = BytesMut::with_capacity(READ_BYTES);
        if from.read_buf(&mut buffer).await? == 0 {
            recorder.record(end, Bytes::new());
            to.shutdown().await?;
            return Ok(());
        }
        let bytes = buffer.freeze();
        // Before it is sent on: an answer must not stand in the recording before its request.
        recorder.record(data, bytes.clone());
        to.write_all(&bytes).await?;
    }
}
