//! TCP and Unix sockets.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// After this long a silent peer is probed, and then again as often: the values of Go's `net`
/// package, which etcd and kube-apiserver use towards each other.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 9;

/// A connected socket.
#[derive(Debug)]
pub enum Socket {
    /// Over TCP.
    Tcp(TcpStream),
    /// Within this host.
    Unix(UnixStream),
}

impl Socket {
    /// Sets what both sides of a TCP connection need: no delay of small segments, and probes that
    /// find a dead peer.
    ///
    /// # Errors
    /// The connection is gone already.
    pub(super) fn from_tcp(stream: TcpStream) -> Result<Self, io::Error> {
        stream.set_nodelay(true)?;
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE)
            .with_interval(KEEPALIVE)
            .with_retries(KEEPALIVE_PROBES);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
        Ok(Self::Tcp(stream))
    }

    /// Asks that closing the socket resets the connection, where there is such a thing.
    pub fn reset_on_close(&self) {
        let Self::Tcp(stream) = self else {
            return;
        };
        if let Err(error) = stream.set_zero_linger() {
            tracing::debug!(%error, "cannot reset a connection; it is closed instead");
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, buffers),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(context, buffers),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

/// A socket on its way from the thread that accepted it to the one that will use it.
#[derive(Debug)]
pub enum AcceptedSocket {
    /// Over TCP.
    Tcp(std::net::TcpStream),
    /// Within this host.
    Unix(std::os::unix::net::UnixStream),
}

impl AcceptedSocket {
    /// The socket for use on the runtime of this thread.
    ///
    /// # Errors
    /// The connection is gone already.
    pub fn into_socket(self) -> Result<Socket, io::Error> {
        match self {
            Self::Tcp(stream) => Socket::from_tcp(TcpStream::from_std(stream)?),
            Self::Unix(stream) => Ok(Socket::Unix(UnixStream::from_std(stream)?)),
        }
    }
}
