//! Writes: optimistic transactions on one key per object.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp};
use tokio::task::JoinSet;

use super::{LoadOptions, Period};

/// A transaction that was answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    /// Of the write.
    pub(super) revision: i64,
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
    let latency = |written: &Written| written.answered - written.sent;
    Ok(written.iter().map(latency).collect())
}

/// Writes until the period ends; the transactions that were sent within it.
pub(super) async fn write(
    clients: &[Client],
    prefix: &str,
    options: &LoadOptions,
    period: Period,
) -> anyhow::Result<Vec<Written>> {
    let mut workers = JoinSet::new();
    for (worker, client) in (0..options.workers).zip(clients.iter().cycle()) {
        let key = format!("{prefix}worker-{worker}");
        workers.spawn(work(client.clone(), key, options.value.clone(), period));
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
) -> anyhow::Result<Vec<Written>> {
    let mut written = Vec::new();
    let mut revision = 0;
    loop {
        let sent = Instant::now();
        if sent >= period.end {
            return Ok(written);
        }
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
        if sent >= period.begin {
            written.push(Written {
                revision,
                sent,
                answered: Instant::now(),
            });
        }
    }
}
