//! The program `cascade-interceptor`; everything it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    cascade_interceptor::cli::main(std::env::args_os())
}
