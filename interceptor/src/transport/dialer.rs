//! The way to an etcd member.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Socket, Upstream};
use crate::tls::{Alpn, ClientTls, HandshakeError, TlsClientStream, TlsError};

/// Connects to one etcd member, through TLS if it speaks that.
#[derive(Debug, Clone)]
pub struct Dialer {
    upstream: Upstream,
    tls: Option<(ClientTls, ServerName<'static>)>,
}

impl Dialer {
    /// A way to `upstream`; `tls` is used if its URL asks for TLS.
    ///
    /// # Errors
    /// The URL asks for TLS and `tls` is not there, or a certificate cannot hold the host's name.
    pub fn new(upstream: Upstream, tls: Option<&ClientTls>) -> Result<Self, TlsError> {
        let tls = match (upstream.uses_tls(), tls) {
            (false, _) => None,
            (true, None) => return Err(TlsError::NoAuthority(upstream.url())),
            (true, Some(tls)) => Some((tls.clone(), tls.name_of(upstream.host())?)),
        };
        Ok(Self { upstream, tls })
    }

    /// Where it leads.
    #[must_use]
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// Whether it leads through TLS.
    #[must_use]
    pub fn uses_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Connects. With TLS, `alpn` is what is offered, and etcd must agree to it.
    ///
    /// # Errors
    /// The member cannot be reached, or there is no understanding about TLS.
    pub async fn connect(&self, alpn: Alpn) -> Result<EtcdStream, ConnectError> {
        let socket = self.upstream.connect().await?;
        match &self.tls {
            None => Ok(EtcdStream::Plain(socket)),
            Some((tls, name)) => {
                let stream = tls.connect(socket, name.clone(), alpn).await?;
                Ok(EtcdStream::Tls(stream))
            }
        }
    }
}

/// Why there is no connection to a member.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// It cannot be reached.
    #[error(transparent)]
    Socket(#[from] io::Error),
    /// It was reached, but not through TLS.
    #[error("TLS: {0}")]
    Handshake(#[from] HandshakeError),
}

impl ConnectError {
    /// Value of the label `reason`.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Socket(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused => "refused",
                io::ErrorKind::TimedOut => "timeout",
                _ => "unreachable",
            },
            Self::Handshake(error) => error.label(),
        }
    }
}

/// A connection to etcd.
#[derive(Debug)]
pub enum EtcdStream {
    /// Without TLS.
    Plain(Socket),
    /// With TLS.
    Tls(TlsClientStream<Socket>),
}

impl AsyncRead for EtcdStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for EtcdStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, buffers),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, buffers),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
