//! `doctor` finds what is wrong with set-ups that were broken on purpose, says what to do, and finds
//! nothing where all is well.

// Helpers of tests fail by panicking, but clippy's exemption covers `#[test]` functions only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod apiserver;
mod certificates;
mod host;
mod members;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use serde_json::Value;
use support::{Etcd, Interceptor, Site, interceptor_command};
use tempfile::TempDir;

/// Flags under which machines of all sizes are healthy.
const MODEST: [&str; 2] = ["--disk-free-min=1MiB", "--max-connections=16"];

/// What `doctor` found.
#[derive(Debug)]
struct Diagnosis {
    code: i32,
    report: Value,
}

impl Diagnosis {
    /// Of the settings in `arguments`.
    fn of(arguments: &[&str]) -> Self {
        Self::by(interceptor_command(), arguments)
    }

    fn by(mut command: Command, arguments: &[&str]) -> Self {
        let output = command
            .args(["doctor", "--format=json"])
            .args(arguments)
            .output()
            .unwrap();
        let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
            panic!("no report: {}", String::from_utf8_lossy(&output.stderr));
        });
        Self {
            code: output.status.code().unwrap(),
            report,
        }
    }

    fn findings(&self) -> &Vec<Value> {
        self.report["findings"].as_array().unwrap()
    }

    /// Asserts a finding of a severity and check whose text holds all of `parts`.
    #[track_caller]
    fn has(&self, severity: &str, check: &str, parts: &[&str]) -> &Self {
        let fits = |finding: &&Value| {
            let text = finding.to_string();
            finding["severity"] == severity
                && finding["check"] == check
                && parts.iter().all(|part| text.contains(part))
        };
        assert!(
            self.findings().iter().any(|finding| fits(&finding)),
            "no {severity} of {check} with {parts:?} in {:#}",
            self.report
        );
        assert_eq!(self.code, i32::from(self.errors() > 0));
        self
    }

    fn errors(&self) -> usize {
        let findings = self.findings().iter();
        findings
            .filter(|finding| finding["severity"] == "error")
            .count()
    }

    /// Asserts that there is nothing about a check.
    #[track_caller]
    fn has_nothing_of(&self, check: &str) -> &Self {
        let found = self
            .findings()
            .iter()
            .find(|finding| finding["check"] == check);
        assert!(found.is_none(), "{found:#?}");
        self
    }

    fn outcome(&self, check: &str) -> &str {
        let checks = self.report["checks"].as_array().unwrap();
        let entry = checks.iter().find(|entry| entry["check"] == check);
        entry.unwrap()["outcome"].as_str().unwrap()
    }
}

/// A static pod of kube-apiserver with these flags, and folders of the host in it.
fn manifest(folder: &TempDir, flags: &[String], mounts: &[&str]) -> String {
    let list = |lines: Vec<String>| lines.concat();
    let flags = list(flags.iter().map(|flag| format!("    - {flag}\n")).collect());
    let numbered = || mounts.iter().enumerate();
    let in_pod = numbered()
        .map(|(number, path)| format!("    - mountPath: {path}\n      name: m{number}\n"));
    let of_host = numbered()
        .map(|(number, path)| format!("  - hostPath:\n      path: {path}\n    name: m{number}\n"));
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: kube-apiserver\nspec:\n  containers:\n  \
         - command:\n    - kube-apiserver\n{flags}    name: kube-apiserver\n    volumeMounts:\n{}  \
         hostNetwork: true\n  volumes:\n{}",
        list(in_pod.collect()),
        list(of_host.collect())
    );
    let file = folder.path().join("kube-apiserver.yaml");
    fs::write(&file, text).unwrap();
    format!("--apiserver-manifest={}", file.display())
}

/// An address where nobody listens.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

fn version_of(etcd: &Etcd) -> String {
    let (_, page) = support::http_get(etcd.address(), "/version");
    let version: Value = serde_json::from_str(&page).unwrap();
    version["etcdserver"].as_str().unwrap().to_owned()
}

/// Nothing is found where all is well: what relays, records, and is used by kube-apiserver.
async fn finds_nothing(site: &Site, tls: bool) {
    let folder = TempDir::new().unwrap();
    let trace = folder.path().join("trace");
    let otlp = free_address();
    let interceptor = Interceptor::serve(site, &trace, &[&format!("--otlp-listen={otlp}")]);
    interceptor.ready().await;
    let mut client = interceptor.client().await;
    for key in ["/registry/pods/n/a", "/registry/events/n/a"] {
        client.put(key, "k8s\0", None).await.unwrap();
    }
    let tracing = folder.path().join("tracing.yaml");
    fs::write(
        &tracing,
        format!("kind: TracingConfiguration\nendpoint: {otlp}\nsamplingRatePerMillion: 1000000\n"),
    )
    .unwrap();
    let mut flags = vec![
        format!("--etcd-servers={}", interceptor.endpoint()),
        format!("--tracing-config-file={}", tracing.display()),
    ];
    let mut arguments = vec![
        format!("--listen={}", interceptor.address()),
        format!("--etcd={}", site.endpoint()),
        format!("--trace-dir={}", trace.display()),
        format!("--metrics-listen={}", interceptor.metrics_address()),
        format!("--otlp-listen={otlp}"),
    ];
    let mut mounts = vec![folder.path().to_str().unwrap().to_owned()];
    if tls {
        let pki = site.pki();
        arguments.extend([pki.listen_flags(), pki.upstream_flags()].concat());
        arguments.push("--client-allowed-cn=kube-apiserver-etcd-client".to_owned());
        flags.extend([
            format!("--etcd-cafile={}", pki.file("ca.crt")),
            format!("--etcd-certfile={}", pki.file("client.crt")),
            format!("--etcd-keyfile={}", pki.file("client.key")),
        ]);
        mounts.push(pki.folder().to_str().unwrap().to_owned());
    }
    let mounts: Vec<&str> = mounts.iter().map(String::as_str).collect();
    arguments.push(manifest(&folder, &flags, &mounts));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let diagnosis = Diagnosis::of(&[&arguments[..], &MODEST].concat());
    let mut findings = diagnosis.findings().clone();
    // Tests may run with an old etcd, and that is found.
    findings.retain(|finding| finding["check"] != "version");
    assert_eq!(findings, Vec::<Value>::new());
    assert_eq!(diagnosis.code, 0);
    for check in ["path", "clock", "keys", "encryption", "disk", "exposure"] {
        assert_eq!(diagnosis.outcome(check), "good", "{check}");
    }
    let expected = if tls { "good" } else { "not_checked" };
    assert_eq!(diagnosis.outcome("certificates"), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_set_up_has_no_finding() {
    finds_nothing(&Site::plain(), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_set_up_with_tls_has_no_finding() {
    finds_nothing(&Site::tls(), true).await;
}

#[test]
fn usage_and_text() {
    let output = interceptor_command().arg("doctor").output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("nothing to look at")
    );
    // Settings come from the file that `serve` has.
    let etcd = Etcd::start();
    let folder = TempDir::new().unwrap();
    let config = folder.path().join("interceptor.toml");
    let text = format!(
        "listen = \"127.0.0.1:2479\"\netcd = \"{}\"\nformat = \"text\"\ndisk-free-min = \"1MiB\"\n",
        etcd.endpoint()
    );
    fs::write(&config, text).unwrap();
    let output = interceptor_command()
        .args(["doctor", "--max-connections=16", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("Nothing found: "), "{text}");
    assert!(
        text.contains("kube-apiserver goes through: no kube-apiserver"),
        "{text}"
    );
    let serve = interceptor_command()
        .args(["config", "--check", "--trace-dir=x", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    assert_eq!(
        serve.status.code(),
        Some(0),
        "keys of `doctor` do not disturb `serve`"
    );
}
