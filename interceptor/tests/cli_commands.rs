//! Exit codes, messages, and where settings come from.

// Helpers of tests fail by panicking, but clippy's exemption covers `#[test]` functions only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Output, Stdio};

use support::{Etcd, Interceptor, interceptor_command};
use tempfile::TempDir;

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    interceptor_command()
        .args(arguments)
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

/// Exit code, standard output, standard error.
fn outcome(output: Output) -> (i32, String, String) {
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// Asserts an exit code and that the message holds what helps.
fn fails(arguments: &[&str], code: i32, parts: &[&str]) {
    let (found, _, message) = outcome(run(arguments, &[]));
    assert_eq!(found, code, "{arguments:?}: {message}");
    for part in parts {
        assert!(
            message.contains(part),
            "{arguments:?}: no `{part}` in: {message}"
        );
    }
}

#[test]
fn help_and_version_are_no_errors() {
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["serve", "--help"],
        &["help", "config"],
    ] {
        let (code, text, _) = outcome(run(arguments, &[]));
        assert_eq!(code, 0, "{arguments:?}");
        assert!(text.contains("cascade-interceptor"), "{text}");
    }
    let (code, page, _) = outcome(run(&["man"], &[]));
    assert_eq!(code, 0);
    assert!(page.contains(".TH cascade-interceptor"), "{page}");
    let (code, page, _) = outcome(run(&["man", "serve"], &[]));
    assert_eq!(code, 0);
    assert!(page.contains("CASCADE_TRACE_DIR"), "{page}");
    fails(&["man", "record"], 64, &["no command `record`"]);
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, _) = outcome(run(&["completions", shell], &[]));
        assert_eq!(code, 0);
        assert!(
            script.contains("--trace-dir") || script.contains("trace-dir"),
            "{shell}"
        );
    }
}

#[test]
fn bad_usage_is_64() {
    fails(&[], 64, &["Usage"]);
    fails(&["record"], 64, &["record"]);
    fails(&["serve", "--liste"], 64, &["--liste"]);
    fails(&["serve"], 64, &["--listen", "--etcd", "--route"]);
    // What only a start would find out otherwise.
    let complete = |more: &[&'static str]| {
        let begin = [
            "config",
            "--check",
            "--trace-dir=t",
            "--etcd=http://127.0.0.1:2379",
        ];
        [&begin[..], more].concat()
    };
    let listen = "--listen=127.0.0.1:2390";
    fails(
        &complete(&[listen]),
        64,
        &["given twice", "--metrics-listen"],
    );
    let circle = complete(&["--listen=127.0.0.1:2379"]);
    fails(&circle, 64, &["127.0.0.1:2379 is where etcd is said to be"]);
    let nameless = complete(&["--listen=127.0.0.1:2479", "--instance=///"]);
    fails(&nameless, 64, &["no usable character"]);
    fails(&["serve", "--listen=127.0.0.1:0"], 64, &["--etcd"]);
    fails(
        &["serve", "--listen=2379", "--etcd=a:1"],
        64,
        &["`2379`", "HOST:PORT"],
    );
    fails(
        &["serve", "--listen=127.0.0.1:0", "--etcd=https://etcd:2379"],
        64,
        &["https://etcd:2379", "--etcd-ca FILE"],
    );
    let route = "--route=127.0.0.1:0=http://etcd:2379";
    fails(&["serve", route, "--etcd=a:1"], 64, &["--route replaces"]);
}

#[test]
fn a_port_in_use_is_69() {
    let etcd = Etcd::start();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let endpoint = format!("--etcd={}", etcd.endpoint());
    let off = ["--ledger=off", "--observe=off"];
    let listen = format!("--listen={taken}");
    fails(
        &[
            "serve",
            &listen,
            &endpoint,
            off[0],
            off[1],
            "--metrics-listen=127.0.0.1:0",
        ],
        69,
        &["cannot listen on", &taken, "--listen"],
    );
    let metrics = format!("--metrics-listen={taken}");
    fails(
        &[
            "serve",
            "--listen=127.0.0.1:0",
            &endpoint,
            off[0],
            off[1],
            &metrics,
        ],
        69,
        &["cannot listen on", &taken, "--metrics-listen"],
    );
}

#[test]
fn an_unreachable_etcd_is_69() {
    // A port that was just free: nothing listens there.
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let endpoint = format!("--etcd=http://{free}");
    fails(
        &[
            "serve",
            "--listen=127.0.0.1:0",
            &endpoint,
            "--ledger=off",
            "--observe=off",
        ],
        69,
        &["cannot reach etcd", &free.to_string(), "--etcd"],
    );
}

#[test]
fn a_trace_folder_that_cannot_be_used_is_73() {
    let etcd = Etcd::start();
    let folder = TempDir::new().unwrap();
    let fails_with = |trace_dir: &Path, parts: &[&str]| {
        let trace_dir = format!("--trace-dir={}", trace_dir.display());
        let endpoint = format!("--etcd={}", etcd.endpoint());
        fails(
            &["serve", "--listen=127.0.0.1:0", &endpoint, &trace_dir],
            73,
            parts,
        );
        fails(&["tail", &endpoint, &trace_dir], 73, parts);
    };
    let file = folder.path().join("file");
    fs::write(&file, "text").unwrap();
    fails_with(&file.join("trace"), &["file/trace"]);
    fails_with(folder.path(), &["not a trace folder", "file"]);
    let used = folder.path().join("used");
    let interceptor = Interceptor::serve(&etcd, &used, &[]);
    fails_with(&used, &["in use by another interceptor"]);
    drop(interceptor);
}

/// What `decode` prints for a value on standard input.
fn decoded(arguments: &[&str], value: &[u8]) -> serde_json::Value {
    let mut child = interceptor_command()
        .arg("decode")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(value).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn decode_prints_the_columns_of_a_value() {
    let value = br#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s","namespace":"n"}}"#;
    let key = "--key=/registry/secrets/n/s";
    let columns = decoded(&[key], value);
    assert_eq!(columns["resource"], "secrets");
    assert_eq!(columns["namespace"], "n");
    assert_eq!(columns["value_bytes"], value.len());
    assert_eq!(columns["value_hash"], serde_json::Value::Null);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("key");
    fs::write(&file, [7; 16]).unwrap();
    let flag = format!("--hash-key-file={}", file.display());
    assert!(decoded(&[key, &flag], value)["value_hash"].is_i64());

    let pod = "--key=/registry/pods/n/p";
    assert!(decoded(&[pod], b"{}")["value_hash"].is_null());
    assert!(decoded(&[pod, "--cluster-id=cdf818e5e5a3fe1"], b"{}")["value_hash"].is_i64());
    fails(&["decode", "--cluster-id=x"], 64, &["hexadecimal"]);
    // Anything at all is a value.
    assert!(decoded(&[], b"k8s\0\xff\xff")["decode_error"].is_string());
    decoded(&[], b"");
}

#[test]
fn a_hash_key_file_must_hold_a_key() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("key");
    let flag = format!("--hash-key-file={}", file.display());
    let trace_dir = format!("--trace-dir={}", folder.path().join("trace").display());
    let arguments = ["serve", "--listen=a:2", "--etcd=a:1", &trace_dir, &flag];
    fails(&arguments, 64, &["--hash-key-file", "No such file"]);
    fs::write(&file, "short").unwrap();
    fails(&arguments, 64, &["--hash-key-file", "at least 16"]);
}

#[test]
fn carriers_come_from_a_file() {
    let folder = TempDir::new().unwrap();
    let carriers = folder.path().join("carriers.toml");
    let flag = format!("--carriers={}", carriers.display());
    let trace_dir = format!("--trace-dir={}", folder.path().join("trace").display());
    let serve = ["serve", "--listen=a:2", "--etcd=a:1", &trace_dir, &flag];
    let check = [
        "config",
        "--check",
        "--listen=a:2",
        "--etcd=a:1",
        &trace_dir,
        &flag,
    ];
    fails(&serve, 64, &["--carriers", "carriers.toml", "No such file"]);
    fs::write(
        &carriers,
        "[[carrier]]\nlabel = \"cpid\"\nformat = \"xml\"\n",
    )
    .unwrap();
    for arguments in [&serve[..], &check] {
        fails(
            arguments,
            64,
            &["--carriers", "carriers.toml:3:", "`xml`", "`text`"],
        );
    }
    fs::write(
        &carriers,
        "[[carrier]]\nlabel = \"cpid\"\nformat = \"text\"\n",
    )
    .unwrap();
    assert_eq!(outcome(run(&check, &[])).0, 0);

    let pod = br#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","labels":{"cpid":"own"},
        "annotations":{"eppppi.github.io/koc":"{\"cpid\":\"paper\"}"}}}"#;
    let key = "--key=/registry/pods/n/p";
    assert_eq!(decoded(&[key], pod)["cpid"], "paper");
    let columns = decoded(&[key, &flag], pod);
    assert_eq!(columns["cpid"], "own");
    assert_eq!(columns["cpid_carrier"], "label:cpid");
    fs::write(&carriers, "").unwrap();
    assert!(decoded(&[key, &flag], pod)["cpid"].is_null());
}

#[test]
fn recording_needs_a_folder() {
    let arguments = ["serve", "--listen=127.0.0.1:0", "--etcd=http://127.0.0.1:1"];
    fails(&arguments, 64, &["--trace-dir"]);
    fails(&["tail", "--etcd=http://127.0.0.1:1"], 64, &["--trace-dir"]);
    fails(&["tail", "--trace-dir=x"], 64, &["--etcd"]);
}

fn write(folder: &Path, text: &str) -> String {
    let file = folder.join("interceptor.toml");
    fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn flags_win_over_environment_and_environment_over_file() {
    let folder = TempDir::new().unwrap();
    let file = write(
        folder.path(),
        "listen = \"127.0.0.1:1\"\netcd = \"http://file:1\"\ninstance = \"file\"\n\
         exclude = [\"leases\", \"events\"]\nmax-catchup-revisions = 7\nobserve = false\n\
         trace-dir = \"/file\"\n",
    );
    let environment = [
        ("CASCADE_CONFIG", file.as_str()),
        ("CASCADE_ETCD", "http://environment:1"),
        ("CASCADE_INSTANCE", "environment"),
    ];
    let (code, text, message) = outcome(run(&["config", "--instance=flag"], &environment));
    assert_eq!(code, 0, "{message}");
    for line in [
        "instance = \"flag\" # flag",
        "etcd = \"http://environment:1\" # environment",
        "listen = \"127.0.0.1:1\" # file",
        "exclude = [\"leases\", \"events\"] # file",
        "max-catchup-revisions = \"7\" # file",
        "flush-interval = \"1s\" # default",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "no `{line}` in:\n{text}"
        );
    }
    // What it prints is a configuration file.
    let again = write(folder.path(), &text);
    let (code, text, message) = outcome(run(&["config", "--check", "--config", &again], &[]));
    assert_eq!((code, message.as_str()), (0, ""));
    assert!(text.contains("valid"));
}

#[test]
fn a_bad_configuration_file_is_64_and_names_the_line() {
    let folder = TempDir::new().unwrap();
    for (text, parts) in [
        (
            "\n\ntrace_dir = \"x\"\n",
            &[":3:", "trace_dir", "did you mean `trace-dir`"][..],
        ),
        ("colour = 1\n", &[":1:", "unknown key `colour`"]),
        ("config = \"x\"\n", &[":1:", "unknown key `config`"]),
        ("\nlisten = \n", &[":2:"]),
        ("listen = \"x\"\n", &[":1:", "`listen`", "HOST:PORT"]),
        (
            "etcd = [\"a:1\", \"b:1\"]\n",
            &[":1:", "`etcd`", "one value"],
        ),
        (
            "\nmax-catchup-revisions = -1\n",
            &[":2:", "`max-catchup-revisions`"],
        ),
        ("observe = 1.5\n", &[":1:", "`observe`"]),
        ("[serve]\n", &[":1:", "unknown key `serve`"]),
    ] {
        let file = write(folder.path(), text);
        fails(&["serve", "--config", &file], 64, parts);
        fails(&["config", "--check", "--config", &file], 64, parts);
    }
    let missing = folder.path().join("missing");
    let missing = missing.to_str().unwrap();
    fails(
        &["serve", "--config", missing],
        64,
        &["cannot read", missing],
    );
}
