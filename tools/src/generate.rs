//! Makes large traces out of recorded ones, for benchmarks: what happened in a small cluster happens over and
//! over, to other objects, and beside it what no small cluster has.
//!
//! The rows go through the interceptor's own store, so the folder is one that `cascade-interceptor` could
//! have left. Only calls that committed a change are copied, with their requests.

mod renaming;
mod schedule;
mod template;
mod writing;

use std::path::PathBuf;

use anyhow::{Context, ensure};
use serde::Serialize;

use schedule::Schedule;
use template::Template;
use writing::Writing;

/// What to make.
#[derive(Debug, Clone)]
pub struct GenerateOptions {
    /// Trace folders that are copied, in turn.
    pub from: Vec<PathBuf>,
    /// Trace folder to write; must not exist.
    pub output: PathBuf,
    /// Number of changes.
    pub changes: u64,
    /// How many copies of recordings are under way at any moment.
    pub concurrency: u32,
    /// Pods of the one large ReplicaSet; 0 for none.
    pub owner_pods: u32,
    /// Services in the one large namespace; 0 for none.
    pub services: u32,
    /// Revisions of the one object that is written all the time; 0 for none.
    pub object_revisions: u32,
}

/// What was made.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Generated {
    /// Rows of `changes`.
    pub changes: u64,
    /// Rows of `calls`.
    pub calls: u64,
    /// Rows of `requests`.
    pub requests: u64,
    /// Seconds from the first change to the last.
    pub trace_seconds: f64,
}

/// Makes the trace.
///
/// # Errors
/// When a recording cannot be read or lacks the shapes that are asked for, or the folder cannot be written.
pub async fn generate(options: &GenerateOptions) -> anyhow::Result<Generated> {
    ensure!(!options.from.is_empty(), "at least one recording is needed");
    ensure!(
        options.concurrency > 0,
        "at least one copy must be under way"
    );
    ensure!(
        !options.output.exists(),
        "{} exists already",
        options.output.display()
    );
    let templates = options
        .from
        .iter()
        .map(|folder| {
            Template::read(folder).with_context(|| format!("cannot read {}", folder.display()))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut schedule = Schedule::new(&templates, options)?;
    let mut writing = Writing::open(&templates, &options.output)?;
    while writing.changes() < options.changes {
        let next = schedule.next().context("the schedule came to its end")?;
        writing.write(&next).await?;
    }
    writing.close().await
}
