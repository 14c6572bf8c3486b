//! `cascade derive`: tables that were written say the same as tables that are derived, and are read only
//! where they fit.

use std::fs;
use std::path::{Path, PathBuf};

use cascade_analyzer::session::{EngineOptions, Session};
use serde_json::Value;

use crate::catalog::rows;
use crate::program::{Answer, cascade};
use crate::support::{TraceFolder, change};

/// A recorded trace in a folder of its own, whose name needs care.
fn recorded(name: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("a trace? 100 %41 #1");
    let testdata = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata");
    copy(&testdata.join(name), &trace);
    let argument = trace.to_str().unwrap().to_owned();
    (folder, argument)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in from.read_dir().unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

async fn open(trace: &str, options: EngineOptions) -> Session {
    Session::open(&[trace.to_owned()], &options).await.unwrap()
}

/// Whether a session reads `reach` from a file.
async fn is_read(trace: &str, options: EngineOptions) -> bool {
    let session = open(trace, options).await;
    let plan = rows(&session, "EXPLAIN SELECT depth FROM reach").await;
    plan.join("\n").contains("reach.parquet")
}

fn derive(arguments: &[&str]) -> Answer {
    let answer = cascade(&[&["derive"], arguments].concat());
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    answer
}

#[tokio::test]
async fn written_tables_say_what_derived_ones_do() {
    let (_folder, trace) = recorded("truth/deployments/trace");
    let manifest: Value =
        serde_json::from_str(&derive(&[&trace, "--format", "json"]).stdout).unwrap();
    assert!(is_read(&trace, EngineOptions::default()).await);
    let written = open(&trace, EngineOptions::default()).await;
    let derived = open(
        &trace,
        EngineOptions {
            derive_anew: true,
            ..EngineOptions::default()
        },
    )
    .await;
    let tables = manifest["tables"].as_array().unwrap();
    assert!(tables.len() >= 10, "{tables:?}");
    for table in tables {
        let name = table["name"].as_str().unwrap();
        let types = format!(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = '{name}'
            AND table_schema = 'public' ORDER BY ordinal_position"
        );
        let columns = rows(&derived, &types).await;
        assert_eq!(rows(&written, &types).await, columns, "{name}");
        // What files of a trace do not have: readers of other programs stumble over them.
        for unwanted in ["View", "UInt", "Dictionary", "Nanosecond", "Map"] {
            assert!(
                !columns.iter().any(|column| column.contains(unwanted)),
                "{name}: {columns:?}"
            );
        }
        let names: Vec<&str> = columns
            .iter()
            .map(|column| column.split('|').next().unwrap())
            .collect();
        let all = format!("SELECT * FROM {name} ORDER BY \"{}\"", names.join("\", \""));
        let expected = rows(&derived, &all).await;
        assert_eq!(rows(&written, &all).await, expected, "{name}");
        assert_eq!(
            table["rows"].as_u64().unwrap(),
            expected.len() as u64,
            "{name}"
        );
    }
    let reached = tables
        .iter()
        .find(|table| table["name"] == "reach")
        .unwrap();
    assert!(reached["rows"].as_u64().unwrap() > 1000);
    let again = derive(&[&trace]).stdout;
    assert!(again.contains("were there already"), "{again}");
    let anew = derive(&[&trace, "--force"]).stdout;
    assert!(anew.contains("Queries read them"), "{anew}");
    assert!(is_read(&trace, EngineOptions::default()).await);
}

#[tokio::test]
async fn tables_of_another_state_are_not_read() {
    let mut trace = TraceFolder::new();
    trace.write(&[change(2, "a"), change(3, "b")]);
    let argument = trace.argument();
    derive(&[&argument]);
    assert!(is_read(&argument, EngineOptions::default()).await);
    let named = EngineOptions {
        clients: vec!["deploy-bot".to_owned()],
        ..EngineOptions::default()
    };
    assert!(!is_read(&argument, named).await, "other clients");

    // A new row, in a journal and then in a file.
    let journal = trace.journal(&[&[change(4, "c")]]);
    assert!(!is_read(&argument, EngineOptions::default()).await);
    let query = ["sql", &argument, "-c", "SELECT count(*) FROM roots"];
    let answer = cascade(&query);
    assert!(answer.stdout.contains('3'), "{}", answer.stdout);
    assert!(answer.stderr.contains("deriving anew"), "{}", answer.stderr);
    fs::remove_file(journal).unwrap();
    assert!(is_read(&argument, EngineOptions::default()).await);
    let added = trace.write(&[change(4, "c")]);
    assert!(!is_read(&argument, EngineOptions::default()).await);
    derive(&[&argument]);
    assert!(is_read(&argument, EngineOptions::default()).await);

    // The same name and number of rows, but another row.
    let name = added.file_name().unwrap().to_str().unwrap().to_owned();
    let row = crate::support::batch(&[change(5, "c")]);
    trace.write_as("changes", &name, &row);
    assert!(!is_read(&argument, EngineOptions::default()).await);
}

#[tokio::test]
async fn a_table_that_is_gone_or_cut_off_is_not_taken_for_an_empty_one() {
    let mut trace = TraceFolder::new();
    trace.write(&[change(2, "a"), change(3, "b")]);
    let argument = trace.argument();
    let folder = trace.path().join("derived");
    let count = ["sql", &argument, "--format", "csv", "-c"];
    let count = [&count[..], &["SELECT count(*) AS n FROM roots"]].concat();
    for damage in [
        |file: &Path| fs::remove_file(file).unwrap(),
        |file: &Path| fs::write(file, "PAR1").unwrap(),
    ] {
        derive(&[&argument]);
        let of_id = folder.read_dir().unwrap().next().unwrap().unwrap().path();
        damage(&of_id.join("roots.parquet"));
        let answer = cascade(&count);
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        assert_eq!(answer.stdout, "n\n2\n");
        assert!(answer.stderr.contains("roots.parquet"), "{}", answer.stderr);
        let mended = derive(&[&argument]).stdout;
        assert!(mended.contains("Queries read them"), "{mended}");
        assert!(is_read(&argument, EngineOptions::default()).await);
    }
}

#[tokio::test]
async fn tables_can_be_written_elsewhere() {
    let mut trace = TraceFolder::new();
    trace.write(&[change(2, "a")]);
    let argument = trace.argument();
    let elsewhere = tempfile::tempdir().unwrap();
    let folder = elsewhere.path().join("tables");
    derive(&[&argument, "--output", folder.to_str().unwrap()]);
    assert!(!trace.path().join("derived").exists());
    assert!(!is_read(&argument, EngineOptions::default()).await);
    let there = EngineOptions {
        derived: Some(folder.clone()),
        ..EngineOptions::default()
    };
    assert!(is_read(&argument, there).await);
    let missing = cascade(&["sql", &argument, "--derived", "/nowhere", "-c", "SELECT 1"]);
    assert_eq!(missing.code, 2);
    assert!(missing.stderr.contains("/nowhere"), "{}", missing.stderr);

    // An unfinished folder, and a manifest that is none.
    let finished = folder.read_dir().unwrap().next().unwrap().unwrap().path();
    let manifest = finished.join("manifest.json");
    fs::write(&manifest, "{").unwrap();
    let damaged = cascade(&[
        "sql",
        &argument,
        "--derived",
        folder.to_str().unwrap(),
        "-c",
        "SELECT 1",
    ]);
    assert_eq!(damaged.code, 2);
    assert!(
        damaged.stderr.contains("derive again")
            && damaged.stderr.contains(manifest.to_str().unwrap()),
        "{}",
        damaged.stderr
    );
    fs::remove_file(&manifest).unwrap();
    let there = EngineOptions {
        derived: Some(folder),
        ..EngineOptions::default()
    };
    assert!(!is_read(&argument, there).await);
}
