//! scratch
#![allow(clippy::all, clippy::unwrap_used, clippy::print_stdout)]
use cascade_interceptor::decode::*;
use cascade_interceptor::ledger::*;
use cascade_interceptor::store::*;
use std::time::*;
#[tokio::main]
async fn main() {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let args: Vec<String> = std::env::args().collect();
    let seconds: u64 = args[3].parse().unwrap();
    let until: i64 = args.get(4).map_or(i64::MAX, |s| s.parse().unwrap());
    let (store, recovered) = Store::open(StoreConfig::new(&args[2])).unwrap();
    let mut config = LedgerConfig::new("try", args[1].split(',').map(str::to_owned).collect());
    config.max_catchup_revisions = i64::MAX;
    let metrics = LedgerMetrics::default();
    let stop = tokio_util::sync::CancellationToken::new();
    let start = Instant::now();
    let task = tokio::spawn(run(
        config,
        DecodeOptions::default(),
        store.clone(),
        recovered,
        SharedHashKey::default(),
        metrics.clone(),
        stop.clone(),
    ));
    let mut status = metrics.status();
    let _ = tokio::time::timeout(
        Duration::from_secs(seconds),
        status.wait_for(|s| matches!(s, LedgerStatus::Following{revision} if *revision >= until)),
    )
    .await;
    let took = start.elapsed();
    store.flush().await.unwrap();
    println!(
        "followed {:?}, durable {:?}, revision {}",
        took,
        start.elapsed(),
        metrics.revision.get()
    );
    stop.cancel();
    task.await.unwrap().unwrap();
    store.close().await.unwrap();
    println!("sealed {:?}", start.elapsed());
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    for l in status.lines().filter(|l| l.starts_with("VmHWM")) {
        println!("{l}");
    }
}
