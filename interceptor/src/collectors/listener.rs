//! A TCP listener with a limit on connections: collectors must never use up the file descriptors
//! that the relay needs. With certificates its connections speak TLS.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::either::Either;
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::tls::{HandshakeError, ServerTls, TlsServerStream};

/// Pause after a failed accept, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// TLS for the connections of a listener.
#[derive(Clone)]
pub struct Encryption {
    /// Certificates as they are when a connection begins, and who is let in.
    pub tls: ServerTls,
    /// Told of connections that came to nothing.
    pub failed: Arc<dyn Fn(&HandshakeError) + Send + Sync>,
}

impl fmt::Debug for Encryption {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tls.fmt(formatter)
    }
}

/// The connections of `listener`, once they are encrypted if they are to be; while `limit` of them
/// are open, no more are accepted.
pub fn incoming(
    listener: TcpListener,
    limit: usize,
    encryption: Option<Encryption>,
) -> impl Stream<Item = io::Result<LimitedStream>> {
    accepted(listener, limit)
        .map(move |accepted| ready(accepted, encryption.clone()))
        // A client that takes its time for the handshake makes nobody wait.
        .buffer_unordered(limit)
        .filter_map(|connection| std::future::ready(connection.map(Ok)))
}

fn accepted(
    listener: TcpListener,
    limit: usize,
) -> impl Stream<Item = (TcpStream, OwnedSemaphorePermit)> {
    let room = Arc::new(Semaphore::new(limit));
    futures::stream::unfold((listener, room), |(listener, room)| async move {
        let permit = Arc::clone(&room).acquire_owned().await.ok()?;
        let stream = loop {
            match listener.accept().await {
                Ok((stream, _)) => break stream,
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a connection of a collector");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        };
        // Only makes small answers faster.
        let _ = stream.set_nodelay(true);
        Some(((stream, permit), (listener, room)))
    })
}

/// The connection, after its handshake if there is one; `None` when that failed.
async fn ready(
    (stream, permit): (TcpStream, OwnedSemaphorePermit),
    encryption: Option<Encryption>,
) -> Option<LimitedStream> {
    let info = stream.connect_info();
    let stream = match encryption {
        None => Either::Left(stream),
        Some(encryption) => match encryption.tls.accept(stream).await {
            Ok(stream) => Either::Right(stream),
            Err(error) => {
                (encryption.failed)(&error);
                return None;
            }
        },
    };
    Some(LimitedStream {
        stream,
        info,
        _permit: permit,
    })
}

/// A connection that counts against a limit until it is dropped.
#[derive(Debug)]
pub struct LimitedStream {
    stream: Either<TcpStream, TlsServerStream<TcpStream>>,
    info: TcpConnectInfo,
    _permit: OwnedSemaphorePermit,
}

impl Connected for LimitedStream {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.info.clone()
    }
}

impl AsyncRead for LimitedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for LimitedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
