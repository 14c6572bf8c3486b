//! An operator for a custom resource `App`, which owns a ConfigMap, a Service and a Deployment, and
//! which carries Change Propagation IDs (CPIDs, arXiv:2411.01336) through its reconciles.
//!
//! | file | what it does |
//! |---|---|
//! | `resource` | the custom resource |
//! | `desired` | what an `App` asks for, as pure functions |
//! | `world` | what is known of each `App`, and the contexts of the changes not yet reacted to |
//! | `reconcile` | makes the cluster be as an `App` says |
//! | `inputs`, `plan` | which of the versions that a reconcile has read each write came of |
//! | `baggage`, `carrier` | where a CPID travels: on the request, on the object |
//! | `report` | posts mergelogs and spans to the trace server |
//! | `write_log` | what the operator itself says that it wrote |
//! | `run` | wires these together |
//! | `apply` | `app-operator apply --trace`, where a CPID comes from |

mod apply;
mod baggage;
mod carrier;
mod client;
mod desired;
mod inputs;
mod plan;
mod reconcile;
mod report;
mod resource;
mod run;
mod world;
mod write_log;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use cascade_cpid::{ChangeContext, DEFAULT_KEEP_ANCESTORS};
use clap::{Args, Parser, Subcommand};
use kube::CustomResourceExt;
use tracing_subscriber::EnvFilter;

use crate::apply::Apply;
use crate::resource::App;
use crate::run::RunConfig;
use crate::write_log::WriteLog;

/// An operator that carries Change Propagation IDs through its reconciles
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "\
Example:
  app-operator crd | kubectl apply -f -
  app-operator run --mergelog-url http://127.0.0.1:10039 &
  app-operator apply -f app.yaml --trace --mergelog-url http://127.0.0.1:10039

The cluster is that of KUBECONFIG. Logs go to stderr; RUST_LOG sets their level."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the operator until SIGTERM or SIGINT
    Run(RunArgs),
    /// Apply the objects of a file, as the start of a traced change with --trace
    Apply(ApplyArgs),
    /// Print the definition of the custom resource App
    Crd,
}

#[derive(Debug, Args)]
struct CpidArgs {
    /// The trace server, http://HOST:PORT; without it mergelogs go nowhere
    #[arg(long, env = "APP_OPERATOR_MERGELOG_URL", value_name = "URL")]
    mergelog_url: Option<String>,
    /// How many ancestors an object keeps: fewer make more mergelogs, none of them loses a cause
    #[arg(long, env = "APP_OPERATOR_KEEP_ANCESTORS", value_name = "N", default_value_t = DEFAULT_KEEP_ANCESTORS)]
    keep_ancestors: usize,
    /// Append a line of JSON for every merge and every write to this file
    #[arg(long, env = "APP_OPERATOR_WRITE_LOG", value_name = "FILE")]
    write_log: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    cpid: CpidArgs,
    /// Look after the Apps of this namespace only
    #[arg(long, env = "APP_OPERATOR_NAMESPACE")]
    namespace: Option<String>,
    /// Milliseconds without an event of an App before it is reconciled
    #[arg(
        long,
        env = "APP_OPERATOR_DEBOUNCE_MS",
        value_name = "MS",
        default_value_t = 100
    )]
    debounce_ms: u64,
    /// Seconds to wait at the end for the trace server to take what it has not got yet
    #[arg(
        long,
        env = "APP_OPERATOR_FLUSH_SECONDS",
        value_name = "SECONDS",
        default_value_t = 10
    )]
    flush_seconds: u64,
}

#[derive(Debug, Args)]
struct ApplyArgs {
    #[command(flatten)]
    cpid: CpidArgs,
    /// YAML or JSON with one object or several; - is stdin
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Make a root CPID for this change, put it on the objects and print it
    #[arg(long)]
    trace: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_env_filter(
            EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")),
        )
        .init();
    let result = match Cli::parse().command {
        Command::Run(arguments) => run_operator(arguments).await,
        Command::Apply(arguments) => apply_file(arguments).await,
        Command::Crd => print_crd(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run_operator(arguments: RunArgs) -> anyhow::Result<()> {
    run::run(RunConfig {
        log: open_log(&arguments.cpid)?,
        namespace: arguments.namespace,
        keep_ancestors: arguments.cpid.keep_ancestors,
        mergelog_url: arguments.cpid.mergelog_url,
        debounce: Duration::from_millis(arguments.debounce_ms),
        flush_timeout: Duration::from_secs(arguments.flush_seconds),
    })
    .await
}

async fn apply_file(arguments: ApplyArgs) -> anyhow::Result<()> {
    let root = arguments.trace.then(ChangeContext::new_root);
    // stdout is for the CPID.
    let log = arguments
        .cpid
        .write_log
        .as_ref()
        .map(|_| open_log(&arguments.cpid))
        .transpose()?;
    let mut apply = Apply {
        client: client::connect(concat!("app-operator-apply/", env!("CARGO_PKG_VERSION"))).await?,
        root: root.clone(),
        server: arguments
            .cpid
            .mergelog_url
            .as_deref()
            .map(report::trace_server)
            .transpose()?,
        keep_ancestors: arguments.cpid.keep_ancestors,
        log: log.as_ref(),
    };
    apply.run(&arguments.file).await?;
    if let Some(root) = root {
        writeln!(io::stdout(), "{}", root.cpid)?;
    }
    Ok(())
}

fn open_log(arguments: &CpidArgs) -> anyhow::Result<WriteLog> {
    WriteLog::open(arguments.write_log.as_deref()).context("the log of writes cannot be opened")
}

fn print_crd() -> anyhow::Result<()> {
    let definition = serde_json::to_string_pretty(&App::crd())?;
    writeln!(io::stdout(), "{definition}")?;
    Ok(())
}
