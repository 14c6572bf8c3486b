//! `cascade paths`: how long it takes from one kind of change to another, by the way it goes.
//!
//! The SQL function `paths(from, to)` finds the arrivals; `collect` groups them and asks for percentiles, `model`
//! is what JSON prints, `layout` lays it out for people.

mod collect;
mod layout;
mod model;

use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};

use crate::cli::{EngineArgs, TraceArgs};
use crate::error::Error;
use crate::exit::Exit;
use crate::output::Output;
use crate::report::arguments::terminal_options;
use crate::report::scope::ScopeArgs;
use crate::report::{json, markdown, terminal};
use crate::session::Session;

/// Arguments of `cascade paths`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cascade paths ./trace\n  cascade paths ./trace --from Deployment/update --to \
    Pod:ready\n  cascade paths ./trace --to Pod/create --by namespace --fan-out last --format csv"
)]
pub struct PathsArgs {
    #[command(flatten)]
    traces: TraceArgs,

    /// Change that paths begin with, such as Deployment/update or `Pod/create@replicaset-controller`: the nearest
    /// one before each end. Without it paths begin with what clients and timers did.
    #[arg(long, value_name = "KIND/OP", env = "CASCADE_FROM")]
    from: Option<String>,

    /// Change or milestone that paths end with, such as Pod:ready or EndpointSlice/update: the first of each object.
    /// Without it paths end with the last change of each cascade, Events and Leases aside.
    #[arg(long, value_name = "KIND[:MILESTONE]", env = "CASCADE_TO")]
    to: Option<String>,

    /// Tell paths apart by this too: the actor, kind or namespace of their ends.
    #[arg(long, value_enum, env = "CASCADE_BY")]
    by: Option<By>,

    /// Where one start leads to several objects: count each of them, or the one that was last.
    #[arg(long, value_enum, default_value = "each", env = "CASCADE_FAN_OUT")]
    fan_out: FanOut,

    /// Show so many paths, those with most arrivals first; 0 shows all. JSON and CSV always have all.
    #[arg(long, value_name = "N", default_value_t = 20, env = "CASCADE_LIMIT")]
    limit: usize,

    /// How it is printed.
    #[arg(long, value_enum, default_value = "terminal", env = "CASCADE_FORMAT")]
    format: PathsFormat,

    /// File to write to instead of standard output.
    #[arg(short = 'o', long, value_name = "FILE", env = "CASCADE_OUTPUT")]
    output: Option<PathBuf>,

    /// Print the SQL behind the figures, for `cascade sql`.
    #[arg(long, env = "CASCADE_EXPLAIN", value_parser = BoolishValueParser::new())]
    explain: bool,

    #[command(flatten)]
    scope: ScopeArgs,

    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}

/// What paths are told apart by besides their signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum By {
    /// Who made the last change.
    Actor,
    /// Kind of the object that arrived.
    Kind,
    /// Its namespace.
    Namespace,
}

/// What is counted where one start leads to several objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FanOut {
    /// The first arrival of every object.
    Each,
    /// The slowest object after each start.
    Last,
}

/// How the answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PathsFormat {
    /// Aligned tables, for people.
    Terminal,
    /// GitHub-flavoured Markdown.
    Markdown,
    /// One JSON document.
    Json,
    /// One line per path, times in nanoseconds.
    Csv,
}

impl By {
    /// The column of `paths(from, to)`, as people call it.
    const fn column(self) -> &'static str {
        match self {
            Self::Actor => "actor",
            Self::Kind => "kind",
            Self::Namespace => "namespace",
        }
    }
}

impl FanOut {
    const fn name(self) -> &'static str {
        match self {
            Self::Each => "each",
            Self::Last => "last",
        }
    }
}

/// Prints the paths.
///
/// # Errors
/// When an end is not written like one, or the trace cannot be read.
pub async fn run(args: PathsArgs) -> Result<Exit, Error> {
    let question = collect::Question {
        from: args.from,
        to: args.to,
        by: args.by,
        fan_out: args.fan_out,
        filter: args.scope.filter()?,
    };
    let session = Session::open(&args.traces.traces, &args.engine.options()).await?;
    let mut paths = collect::collect(&session, &args.traces.traces, &question).await?;
    if args.explain {
        paths.queries = question.explain();
    }
    let document = || layout::document(&paths, args.limit);
    let text = match args.format {
        PathsFormat::Json => json(&paths)?,
        PathsFormat::Csv => layout::csv(&paths),
        PathsFormat::Markdown => markdown::render(&document()),
        PathsFormat::Terminal => {
            terminal::render(&document(), terminal_options(args.output.is_some()))
        }
    };
    Output::open(args.output.as_deref())?.finish_with(&text)?;
    Ok(Exit::Ok)
}
