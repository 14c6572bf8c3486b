//! What etcd itself says happened: an independent watch of the whole keyspace.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, bail};
use etcd_client::{Client, EventType, WatchOptions};
use tokio_util::sync::CancellationToken;

/// One revision as etcd's watch told it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revision {
    /// When its first event arrived, nanoseconds since the recording began.
    pub offset_ns: i64,
    /// Number of keys that were written or deleted.
    pub keys: usize,
    /// Leases of the deleted keys, where they had one.
    pub deleted_leases: Vec<i64>,
}

/// Watches everything from revision 1 until `shutdown`, then reads on to the revision that etcd
/// was at.
///
/// # Errors
/// When etcd cannot be reached, ends the watch, or has already compacted the first revisions.
pub async fn watch_all(
    endpoint: &str,
    begun: Instant,
    shutdown: CancellationToken,
) -> anyhow::Result<BTreeMap<i64, Revision>> {
    let mut client = Client::connect([endpoint], None)
        .await
        .with_context(|| format!("cannot connect to {endpoint}"))?;
    let options = WatchOptions::new()
        .with_range("\0")
        .with_prev_key()
        .with_start_revision(1);
    let mut stream = client.watch("\0", Some(options)).await?;

    let mut revisions = BTreeMap::<i64, Revision>::new();
    let mut last_needed = None;
    loop {
        if let Some(last) = last_needed
            && revisions
                .last_key_value()
                .is_some_and(|(revision, _)| *revision >= last)
        {
            return Ok(revisions);
        }
        let answer = tokio::select! {
            answer = stream.message() => answer?.context("etcd ended the watch")?,
            () = shutdown.cancelled(), if last_needed.is_none() => {
                let now = client.get("\0", None).await?;
                last_needed = now.header().map(|header| header.revision());
                if last_needed == Some(1) {
                    return Ok(revisions);
                }
                continue;
            }
        };
        if answer.canceled() {
            bail!("etcd cancelled the watch: {}", answer.cancel_reason());
        }
        for event in answer.events() {
            let Some(kv) = event.kv() else { continue };
            let revision = revisions
                .entry(kv.mod_revision())
                .or_insert_with(|| Revision {
                    offset_ns: i64::try_from(begun.elapsed().as_nanos()).unwrap_or(i64::MAX),
                    ..Revision::default()
                });
            revision.keys += 1;
            if event.event_type() == EventType::Delete
                && let Some(previous) = event.prev_kv()
                && previous.lease() != 0
            {
                revision.deleted_leases.push(previous.lease());
            }
        }
    }
}
