//! Gives events the values that they replace, from memory or from etcd.

use cascade_proto::wire::etcd::Event;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};

use super::connection::{CallError, Connection};
use super::context::Context;
use super::error::Interruption;
use super::previous::{PreviousValues, Replaced};

/// Values that are read from etcd at the same time.
const READS_AT_ONCE: usize = 16;

/// Gives each event, in the order of the watch, the value that it replaces; none where etcd does not have that any more.
/// Returns how many bytes of keys and values were read from etcd for it.
///
/// # Errors
/// [`Interruption`] when etcd does not answer, or the ledger is to end.
pub(super) async fn add_replaced(
    events: impl Iterator<Item = &mut Event>,
    previous: &mut PreviousValues,
    connection: &Connection,
    context: &Context,
) -> Result<usize, Interruption> {
    let mut unknown = Vec::new();
    for event in events {
        match previous.replaced_by(event) {
            Replaced::Nothing => {}
            Replaced::Value(value) => event.prev_kv = Some(value),
            Replaced::Unknown => unknown.push(event),
        }
    }
    context.metrics.remembers(previous.bytes());
    if unknown.is_empty() {
        return Ok(0);
    }
    context.metrics.previous_reads.inc_by(unknown.len() as u64);
    let reads = unknown.into_iter();
    let reads: Vec<_> = reads
        .map(|event| read_replaced(event, connection.clone()).boxed())
        .collect();
    let reads = stream::iter(reads)
        .buffer_unordered(READS_AT_ONCE)
        .try_fold(0, |sum, bytes| async move { Ok(sum + bytes) });
    if context.shutdown.is_cancelled() {
        // These are the last changes; who asked for them waits for a while.
        return Ok(reads.await?);
    }
    tokio::select! {
        bytes = reads => Ok(bytes?),
        () = context.shutdown.cancelled() => Err(Interruption::Shutdown),
    }
}

async fn read_replaced(event: &mut Event, mut connection: Connection) -> Result<usize, CallError> {
    let Some(kv) = &event.kv else { return Ok(0) };
    event.prev_kv = connection.value_before(&kv.key, kv.mod_revision).await?;
    let read = event.prev_kv.as_ref();
    Ok(read.map_or(0, |kv| kv.key.len() + kv.value.len()))
}
