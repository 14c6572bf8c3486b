//! Whether there is an etcd at all: asked once, at the start, when somebody still watches.

use std::io;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep, timeout};

use super::RunError;
use crate::tls::{self, Alpn};
use crate::transport::{ConnectError, Dialer, Upstream};

/// Time between two rounds.
const PAUSE: Duration = Duration::from_millis(200);

/// Waits until one of `members` accepts a connection, through TLS if it speaks that; warns of those
/// that did not.
///
/// # Errors
/// [`RunError::Unreachable`] when none does within `patience`.
pub(super) async fn reach(
    members: &[Dialer],
    patience: Duration,
    flag: &'static str,
) -> Result<(), RunError> {
    let deadline = Instant::now() + patience;
    loop {
        let attempts = join_all(members.iter().map(|member| attempt(member, patience))).await;
        let failures: Vec<_> = attempts.into_iter().flatten().collect();
        let reached = failures.len() < members.len();
        if reached {
            for (member, error) in failures {
                let advice = tls::advice_about_etcd(error.label());
                tracing::warn!(etcd = %member, %error, "cannot reach a member of etcd; {advice}");
            }
            return Ok(());
        }
        let Some((_, source)) = failures.into_iter().next_back() else {
            // There are no members to reach.
            return Ok(());
        };
        if Instant::now() + PAUSE >= deadline {
            let members = members.iter().map(|member| member.upstream().url());
            let members: Vec<_> = members.collect();
            return Err(RunError::Unreachable {
                members: members.join(", "),
                advice: match &source {
                    ConnectError::Socket(_) => {
                        format!("check that it runs and the URL given with {flag}")
                    }
                    ConnectError::Handshake(error) => {
                        tls::advice_about_etcd(error.label()).to_owned()
                    }
                },
                source,
            });
        }
        sleep(PAUSE).await;
    }
}

/// The failure of an attempt to connect, if it failed.
async fn attempt(member: &Dialer, patience: Duration) -> Option<(&Upstream, ConnectError)> {
    match timeout(patience, member.connect(Alpn::H2)).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some((member.upstream(), error)),
        Err(_) => {
            let error = io::Error::from(io::ErrorKind::TimedOut);
            Some((member.upstream(), error.into()))
        }
    }
}
