//! The way to an etcd member.

use std::io;

use rustls::pki_types::ServerName;
use tokio_util::either::Either;

use super::{Socket, Upstream};
use crate::tls::{Alpn, ClientTls, HandshakeError, TlsClientStream, TlsError};

/// A connection to etcd: plain text, or TLS.
pub type EtcdStream = Either<Socket, TlsClientStream<Socket>>;

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
            None => Ok(Either::Left(socket)),
            Some((tls, name)) => {
                let stream = tls.connect(socket, name.clone(), alpn).await?;
                Ok(Either::Right(stream))
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
