//! `cascade sql` and `cascade schema`, as programs.

use std::fs;
use std::io::Read;
use std::process::Stdio;

use cascade_proto::tables::{Condition, Object};

use crate::program::{cascade, cascade_with_input, command};
use crate::support::{TraceFolder, change};

fn trace() -> TraceFolder {
    let mut trace = TraceFolder::new();
    let mut pod = change(2, "a,\"b\"");
    pod.object = Object {
        api_group: Some(String::new()),
        kind: Some("Pod".to_owned()),
        labels: Some("{\"app\":\"web\"}".to_owned()),
        conditions: Some(vec![Condition {
            kind: "Ready".to_owned(),
            status: "True".to_owned(),
            reason: None,
            last_transition_time: None,
        }]),
        finalizers: Some(Vec::new()),
        ..Object::default()
    };
    trace.write(&[pod, change(3, "c|d")]);
    trace
}

const COLUMNS: &str = "SELECT revision, key, api_group, labels->>'app' AS app, finalizers, \
    conditions, seen_time FROM changes ORDER BY revision";

#[test]
fn rows_are_printed_in_every_format() {
    let trace = trace();
    let print = |format: &str| {
        let answer = cascade(&["sql", &trace.argument(), "-c", COLUMNS, "--format", format]);
        assert_eq!((answer.code, answer.stderr.as_str()), (0, ""), "{format}");
        answer.stdout
    };
    assert_eq!(
        print("csv"),
        "revision,key,api_group,app,finalizers,conditions,seen_time\n\
         2,\"a,\"\"b\"\"\",\"\",web,[],\"[{\"\"type\"\":\"\"Ready\"\",\"\"status\"\":\"\"True\"\",\
         \"\"reason\"\":null,\"\"last_transition_time\"\":null}]\",\
         2026-01-02T03:00:00.002Z\n\
         3,c|d,,,,,2026-01-02T03:00:00.003Z\n"
    );
    let rows: Vec<serde_json::Value> = serde_json::from_str(&print("json")).unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0]["key"], "a,\"b\"");
    assert_eq!(rows[0]["finalizers"], serde_json::json!([]));
    assert_eq!(rows[0]["conditions"][0]["type"], "Ready");
    assert_eq!(rows[1]["api_group"], serde_json::Value::Null);
    let lines: Vec<serde_json::Value> = print("ndjson")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines, rows);
    let markdown = print("markdown");
    assert!(markdown.starts_with("| revision | key |"), "{markdown}");
    assert!(markdown.contains("\n|---:|---|"), "{markdown}");
    assert!(markdown.contains("| c\\|d | NULL |"), "{markdown}");
    assert!(print("table").contains("| revision |"));
}

#[test]
fn a_parquet_answer_is_read_again() {
    let trace = trace();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("answer.parquet");
    let path = file.to_str().unwrap();
    let made = cascade(&[
        "sql",
        &trace.argument(),
        "-c",
        COLUMNS,
        "--format",
        "parquet",
        "--output",
        path,
    ]);
    assert_eq!(
        (made.code, made.stdout.as_str()),
        (0, ""),
        "{}",
        made.stderr
    );
    let query = format!(
        "CREATE EXTERNAL TABLE answer STORED AS PARQUET LOCATION '{path}'; \
         SELECT count(*) AS n, max(revision) AS last FROM answer"
    );
    let read = cascade(&["sql", &trace.argument(), "-c", &query, "--format", "csv"]);
    assert_eq!(
        (read.code, read.stdout.as_str()),
        (0, "n,last\n2,3\n"),
        "{}",
        read.stderr
    );
}

#[test]
fn statements_come_from_a_file_or_standard_input() {
    let trace = trace();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("query.sql");
    fs::write(&file, "SELECT 1 AS a;\nSELECT 2 AS b;").unwrap();
    let path = file.to_str().unwrap();
    let arguments = ["sql", &trace.argument(), "--format", "csv"];
    let from_file = cascade(&[&arguments[..], &["-f", path]].concat());
    assert_eq!(
        (from_file.code, from_file.stdout.as_str()),
        (0, "a\n1\nb\n2\n")
    );
    let piped = cascade_with_input(&arguments, "SELECT 3 AS c");
    assert_eq!((piped.code, piped.stdout.as_str()), (0, "c\n3\n"));
    let two_documents = cascade(&["sql", &trace.argument(), "--format", "json", "-f", path]);
    assert_eq!(two_documents.code, 2);
    assert!(
        two_documents.stderr.contains("holds the answer of one"),
        "{}",
        two_documents.stderr
    );
}

#[test]
fn a_statement_may_begin_with_a_comment() {
    let query = "-- how many\nSELECT count(*) AS n FROM changes";
    let answer = cascade(&["sql", &trace().argument(), "--format", "csv", "-c", query]);
    assert_eq!((answer.code, answer.stdout.as_str()), (0, "n\n2\n"));
}

#[test]
fn mistakes_are_explained_and_end_with_2() {
    let trace = trace();
    let folder = trace.argument();
    let missing = format!("{folder}/missing");
    for (arguments, expected) in [
        (
            vec!["sql", &folder, "-c", "SELECT kinds FROM changes"],
            "kind",
        ),
        (vec!["sql", &folder, "-c", "SELEC 1"], "Expected"),
        (
            vec!["sql", &folder, "-c", "SELECT * FROM nothing"],
            "nothing",
        ),
        (vec!["sql", &folder, "-c", " ; "], "no SQL statement"),
        (
            vec![
                "sql",
                &folder,
                "-c",
                "INSERT INTO raw.gaps SELECT * FROM raw.gaps",
            ],
            "nsert",
        ),
        (
            vec!["sql", &folder, "-f", "/nonexistent.sql"],
            "cannot read",
        ),
        (vec!["sql", &missing, "-c", "SELECT 1"], "no such folder"),
        (
            vec!["sql", &folder, "-c", "SELECT 1", "--format", "xml"],
            "possible values",
        ),
        (
            vec!["sql", &folder, "-c", "SELECT 1", "--memory-limit", "lots"],
            "2GiB",
        ),
        (vec!["sql"], "TRACE"),
        (vec!["cook"], "unrecognized"),
        (vec!["schema", "nothing"], "changes, states, calls"),
    ] {
        let answer = cascade(&arguments);
        assert_eq!(answer.code, 2, "{arguments:?}: {}", answer.stderr);
        assert!(
            answer.stderr.contains(expected),
            "{arguments:?}: {}",
            answer.stderr
        );
        assert_eq!(answer.stdout, "", "{arguments:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_success() {
    let trace = trace();
    let many = "SELECT a.value, b.value FROM generate_series(1, 2000) AS a, \
        generate_series(1, 2000) AS b";
    for format in ["csv", "ndjson", "json"] {
        let folder = trace.argument();
        let mut child = command(&["sql", &folder, "-c", many, "--format", format])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = [0; 16];
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
        let output = child.wait_with_output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), errors.as_str()),
            (Some(0), ""),
            "{format}"
        );
    }
}

#[test]
fn settings_come_from_flag_environment_and_file() {
    let trace = trace();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cascade.toml");
    fs::write(&file, "threads = 1\n[sql]\nformat = \"ndjson\"\n").unwrap();
    let path = file.to_str().unwrap();
    let traced = trace.argument();
    let arguments = ["sql", &traced, "-c", "SELECT 1 AS a", "--config", path];
    assert_eq!(cascade(&arguments).stdout, "{\"a\":1}\n");
    let from_environment = command(&arguments)
        .env("CASCADE_FORMAT", "csv")
        .output()
        .unwrap();
    assert_eq!(from_environment.stdout, b"a\n1\n");
    let flag = [&arguments[..], &["--format", "json"]].concat();
    let from_flag = command(&flag)
        .env("CASCADE_FORMAT", "csv")
        .output()
        .unwrap();
    assert_eq!(from_flag.stdout, b"[{\"a\":1}]\n");

    fs::write(&file, "colour = 'red'").unwrap();
    let wrong = cascade(&arguments);
    assert_eq!(wrong.code, 2);
    assert!(wrong.stderr.contains("colour"), "{}", wrong.stderr);
}

#[test]
fn the_schema_is_printed() {
    let text = cascade(&["schema", "changes"]);
    assert_eq!(text.code, 0);
    assert!(
        text.stdout.contains("cpid_ancestors list<text>"),
        "{}",
        text.stdout
    );
    let json = cascade(&["schema", "--format", "json"]);
    let document: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(document["tables"][0]["name"], "changes");
    assert_eq!(document["tables"][0]["columns"][2]["type"], "int64");
    let markdown = cascade(&["schema", "gaps", "--format", "markdown"]);
    assert!(
        markdown
            .stdout
            .contains("| covers_revisions | boolean | no |")
    );
}

#[test]
fn help_and_version_are_no_mistakes() {
    for arguments in [&["--help"][..], &["sql", "--help"], &["--version"]] {
        let answer = cascade(arguments);
        assert_eq!(
            (answer.code, answer.stderr.as_str()),
            (0, ""),
            "{arguments:?}"
        );
        assert!(answer.stdout.contains("cascade"), "{arguments:?}");
    }
}
