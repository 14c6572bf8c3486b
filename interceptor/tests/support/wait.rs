//! Waiting for a condition instead of sleeping and hoping.

use std::future::Future;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

/// How long a test waits for something that must happen before it calls it a failure. Long, since
/// it only ends tests that would otherwise hang: machines that run tests are slow and shared.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Time between two looks.
const INTERVAL: Duration = Duration::from_millis(10);

/// Asks `probe` again and again until it has a value, and returns it.
///
/// # Panics
/// After [`PATIENCE`], naming `what` was waited for.
pub(crate) async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        assert!(
            Instant::now() < deadline,
            "waited {PATIENCE:?} in vain: {what}"
        );
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Waits for `future`.
///
/// # Panics
/// After [`PATIENCE`], naming `what` was waited for.
pub(crate) async fn within_patience<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE:?} in vain: {what}"),
    }
}

/// Waits for the end of a process that was told to end.
///
/// # Panics
/// After [`PATIENCE`], with what the system says about the process, which is killed.
pub(crate) fn end_of(child: &mut Child, what: &str) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().expect("the state of a child") {
            return status;
        }
        if Instant::now() >= deadline {
            let about = |file: &str| {
                std::fs::read_to_string(format!("/proc/{}/{file}", child.id())).unwrap_or_default()
            };
            let (status, waits_in) = (about("status"), about("wchan"));
            let _ = child.kill();
            panic!(
                "waited {PATIENCE:?} in vain for the end of {what}, which waits in {waits_in}:\n{status}"
            );
        }
        std::thread::sleep(INTERVAL);
    }
}
