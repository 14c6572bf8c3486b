//! `cascade report`: what a trace says, as one model with a renderer per format.
//!
//! [`collect`] asks the trace (the SQL is in `queries`), [`model`] holds the answers, [`layout`]
//! turns them into a [`document`] for people, and each format has a renderer.

pub(crate) mod arguments;
pub mod collect;
pub mod coverage;
pub mod document;
pub mod hops;
pub mod junit;
pub mod layout;
pub mod markdown;
pub mod model;
mod queries;
pub(crate) mod rows;
pub mod scope;
pub mod sections;
pub(crate) mod suite;
pub mod terminal;
pub mod units;

use clap::Args;
use clap::builder::BoolishValueParser;

pub use arguments::{Format, OutputArgs};

use crate::cli::{EngineArgs, TraceArgs};
use crate::error::Error;
use crate::exit::Exit;
use crate::session::Session;
use model::Report;
use scope::ScopeArgs;
use sections::{Section, Sections};
use terminal::TerminalOptions;

/// Arguments of `cascade report`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cascade report ./trace\n  cascade report ./trace --format markdown \
    >> \"$GITHUB_STEP_SUMMARY\"\n  cascade report ./trace --namespace shop --explain"
)]
pub struct ReportArgs {
    #[command(flatten)]
    traces: TraceArgs,

    #[command(flatten)]
    output: OutputArgs,

    /// Only this section, and how complete the trace is; can be given several times. Without it all but
    /// hops, for which causes must be found; coverage only where there are CPIDs.
    #[arg(
        long,
        value_enum,
        value_name = "NAME",
        value_delimiter = ',',
        env = "CASCADE_SECTION"
    )]
    section: Vec<Section>,

    /// Print the SQL behind each section, for `cascade sql`.
    #[arg(long, env = "CASCADE_EXPLAIN", value_parser = BoolishValueParser::new())]
    explain: bool,

    #[command(flatten)]
    scope: ScopeArgs,

    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}

/// Prints the report of a trace.
///
/// # Errors
/// When the trace cannot be opened, a query fails, or the output cannot be written.
pub async fn run(args: ReportArgs) -> Result<Exit, Error> {
    let filter = args.scope.filter()?;
    let sections = Sections::of(args.section);
    let session = Session::open(&args.traces.traces, &args.engine.options()).await?;
    let mut report = collect::collect(&session, &args.traces.traces, &filter, &sections).await?;
    if args.explain {
        let queries = collect::explain(&filter).into_iter();
        report.queries = queries
            .filter(|query| report.has_section(query.section))
            .collect();
    }
    let format = args.output.format();
    let output = args.output.open("report")?;
    let text = render(&report, format, args.output.terminal())?;
    output.finish_with(&text)?;
    Ok(Exit::Ok)
}

/// The report in a format, ending in a newline.
///
/// # Errors
/// [`Error::Internal`] when the model cannot be written as JSON.
pub fn render(report: &Report, format: Format, options: TerminalOptions) -> Result<String, Error> {
    match format {
        Format::Terminal => Ok(terminal::render(&layout::document(report), options)),
        Format::Markdown => Ok(markdown::render(&layout::document(report))),
        Format::Json => json(report),
        Format::Junit => Ok(junit::render(&[suite::of_report(report)])),
    }
}

/// A model as indented JSON, ending in a newline.
///
/// # Errors
/// [`Error::Internal`] when it cannot be written as JSON.
pub fn json(model: &impl serde::Serialize) -> Result<String, Error> {
    let mut text = serde_json::to_string_pretty(model)
        .map_err(|error| Error::Internal(format!("a document is no JSON: {error}")))?;
    text.push('\n');
    Ok(text)
}
