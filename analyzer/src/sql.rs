//! `cascade sql`: questions to a trace in SQL.

mod format;
mod line_editor;
mod prompt;
mod statements;

use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use clap::Args;
use datafusion::sql::parser::Statement;

pub use format::Format;

use crate::cli::{EngineArgs, TraceArgs};
use crate::error::Error;
use crate::exit::Exit;
use crate::output::Output;
use crate::session::Session;

/// Arguments of `cascade sql`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: cascade sql ./trace -c \"SELECT kind, op, count(*) FROM changes \
    GROUP BY kind, op ORDER BY 3 DESC\"\n\nWithout -c and -f: a prompt on a terminal (\\d lists \
    tables, \\q quits), else statements from standard input."
)]
pub struct SqlArgs {
    #[command(flatten)]
    traces: TraceArgs,

    /// Statements to run, separated by semicolons.
    // A statement may begin with a comment, and a comment with hyphens.
    #[arg(
        short = 'c',
        long,
        value_name = "QUERY",
        allow_hyphen_values = true,
        env = "CASCADE_COMMAND"
    )]
    command: Option<String>,

    /// File with statements to run; - for standard input.
    #[arg(
        short = 'f',
        long,
        value_name = "FILE",
        conflicts_with = "command",
        env = "CASCADE_FILE"
    )]
    file: Option<PathBuf>,

    /// How rows are printed.
    #[arg(long, value_enum, default_value = "table", env = "CASCADE_FORMAT")]
    format: Format,

    /// File to write to instead of standard output.
    #[arg(short = 'o', long, value_name = "FILE", env = "CASCADE_OUTPUT")]
    output: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}

/// Answers statements, or starts the prompt.
///
/// # Errors
/// Whatever keeps the trace from being opened or a statement from being answered.
pub async fn run(args: SqlArgs) -> Result<Exit, Error> {
    let text = match (&args.command, &args.file) {
        (Some(command), _) => Some(command.clone()),
        (None, Some(file)) if file.as_os_str() != "-" => Some(
            std::fs::read_to_string(file)
                .map_err(|source| Error::io(format!("cannot read {}", file.display()), source))?,
        ),
        (None, None) if std::io::stdin().is_terminal() => None,
        (None, _) => {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|source| Error::io("cannot read standard input", source))?;
            Some(text)
        }
    };
    // Statements that are not SQL are found before a large trace is opened.
    let parsed = text.as_deref().map(statements::parse).transpose()?;
    let session = Session::open(&args.traces.traces, &args.engine.options()).await?;
    match parsed {
        Some(statements) => {
            let mut output = Output::open(args.output.as_deref())?;
            answer(&session, statements, args.format, &mut output).await?;
            output.finish()?;
        }
        None => prompt::run(&session, args.format, args.output.as_deref()).await?,
    }
    Ok(Exit::Ok)
}

/// Answers all statements in order.
async fn answer(
    session: &Session,
    statements: Vec<Statement>,
    format: Format,
    output: &mut Output,
) -> Result<(), Error> {
    if format.holds_one_answer() && statements.len() > 1 {
        return Err(Error::Usage(format!(
            "{} statements, but {} holds the answer of one; use --format ndjson or csv, or one \
             statement",
            statements.len(),
            format.name()
        )));
    }
    for statement in statements {
        let rows = statements::execute(session, statement).await?;
        format.write(rows, output).await?;
    }
    Ok(())
}
