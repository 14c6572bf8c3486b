//! Reads lines from the terminal: with editing and history, or, without the feature `line-editor`, as
//! the terminal gives them.

/// What the user entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entered {
    /// A line, without its end.
    Line(String),
    /// Ctrl-C: drop what was entered so far.
    #[cfg_attr(not(feature = "line-editor"), allow(dead_code))]
    Interrupt,
    /// Ctrl-D, or the end of the input.
    End,
}

#[cfg(feature = "line-editor")]
pub(super) use editing::LineEditor;
#[cfg(not(feature = "line-editor"))]
pub(super) use plain::LineEditor;

#[cfg(feature = "line-editor")]
mod editing {
    use std::path::PathBuf;

    use rustyline::error::ReadlineError;
    use rustyline::history::FileHistory;
    use rustyline::{Config, Editor};

    use super::Entered;
    use crate::error::Error;

    /// A line editor whose history outlives the program.
    pub(crate) struct LineEditor {
        editor: Editor<(), FileHistory>,
        history: Option<PathBuf>,
    }

    impl LineEditor {
        pub(crate) fn open() -> Result<Self, Error> {
            let config = Config::builder().auto_add_history(false).build();
            let mut editor = Editor::with_config(config).map_err(terminal)?;
            let history = history_file();
            if let Some(file) = &history {
                // A first start has no history yet; an unreadable one is not worth stopping for.
                drop(editor.load_history(file));
            }
            Ok(Self { editor, history })
        }

        pub(crate) fn read(&mut self, prompt: &str) -> Result<Entered, Error> {
            match self.editor.readline(prompt) {
                Ok(line) => Ok(Entered::Line(line)),
                Err(ReadlineError::Interrupted) => Ok(Entered::Interrupt),
                Err(ReadlineError::Eof) => Ok(Entered::End),
                Err(error) => Err(terminal(error)),
            }
        }

        /// Adds a statement to the history; one that cannot be kept is no reason to stop.
        pub(crate) fn remember(&mut self, entered: &str) {
            drop(self.editor.add_history_entry(entered));
        }

        /// Keeps the history.
        pub(crate) fn close(mut self) {
            let Some(file) = &self.history else { return };
            if let Some(folder) = file.parent() {
                drop(std::fs::create_dir_all(folder));
            }
            drop(self.editor.save_history(file));
        }
    }

    fn terminal(error: ReadlineError) -> Error {
        Error::io("cannot use the terminal", std::io::Error::other(error))
    }

    /// Where entered statements are kept, per the XDG base directory specification.
    fn history_file() -> Option<PathBuf> {
        let state = std::env::var_os("XDG_STATE_HOME")
            .map(PathBuf::from)
            .or_else(|| {
                std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"))
            })?;
        Some(state.join("cascade").join("sql_history"))
    }
}

#[cfg(not(feature = "line-editor"))]
mod plain {
    use std::io::Write;

    use super::Entered;
    use crate::error::Error;

    /// Lines as the terminal gives them.
    pub(crate) struct LineEditor;

    impl LineEditor {
        #[allow(clippy::unnecessary_wraps)] // like the one that can fail
        pub(crate) fn open() -> Result<Self, Error> {
            Ok(Self)
        }

        pub(crate) fn read(&mut self, prompt: &str) -> Result<Entered, Error> {
            let mut screen = std::io::stderr();
            let mut line = String::new();
            write!(screen, "{prompt}")
                .and_then(|()| screen.flush())
                .and_then(|()| std::io::stdin().read_line(&mut line))
                .map_err(|source| Error::io("cannot use the terminal", source))?;
            if line.is_empty() {
                return Ok(Entered::End);
            }
            let end = line.trim_end_matches(['\n', '\r']).len();
            line.truncate(end);
            Ok(Entered::Line(line))
        }

        #[allow(clippy::unused_self)] // like the one that remembers
        pub(crate) fn remember(&mut self, _entered: &str) {}

        #[allow(clippy::unused_self)]
        pub(crate) fn close(self) {}
    }
}
