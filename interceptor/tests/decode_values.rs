//! Stored values of every kind, from a real kube-apiserver, against the columns they are known to
//! give. The columns of such objects were compared with `kubectl get -o json` by
//! `scripts/checks/decoded-columns`.
//!
//! After a change that is meant: `CASCADE_UPDATE_GOLDEN=1 cargo test --test decode_values`, and
//! read the difference.
#![allow(clippy::unwrap_used)] // helpers of tests fail by panicking

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use cascade_interceptor::decode::{Decoded, Decoder, to_json};
use serde_json::Value;

/// One value of each kind, in kube-apiserver's default format.
const KINDS: &str = "../testdata/values";
/// Values in other formats.
const FORMATS: &str = "../testdata/formats";

fn values(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "bin"))
        .collect();
    paths.sort();
    paths
}

/// The expected columns lie beside the value: `pod.bin`, `pod.key`, `pod.json`.
fn beside(path: &Path, extension: &str) -> PathBuf {
    path.with_extension(extension)
}

fn decode(path: &Path) -> Value {
    let (key, value) = (
        fs::read(beside(path, "key")).unwrap(),
        fs::read(path).unwrap(),
    );
    let Decoded {
        mut object, cpid, ..
    } = Decoder::default().decode(&key, &value);
    // As the command does without a key: hashes of no cluster are nothing to compare.
    object.spec_hash = None;
    object.status_hash = None;
    object.data_hash = None;
    object.value_hash = None;
    to_json(&key, &object, &cpid)
}

#[test]
fn every_value_gives_the_expected_columns() {
    let update = std::env::var_os("CASCADE_UPDATE_GOLDEN").is_some();
    let mut different = Vec::new();
    for path in values(KINDS).into_iter().chain(values(FORMATS)) {
        let columns = decode(&path);
        let golden = beside(&path, "json");
        if update {
            let text = serde_json::to_string_pretty(&columns).unwrap() + "\n";
            fs::write(&golden, text).unwrap();
            continue;
        }
        let expected: Value = serde_json::from_slice(&fs::read(&golden).unwrap()).unwrap();
        if columns != expected {
            different.push(format!("{}: {columns:#}", golden.display()));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn there_is_a_value_of_each_kind_and_every_one_can_be_decoded() {
    let values = values(KINDS);
    assert!(values.len() >= 50, "only {} values", values.len());
    for path in values {
        let columns = decode(&path);
        assert_eq!(columns["decode_error"], Value::Null, "{}", path.display());
        assert!(columns["kind"].is_string(), "{}", path.display());
    }
}

#[test]
fn there_is_a_value_of_each_format() {
    let paths = values(KINDS).into_iter().chain(values(FORMATS));
    let formats: BTreeSet<String> = paths
        .map(|path| decode(&path)["value_format"].as_str().unwrap().to_owned())
        .collect();
    let expected = ["cbor", "encrypted", "json", "protobuf"].map(str::to_owned);
    assert_eq!(formats, BTreeSet::from(expected));
}

#[test]
fn an_encrypted_value_shows_its_key_and_no_more() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(FORMATS);
    for (name, resource) in [
        ("configmap-aescbc", "configmaps"),
        ("secret-aescbc", "secrets"),
    ] {
        let columns = decode(&folder.join(name).with_extension("bin"));
        assert_eq!(columns["resource"], resource);
        assert_eq!(
            columns["decode_error"],
            "encrypted by kube-apiserver: k8s:enc:aescbc:v1:key1:"
        );
    }
}

#[test]
fn nothing_of_a_secret_is_shown() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(KINDS);
    let value = fs::read(folder.join("secret.bin")).unwrap();
    let text = decode(&folder.join("secret.bin")).to_string();
    // Runs of the value that are text and not metadata: the data itself stands at its end.
    let data = String::from_utf8_lossy(&value).into_owned();
    assert!(data.contains("password"), "the fixture holds a password");
    let secret = data
        .split(|character: char| !character.is_ascii_alphanumeric() && character != '-')
        .filter(|word| word.starts_with("not-a") || word.starts_with("changed"))
        .find(|word| text.contains(*word));
    assert_eq!(secret, None, "in {text}");
}
