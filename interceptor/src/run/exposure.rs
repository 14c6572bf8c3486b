//! Who gets in: the interceptor holds etcd's client key, and whoever gets through it has the rights
//! of that key, which are all there are.

use std::net::IpAddr;

use super::address::{Listen, ListenPlace};
use super::{Route, RunError, TlsLegs};
use crate::tls::{ClientTls, ServerTls};

/// The flag that lets anyone in.
const FLAG: &str = "--insecure-no-client-auth";

/// TLS of a listener; `None` if it takes plain text.
///
/// # Errors
/// [`RunError::Exposed`] when TLS is asked for, and there is no certificate.
pub(super) fn listener_tls<'a>(
    listen: &Listen,
    tls: &'a TlsLegs,
) -> Result<Option<&'a ServerTls>, RunError> {
    match (listen.tls, &tls.clients) {
        (Some(true), None) => Err(RunError::Exposed(format!(
            "{listen} needs a certificate: give --cert FILE and --key FILE"
        ))),
        (Some(false), _) => Ok(None),
        (_, clients) => Ok(clients.as_ref()),
    }
}

/// Refuses a route that would give strangers the rights of the interceptor. `is_local`: whether
/// only processes of this host can connect, if that is known.
///
/// # Errors
/// [`RunError::Exposed`], which says what to do.
pub(super) fn check(route: &Route, is_local: Option<bool>, tls: &TlsLegs) -> Result<(), RunError> {
    let Route { listen, etcd } = route;
    if tls.admit_anyone {
        return Ok(());
    }
    match listener_tls(listen, tls)? {
        Some(clients) if clients.authenticates_clients() => Ok(()),
        Some(_) => Err(RunError::Exposed(format!(
            "{listen} would admit every client to etcd: give --client-ca FILE, the CA of \
             kube-apiserver's client certificate (or {FLAG}, if everybody who can connect may do \
             everything with etcd)"
        ))),
        None if holds_a_key(route, tls) && is_local == Some(false) => {
            Err(RunError::Exposed(format!(
                "{listen} takes plain text from other hosts and passes it to {etcd} with the \
                 rights of --etcd-cert: give --cert, --key and --client-ca, or listen on 127.0.0.1 \
                 or at a Unix socket (or {FLAG}, if everybody who can connect may do everything \
                 with etcd)"
            )))
        }
        None => Ok(()),
    }
}

/// Warns of what is allowed and still may surprise.
///
/// # Errors
/// See [`listener_tls`].
pub(super) fn warn(route: &Route, tls: &TlsLegs) -> Result<(), RunError> {
    let Route { listen, etcd } = route;
    let clients = listener_tls(listen, tls)?;
    match clients {
        Some(clients) if !clients.authenticates_clients() => tracing::warn!(
            %listen,
            "every client that can connect may do everything with etcd ({FLAG})"
        ),
        None if holds_a_key(route, tls) => tracing::warn!(
            %listen,
            %etcd,
            "plain text on one leg: every process that can connect has the rights of --etcd-cert"
        ),
        None if etcd.uses_tls() => tracing::warn!(%listen, %etcd, "plain text on one leg"),
        Some(_) if !etcd.uses_tls() => tracing::warn!(%listen, %etcd, "plain text on one leg"),
        _ => {}
    }
    if let (Some(clients), Some(host)) = (clients, listen.host())
        && !is_any(listen)
        && clients.is_for(host) == Some(false)
    {
        tracing::warn!(
            %listen,
            "the certificate given with --cert does not hold this host; clients that connect to it \
             by this name will refuse it"
        );
    }
    Ok(())
}

/// Whether etcd is shown a certificate on this route.
fn holds_a_key(route: &Route, tls: &TlsLegs) -> bool {
    route.etcd.uses_tls() && tls.etcd.as_ref().is_some_and(ClientTls::has_identity)
}

/// Whether a place is all addresses of the host, which no client connects to by that name.
fn is_any(listen: &Listen) -> bool {
    match &listen.place {
        ListenPlace::Tcp(address) => address
            .host()
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_unspecified()),
        ListenPlace::Unix(_) | ListenPlace::Inherited(_) => true,
    }
}
