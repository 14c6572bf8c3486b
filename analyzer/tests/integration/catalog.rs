//! Which traces open, as what, and why others do not.

use std::fs;
use std::path::Path;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use arrow::util::pretty::pretty_format_batches;
use cascade_analyzer::error::Error;
use cascade_analyzer::exit::Exit;
use cascade_analyzer::session::{EngineOptions, Session};
use cascade_proto::tables::{Call, Change, Gap, Object, State, raw_tables};

use crate::support::{Random, TraceFolder, batch, call, change, gap, state, update};

pub(crate) async fn open(traces: &[&TraceFolder]) -> Session {
    let arguments: Vec<String> = traces.iter().map(|trace| trace.argument()).collect();
    Session::open(&arguments, &EngineOptions::default())
        .await
        .unwrap()
}

async fn open_error(path: &Path) -> String {
    let arguments = [path.to_str().unwrap().to_owned()];
    let error = match Session::open(&arguments, &EngineOptions::default()).await {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error,
    };
    assert!(matches!(error, Error::Trace(_)), "{error:?}");
    assert_eq!(error.exit(), Exit::Input);
    error.to_string()
}

/// The values of a query with one row and one number.
pub(crate) async fn number(session: &Session, query: &str) -> i64 {
    let batches = session.query(query).await.unwrap();
    batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

/// An answer as text, one line per row.
pub(crate) async fn rows(session: &Session, query: &str) -> Vec<String> {
    let batches = session.query(query).await.unwrap();
    let table = pretty_format_batches(&batches).unwrap().to_string();
    table
        .lines()
        .skip(3)
        .filter(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            cells.join("|")
        })
        .collect()
}

#[tokio::test]
async fn every_table_is_there_even_without_files() {
    let mut trace = TraceFolder::new();
    trace.write(&[change(2, "a")]);
    let session = open(&[&trace]).await;
    for table in raw_tables() {
        let expected = i64::from(table.name == "changes");
        for name in [format!("raw.{}", table.name), table.name.to_owned()] {
            let count = format!("SELECT count(*) FROM {name}");
            assert_eq!(number(&session, &count).await, expected, "{name}");
        }
        let provider = session
            .context()
            .table_provider(format!("raw.{}", table.name).as_str())
            .await
            .unwrap();
        let found = provider.schema();
        for (field, column) in found.fields().iter().zip(&table.columns) {
            assert_eq!(
                (field.name(), field.data_type()),
                (&column.name, &column.data_type)
            );
        }
        assert_eq!(
            found.fields().len(),
            table.columns.len() + 2,
            "date and hour"
        );
    }
}

#[tokio::test]
async fn folders_are_columns_that_leave_files_out() {
    let mut trace = TraceFolder::new();
    trace.write(&[change(2, "a")]);
    trace.partition = "date=2026-01-03/hour=00".to_owned();
    trace.write(&[change(3, "b")]);
    trace.journal(&[&[change(4, "c")]]);
    let session = open(&[&trace]).await;
    let query = "SELECT date, hour, key FROM changes ORDER BY key";
    let expected = ["2026-01-02|3|a", "2026-01-03|0|b", "2026-01-03|0|c"];
    assert_eq!(rows(&session, query).await, expected);
    let one_day =
        "SELECT key FROM changes WHERE date = DATE '2026-01-03' AND hour < 5 ORDER BY key";
    assert_eq!(rows(&session, one_day).await, ["b", "c"]);

    let plan = rows(
        &session,
        "EXPLAIN SELECT key FROM raw.changes WHERE date = DATE '2026-01-02'",
    )
    .await
    .join("\n");
    assert!(plan.contains("date=2026-01-02"), "{plan}");
    assert!(
        !plan.contains("date=2026-01-03"),
        "the other file is not read:\n{plan}"
    );
    assert!(
        !plan.contains("MemorySource"),
        "nor is the journal:\n{plan}"
    );
}

#[tokio::test]
async fn files_of_an_older_version_read_missing_columns_as_null() {
    let mut trace = TraceFolder::new();
    let mut row = change(2, "a");
    row.object = Object {
        kind: Some("Pod".to_owned()),
        facts: Some("{}".to_owned()),
        ..Object::default()
    };
    let full = batch(&[row]);
    let old: Vec<usize> = (0..full.num_columns())
        .filter(|index| {
            let schema = full.schema();
            let name = schema.field(*index).name().clone();
            !["facts", "owners", "conditions", "seen_time"].contains(&name.as_str())
        })
        .collect();
    trace.write_batch("changes", &full.project(&old).unwrap());
    let mut row = change(3, "b");
    row.object.facts = Some("{\"x\":1}".to_owned());
    trace.write(&[row]);
    let session = open(&[&trace]).await;
    let query = "SELECT key, kind, facts->>'x', owners IS NULL, conditions IS NULL, \
        seen_time IS NULL FROM raw.changes ORDER BY key";
    let expected = ["a|Pod||true|true|true", "b||1|true|true|false"];
    assert_eq!(rows(&session, query).await, expected);
}

#[tokio::test]
async fn a_live_trace_is_read_up_to_the_last_complete_batch() {
    let mut trace = TraceFolder::new();
    trace.write(&[change(2, "a")]);
    let journal = trace.journal(&[&[change(3, "b"), change(4, "c")], &[change(5, "d")]]);
    let session = open(&[&trace]).await;
    assert_eq!(number(&session, "SELECT count(*) FROM changes").await, 4);
    assert_eq!(session.trace().journals(), 1);

    let bytes = fs::read(&journal).unwrap();
    fs::write(&journal, &bytes[..bytes.len() - 1]).unwrap();
    let session = open(&[&trace]).await;
    let keys = "SELECT key FROM changes WHERE revision > 2 ORDER BY key";
    assert_eq!(rows(&session, keys).await, ["b", "c"]);
    let filtered = "SELECT key FROM changes WHERE key = 'c'";
    assert_eq!(
        rows(&session, filtered).await,
        ["c"],
        "filters reach journals too"
    );
}

#[tokio::test]
async fn a_journal_beside_its_sealed_file_is_not_read() {
    let mut trace = TraceFolder::new();
    let rows = [change(2, "a")];
    let journal = trace.journal(&[&rows]);
    let name = journal.file_name().unwrap().to_str().unwrap();
    let sealed = name.trim_start_matches('.').replace(".journal", ".parquet");
    trace.write_as("changes", &sealed, &batch(&rows));
    let session = open(&[&trace]).await;
    assert_eq!(number(&session, "SELECT count(*) FROM changes").await, 1);
    assert_eq!(session.trace().journals(), 0);
}

#[tokio::test]
async fn sealing_while_a_session_is_open_counts_no_row_twice() {
    let mut trace = TraceFolder::new();
    let rows = [change(2, "a")];
    let journal = trace.journal(&[&rows]);
    let session = open(&[&trace]).await;
    let name = journal.file_name().unwrap().to_str().unwrap();
    let sealed = name.trim_start_matches('.').replace(".journal", ".parquet");
    trace.write_as("changes", &sealed, &batch(&rows));
    fs::remove_file(&journal).unwrap();
    assert_eq!(number(&session, "SELECT count(*) FROM changes").await, 1);
}

#[tokio::test]
async fn several_recordings_of_a_cluster_are_merged() {
    let (a, b) = (change(2, "a"), change(3, "b"));
    let mut first = TraceFolder::new();
    first.write(&[a.clone(), b.clone()]);
    first.write(&[state(1, &a)]);
    first.write(&[call(&a)]);
    let mut second = TraceFolder::new();
    second.instance = "other".to_owned();
    let mut late = b.clone();
    late.seen = late.seen.map(|mut seen| {
        seen.unix_nano += 1_000_000_000;
        seen
    });
    late.instance = "other".to_owned();
    let c = update(4, &a);
    second.write(&[late, c.clone()]);
    second.write(&[state(1, &a)]);
    // As an interceptor with `--ledger off` records it: it knows no epoch.
    second.write(&[Call {
        epoch: None,
        ..call(&c)
    }]);
    let session = open(&[&first, &second]).await;
    let query = "SELECT revision, call_id FROM changes WHERE call_id IS NOT NULL ORDER BY revision";
    assert_eq!(rows(&session, query).await, ["2|call-2", "4|call-4"]);
    let query = "SELECT revision, key, instance FROM changes ORDER BY revision";
    let expected = ["2|a|test", "3|b|test", "4|a|test"];
    assert_eq!(
        rows(&session, query).await,
        expected,
        "who saw it first counts"
    );
    assert_eq!(number(&session, "SELECT count(*) FROM states").await, 1);
    assert_eq!(number(&session, "SELECT count(*) FROM calls").await, 2);
    assert_eq!(
        number(&session, "SELECT count(*) FROM stored.changes").await,
        4
    );
}

#[tokio::test]
async fn what_is_no_trace_is_explained() {
    let trace = TraceFolder::new();
    let error = open_error(trace.path()).await;
    assert!(error.contains("folder is empty"), "{error}");

    fs::write(trace.path().join("notes.txt"), "x").unwrap();
    let error = open_error(trace.path()).await;
    assert!(
        error.contains("not a trace") && error.contains("notes.txt"),
        "{error}"
    );

    let error = open_error(&trace.path().join("notes.txt")).await;
    assert!(error.contains("not a folder"), "{error}");
    let error = open_error(&trace.path().join("missing")).await;
    assert!(error.contains("no such folder"), "{error}");
}

#[tokio::test]
async fn a_trace_without_a_readable_row_is_explained() {
    let mut trace = TraceFolder::new();
    let journal = trace.journal::<Change>(&[&[change(2, "a")]]);
    let bytes = fs::read(&journal).unwrap();
    for length in [0, 10, bytes.len() - 1] {
        fs::write(&journal, &bytes[..length]).unwrap();
        let error = open_error(trace.path()).await;
        assert!(
            error.contains("nothing readable yet (1 journals"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn files_that_must_not_be_read_are_named() {
    let mut trace = TraceFolder::new();
    trace.schema_version = "99".to_owned();
    let newer = trace.write(&[change(2, "a")]);
    let error = open_error(trace.path()).await;
    assert!(
        error.contains("version 99") && error.contains("newer cascade"),
        "{error}"
    );
    assert!(
        error.contains(newer.file_name().unwrap().to_str().unwrap()),
        "{error}"
    );

    let mut trace = TraceFolder::new();
    let file = trace.write(&[change(2, "a")]);
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let error = open_error(trace.path()).await;
    assert!(
        error.contains("damaged or not copied completely"),
        "{error}"
    );

    let mut trace = TraceFolder::new();
    trace.write_batch("calls", &batch(&[change(2, "a")]));
    let file = trace.table_folder("calls");
    fs::create_dir_all(trace.path().join("changes")).unwrap();
    fs::rename(
        file.parent().unwrap(),
        trace.path().join("changes/date=2026-01-02"),
    )
    .unwrap();
    let error = open_error(trace.path()).await;
    assert!(error.contains("footer says table calls"), "{error}");

    let mut trace = TraceFolder::new();
    trace.partition = "deep/date=2026-01-02/hour=03".to_owned();
    trace.write(&[change(2, "a")]);
    let error = open_error(trace.path()).await;
    assert!(
        error.contains("files of a trace keep their folders"),
        "{error}"
    );
}

#[tokio::test]
async fn the_same_trace_twice_is_refused() {
    let mut trace = TraceFolder::new();
    trace.write(&[change(2, "a")]);
    let twice = [trace.argument(), format!("{}/", trace.argument())];
    let error = match Session::open(&twice, &EngineOptions::default()).await {
        Ok(_) => panic!("opened"),
        Err(error) => error.to_string(),
    };
    assert!(error.contains("given twice"), "{error}");
}

#[tokio::test]
async fn a_trace_can_be_opened_that_has_no_changes() {
    let mut trace = TraceFolder::new();
    trace.write::<Gap>(&[gap(2, 5)]);
    trace.write::<Call>(&[]);
    trace.write::<State>(&[]);
    let session = open(&[&trace]).await;
    assert_eq!(number(&session, "SELECT count(*) FROM gaps").await, 1);
}

/// Bytes from outside: whatever they are, there is an answer or an error.
#[tokio::test(flavor = "multi_thread")]
async fn damaged_files_never_panic() {
    let mut random = Random::new(11);
    let mut trace = TraceFolder::new();
    let rows: Vec<Change> = (2..60).map(|revision| change(revision, "a")).collect();
    let sealed = trace.write(&rows);
    let journal = trace.journal(&[&[change(60, "b")], &[change(61, "c")]]);
    let mut opened = 0;
    for file in [&sealed, &journal] {
        let original = fs::read(file).unwrap();
        for _ in 0..150 {
            let mut bytes = original.clone();
            let at = usize::try_from(random.below(bytes.len() as u64)).unwrap();
            match random.below(3) {
                0 => bytes[at] ^= 1 << random.below(8),
                1 => bytes.truncate(at),
                _ => bytes[at..].fill(0),
            }
            fs::write(file, bytes).unwrap();
            let arguments = [trace.argument()];
            if let Ok(session) = Session::open(&arguments, &EngineOptions::default()).await {
                opened += 1;
                // Rows or an error; a panic would fail the test.
                drop(session.query("SELECT * FROM changes").await);
            }
        }
        fs::write(file, original).unwrap();
    }
    assert!(
        opened > 100,
        "most damage to journals, and some to sealed files, is survived"
    );
}
