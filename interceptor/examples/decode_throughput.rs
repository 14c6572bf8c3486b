//! Measures what decoding costs on this machine, per kind, over the values in testdata/.
//!
//! ```text
//! cargo run --release -p cascade-interceptor --example decode_throughput
//! ```
//!
//! For each value: its size, the time to decode it, and the time to decode a change from one
//! revision to another (both are decoded and compared), as the fastest of several rounds.
#![allow(clippy::print_stdout)] // its purpose

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use cascade_interceptor::decode::Decoder;

const ROUNDS: u32 = 20;
const PER_ROUND: u32 = 200;

fn main() -> anyhow::Result<()> {
    let decoder = Decoder::default();
    println!("| value | bytes | decode us | change us |");
    println!("|---|---|---|---|");
    for path in values()? {
        let value = fs::read(&path).with_context(|| format!("{}", path.display()))?;
        let key = fs::read(path.with_extension("key"))?;
        let decode = fastest(|| drop(black_box(decoder.decode(&key, black_box(&value)))));
        let change = fastest(|| {
            let value = black_box(&value[..]);
            drop(black_box(decoder.change(&key, Some(value), Some(value))));
        });
        println!(
            "| {} | {} | {:.1} | {:.1} |",
            path.file_stem().unwrap_or_default().display(),
            value.len(),
            micros(decode),
            micros(change),
        );
    }
    Ok(())
}

fn values() -> anyhow::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for folder in ["../testdata/values", "../testdata/formats"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for entry in fs::read_dir(&folder).with_context(|| format!("{}", folder.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "bin") {
                paths.push(path);
            }
        }
    }
    paths.sort();
    Ok(paths)
}

/// Time of one call: the mean of the fastest round.
fn fastest(mut call: impl FnMut()) -> Duration {
    let rounds = (0..ROUNDS).map(|_| {
        let begun = Instant::now();
        for _ in 0..PER_ROUND {
            call();
        }
        begun.elapsed() / PER_ROUND
    });
    rounds.min().unwrap_or_default()
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
