//! The interactive prompt.

use std::path::Path;
use std::time::Instant;

use super::format::{Format, Printed};
use super::line_editor::{Entered, LineEditor};
use super::statements;
use crate::error::Error;
use crate::output::Output;
use crate::session::Session;

/// What `\?` prints.
const HELP: &str = "\
\\d         list the tables
\\d TABLE   describe a table
\\q         quit (also Ctrl-D)
A statement ends with a semicolon and may go over several lines; Ctrl-C drops it.
";

/// Asks for statements until the user quits.
///
/// # Errors
/// [`Error::Io`] when the terminal or the output fails. Errors of statements are shown only.
pub(super) async fn run(
    session: &Session,
    format: Format,
    output: Option<&Path>,
) -> Result<(), Error> {
    let mut editor = LineEditor::open()?;
    let mut answers = Output::open(output)?;
    let mut text = String::new();
    loop {
        let prompt = if text.is_empty() {
            "cascade> "
        } else {
            "    ...> "
        };
        // Other tasks of the runtime go on while the user thinks.
        match tokio::task::block_in_place(|| editor.read(prompt))? {
            Entered::Line(line) => text.push_str(&line),
            Entered::Interrupt => {
                text.clear();
                continue;
            }
            Entered::End => break,
        }
        let entered = text.trim();
        if entered.is_empty() {
            text.clear();
            continue;
        }
        if !entered.starts_with('\\') && !statements::is_finished(entered) {
            text.push('\n');
            continue;
        }
        editor.remember(entered);
        if entered == "\\q" {
            break;
        }
        let entered = std::mem::take(&mut text);
        let shown = tokio::select! {
            shown = answer(session, entered.trim(), format, &mut answers) => shown,
            _ = tokio::signal::ctrl_c() => Err(Error::Usage("cancelled".to_owned())),
        };
        let flushed = std::io::Write::flush(&mut answers);
        answers.check(flushed)?;
        if let Err(error) = shown {
            note(&format!("{error}\n"));
        }
    }
    editor.close();
    answers.finish()
}

async fn answer(
    session: &Session,
    text: &str,
    format: Format,
    output: &mut Output,
) -> Result<(), Error> {
    if let Some(command) = text.strip_prefix('\\') {
        return match backslash(command) {
            Some(query) => print(session, &query, Format::Table, output)
                .await
                .map(drop),
            None => {
                note(HELP);
                Ok(())
            }
        };
    }
    let start = Instant::now();
    let printed = print(session, text, format, output).await?;
    let flushed = std::io::Write::flush(output);
    output.check(flushed)?;
    note(&format!(
        "{} {} in {:.3} s\n",
        printed.rows,
        if printed.rows == 1 { "row" } else { "rows" },
        start.elapsed().as_secs_f64()
    ));
    Ok(())
}

async fn print(
    session: &Session,
    text: &str,
    format: Format,
    output: &mut Output,
) -> Result<Printed, Error> {
    let mut printed = Printed::default();
    for statement in statements::parse(text)? {
        let rows = statements::execute(session, statement).await?;
        printed = format.write(rows, output).await?;
    }
    Ok(printed)
}

/// The query that answers a backslash command; `None` when there is no such command.
fn backslash(command: &str) -> Option<String> {
    let mut words = command.split_whitespace();
    if words.next() != Some("d") {
        return None;
    }
    let Some(table) = words.next() else {
        return Some(
            "SELECT table_schema AS schema, table_name AS table FROM information_schema.tables \
             WHERE table_schema IN ('public', 'raw') ORDER BY 1, 2"
                .to_owned(),
        );
    };
    let (schema, table) = table.split_once('.').unwrap_or(("public", table));
    let quoted = |text: &str| text.trim_end_matches(';').replace('\'', "''");
    Some(format!(
        "SELECT column_name AS column, data_type AS type, is_nullable AS nullable \
         FROM information_schema.columns \
         WHERE table_schema = '{}' AND table_name = '{}' ORDER BY ordinal_position",
        quoted(schema),
        quoted(table)
    ))
}

/// Tells the user something that is no answer.
fn note(text: &str) {
    // Nothing to be done when standard error is closed.
    drop(std::io::Write::write_all(
        &mut std::io::stderr(),
        text.as_bytes(),
    ));
}
