//! Runs the program.

use std::io::Write;
use std::process::{Command, Stdio};

/// What the program answered.
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs `cascade` with arguments, without the environment's settings.
pub(crate) fn cascade(arguments: &[&str]) -> Answer {
    cascade_with_input(arguments, "")
}

/// The same with something on standard input.
pub(crate) fn cascade_with_input(arguments: &[&str], input: &str) -> Answer {
    let mut child = command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The program may have ended without reading: then there is nobody to write to.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    Answer {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The program, without the environment's settings.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cascade"));
    command.args(arguments);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CASCADE_")) {
        command.env_remove(name);
    }
    command.env_remove("RUST_LOG");
    command
}
