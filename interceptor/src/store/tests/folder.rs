//! Whose folder it is.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::super::{Store, StoreError};
use super::support::*;

fn refused(trace: &Path) -> StoreError {
    Store::open(config(trace)).map(|_| ()).unwrap_err()
}

#[tokio::test]
async fn a_folder_is_for_one_interceptor_at_a_time() {
    let trace = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(config(trace.path())).unwrap();
    let error = refused(trace.path());
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    let process = format!("instance test, process {}", std::process::id());
    assert!(error.to_string().contains(&process), "{error}");
    store.close().await.unwrap();
    let (store, recovered) = Store::open(config(trace.path())).unwrap();
    assert!(!recovered.interrupted);
    store.close().await.unwrap();
}

#[tokio::test]
async fn only_the_user_can_read_a_trace() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("a/b");
    let (store, _) = Store::open(config(&trace)).unwrap();
    store.append(revisions(2..=3)).await.unwrap();
    store.flush().await.unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let journal = table_files(&trace, "changes").remove(0);
    assert_eq!(mode(&journal), 0o600);
    store.close().await.unwrap();
    let sealed = table_files(&trace, "changes").remove(0);
    let mut checked = 0;
    for path in sealed.ancestors().take_while(|path| *path != folder.path()) {
        let expected = if path == sealed { 0o600 } else { 0o700 };
        assert_eq!(mode(path), expected, "{}", path.display());
        checked += 1;
    }
    assert_eq!(checked, 6);
    for path in table_files(&trace, ".cascade") {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn a_folder_that_holds_something_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("lost+found")).unwrap();
    fs::write(folder.path().join("precious.txt"), "x").unwrap();
    let error = refused(folder.path());
    assert!(matches!(error, StoreError::NotATrace { .. }), "{error}");
    assert!(error.to_string().contains("precious.txt"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "untouched");

    let error = refused(&folder.path().join("precious.txt"));
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    fs::remove_file(folder.path().join("precious.txt")).unwrap();
    Store::open(config(folder.path())).unwrap();
}

#[tokio::test]
async fn a_folder_of_a_newer_version_is_refused() {
    let trace = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(config(trace.path())).unwrap();
    store.append(revisions(2..=3)).await.unwrap();
    store.close().await.unwrap();
    let marker = trace.path().join(".cascade/trace.json");
    let content = fs::read_to_string(&marker).unwrap();
    fs::write(
        &marker,
        content.replace(r#""schema_version": 1"#, r#""schema_version": 2"#),
    )
    .unwrap();
    let error = refused(trace.path());
    assert!(
        matches!(
            error,
            StoreError::NewerSchema {
                found: 2,
                supported: 1,
                ..
            }
        ),
        "{error}"
    );
}

/// Replaces a version in a file by one of equal length.
fn raise_version(path: &Path, key: &[u8]) {
    let mut bytes = fs::read(path).unwrap();
    let mut raised = 0;
    for start in 0..bytes.len().saturating_sub(key.len() + 16) {
        if bytes[start..].starts_with(key) {
            let version = (start + key.len()..start + key.len() + 16)
                .find(|at| bytes[*at] == b'1')
                .unwrap();
            bytes[version] = b'9';
            raised += 1;
        }
    }
    assert!(raised > 0, "no version in {}", path.display());
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_sealed_file_of_a_newer_version_is_refused_though_the_folder_has_no_marker() {
    let trace = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(config(trace.path())).unwrap();
    store.append(revisions(2..=3)).await.unwrap();
    store.close().await.unwrap();
    fs::remove_dir_all(trace.path().join(".cascade")).unwrap();
    let sealed = table_files(trace.path(), "changes").remove(0);
    raise_version(&sealed, b"cascade.schema_version");
    let error = refused(trace.path());
    assert!(
        matches!(error, StoreError::NewerSchema { found: 9, .. }),
        "{error}"
    );
    assert!(error.to_string().contains(".parquet"), "{error}");
}

#[tokio::test]
async fn a_trace_without_its_state_folder_goes_on() {
    let trace = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(config(trace.path())).unwrap();
    store.append(revisions(2..=10)).await.unwrap();
    store.close().await.unwrap();
    fs::remove_dir_all(trace.path().join(".cascade")).unwrap();
    let (store, recovered) = Store::open(config(trace.path())).unwrap();
    assert_eq!(recovered.last_change, Some(change(0, 10, 0, 1)));
    assert_eq!(recovered.checkpoint, None);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_damaged_state_file_is_put_aside() {
    let trace = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(config(trace.path())).unwrap();
    store.append(revisions(2..=10)).await.unwrap();
    store.close().await.unwrap();
    let state = trace.path().join(".cascade");
    for name in ["checkpoint", "changes", "trace"] {
        fs::write(state.join(name).with_extension("json"), "{").unwrap();
    }
    let (store, recovered) = Store::open(config(trace.path())).unwrap();
    assert_eq!(recovered.last_change, Some(change(0, 10, 0, 1)));
    assert_eq!(recovered.checkpoint, None);
    for name in ["checkpoint", "changes", "trace"] {
        assert!(
            state.join(name).with_extension("damaged").is_file(),
            "{name}"
        );
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_folder_keeps_its_instance() {
    let trace = tempfile::tempdir().unwrap();
    let unnamed = || super::super::StoreConfig {
        instance: None,
        ..config(trace.path())
    };
    let (store, _) = Store::open(unnamed()).unwrap();
    let first = store.instance();
    assert!(!first.is_empty());
    store.close().await.unwrap();
    let (store, _) = Store::open(unnamed()).unwrap();
    assert_eq!(store.instance(), first);
    store.close().await.unwrap();

    let (store, _) = Store::open(super::super::StoreConfig {
        instance: Some("control plane/1".to_owned()),
        ..config(trace.path())
    })
    .unwrap();
    assert_eq!(&*store.instance(), "control-plane-1");
    store.close().await.unwrap();

    let nameless = super::super::StoreConfig {
        instance: Some("///".to_owned()),
        ..config(trace.path())
    };
    let error = Store::open(nameless).map(|_| ()).unwrap_err();
    assert!(
        matches!(error, StoreError::InvalidInstance { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn an_end_without_a_close_is_noticed() {
    let trace = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(config(trace.path())).unwrap();
    store.append(revisions(2..=10)).await.unwrap();
    store.flush().await.unwrap();
    let copy = folder_in_memory();
    copy_folder(trace.path(), copy.path());
    store.close().await.unwrap();

    let (store, recovered) = Store::open(config(copy.path())).unwrap();
    assert!(recovered.interrupted);
    assert!(recovered.last_alive.is_some());
    store.close().await.unwrap();
}
