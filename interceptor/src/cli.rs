//! What a user types: subcommands, flags, environment and configuration file; and what the user
//! gets: messages and exit codes.

mod arguments;
mod carriers;
mod configuration;
mod decode;
mod doctor;
mod install;
mod logging;
mod mergelog;
mod settings;
mod signals;
mod tls_arguments;
mod tls_configuration;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, FromArgMatches};

use crate::collectors::mergelog::TraceServerError;
use crate::run::RunError;
use crate::store::StoreError;
use arguments::{Arguments, Command, ConfigArguments};
use settings::Settings;

/// The definition of all commands and flags.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Why the program ends with an error. The number is its exit code (`sysexits.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// `doctor` found errors. As with the analyzer's commands, what was asked for was answered.
    Found = 1,
    /// Bad flags or configuration.
    Usage = 64,
    /// etcd cannot be reached, or an address cannot be listened on.
    Unavailable = 69,
    /// Internal error.
    Internal = 70,
    /// The trace folder cannot be written.
    CannotCreate = 73,
}

/// An error on its way to the user.
#[derive(Debug)]
struct Failure {
    code: Code,
    /// What, where, and what to do; one line.
    message: String,
}

impl Failure {
    fn usage(message: impl Into<String>) -> Self {
        Self {
            code: Code::Usage,
            message: message.into(),
        }
    }

    fn internal(message: impl Into<String>) -> Self {
        Self {
            code: Code::Internal,
            message: message.into(),
        }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        let code = match &error {
            RunError::Listen { .. } | RunError::Unreachable { .. } => Code::Unavailable,
            RunError::Store(StoreError::InvalidInstance { .. })
            | RunError::Exposed(_)
            | RunError::SeveralClusters(_)
            | RunError::Tls(_) => Code::Usage,
            RunError::Store(_) => Code::CannotCreate,
            RunError::System(_)
            | RunError::TraceServer(TraceServerError::System(_))
            | RunError::Ledger(_)
            | RunError::LedgerEnded
            | RunError::LedgerPanicked => Code::Internal,
        };
        Self {
            code,
            message: error.to_string(),
        }
    }
}

/// Does what `arguments` (the program's name first) ask for.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let settings = match settings::parse(&command(), &arguments) {
        Err(error) => return fail(&Failure::usage(error.to_string())),
        Ok(Err(error)) => return explain(&error),
        Ok(Ok(settings)) => settings,
    };
    let arguments = match Arguments::from_arg_matches(&settings.matches) {
        Ok(arguments) => arguments,
        Err(error) => return explain(&error),
    };
    match execute(arguments.command, &settings) {
        Ok(code) => code,
        Err(failure) => fail(&failure),
    }
}

fn execute(command: Command, settings: &Settings) -> Result<ExitCode, Failure> {
    let done = match command {
        Command::Serve(arguments) => {
            logging::start(arguments.recording.log_format);
            run(configuration::serve(arguments)?)
        }
        Command::Tail(arguments) => {
            logging::start(arguments.recording.log_format);
            run(configuration::tail(arguments)?)
        }
        Command::Decode(arguments) => decode::decode(&arguments),
        Command::Config(arguments) => show_settings(arguments, settings),
        Command::Install(arguments) => install::install(arguments),
        Command::Doctor(arguments) => {
            return Ok(match doctor::doctor(*arguments)? {
                true => ExitCode::from(Code::Found as u8),
                false => ExitCode::SUCCESS,
            });
        }
        Command::Completions(arguments) => {
            let mut script = Vec::new();
            let mut command = self::command();
            clap_complete::generate(
                arguments.shell,
                &mut command,
                "cascade-interceptor",
                &mut script,
            );
            print(&script)
        }
        Command::Man(arguments) => print(&manual(arguments.command.as_deref())?),
    };
    done.map(|()| ExitCode::SUCCESS)
}

fn run(config: crate::run::Config) -> Result<(), Failure> {
    // The relay has threads of its own; what remains is light.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::internal(format!("cannot start: {error}")))?;
    runtime.block_on(async {
        let shutdown = signals::shutdown(Arc::clone(&config.reload))
            .map_err(|error| Failure::internal(format!("cannot wait for signals: {error}")))?;
        Ok(crate::run::run(config, shutdown, |_| {}).await?)
    })
}

fn show_settings(arguments: ConfigArguments, settings: &Settings) -> Result<(), Failure> {
    let check = arguments.check;
    configuration::serve(arguments.serve)?;
    if check {
        return print(b"the settings are complete and valid\n");
    }
    let text = settings::describe(&command(), "config", settings);
    print(text.as_bytes())
}

/// The manual page of the program, or of one of its commands.
fn manual(name: Option<&str>) -> Result<Vec<u8>, Failure> {
    let mut program = command();
    program.build();
    let command = match name {
        None => program,
        Some(name) => program
            .find_subcommand(name)
            .ok_or_else(|| Failure::usage(format!("there is no command `{name}`; see --help")))?
            .clone(),
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut page)
        .map_err(|error| Failure::internal(error.to_string()))?;
    Ok(page)
}

/// Prints clap's message and usage, or help and version if these were asked for.
fn explain(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Help or version. A reader that has seen enough is no failure.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    // There is nobody left to tell when this fails.
    let _ = error.print();
    ExitCode::from(Code::Usage as u8)
}

fn fail(failure: &Failure) -> ExitCode {
    let _ = writeln!(io::stderr(), "error: {}", failure.message);
    ExitCode::from(failure.code as u8)
}

/// Writes to standard output; a reader that has seen enough is no failure.
fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    match output.write_all(bytes).and_then(|()| output.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::internal(format!(
            "cannot write to standard output: {error}"
        ))),
        _ => Ok(()),
    }
}
