//! `cascade trace`: what came of one change.
//!
//! `what` says what the argument names; each kind of answer is collected into a model, which is printed
//! as JSON or laid out for people.

mod cascade;
mod cascade_layout;
mod cascade_model;
mod cascade_tree;
mod change;
mod cpid;
mod cpid_layout;
mod cpid_model;
mod object_name;
mod what;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::{EngineArgs, TraceArgs};
use crate::error::Error;
use crate::exit::Exit;
use crate::output::Output;
use crate::report::arguments::terminal_options;
use crate::report::{json, terminal};
use crate::session::Session;
use cascade_tree::Extent;
use what::What;

/// Arguments of `cascade trace`.
#[derive(Debug, Args)]
#[command(after_help = "Example: cascade trace ./trace deployment/default/web")]
pub struct TraceCommandArgs {
    #[command(flatten)]
    traces: TraceArgs,

    /// What to follow: `kind/namespace/name` (`kind/name` for what has no namespace; of the object's newest
    /// cascade), a revision, or a CPID, as objects, calls, mergelogs or spans name it.
    #[arg(value_name = "WHAT", required = true)]
    what: String,

    /// How it is printed.
    #[arg(long, value_enum, default_value = "terminal", env = "CASCADE_FORMAT")]
    format: TraceFormat,

    /// Show what branches off the critical path so many levels deep; without it as deep as fits on a page.
    #[arg(long, value_name = "N", env = "CASCADE_DEPTH")]
    depth: Option<usize>,

    /// Show every change: fold nothing, leave no Events and Leases out. JSON always has all.
    #[arg(
        long,
        visible_alias = "all",
        conflicts_with = "depth",
        env = "CASCADE_FULL"
    )]
    full: bool,

    /// File to write to instead of standard output.
    #[arg(short = 'o', long, value_name = "FILE", env = "CASCADE_OUTPUT")]
    output: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TraceFormat {
    /// A tree with times, for people.
    Terminal,
    /// One JSON document.
    Json,
}

/// Prints what came of a change.
///
/// # Errors
/// [`Error::Usage`] when the trace holds nothing of that name; whatever keeps the trace from being read.
pub async fn run(args: TraceCommandArgs) -> Result<Exit, Error> {
    let extent = match args.depth {
        _ if args.full => Extent::Everything,
        Some(depth) => Extent::Depth(depth),
        None => Extent::Fitting,
    };
    let session = Session::open(&args.traces.traces, &args.engine.options()).await?;
    let text = match what::resolve(&session, &args.what).await? {
        What::Cpid(found) => {
            let trace = cpid::collect(&session, found).await?;
            match args.format {
                TraceFormat::Json => json(&trace)?,
                TraceFormat::Terminal => {
                    let options = terminal_options(args.output.is_some());
                    terminal::render(&cpid_layout::document(&trace), options)
                }
            }
        }
        What::Change(found) => {
            let trace = cascade::collect(&session, found).await?;
            match args.format {
                TraceFormat::Json => json(&trace)?,
                TraceFormat::Terminal => {
                    let options = terminal_options(args.output.is_some());
                    terminal::render(&cascade_layout::document(&trace, extent), options)
                }
            }
        }
    };
    Output::open(args.output.as_deref())?.finish_with(&text)?;
    Ok(Exit::Ok)
}
