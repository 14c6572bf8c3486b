//! Watches: every connection is told of every write.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use etcd_client::{Client, WatchOptions, WatchStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::update::{Written, write};
use super::{LoadOptions, Period};

/// How long after a transaction was sent each watch had its event.
pub(super) async fn run(
    clients: &[Client],
    prefix: &str,
    options: &LoadOptions,
) -> anyhow::Result<Vec<Duration>> {
    // The last revision of the run, once it is known.
    let (last, until) = watch::channel(i64::MAX);
    let mut watches = JoinSet::new();
    for client in clients {
        let mut client = client.clone();
        let watched = WatchOptions::new().with_prefix();
        let stream = client.watch(prefix, Some(watched)).await?;
        watches.spawn(observe(stream, until.clone()));
    }
    let period = Period::of(options);
    let written = write(clients, prefix, options, period).await?;
    let sent: HashMap<i64, Instant> = written
        .iter()
        .map(|Written { revision, sent, .. }| (*revision, *sent))
        .collect();
    let newest = sent.keys().max().context("nothing was written")?;
    last.send_replace(*newest);
    let mut latencies = Vec::with_capacity(sent.len() * clients.len());
    while let Some(seen) = watches.join_next().await {
        let seen = seen.context("a watch panicked")??;
        let before = latencies.len();
        latencies.extend(
            seen.iter()
                .filter_map(|(revision, at)| Some(*at - *sent.get(revision)?)),
        );
        ensure!(
            latencies.len() - before == sent.len(),
            "a watch missed events: {} of {}",
            latencies.len() - before,
            sent.len()
        );
    }
    Ok(latencies)
}

/// Notes when each revision came, up to the one that `until` names.
async fn observe(
    mut stream: WatchStream,
    mut until: watch::Receiver<i64>,
) -> anyhow::Result<Vec<(i64, Instant)>> {
    let mut seen: Vec<(i64, Instant)> = Vec::new();
    loop {
        let newest = seen.last().map_or(0, |(revision, _)| *revision);
        if newest >= *until.borrow_and_update() {
            return Ok(seen);
        }
        let answer = tokio::select! {
            answer = stream.message() => answer?.context("the watch ended")?,
            _ = until.changed() => continue,
        };
        ensure!(!answer.canceled(), "the watch was cancelled");
        let now = Instant::now();
        let revisions = answer.events().iter().filter_map(|event| event.kv());
        seen.extend(revisions.map(|kv| (kv.mod_revision(), now)));
    }
}
