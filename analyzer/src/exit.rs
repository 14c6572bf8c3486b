//! Exit codes of the program, part of its contract with scripts and CI.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did what was asked.
    Ok,
    /// A gate failed, or `verify` found loss.
    Failed,
    /// Wrong usage or unusable input.
    Input,
    /// The trace is too incomplete for the question asked.
    Incomplete,
    /// A mistake in this program.
    Internal,
}

impl Exit {
    /// The code that the process ends with.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Input => 2,
            Self::Incomplete => 3,
            // EX_SOFTWARE of sysexits.h.
            Self::Internal => 70,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
