//! Measures what the store takes on this machine and disk.
//!
//! ```text
//! cargo run --release -p cascade-interceptor --example store_throughput -- FOLDER [ROWS]
//! ```
//!
//! FOLDER must be empty or new. Prints rows per second into journals (including the last fsync),
//! the time that sealing them takes, sizes per row, and what an fsync costs.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use cascade_interceptor::clock::wall_clock;
use cascade_interceptor::store::{Rows, Store, StoreConfig};
use cascade_proto::tables::{
    Change, ChangeSource, Condition, Object, ObjectCpid, Op, Owner, Timestamp, ValueFormat, Writer,
};

/// A status update of a Pod, as a busy cluster writes most.
fn change(revision: i64) -> Change {
    let pod = revision % 5_000;
    let namespace = format!("team-{}", pod % 20);
    let name = format!("web-6d4cf56db6-{pod:05}");
    Change {
        cluster_id: "cdf818194e3a8c32".to_owned(),
        epoch: 0,
        revision,
        ordinal: 0,
        revision_size: 1,
        key: format!("/registry/pods/{namespace}/{name}"),
        op: Op::Update,
        source: ChangeSource::Watch,
        prev_revision: Some(revision - 5_000),
        create_revision: Some(pod),
        version: Some(revision / 5_000),
        lease_id: Some(0),
        seen: Some(wall_clock()),
        object: Object {
            api_group: Some(String::new()),
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            resource: Some("pods".to_owned()),
            namespace: Some(namespace),
            name: Some(name),
            uid: Some(format!("6b1f5a3e-5b0c-4a57-9d0e-{pod:012}")),
            creation_time: Some(Timestamp(1_767_322_800_000_000)),
            finalizers: Some(Vec::new()),
            owners: Some(vec![Owner {
                api_version: "apps/v1".to_owned(),
                kind: "ReplicaSet".to_owned(),
                name: "web-6d4cf56db6".to_owned(),
                uid: "0d7cbe9f-40b3-44f1-9d43-2d2f1cf1a111".to_owned(),
                controller: true,
            }]),
            labels: Some(r#"{"app":"web","pod-template-hash":"6d4cf56db6"}"#.to_owned()),
            writers: Some(vec![Writer {
                manager: "kubelet".to_owned(),
                operation: "Update".to_owned(),
                subresource: Some("status".to_owned()),
                time: Some(Timestamp(1_767_322_800_000_000)),
            }]),
            node_name: Some(format!("node-{}", pod % 50)),
            phase: Some("Running".to_owned()),
            conditions: Some(
                ["Initialized", "Ready", "ContainersReady", "PodScheduled"]
                    .map(|kind| Condition {
                        kind: kind.to_owned(),
                        status: "True".to_owned(),
                        reason: None,
                        last_transition_time: Some(Timestamp(1_767_322_800_000_000)),
                    })
                    .to_vec(),
            ),
            spec_hash: Some(pod.wrapping_mul(0x9e37_79b9)),
            status_hash: Some(revision.wrapping_mul(0x85eb_ca6b_c2b2_ae35_u64.cast_signed())),
            value_hash: Some(revision.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.cast_signed())),
            value_bytes: Some(4_096),
            value_format: Some(ValueFormat::Protobuf),
            ..Object::default()
        },
        changed: Some(vec!["status".to_owned(), "conditions.Ready".to_owned()]),
        cpid: ObjectCpid::default(),
        prev_cpid: None,
        cpid_transition: None,
        instance: "bench".to_owned(),
    }
}

fn folder_bytes(folder: &std::path::Path, extension: &str) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            bytes += folder_bytes(&path, extension)?;
        } else if path.extension().is_some_and(|found| found == extension) {
            bytes += path.metadata()?.len();
        }
    }
    Ok(bytes)
}

#[allow(clippy::print_stdout, clippy::cast_precision_loss)] // a program that prints figures
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(
        arguments
            .next()
            .context("usage: store_throughput FOLDER [ROWS]")?,
    );
    let rows: i64 = arguments
        .next()
        .map_or(Ok(500_000), |rows| rows.parse())
        .context("ROWS must be a number")?;
    let mut out = String::new();

    // One row, one fsync: what a flush costs when there is little to write.
    let (store, _) = Store::open(StoreConfig {
        flush_interval: Duration::from_secs(3600),
        ..StoreConfig::new(folder.join("fsync"))
    })?;
    let mut times = Vec::new();
    for revision in 1..=200 {
        store.append(Rows::Changes(vec![change(revision)])).await?;
        let start = Instant::now();
        store.flush().await?;
        times.push(start.elapsed());
    }
    store.close().await?;
    times.sort();
    let at = |share: f64| times.get((times.len() as f64 * share) as usize);
    writeln!(
        out,
        "flush of one row: p50 {:?}, p99 {:?}, max {:?}",
        at(0.5).unwrap_or(&Duration::ZERO),
        at(0.99).unwrap_or(&Duration::ZERO),
        times.last().unwrap_or(&Duration::ZERO),
    )?;

    let trace = folder.join("throughput");
    let (store, _) = Store::open(StoreConfig::new(&trace))?;
    let batches: Vec<Vec<Change>> = (0..rows / 100)
        .map(|batch| (batch * 100 + 1..=batch * 100 + 100).map(change).collect())
        .collect();
    let start = Instant::now();
    for batch in batches {
        store.append(Rows::Changes(batch)).await?;
    }
    store.flush().await?;
    let written = start.elapsed();
    let journals = folder_bytes(&trace, "journal")?;
    let start = Instant::now();
    store.close().await?;
    let sealed = start.elapsed();
    let parquet = folder_bytes(&trace, "parquet")?;
    let per_second = |time: Duration| rows as f64 / time.as_secs_f64();
    writeln!(
        out,
        "{rows} changes into journals: {written:.2?} ({:.0} rows/s)",
        per_second(written)
    )?;
    writeln!(
        out,
        "then sealing the rest: {sealed:.2?}; all of it {:.0} rows/s",
        per_second(written + sealed)
    )?;
    writeln!(
        out,
        "journals still open: {journals} bytes; Parquet: {parquet} bytes ({:.1} bytes/row)",
        parquet as f64 / rows as f64
    )?;
    print!("{out}");
    Ok(())
}
