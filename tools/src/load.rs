//! Load on an etcd in the shape that kube-apiserver gives it: optimistic transactions on one key
//! per object, closed loop.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp};
use serde::Serialize;
use tokio::task::JoinSet;

/// What load to give.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Where to send it.
    pub endpoint: String,
    /// Number of connections.
    pub connections: usize,
    /// Number of workers, spread over the connections; each has one call in flight.
    pub workers: usize,
    /// For how long to measure.
    pub duration: Duration,
    /// For how long to run before measuring.
    pub warm_up: Duration,
    /// Value to store, such as a Pod as kube-apiserver stores it.
    pub value: Bytes,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct LoadResult {
    /// Number of transactions that were answered while measuring.
    pub operations: usize,
    /// For how long was measured.
    pub seconds: f64,
    /// Operations per second.
    pub throughput: f64,
    /// Median latency in microseconds (nearest rank, as all percentiles here).
    pub p50_us: f64,
    /// 90th percentile of the latency in microseconds.
    pub p90_us: f64,
    /// 99th percentile of the latency in microseconds.
    pub p99_us: f64,
    /// Largest latency in microseconds.
    pub max_us: f64,
}

/// Gives the load and measures.
///
/// # Errors
/// When etcd cannot be reached or refuses a transaction.
pub async fn load(options: &LoadOptions) -> anyhow::Result<LoadResult> {
    ensure!(
        options.connections > 0 && options.workers > 0,
        "at least one of each is needed"
    );
    let mut clients = Vec::with_capacity(options.connections);
    for _ in 0..options.connections {
        let client = Client::connect([&options.endpoint], None)
            .await
            .with_context(|| format!("cannot connect to {}", options.endpoint))?;
        clients.push(client);
    }
    let begin = Instant::now() + options.warm_up;
    let end = begin + options.duration;
    // Keys of this run only: a run must not depend on what an earlier one left.
    let run = uuid::Uuid::now_v7();
    let mut workers = JoinSet::new();
    for worker in 0..options.workers {
        let client = clients[worker % clients.len()].clone();
        let key = format!("/registry/pods/load-{run}/worker-{worker}");
        workers.spawn(work(client, key, options.value.clone(), begin, end));
    }
    let mut latencies = Vec::new();
    while let Some(done) = workers.join_next().await {
        latencies.extend(done.context("a worker panicked")??);
    }
    summarize(latencies, options.duration)
}

/// Creates a key, then updates it again and again, each time based on the revision before.
async fn work(
    mut client: Client,
    key: String,
    value: Bytes,
    begin: Instant,
    end: Instant,
) -> anyhow::Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    let mut revision = 0;
    loop {
        let started = Instant::now();
        if started >= end {
            return Ok(latencies);
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
        if started >= begin {
            latencies.push(started.elapsed());
        }
    }
}

fn summarize(mut latencies: Vec<Duration>, duration: Duration) -> anyhow::Result<LoadResult> {
    latencies.sort_unstable();
    let operations = latencies.len();
    ensure!(
        operations > 0,
        "not one operation was answered in {duration:?}"
    );
    let microseconds = |percent: usize| {
        let rank = (operations * percent).div_ceil(100).max(1);
        latencies[rank - 1].as_secs_f64() * 1e6
    };
    Ok(LoadResult {
        operations,
        seconds: duration.as_secs_f64(),
        #[allow(clippy::cast_precision_loss)] // far below 2^53
        throughput: operations as f64 / duration.as_secs_f64(),
        p50_us: microseconds(50),
        p90_us: microseconds(90),
        p99_us: microseconds(99),
        max_us: microseconds(100),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let latencies = (1..=10).rev().map(Duration::from_micros).collect();
        let result = summarize(latencies, Duration::from_secs(2)).unwrap();
        assert_eq!(
            (result.p50_us, result.p90_us, result.p99_us, result.max_us),
            (5.0, 9.0, 10.0, 10.0)
        );
        assert_eq!(result.throughput, 5.0);
        assert!(summarize(Vec::new(), Duration::from_secs(2)).is_err());
    }
}
