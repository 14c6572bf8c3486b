//! Lists: all objects of a kind in one answer.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use etcd_client::{Client, GetOptions};
use tokio::task::JoinSet;

use super::{LoadOptions, Period};

/// Largest answer.
const MAX_ANSWER_BYTES: usize = 1 << 30;

/// How long each measured list took.
pub(super) async fn run(
    clients: &[Client],
    prefix: &str,
    options: &LoadOptions,
) -> anyhow::Result<Vec<Duration>> {
    let mut client = clients.first().context("no connection")?.clone();
    for object in 0..options.objects {
        let key = format!("{prefix}object-{object:06}");
        client.put(key, options.value.as_ref(), None).await?;
    }
    let period = Period::of(options);
    let mut workers = JoinSet::new();
    for (_, client) in (0..options.workers).zip(clients.iter().cycle()) {
        workers.spawn(work(
            client.clone(),
            prefix.to_owned(),
            options.objects,
            period,
        ));
    }
    let mut latencies = Vec::new();
    while let Some(done) = workers.join_next().await {
        latencies.extend(done.context("a worker panicked")??);
    }
    Ok(latencies)
}

async fn work(
    client: Client,
    prefix: String,
    objects: usize,
    period: Period,
) -> anyhow::Result<Vec<Duration>> {
    let mut client = client
        .kv_client()
        .max_decoding_message_size(MAX_ANSWER_BYTES);
    let mut latencies = Vec::new();
    loop {
        let sent = Instant::now();
        if sent >= period.end {
            return Ok(latencies);
        }
        let options = GetOptions::new().with_prefix();
        let answer = client.get(prefix.as_str(), Some(options)).await?;
        ensure!(
            answer.kvs().len() == objects,
            "a list of {} objects, not of {objects}",
            answer.kvs().len()
        );
        if sent >= period.begin {
            latencies.push(sent.elapsed());
        }
    }
}
