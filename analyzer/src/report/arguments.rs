//! The flags that say how a report or gate is printed, and where.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::terminal::TerminalOptions;
use crate::error::Error;
use crate::output::Output;

/// How a report or gate is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// Aligned tables, for people.
    #[default]
    Terminal,
    /// GitHub-flavoured Markdown, as for a job summary.
    Markdown,
    /// JSON with a documented schema.
    Json,
    /// JUnit XML, for CI systems.
    Junit,
}

impl Format {
    /// What files of this format are usually called.
    const fn extension(self) -> &'static str {
        match self {
            Self::Terminal => "txt",
            Self::Markdown => "md",
            Self::Json => "json",
            Self::Junit => "xml",
        }
    }
}

/// How and where.
#[derive(Debug, Args)]
pub struct OutputArgs {
    /// How it is printed.
    #[arg(long, value_enum, default_value = "terminal", env = "CASCADE_FORMAT")]
    format: Format,

    /// File to write to instead of standard output; in a folder, a file is named for the format.
    #[arg(short = 'o', long, value_name = "FILE|DIR", env = "CASCADE_OUTPUT")]
    output: Option<PathBuf>,
}

impl OutputArgs {
    /// The format asked for.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Opens the destination; `stem` names the file if a folder was given.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be created.
    pub fn open(&self, stem: &str) -> Result<Output, Error> {
        let path = self.output.as_ref().map(|path| {
            if path.is_dir() {
                path.join(format!("{stem}.{}", self.format.extension()))
            } else {
                path.clone()
            }
        });
        Output::open(path.as_deref())
    }

    /// What the destination can show: colour and width are only a terminal's.
    #[must_use]
    pub fn terminal(&self) -> TerminalOptions {
        terminal_options(self.output.is_some())
    }
}

/// What standard output can show; nothing special when the answer goes to a file or a pipe.
pub(crate) fn terminal_options(to_file: bool) -> TerminalOptions {
    if to_file || !std::io::stdout().is_terminal() {
        return TerminalOptions::default();
    }
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_none_or(|value| value == "dumb");
    TerminalOptions {
        width: terminal_size::terminal_size().map(|(width, _)| usize::from(width.0)),
        // https://no-color.org: set and not empty means no colour.
        color: !is_set("NO_COLOR") && !is_dumb,
    }
}
