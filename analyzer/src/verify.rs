//! `cascade verify`: is everything there, once, in order?
//!
//! Every page of every file is read, so that a damaged one is named. The changes of each history (cluster and epoch) are read once in revision order, next to the
//! committed calls; memory grows with the number of live keys, not with the number of rows.

mod calls;
mod etcd;
mod files;
mod findings;
mod history;
mod read;
mod report;

use clap::{Args, ValueEnum};

use crate::cli::{EngineArgs, TraceArgs};
use crate::error::Error;
use crate::exit::Exit;
use crate::output::Output;
use crate::progress::Progress;
use crate::session::Session;
use report::{HistoryReport, Report};

/// Arguments of `cascade verify`.
#[derive(Debug, Args)]
#[command(after_help = "Example: cascade verify ./trace --etcd http://127.0.0.1:2379")]
pub struct VerifyArgs {
    #[command(flatten)]
    traces: TraceArgs,

    /// Also compare with what this etcd holds now.
    #[arg(long, value_name = "URL", env = "CASCADE_ETCD")]
    etcd: Option<String>,

    /// How the findings are printed.
    #[arg(long, value_enum, default_value = "text", env = "CASCADE_FORMAT")]
    format: VerifyFormat,

    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}

/// How findings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum VerifyFormat {
    /// For people, the verdict first.
    Text,
    /// One JSON document.
    Json,
}

/// Memory for sorting when nothing else is said; what does not fit goes to disk.
const DEFAULT_MEMORY_LIMIT: usize = 1 << 30;

/// Checks the traces and prints what was found.
///
/// # Errors
/// Whatever keeps the trace from being read or etcd from being asked.
pub async fn run(args: VerifyArgs) -> Result<Exit, Error> {
    let mut options = args.engine.options();
    options.memory_limit.get_or_insert(DEFAULT_MEMORY_LIMIT);
    let session = Session::open(&args.traces.traces, &options).await?;
    files::check(&session).await?;

    let mut histories = Vec::new();
    // The keys of the history that an etcd can be compared with: the newest of its cluster.
    let mut live_keys = Vec::new();
    let changes = session
        .trace()
        .table("changes")
        .map_or(0, |table| table.rows);
    let mut progress = Progress::start("changes checked", changes);
    let found = read::histories(&session).await?;
    for id in &found {
        let mut checked = read::check(&session, id, &found, &mut progress).await?;
        live_keys.push(etcd::LiveKeys::of(&mut checked.history));
        histories.push(HistoryReport::new(id.clone(), checked));
    }
    drop(progress);
    // After all checks: what it keeps in memory would be lacking for their sorting.
    for history in &mut histories {
        history.actors = read::actors(&session, &history.id).await?;
        if history.actors.is_none() {
            break;
        }
    }
    let mut report = Report::new(session.trace(), histories);
    if let Some(url) = &args.etcd {
        report.etcd = Some(etcd::compare(url, &report.histories, &live_keys).await?);
    }
    report.judge();

    let text = match args.format {
        VerifyFormat::Text => report.text(),
        VerifyFormat::Json => report.json()?,
    };
    Output::open(None)?.finish_with(&text)?;
    Ok(report.verdict.exit())
}
