//! Writes: optimistic transactions on one key per object.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use bytes::Bytes;
use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp};
use tokio::task::JoinSet;

use super::pace::Pace;
use super::{LoadOptions, Period};

/// A transaction that was answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    /// Of the write.
    pub(super) revision: i64,
    /// When it was to be sent: at a given rate later than that if the worker had no answer yet.
    due: Instant,
    /// When it was sent.
    pub(super) sent: Instant,
    /// When it was answered.
    pub(super) answered: Instant,
}

/// How long each measured transaction took.
pub(super) async fn run(
    clients: &[Client],
    prefix: &str,
    options: &LoadOptions,
) -> anyhow::Result<Vec<Duration>> {
    let period = Period::of(options);
    let written = write(clients, prefix, options, period).await?;
    if let Some(path) = &options.written {
        list(&written, path).with_context(|| format!("cannot write {}", path.display()))?;
    }
    // From when it was due, so that waiting for a late worker is a part of the latency.
    let latency = |written: &Written| written.answered - written.due;
    Ok(written.iter().map(latency).collect())
}

/// Writes what was written to a file, a line for each: revision, sent, answered.
fn list(written: &[Written], path: &Path) -> std::io::Result<()> {
    // The same distance for all: what the clock is set by in between does not matter.
    let (instant, wall_clock) = (Instant::now(), SystemTime::now());
    let unix_nano = |moment: Instant| {
        let wall_clock = wall_clock - (instant - moment);
        let since_1970 = wall_clock.duration_since(UNIX_EPOCH).unwrap_or_default();
        since_1970.as_nanos()
    };
    let mut file = BufWriter::new(File::create(path)?);
    for one in written {
        let (sent, answered) = (unix_nano(one.sent), unix_nano(one.answered));
        writeln!(file, "{},{sent},{answered}", one.revision)?;
    }
    file.flush()
}

/// Writes until the period ends; the transactions that were sent within it.
pub(super) async fn write(
    clients: &[Client],
    prefix: &str,
    options: &LoadOptions,
    period: Period,
) -> anyhow::Result<Vec<Written>> {
    let pace = options
        .rate
        .map(|rate| Pace::new(Instant::now(), rate, options.workers))
        .transpose()?;
    let mut workers = JoinSet::new();
    for (worker, client) in (0..options.workers).zip(clients.iter().cycle()) {
        let key = format!("{prefix}worker-{worker}");
        let due = pace.map(|pace| move |number| pace.due(worker, number));
        workers.spawn(work(
            client.clone(),
            key,
            options.value.clone(),
            period,
            due,
        ));
    }
    let mut written = Vec::new();
    while let Some(done) = workers.join_next().await {
        written.extend(done.context("a worker panicked")??);
    }
    Ok(written)
}

/// Creates a key, then updates it again and again, each time based on the revision before.
async fn work(
    mut client: Client,
    key: String,
    value: Bytes,
    period: Period,
    schedule: Option<impl Fn(usize) -> Instant>,
) -> anyhow::Result<Vec<Written>> {
    let mut written = Vec::new();
    let mut revision = 0;
    for number in 0.. {
        let mut due = schedule
            .as_ref()
            .map_or_else(Instant::now, |due| due(number));
        if due.max(Instant::now()) >= period.end {
            break;
        }
        if due > Instant::now() {
            tokio::time::sleep_until(due.into()).await;
            // A timer is up to 2 ms late, for which nobody but this worker is to blame.
            due = Instant::now();
        }
        let sent = Instant::now();
        let transaction = Txn::new()
            .when([Compare::mod_revision(
                key.as_str(),
                CompareOp::Equal,
                revision,
            )])
            .and_then([TxnOp::put(key.as_str(), value.as_ref(), None)])
            .or_else([TxnOp::get(key.as_str(), None)]);
        let answer = client.txn(transaction).await?;
        ensure!(answer.succeeded(), "{key} was changed by somebody else");
        revision = answer
            .header()
            .context("an answer without a header")?
            .revision();
        if due >= period.begin {
            written.push(Written {
                revision,
                due,
                sent,
                answered: Instant::now(),
            });
        }
    }
    Ok(written)
}
