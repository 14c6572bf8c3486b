//! Whether there is an etcd at all: asked once, at the start, when somebody still watches.

use std::io;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep, timeout};

use super::RunError;
use crate::relay::Upstream;

/// Time between two rounds.
const PAUSE: Duration = Duration::from_millis(200);

/// Waits until one of `members` accepts a connection; warns of those that did not.
///
/// # Errors
/// [`RunError::Unreachable`] when none does within `patience`.
pub(super) async fn reach(
    members: &[Upstream],
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
                tracing::warn!(etcd = %member.url(), %error, "cannot reach a member of etcd");
            }
            return Ok(());
        }
        let Some((_, source)) = failures.into_iter().next_back() else {
            // There are no members to reach.
            return Ok(());
        };
        if Instant::now() + PAUSE >= deadline {
            let members: Vec<_> = members.iter().map(Upstream::url).collect();
            return Err(RunError::Unreachable {
                members: members.join(", "),
                flag,
                source,
            });
        }
        sleep(PAUSE).await;
    }
}

/// The failure of an attempt to connect, if it failed.
async fn attempt(member: &Upstream, patience: Duration) -> Option<(&Upstream, io::Error)> {
    match timeout(patience, member.connect()).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some((member, error)),
        Err(_) => Some((member, io::ErrorKind::TimedOut.into())),
    }
}
