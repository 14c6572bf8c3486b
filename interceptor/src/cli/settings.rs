//! Where a setting comes from: a flag, else an environment variable, else the configuration file,
//! else the default.
//!
//! A value of the file becomes the default of its flag before the command line is parsed, so the
//! order, the checks of values and `--help` need no code of their own per setting.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use toml::de::{DeTable, DeValue};

/// Why a configuration file is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// It cannot be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not TOML.
    #[error("{}:{line}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// No flag has this name.
    #[error(
        "{}:{line}: unknown key `{key}`; keys are the flags of `serve` and `tail` without dashes{}",
        path.display(),
        suggestion.as_ref().map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default()
    )]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The key.
        key: String,
        /// A key that exists and may have been meant.
        suggestion: Option<String>,
    },
    /// The flag does not take this value.
    #[error("{}:{line}: `{key}`: {message}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The key.
        key: String,
        /// What is wrong with the value.
        message: String,
    },
}

/// A parsed command line.
pub(super) struct Settings {
    /// What clap found.
    pub(super) matches: ArgMatches,
    /// Keys of the configuration file.
    keys: Vec<String>,
}

/// Parses `arguments`, with the configuration file that they or the environment name.
///
/// # Errors
/// Those of the file, or clap's, which include the requests for help and version.
pub(super) fn parse(
    command: &Command,
    arguments: &[OsString],
) -> Result<Result<Settings, clap::Error>, FileError> {
    // A first look that forgives everything but asks for the file; the second one is strict.
    let lenient = command.clone().ignore_errors(true);
    let named = lenient.try_get_matches_from(arguments).ok();
    let file = named.as_ref().and_then(|matches| {
        let (name, matches) = matches.subcommand()?;
        // Not every command has the flag.
        let path = matches.try_get_one::<PathBuf>("config").ok()??;
        Some((name.to_owned(), path.clone()))
    });
    let (command, keys) = match file {
        None => (command.clone(), Vec::new()),
        Some((name, path)) => with_defaults(command, &name, &path)?,
    };
    let parsed = command.try_get_matches_from(arguments);
    Ok(parsed.map(|matches| Settings { matches, keys }))
}

/// The command with the file's values as defaults of the flags of the subcommand `name`, and the
/// file's keys.
fn with_defaults(
    command: &Command,
    name: &str,
    path: &Path,
) -> Result<(Command, Vec<String>), FileError> {
    let text = fs::read_to_string(path).map_err(|source| FileError::Read {
        path: path.to_owned(),
        source,
    })?;
    let document = DeTable::parse(&text).map_err(|error| FileError::Syntax {
        path: path.to_owned(),
        line: line_of(&text, error.span().map_or(0, |span| span.start)),
        message: error.message().to_owned(),
    })?;
    let mut command = command.clone();
    let mut keys = Vec::new();
    for (key, value) in document.get_ref() {
        let line = line_of(&text, key.span().start);
        let key = key.get_ref().as_ref();
        let Some(argument) = setting(&command, key) else {
            return Err(FileError::UnknownKey {
                path: path.to_owned(),
                line,
                key: key.to_owned(),
                suggestion: suggestion(&command, key),
            });
        };
        let invalid = |message: String| FileError::Value {
            path: path.to_owned(),
            line,
            key: key.to_owned(),
            message,
        };
        let values = values(value.get_ref()).map_err(invalid)?;
        check(argument, &values).map_err(invalid)?;
        keys.push(key.to_owned());
        let Some(own) = command
            .find_subcommand(name)
            .and_then(|subcommand| argument_of(subcommand, key))
        else {
            // A setting of the other command: one file may serve both.
            continue;
        };
        let id = own.get_id().clone();
        command = command.mut_subcommand(name, |subcommand| {
            subcommand.mut_arg(id, |argument| argument.default_values(values))
        });
    }
    Ok((command, keys))
}

/// Line of a byte offset, from 1.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().iter().take(offset);
    1 + before.filter(|byte| **byte == b'\n').count()
}

fn argument_of<'a>(subcommand: &'a Command, key: &str) -> Option<&'a Arg> {
    subcommand
        .get_arguments()
        .find(|argument| argument.get_long() == Some(key))
}

/// Commands that have settings.
fn configurable(command: &Command) -> impl Iterator<Item = &Command> {
    ["serve", "tail", "doctor"]
        .into_iter()
        .filter_map(|name| command.find_subcommand(name))
}

/// The flag that a key of the file stands for.
fn setting<'a>(command: &'a Command, key: &str) -> Option<&'a Arg> {
    let allowed = key != "config" && key != "help";
    configurable(command)
        .filter(|_| allowed)
        .find_map(|subcommand| argument_of(subcommand, key))
}

/// A key that differs only by the kind of dash or by case.
fn suggestion(command: &Command, key: &str) -> Option<String> {
    let name = key.replace('_', "-").to_lowercase();
    setting(command, &name).map(|_| name)
}

/// The values that a flag would be given.
fn values(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    match value {
        DeValue::Array(items) => items
            .iter()
            .map(|item| scalar(item.get_ref()))
            .collect::<Result<_, _>>(),
        other => scalar(other).map(|value| vec![value]),
    }
}

fn scalar(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Boolean(truth) => Ok(truth.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Ok(number.to_string()),
        DeValue::Integer(_) => Err("write the number in decimal".to_owned()),
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            Err("a string, a whole number, true or false is expected".to_owned())
        }
    }
}

/// Checks values by parsing them as the flag would.
fn check(argument: &Arg, values: &[String]) -> Result<(), String> {
    let several = matches!(argument.get_action(), clap::ArgAction::Append);
    if values.len() != 1 && !several {
        return Err("one value is expected, not a list".to_owned());
    }
    let long = argument.get_long().unwrap_or_default().to_owned();
    let alone = Command::new("file").disable_help_flag(true).arg(
        argument
            .clone()
            .env(Resettable::<clap::builder::OsStr>::Reset),
    );
    let line = values.iter().map(|value| format!("--{long}={value}"));
    let line = std::iter::once("file".to_owned()).chain(line);
    alone
        .try_get_matches_from(line)
        .map(|_| ())
        .map_err(|error| {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            first.strip_prefix("error: ").unwrap_or(first).to_owned()
        })
}

/// All settings as a configuration file, each with the place it comes from.
pub(super) fn describe(command: &Command, name: &str, settings: &Settings) -> String {
    let mut lines = String::new();
    let (Some(subcommand), Some((_, matches))) =
        (command.find_subcommand(name), settings.matches.subcommand())
    else {
        return lines;
    };
    for argument in subcommand.get_arguments() {
        let Some(key) = argument.get_long() else {
            continue;
        };
        if setting(command, key).is_none() {
            continue;
        }
        let id = argument.get_id().as_str();
        let (Some(source), Some(raw)) = (matches.value_source(id), matches.get_raw(id)) else {
            continue;
        };
        let source = match source {
            ValueSource::CommandLine => "flag",
            ValueSource::EnvVariable => "environment",
            _ if settings.keys.iter().any(|given| given == key) => "file",
            _ => "default",
        };
        let values: Vec<String> = raw.map(|value| quoted(&value.to_string_lossy())).collect();
        let value = match values.as_slice() {
            [value] => value.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{key} = {value} # {source}");
    }
    lines
}

/// A TOML string. JSON's escapes are a part of TOML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
