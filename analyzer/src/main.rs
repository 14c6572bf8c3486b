//! The program `cascade`; everything it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    cascade_analyzer::cli::main().into()
}
