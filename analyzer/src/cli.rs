//! The command line: what can be asked, and how the process ends.

use std::ffi::OsString;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::causality::kernel::Without;
use crate::config_file;
use crate::error::Error;
use crate::exit::Exit;
use crate::logging::{self, LogFormat};
use crate::session::EngineOptions;
use crate::{derivation, gate, heap, paths, report, schema, sql, trace, verify};

/// Answers questions about the traces that cascade-interceptor records: SQL, reports, gates.
#[derive(Debug, Parser)]
#[command(name = "cascade", version, propagate_version = true)]
#[command(
    after_help = "Exit codes: 0 ok; 1 a gate failed or verify found loss; 2 wrong usage or \
    input; 3 the trace is too incomplete for the question; 70 internal error."
)]
struct Cli {
    /// TOML file with flags: `memory-limit = "2GiB"` for every command, `[sql]` for one; weaker
    /// than the environment and the command line.
    // Read before the real parsing (config_file::find); here so that it is known and documented.
    #[arg(long, global = true, value_name = "FILE", env = "CASCADE_CONFIG")]
    config: Option<std::path::PathBuf>,

    /// How logs on standard error look; RUST_LOG chooses what is logged.
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "text",
        env = "CASCADE_LOG_FORMAT"
    )]
    log_format: LogFormat,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write the derived tables as Parquet beside the trace, so that queries need not derive them.
    Derive(derivation::DeriveArgs),
    /// Check limits on a trace, for CI: exit code 0 if all hold, 1 if one is exceeded.
    Gate(gate::GateArgs),
    /// Say how long it takes from one kind of change to another, by the way it goes.
    Paths(paths::PathsArgs),
    /// Say what a trace holds: completeness, changes, write latency, stage latencies.
    Report(report::ReportArgs),
    /// Print the tables of a trace: columns, types and what they mean.
    Schema(schema::SchemaArgs),
    /// Ask a trace in SQL: one query, a file, or an interactive prompt.
    Sql(sql::SqlArgs),
    /// Follow one change: everything that came of it, with times.
    Trace(trace::TraceCommandArgs),
    /// Prove that a trace is complete, or say what it lacks.
    Verify(verify::VerifyArgs),
}

/// The traces that a command works on.
#[derive(Debug, Clone, Args)]
pub struct TraceArgs {
    /// Folder of a trace (the interceptor's --trace-dir); several of one cluster are merged.
    #[arg(value_name = "TRACE", required = true)]
    pub traces: Vec<String>,
}

/// Limits of the query engine, and how tables are derived.
#[derive(Debug, Clone, Args)]
pub struct EngineArgs {
    /// Memory that may be used, such as 2GiB. Beyond it sorts, aggregates and what is derived of each change go to
    /// disk: to TMPDIR, and from `derive` also to where it writes. Without it there is no limit.
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, env = "CASCADE_MEMORY_LIMIT")]
    pub memory_limit: Option<usize>,

    /// Number of threads that one query may use; by default one per core.
    #[arg(long, value_name = "N", value_parser = parse_threads, env = "CASCADE_THREADS")]
    pub threads: Option<usize>,

    /// Folder that `cascade derive --output` wrote derived tables to. Without it those beside the trace
    /// are read. Tables of another state of the trace, or of other rules, are never read.
    #[arg(long, value_name = "DIR", env = "CASCADE_DERIVED")]
    pub derived: Option<std::path::PathBuf>,

    /// Programs that start cascades, beside those that are known to (kubectl, helm, curl, …): what an actor's name
    /// begins with. Can be given several times, or separated by commas.
    #[arg(
        long = "client",
        value_name = "NAME",
        value_delimiter = ',',
        env = "CASCADE_CLIENT"
    )]
    pub clients: Vec<String>,

    /// Evidence that is not used to find causes, such as `owner,spans`: to measure what it is worth.
    // Hidden: nobody wants worse answers. docs/causality.md tells of it.
    #[arg(
        long,
        value_name = "EVIDENCE,…",
        default_value = "",
        hide = true,
        env = "CASCADE_CAUSES_WITHOUT"
    )]
    pub causes_without: Without,

    /// TOML file with milestones of further kinds, or others of known kinds: per kind (`[Pod]`,
    /// `["Widget.example.org"]`) names and SQL conditions over `changes`; `converged` says when an object is
    /// as its spec wants it.
    #[arg(long, value_name = "FILE", env = "CASCADE_MILESTONES")]
    pub milestones: Option<std::path::PathBuf>,
}

impl EngineArgs {
    /// The limits as options of a session.
    #[must_use]
    pub fn options(&self) -> EngineOptions {
        EngineOptions {
            memory_limit: self.memory_limit,
            threads: self.threads,
            derived: self.derived.clone(),
            clients: self.clients.clone(),
            milestones: self.milestones.clone(),
            derive_anew: false,
            causes_without: self.causes_without,
        }
    }
}

/// Runs the program with the process's arguments and says how it ended.
#[must_use]
pub fn main() -> Exit {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cli = match parse(&arguments) {
        Ok(cli) => cli,
        Err(exit) => return exit,
    };
    logging::start(cli.log_format);
    let limit = cli.command.engine().and_then(|engine| engine.memory_limit);
    if limit.is_some_and(|limit| limit < heap::ENOUGH) {
        heap::begin_anew(&arguments);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(source) => return fail(&Error::io("cannot start threads", source)),
    };
    // The query engine panics on some damaged files.
    let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(run(cli.command))))
        .unwrap_or_else(|payload| Err(Error::panic(payload.as_ref())));
    ended.unwrap_or_else(|error| fail(&error))
}

impl Command {
    /// The limits of the engine, of commands that have one.
    fn engine(&self) -> Option<&EngineArgs> {
        match self {
            Self::Derive(args) => Some(&args.engine),
            Self::Gate(args) => Some(&args.engine),
            Self::Paths(args) => Some(&args.engine),
            Self::Report(args) => Some(&args.engine),
            Self::Schema(_) => None,
            Self::Sql(args) => Some(&args.engine),
            Self::Trace(args) => Some(&args.engine),
            Self::Verify(args) => Some(&args.engine),
        }
    }
}

async fn run(command: Command) -> Result<Exit, Error> {
    match command {
        Command::Derive(args) => derivation::run(args).await,
        Command::Gate(args) => gate::run(args).await,
        Command::Paths(args) => paths::run(args).await,
        Command::Report(args) => report::run(args).await,
        Command::Schema(args) => schema::run(&args),
        Command::Sql(args) => sql::run(args).await,
        Command::Trace(args) => trace::run(args).await,
        Command::Verify(args) => verify::run(args).await,
    }
}

/// Parses the arguments; help, version and wrong usage are printed and lead to an exit.
fn parse(arguments: &[OsString]) -> Result<Cli, Exit> {
    let mut command = Cli::command();
    if let Some(path) = config_file::find(arguments) {
        command = config_file::apply(command, &path).map_err(|error| fail(&error))?;
    }
    command
        .try_get_matches_from(arguments)
        .and_then(|matches| Cli::from_arg_matches(&matches))
        .map_err(|error| {
            // Nothing to be done when even that cannot be printed.
            drop(error.print());
            if error.use_stderr() {
                Exit::Input
            } else {
                Exit::Ok
            }
        })
}

/// Tells the user about an error, unless it is only a reader that went away.
fn fail(error: &Error) -> Exit {
    let exit = error.exit();
    if exit != Exit::Ok {
        // Nothing to be done when standard error is closed.
        drop(writeln!(std::io::stderr(), "cascade: {error}"));
    }
    exit
}

/// Parses a size such as `512MiB`, `2GiB`, `1.5G` or a plain number of bytes.
fn parse_bytes(text: &str) -> Result<usize, String> {
    let wrong = || format!("{text:?} is not a size; write it like 512MiB or 2GiB");
    let text_trimmed = text.trim();
    let split = text_trimmed
        .find(|character: char| !(character.is_ascii_digit() || character == '.'))
        .unwrap_or(text_trimmed.len());
    let (number, unit) = text_trimmed.split_at(split);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let factor: f64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "ki" | "kib" => 1024.0,
        "kb" => 1e3,
        "m" | "mi" | "mib" => 1024.0 * 1024.0,
        "mb" => 1e6,
        "g" | "gi" | "gib" => 1024.0 * 1024.0 * 1024.0,
        "gb" => 1e9,
        _ => return Err(wrong()),
    };
    let bytes = number * factor;
    if !(1.0..1e18).contains(&bytes) {
        return Err(wrong());
    }
    // In range, checked above; a fraction of a byte does not matter.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Ok(bytes as usize)
}

fn parse_threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(threads) if threads > 0 => Ok(threads),
        _ => Err(format!("{text:?} is not a number of threads")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_a_variable() {
        for command in Cli::command().get_subcommands() {
            for argument in command.get_arguments() {
                if matches!(argument.get_id().as_str(), "help" | "version") {
                    continue;
                }
                let Some(long) = argument.get_long() else {
                    continue;
                };
                let expected = format!("CASCADE_{}", long.to_uppercase().replace('-', "_"));
                assert_eq!(
                    argument.get_env().and_then(|name| name.to_str()),
                    Some(expected.as_str()),
                    "cascade {} --{long}",
                    command.get_name()
                );
            }
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_bytes("512"), Ok(512));
        assert_eq!(parse_bytes("1.5GiB"), Ok(1_610_612_736));
        assert_eq!(parse_bytes("2 MB"), Ok(2_000_000));
        for wrong in ["", "GiB", "0", "-1", "1e300", "1 parsec", "nan"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }
}
