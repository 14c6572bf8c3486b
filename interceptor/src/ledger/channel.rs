//! The ledger's connection to an etcd member, made like those of the relay.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use tonic::codegen::Service;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};

use super::config::ConnectSettings;
use crate::tls::{Alpn, TlsError};
use crate::transport::{ConnectError, Dialer, EtcdStream, Upstream, UpstreamError};

/// Bytes that etcd may send ahead of what the ledger has taken. A watch that is not read costs etcd more than one that is:
/// it falls back to reading what the watch missed from its store. So a burst is taken over and decoded when there is time.
const RECEIVE_WINDOW: u32 = 16 << 20;

/// Why there can be no connection to an endpoint, ever.
#[derive(Debug, thiserror::Error)]
pub(super) enum EndpointError {
    /// It is not a URL of a member.
    #[error(transparent)]
    Url(#[from] UpstreamError),
    /// TLS is asked for, and not set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// HTTP has no name for it.
    #[error("{0}")]
    Authority(#[from] tonic::transport::Error),
}

impl ConnectSettings {
    /// The way to the member at a URL.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub(super) fn dialer(&self, endpoint: &str) -> Result<Dialer, EndpointError> {
        let upstream: Upstream = endpoint.parse()?;
        Ok(Dialer::new(upstream, self.tls.as_ref())?)
    }

    /// A channel to the member at a URL. It connects when it is first used.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub(super) fn channel(&self, endpoint: &str) -> Result<Channel, EndpointError> {
        let dialer = self.dialer(endpoint)?;
        let authority = dialer.upstream().authority();
        // The scheme stays `http`: TLS is the connector's, and tonic adds its own otherwise.
        let endpoint = Endpoint::from_shared(format!("http://{authority}"))?
            .connect_timeout(self.connect_timeout)
            .http2_keep_alive_interval(self.keep_alive_interval)
            .keep_alive_timeout(self.keep_alive_timeout)
            .initial_stream_window_size(RECEIVE_WINDOW)
            .initial_connection_window_size(RECEIVE_WINDOW)
            // etcd objects to probes on connections without a call under way.
            .keep_alive_while_idle(false);
        Ok(endpoint.connect_with_connector_lazy(Connector(dialer)))
    }
}

/// Connects for tonic.
struct Connector(Dialer);

impl Service<Uri> for Connector {
    type Response = TokioIo<EtcdStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, io::Error>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        let dialer = self.0.clone();
        Box::pin(async move {
            match dialer.connect(Alpn::H2).await {
                Ok(stream) => Ok(TokioIo::new(stream)),
                Err(ConnectError::Socket(error)) => Err(error),
                Err(error) => Err(io::Error::other(error)),
            }
        })
    }
}
