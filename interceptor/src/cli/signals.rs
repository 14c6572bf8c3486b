//! Signals of an administrator.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

/// Ready when the program is asked to end by SIGTERM or SIGINT. Until then, SIGHUP notifies `reload`.
///
/// # Errors
/// A handler cannot be installed.
pub(super) fn shutdown(reload: Arc<Notify>) -> Result<impl Future<Output = ()>, io::Error> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    Ok(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => break tracing::info!(signal = "SIGTERM", "asked to end"),
                _ = interrupt.recv() => break tracing::info!(signal = "SIGINT", "asked to end"),
                _ = hang_up.recv() => {
                    tracing::info!(signal = "SIGHUP", "asked to reload certificates");
                    reload.notify_one();
                }
            }
        }
    })
}
