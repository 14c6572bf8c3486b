//! `cascade gate`: limits on what a trace says, for CI.
//!
//! [`thresholds`] reads the limits, [`verdict`] decides them, purely; this module asks the trace
//! and prints the decisions.

mod layout;
pub mod metrics;
pub mod thresholds;
pub mod verdict;

use std::collections::HashMap;
use std::path::PathBuf;

use clap::Args;
use clap::builder::BoolishValueParser;

use crate::cli::{EngineArgs, TraceArgs};
use crate::error::Error;
use crate::exit::Exit;
use crate::output::Output;
use crate::report::collect;
use crate::report::model::{Completeness, SectionQuery, StageLatency};
use crate::report::scope::Filter;
use crate::report::{Format, OutputArgs, json, junit, markdown, terminal};
use crate::session::Session;
use metrics::CALL_METRICS;
use thresholds::Threshold;
use verdict::{Gate, Measurement, Verdict, decide};

/// Value of `schema` in a gate's JSON.
const SCHEMA: &str = "cascade.gate";
/// Version of the JSON document. Added fields do not raise it.
const SCHEMA_VERSION: u32 = 1;

/// Arguments of `cascade gate`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: cascade gate ./trace --thresholds limits.toml --junit gate.xml\n\n\
    limits.toml:\n  [[threshold]]\n  metric = \"pod.created_to_ready\"\n  percentile = \"p99\"\n  \
    limit = \"5s\"\n\nExit codes: 0 every limit holds; 1 one is exceeded; 2 wrong usage, thresholds \
    or trace; 3 the trace is too incomplete to tell."
)]
pub struct GateArgs {
    #[command(flatten)]
    traces: TraceArgs,

    /// TOML file with the limits.
    #[arg(long, value_name = "FILE", env = "CASCADE_THRESHOLDS")]
    thresholds: PathBuf,

    /// Also write the decisions as JUnit XML to this file.
    #[arg(long, value_name = "FILE", env = "CASCADE_JUNIT")]
    junit: Option<PathBuf>,

    #[command(flatten)]
    output: OutputArgs,

    /// Print the SQL behind each number, for `cascade sql`.
    #[arg(long, env = "CASCADE_EXPLAIN", value_parser = BoolishValueParser::new())]
    explain: bool,

    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}

/// Decides the limits of a thresholds file over a trace.
///
/// # Errors
/// When the thresholds or the trace cannot be read, a query fails, or the output cannot be written.
pub async fn run(args: GateArgs) -> Result<Exit, Error> {
    let name = args.thresholds.display();
    let text = std::fs::read_to_string(&args.thresholds)
        .map_err(|source| Error::io(format!("cannot read the thresholds {name}"), source))?;
    let thresholds = thresholds::parse(&text)
        .map_err(|error| Error::Usage(format!("{name} is not a thresholds file: {error}")))?;
    let session = Session::open(&args.traces.traces, &args.engine.options()).await?;
    let mut gate = judge(&session, &args.traces.traces, &thresholds.thresholds).await?;
    if args.explain {
        gate.queries = explain(&thresholds.thresholds);
    }

    let suite = layout::suite(&gate);
    if let Some(path) = &args.junit {
        Output::open(Some(path))?.finish_with(&junit::render(std::slice::from_ref(&suite)))?;
    }
    let text = match args.output.format() {
        Format::Terminal => terminal::render(&layout::document(&gate), args.output.terminal()),
        Format::Markdown => markdown::render(&layout::document(&gate)),
        Format::Json => json(&gate)?,
        Format::Junit => junit::render(&[suite]),
    };
    // A reader that went away must not turn a failed gate into a passed one.
    match args.output.open("gate")?.finish_with(&text) {
        Err(error) if error.exit() != Exit::Ok => return Err(error),
        _ => {}
    }
    Ok(match gate.verdict {
        Verdict::Held => Exit::Ok,
        Verdict::Exceeded => Exit::Failed,
        Verdict::Undecided => Exit::Incomplete,
    })
}

/// Measures and decides every threshold.
///
/// # Errors
/// When a query fails.
pub async fn judge(
    session: &Session,
    traces: &[String],
    thresholds: &[Threshold],
) -> Result<Gate, Error> {
    let completeness = collect::completeness(session).await?;
    let mut stages: HashMap<Option<String>, Vec<StageLatency>> = HashMap::new();
    let mut decisions = Vec::with_capacity(thresholds.len());
    for threshold in thresholds {
        let measurement = if metrics::is_stage(&threshold.metric) {
            let namespace = &threshold.namespace;
            // One query answers for all stages of a namespace.
            if !stages.contains_key(namespace) {
                let answer = collect::stages(session, &filter_of(threshold)).await?;
                stages.insert(namespace.clone(), answer);
            }
            stage_measurement(stages.get(namespace), &threshold.metric)
        } else {
            call_measurement(session, &completeness, &threshold.metric).await?
        };
        decisions.push(decide(threshold, measurement));
    }
    let incomplete = completeness.reasons();
    if !incomplete.is_empty() {
        verdict::withdraw(&mut decisions);
    }
    Ok(Gate {
        schema: SCHEMA,
        schema_version: SCHEMA_VERSION,
        producer: collect::PRODUCER.to_owned(),
        traces: traces.to_vec(),
        verdict: verdict::overall(&incomplete, &decisions),
        incomplete,
        thresholds: decisions,
        completeness,
        queries: Vec::new(),
    })
}

/// The SQL behind each number of a gate.
fn explain(thresholds: &[Threshold]) -> Vec<SectionQuery> {
    let mut queries: Vec<SectionQuery> = Vec::new();
    for threshold in thresholds {
        let filter = filter_of(threshold);
        let sql = if metrics::is_stage(&threshold.metric) {
            collect::stages_sql(&filter)
        } else {
            collect::call_metric_sql(&filter, shapes_of(&threshold.metric))
        };
        if !queries.iter().any(|query| query.sql == sql) {
            queries.push(SectionQuery {
                section: "thresholds",
                title: format!("the value of {}", threshold.metric),
                sql,
            });
        }
    }
    let completeness = collect::explain(&Filter::default()).into_iter();
    queries.extend(completeness.filter(|query| query.section == "completeness"));
    queries
}

fn filter_of(threshold: &Threshold) -> Filter {
    Filter::default().in_namespace(threshold.namespace.as_deref())
}

/// The values of `calls.shape` that a metric takes.
fn shapes_of(metric: &str) -> &'static [&'static str] {
    CALL_METRICS
        .iter()
        .find(|known| known.name == metric)
        .map_or(&[], |known| known.shapes)
}

fn stage_measurement(stages: Option<&Vec<StageLatency>>, metric: &str) -> Measurement {
    stages
        .into_iter()
        .flatten()
        .find(|stage| stage.stage == metric)
        .map_or_else(Measurement::default, |stage| Measurement {
            latency: stage.latency,
            excluded: stage.excluded.clone(),
            incomplete: None,
        })
}

async fn call_measurement(
    session: &Session,
    completeness: &Completeness,
    metric: &str,
) -> Result<Measurement, Error> {
    Ok(Measurement {
        latency: collect::call_metric(session, &Filter::default(), shapes_of(metric)).await?,
        excluded: Vec::new(),
        incomplete: verdict::lost_calls(completeness),
    })
}
