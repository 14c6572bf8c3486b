//! Keeps long computations away from the threads that relay traffic.

use super::error::LedgerError;

/// Input size from which a computation is moved to another thread, bytes. Decoding takes about a
/// millisecond for this much; moving it costs some microseconds.
const LARGE: usize = 64 << 10;

/// Computes `work` here when its input is small, and on a thread for blocking work otherwise.
///
/// # Errors
/// [`LedgerError::Runtime`] when the runtime is shutting down, or `work` panicked.
pub(super) async fn off_the_runtime<T: Send + 'static>(
    input_bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, LedgerError> {
    if input_bytes < LARGE {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| LedgerError::Runtime(error.to_string()))
}
