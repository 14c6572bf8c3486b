//! Applies patches as a user does.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Applies a patch as docs/kubeadm.md says, to a folder in the place of `/`.
pub(crate) fn patch(root: &Path, text: &str, more: &[&str]) {
    let mut child = Command::new("patch")
        .args(["--silent", "--strip=1", "--directory"])
        .arg(root)
        .args(more)
        .stdin(Stdio::piped())
        .spawn()
        .expect("this test needs the program patch: install it");
    let mut input = child.stdin.take().unwrap();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    assert!(child.wait().unwrap().success(), "{text}");
}
