//! Cases that the implementation for Go (`examples/go-carrier`) is tested with too.

// Helpers of tests fail by panicking, but clippy's exemption covers `#[test]` functions only.
#![allow(clippy::unwrap_used)]

use cascade_cpid::carriers::{baggage, koc};
use cascade_cpid::{ChangeContext, Merged, merge_with};
use serde_json::{Value, json};

fn cases(name: &str) -> Vec<Value> {
    let path = format!("{}/tests/cases/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn texts(list: &Value) -> Vec<String> {
    let items = list.as_array().unwrap();
    items.iter().map(text).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[test]
fn merges() {
    for case in cases("merge") {
        let sources = case["sources"].as_array().unwrap().iter();
        let sources = sources.map(|source| ChangeContext {
            cpid: text(&source["cpid"]),
            ancestors: texts(&source["ancCpids"]),
        });
        let keep = usize::try_from(case["keep"].as_u64().unwrap()).unwrap();
        let found = match merge_with(sources, keep, |_| "new".to_owned()) {
            Merged::Nothing => json!({"kind": "nothing"}),
            Merged::Reuse(context) => {
                json!({"kind": "reuse", "cpid": context.cpid, "ancCpids": context.ancestors})
            }
            Merged::New {
                context,
                source_cpids,
            } => json!({"kind": "new", "sources": source_cpids, "ancCpids": context.ancestors}),
        };
        assert_eq!(found, case["expected"], "{}", case["name"]);
    }
}

#[test]
fn annotations() {
    for case in cases("koc") {
        let found = match koc::read(&text(&case["text"])) {
            Ok(None) => Value::Null,
            Ok(Some(context)) => json!({"cpid": context.cpid, "ancCpids": context.ancestors}),
            Err(_) => json!("malformed"),
        };
        assert_eq!(found, case["expected"], "{}", case["text"]);
    }
}

#[test]
fn headers() {
    for case in cases("baggage") {
        let written = baggage::write(Some(&text(&case["header"])), &text(&case["cpid"]));
        let written = written.unwrap_or_else(|_| "malformed".to_owned());
        assert_eq!(json!(written), case["expected"], "{}", case["header"]);
    }
}
