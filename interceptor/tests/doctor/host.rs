//! The host: disk, open files, trace folder.

use std::fs;

use tempfile::TempDir;

use crate::support::{Etcd, Interceptor, limited_command};
use crate::{Diagnosis, MODEST};

#[test]
fn a_disk_that_is_nearly_full() {
    let etcd = Etcd::start();
    let folder = TempDir::new().unwrap();
    let own = format!("--etcd={}", etcd.endpoint());
    let trace = format!("--trace-dir={}", folder.path().join("trace").display());
    Diagnosis::of(&[&own, &trace, "--disk-free-min=1000000TiB"]).has(
        "warning",
        "disk",
        &[&trace["--trace-dir=".len()..], "MiB are free", "make room"],
    );
    assert!(!folder.path().join("trace").exists());
    Diagnosis::of(&[&own, &trace, MODEST[0]]).has_nothing_of("disk");
}

#[test]
fn a_limit_on_open_files_that_is_too_low() {
    let etcd = Etcd::start();
    let own = format!("--etcd={}", etcd.endpoint());
    let listen = "--listen=127.0.0.1:2479";
    Diagnosis::by(limited_command(1024), &[listen, &own]).has(
        "warning",
        "open_files",
        &[
            "1024 open files allows 480 connections",
            "LimitNOFILE=65536",
        ],
    );
    Diagnosis::by(
        limited_command(1024),
        &[listen, &own, "--max-connections=480"],
    )
    .has_nothing_of("open_files");
    // The limit that counts is that of the interceptor that runs.
    let folder = TempDir::new().unwrap();
    let trace = format!("--trace-dir={}", folder.path().join("trace").display());
    let interceptor = Interceptor::limited(200, &["serve", "--listen=127.0.0.1:0", &own, &trace]);
    Diagnosis::of(&[listen, &own, &trace, "--max-connections=480"]).has(
        "warning",
        "open_files",
        &[&format!("process {}", interceptor.id()), "200 open files"],
    );
}

#[test]
fn trace_folders_that_cannot_be_used() {
    let etcd = Etcd::start();
    let own = format!("--etcd={}", etcd.endpoint());
    let folder = TempDir::new().unwrap();
    let state = folder.path().join(".cascade");
    fs::create_dir(&state).unwrap();
    let marker = state.join("trace.json");
    fs::write(&marker, r#"{"schema_version": 1000, "instance": "future"}"#).unwrap();
    let trace = format!("--trace-dir={}", folder.path().display());
    Diagnosis::of(&[&own, &trace]).has(
        "error",
        "trace_folder",
        &["schema version 1000", "use the newer program", "code 73"],
    );
    assert_eq!(
        fs::read_dir(&state).unwrap().count(),
        1,
        "nothing was made there"
    );
    let foreign = TempDir::new().unwrap();
    fs::write(foreign.path().join("letter.txt"), "dear").unwrap();
    let trace = format!("--trace-dir={}", foreign.path().display());
    Diagnosis::of(&[&own, &trace]).has(
        "error",
        "trace_folder",
        &["not a trace folder", "letter.txt"],
    );
}
