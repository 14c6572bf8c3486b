//! `--config FILE`: flags from a TOML file, weaker than the command line and the environment.
//!
//! A key is a flag's long name. At top level it holds for every command that has the flag, in a
//! table named like a command for that command alone:
//!
//! ```toml
//! memory-limit = "2GiB"
//! [sql]
//! format = "csv"
//! ```

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Command;
use toml::{Table, Value};

use crate::error::Error;

/// Name of the environment variable that stands for `--config`.
const CONFIG_VARIABLE: &str = "CASCADE_CONFIG";

/// The file named by `--config` or the environment. It has to be known before the real parsing,
/// because its values become the defaults of that parsing.
pub(crate) fn find(arguments: &[OsString]) -> Option<PathBuf> {
    let mut rest = arguments.iter().skip(1);
    while let Some(argument) = rest.next() {
        let Some(text) = argument.to_str() else {
            continue;
        };
        if text == "--" {
            break;
        }
        if text == "--config" {
            return rest.next().map(PathBuf::from);
        }
        if let Some(path) = text.strip_prefix("--config=") {
            return Some(PathBuf::from(path));
        }
    }
    std::env::var_os(CONFIG_VARIABLE).map(PathBuf::from)
}

/// Makes the values of the file at `path` the defaults of the flags of `command`.
///
/// # Errors
/// [`Error::Usage`] when the file cannot be read, is not TOML, or has a key that is no flag.
pub(crate) fn apply(command: Command, path: &Path) -> Result<Command, Error> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| Error::io(format!("cannot read --config {}", path.display()), source))?;
    let table: Table = text
        .parse()
        .map_err(|error| Error::Usage(format!("--config {}: {error}", path.display())))?;
    apply_table(command, table)
        .map_err(|message| Error::Usage(format!("--config {}: {message}", path.display())))
}

fn apply_table(mut command: Command, table: Table) -> Result<Command, String> {
    for (key, value) in table {
        let is_command = command.find_subcommand(&key).is_some();
        if let Value::Table(flags) = value {
            if !is_command {
                return Err(format!("[{key}] is not a command"));
            }
            for (flag, value) in flags {
                let text = flag_text(&flag, &value)?;
                if !has_flag(command.find_subcommand(&key), &flag) {
                    return Err(format!(
                        "[{key}] {flag}: cascade {key} has no flag --{flag}"
                    ));
                }
                command = command.mut_subcommand(&key, |sub| set_default(sub, &flag, &text));
            }
            continue;
        }
        let text = flag_text(&key, &value)?;
        let takers: Vec<String> = command
            .get_subcommands()
            .filter(|sub| has_flag(Some(sub), &key))
            .map(|sub| sub.get_name().to_owned())
            .collect();
        let is_global = has_flag(Some(&command), &key);
        if takers.is_empty() && !is_global {
            return Err(format!("{key}: no command has a flag --{key}"));
        }
        if is_global {
            command = set_default(command, &key, &text);
        }
        for name in takers {
            command = command.mut_subcommand(name, |sub| set_default(sub, &key, &text));
        }
    }
    Ok(command)
}

fn has_flag(command: Option<&Command>, flag: &str) -> bool {
    command.is_some_and(|command| {
        command
            .get_arguments()
            .any(|argument| argument.get_long() == Some(flag))
    })
}

fn set_default(command: Command, flag: &str, text: &[String]) -> Command {
    let defaults: Vec<clap::builder::OsStr> = text
        .iter()
        .map(|text| OsString::from(text).into())
        .collect();
    command.mut_args(|argument| {
        if argument.get_long() == Some(flag) {
            argument.default_values(defaults.clone()).required(false)
        } else {
            argument
        }
    })
}

/// What would stand on the command line.
fn flag_text(flag: &str, value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Integer(number) => Ok(vec![number.to_string()]),
        Value::Float(number) => Ok(vec![number.to_string()]),
        Value::Boolean(choice) => Ok(vec![choice.to_string()]),
        Value::Datetime(moment) => Ok(vec![moment.to_string()]),
        Value::Array(values) => {
            let texts: Result<Vec<_>, _> =
                values.iter().map(|value| flag_text(flag, value)).collect();
            Ok(texts?.into_iter().flatten().collect())
        }
        Value::Table(_) => Err(format!("{flag}: a flag's value cannot be a table")),
    }
}

#[cfg(test)]
mod tests {
    use clap::{Arg, ArgAction};

    use super::*;

    fn command() -> Command {
        Command::new("cascade").subcommand(
            Command::new("sql")
                .arg(Arg::new("format").long("format"))
                .arg(
                    Arg::new("explain")
                        .long("explain")
                        .action(ArgAction::SetTrue),
                ),
        )
    }

    fn format_of(file: &str, arguments: &[&str]) -> Option<String> {
        let command = apply_table(command(), file.parse().unwrap()).unwrap();
        let matches = command.try_get_matches_from(arguments).unwrap();
        let (_, sub) = matches.subcommand().unwrap();
        sub.get_one::<String>("format").cloned()
    }

    #[test]
    fn the_file_is_weaker_than_the_command_line() {
        let file = "[sql]\nformat = 'csv'";
        assert_eq!(format_of(file, &["cascade", "sql"]).as_deref(), Some("csv"));
        let given = ["cascade", "sql", "--format", "json"];
        assert_eq!(format_of(file, &given).as_deref(), Some("json"));
    }

    #[test]
    fn a_key_at_top_level_reaches_every_command_that_has_the_flag() {
        let found = format_of("format = 'csv'", &["cascade", "sql"]);
        assert_eq!(found.as_deref(), Some("csv"));
    }

    #[test]
    fn a_switch_can_be_set() {
        let command = apply_table(command(), "explain = true".parse().unwrap()).unwrap();
        let matches = command.try_get_matches_from(["cascade", "sql"]).unwrap();
        assert!(matches.subcommand().unwrap().1.get_flag("explain"));
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        for file in [
            "colour = 'red'",
            "[sql]\ncolour = 'red'",
            "[cook]\nformat = 'csv'",
        ] {
            assert!(
                apply_table(command(), file.parse().unwrap()).is_err(),
                "{file}"
            );
        }
    }

    #[test]
    fn the_file_is_found_on_the_command_line() {
        let find =
            |arguments: &[&str]| find(&arguments.iter().map(OsString::from).collect::<Vec<_>>());
        let expected = Some(PathBuf::from("a.toml"));
        assert_eq!(find(&["cascade", "--config", "a.toml", "sql"]), expected);
        assert_eq!(find(&["cascade", "sql", "--config=a.toml"]), expected);
        assert_eq!(find(&["cascade", "sql", "--", "--config=a.toml"]), None);
    }
}
