//! Load on an etcd in the shape that kube-apiserver gives it: each worker has one call in flight, and
//! begins the next when that is answered, or when it is due if a rate is given.

mod connect;
mod list;
mod pace;
mod summary;
mod update;
mod watch;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::ensure;
use bytes::Bytes;
use clap::ValueEnum;

pub use connect::TlsFiles;
pub use summary::LoadResult;

/// What a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LoadKind {
    /// Optimistic transactions on a key of its own, each based on the revision before.
    Update,
    /// Lists all objects of a kind in one answer.
    List,
    /// As `update`, while each connection watches all keys; measured is from sending a transaction to
    /// its event, for each watch.
    Watch,
}

/// What load to give.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Where to send it.
    pub endpoint: String,
    /// With which certificates; `None` speaks plain text.
    pub tls: Option<TlsFiles>,
    /// What the workers do.
    pub kind: LoadKind,
    /// Number of connections.
    pub connections: usize,
    /// Number of workers, spread over the connections; each has one call in flight.
    pub workers: usize,
    /// Number of objects that are listed.
    pub objects: usize,
    /// For how long to measure.
    pub duration: Duration,
    /// For how long to run before measuring.
    pub warm_up: Duration,
    /// Value to store, such as a Pod as kube-apiserver stores it.
    pub value: Bytes,
    /// Transactions per second of all workers together; `None` sends as fast as the answers come.
    pub rate: Option<f64>,
    /// File to write a line to for each measured transaction of `Update`: its revision, when it was
    /// sent and when it was answered, both in nanoseconds since 1970.
    pub written: Option<PathBuf>,
}

/// When a run measures.
#[derive(Debug, Clone, Copy)]
struct Period {
    begin: Instant,
    end: Instant,
}

impl Period {
    fn of(options: &LoadOptions) -> Self {
        let begin = Instant::now() + options.warm_up;
        Self {
            begin,
            end: begin + options.duration,
        }
    }
}

/// Gives the load and measures.
///
/// # Errors
/// When etcd cannot be reached or refuses a call.
pub async fn load(options: &LoadOptions) -> anyhow::Result<LoadResult> {
    ensure!(
        options.connections > 0 && options.workers > 0,
        "at least one of each is needed"
    );
    ensure!(
        options.kind == LoadKind::Update || (options.rate.is_none() && options.written.is_none()),
        "--rate and --written are for --kind update"
    );
    let mut clients = Vec::with_capacity(options.connections);
    for _ in 0..options.connections {
        clients.push(connect::connect(&options.endpoint, options.tls.as_ref()).await?);
    }
    // Keys of this run only: a run must not depend on what an earlier one left.
    let prefix = format!("/registry/pods/load-{}/", uuid::Uuid::now_v7());
    let latencies = match options.kind {
        LoadKind::Update => update::run(&clients, &prefix, options).await?,
        LoadKind::List => list::run(&clients, &prefix, options).await?,
        LoadKind::Watch => watch::run(&clients, &prefix, options).await?,
    };
    LoadResult::of(latencies, options.duration)
}
