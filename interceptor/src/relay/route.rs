//! Where a listener's connections go, and how they get there.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::timeout;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, Ended};
use super::server::Shared;
use super::tap::GuardedTap;
use super::{Ending, RelayMetrics, RelayStream};
use crate::complaints::Complaints;
use crate::tls::{self, Alpn, HandshakeError, ServerTls};
use crate::transport::{ConnectError, Dialer, Listener, Peeked, PeerAddress, Socket};

/// How every HTTP/2 connection begins, as far as it must be seen to be sure (RFC 9113, 3.4).
const HTTP2_BEGIN: &[u8] = b"PRI * HTTP/2";

/// How long a client without TLS may take to say what it speaks, if etcd must be told.
const FIRST_BYTES: Duration = Duration::from_secs(10);

/// A listener, and where its connections go.
#[derive(Debug)]
pub struct RelayRoute {
    /// Where clients connect.
    pub listener: Listener,
    /// How clients are admitted; `None` takes plain text.
    pub tls: Option<ServerTls>,
    /// The way to the etcd member.
    pub etcd: Dialer,
}

/// A [`RelayRoute`] at work, without its listener.
pub(super) struct Route {
    tls: Option<ServerTls>,
    etcd: Dialer,
    /// Why the last attempt to connect failed, if it did; said once, not for every client that
    /// tries again.
    unreachable: Mutex<Option<&'static str>>,
    complaints: Complaints,
}

impl Route {
    pub(super) fn new(route: RelayRoute) -> (Listener, Self) {
        let RelayRoute {
            listener,
            tls,
            etcd,
        } = route;
        let route = Self {
            tls,
            etcd,
            unreachable: Mutex::new(None),
            complaints: Complaints::default(),
        };
        (listener, route)
    }

    /// Runs one connection from its first byte to its end.
    pub(super) async fn run(
        &self,
        socket: Socket,
        peer: PeerAddress,
        number: i64,
        shared: &Shared,
        shutdown: &CancellationToken,
    ) {
        let relaying = Relaying {
            route: self,
            number,
            shared,
            shutdown,
        };
        match &self.tls {
            Some(tls) => {
                let admitted = tokio::select! {
                    admitted = tls.accept(socket) => admitted,
                    () = shutdown.cancelled() => return,
                };
                match admitted {
                    Ok(client) => {
                        let alpn = tls::agreed(&client);
                        relaying.connect(client, alpn).await;
                    }
                    Err(error) => self.complain_of_client(&error, peer, &shared.metrics),
                }
            }
            None if self.etcd.uses_tls() => {
                let looked = tokio::select! {
                    looked = timeout(FIRST_BYTES, Peeked::begins_with(socket, HTTP2_BEGIN)) => looked,
                    () = shutdown.cancelled() => return,
                };
                match looked {
                    Ok(Ok((client, true))) => relaying.connect(client, Alpn::H2).await,
                    Ok(Ok((client, false))) => relaying.connect(client, Alpn::None).await,
                    Ok(Err(error)) => {
                        let error = HandshakeError::Lost(error);
                        self.complain_of_client(&error, peer, &shared.metrics);
                    }
                    Err(_) => {
                        let error = HandshakeError::Timeout(FIRST_BYTES);
                        self.complain_of_client(&error, peer, &shared.metrics);
                    }
                }
            }
            None => relaying.connect(socket, Alpn::None).await,
        }
    }

    fn complain_of_client(
        &self,
        error: &HandshakeError,
        peer: PeerAddress,
        metrics: &RelayMetrics,
    ) {
        let reason = error.label();
        metrics.count_handshake_failure(reason);
        // Port scanners, load balancers and browsers' second thoughts: nothing to do about them.
        if matches!(error, HandshakeError::Lost(_)) {
            tracing::debug!(%peer, reason, %error, "a client went away before it was admitted");
            return;
        }
        if let Some(left_out) = self.complaints.due(reason, Instant::now()) {
            tracing::warn!(
                %peer,
                reason,
                %error,
                left_out,
                "a client was not admitted; {}",
                tls::advice_about_client(reason)
            );
        }
    }

    fn complain_of_etcd(&self, error: &ConnectError, metrics: &RelayMetrics) {
        let reason = error.label();
        metrics.count_connect_failure(reason);
        let mut unreachable = self
            .unreachable
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if unreachable.replace(reason) != Some(reason) {
            tracing::warn!(
                etcd = %self.etcd.upstream(),
                reason,
                %error,
                "cannot connect to etcd; clients' connections are reset until that is possible; {}",
                tls::advice_about_etcd(reason)
            );
        }
    }

    /// With TLS 1.3 a server refuses a client only after the client takes the handshake for done.
    fn complain_of_refusal(&self, error: &io::Error, metrics: &RelayMetrics) {
        let Some(refusal) = tls::tls_error(error).filter(|error| tls::is_refusal(error)) else {
            return;
        };
        let reason = tls::label(refusal);
        metrics.count_connect_failure(reason);
        if let Some(left_out) = self.complaints.due("etcd_refuses", Instant::now()) {
            tracing::warn!(
                etcd = %self.etcd.upstream(),
                reason,
                error = %refusal,
                left_out,
                "etcd ended a connection just made; {}",
                tls::advice_about_etcd(reason)
            );
        }
    }

    fn note_reachable(&self) {
        let mut unreachable = self
            .unreachable
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if unreachable.take().is_some() {
            tracing::info!(etcd = %self.etcd.upstream(), "etcd can be reached again");
        }
    }
}

/// A connection on its way.
struct Relaying<'a> {
    route: &'a Route,
    number: i64,
    shared: &'a Shared,
    shutdown: &'a CancellationToken,
}

impl Relaying<'_> {
    /// Connects to etcd, and relays until the end.
    async fn connect<D: RelayStream>(self, client: D, alpn: Alpn) {
        let connecting = tokio::select! {
            connected = self.route.etcd.connect(alpn) => connected,
            () = self.shutdown.cancelled() => return,
        };
        match connecting {
            Ok(etcd) => {
                self.route.note_reachable();
                match etcd {
                    Either::Left(etcd) => self.relay(client, etcd).await,
                    Either::Right(etcd) => self.relay(client, etcd).await,
                }
            }
            Err(error) => {
                self.route.complain_of_etcd(&error, &self.shared.metrics);
                client.reset_on_close();
            }
        }
    }

    async fn relay<D: RelayStream, U: RelayStream>(self, client: D, etcd: U) {
        let Shared {
            observe,
            metrics,
            patience,
        } = self.shared;
        let tap = GuardedTap::new(self.number, observe.clone(), metrics.clone());
        let open = OpenConnection::new(metrics);
        let connection = Connection::new(client, etcd, tap, metrics.clone(), *patience);
        let Ended { ending, error } = connection.run(self.shutdown).await;
        drop(open);
        metrics.count_ending(ending);
        tracing::debug!(connection = self.number, ending = ending.label(), "ended");
        if let (Ending::ServerLost, Some(error)) = (ending, error) {
            self.route.complain_of_refusal(&error, metrics);
        }
    }
}

/// Counts a connection as open, for as long as it exists.
struct OpenConnection<'a>(&'a RelayMetrics);

impl<'a> OpenConnection<'a> {
    fn new(metrics: &'a RelayMetrics) -> Self {
        metrics.open.inc();
        Self(metrics)
    }
}

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.0.open.dec();
    }
}
