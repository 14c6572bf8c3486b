//! `doctor` finds what is wrong with set-ups that were broken on purpose, says what to do, and finds
//! nothing where all is well.

// Helpers of tests fail by panicking, but clippy's exemption covers `#[test]` functions only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rcgen::ExtendedKeyUsagePurpose;
use serde_json::Value;
use support::certificates::Authority;
use support::pki::{NAMES, Pki};
use support::{Etcd, EtcdOptions, Front, Interceptor, Site, interceptor_command};
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

/// An etcd that speaks TLS, with certificates changed before it starts.
fn changed_site(change: impl FnOnce(&Pki)) -> (Etcd, Arc<Pki>) {
    let pki = Pki::new();
    change(&pki);
    let etcd = Etcd::start_with(EtcdOptions {
        tls: Some(pki.flags()),
        ..EtcdOptions::default()
    });
    (etcd, Arc::new(pki))
}

/// Diagnosis of an interceptor in front of an etcd with TLS.
fn with_tls(etcd: &Etcd, pki: &Pki, more: &[&str]) -> Diagnosis {
    let own = [
        vec![
            "--listen=127.0.0.1:2479".to_owned(),
            format!("--etcd={}", etcd.endpoint()),
            format!("--metrics-listen={}", free_address()),
        ],
        pki.listen_flags(),
        pki.upstream_flags(),
    ]
    .concat();
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    Diagnosis::of(&[&own[..], more, &MODEST].concat())
}

#[test]
fn expired_certificates() {
    let expired = |parameters: &mut rcgen::CertificateParams| {
        parameters.not_before = rcgen::date_time_ymd(2019, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2020, 1, 1);
    };
    let (etcd, pki) = changed_site(|pki| {
        let issued = |name| pki.authority.issue_with(name, &NAMES, expired);
        pki.add("etcd-client", &issued("cascade"));
        pki.add("interceptor", &issued("interceptor"));
    });
    with_tls(&etcd, &pki, &[])
        .has(
            "error",
            "certificates",
            &[
                "--etcd-cert",
                "certificate of cascade expired on 2020-01-01",
                "kubeadm certs renew apiserver-etcd-client",
            ],
        )
        .has(
            "error",
            "certificates",
            &["--cert", "expired on 2020-01-01", "renew etcd-server"],
        )
        // And what came of it.
        .has("error", "reachability", &["etcd refuses the interceptor"]);

    let (etcd, pki) = changed_site(|pki| {
        pki.add("server", &pki.authority.issue_with("etcd", &NAMES, expired));
    });
    with_tls(&etcd, &pki, &[])
        .has_nothing_of("certificates")
        .has(
            "error",
            "reachability",
            &["certificate expired", "kubeadm certs renew etcd-server"],
        );
}

#[test]
fn certificates_that_end_soon() {
    let (etcd, pki) = changed_site(|pki| {
        let issued = pki.authority.issue_with("cascade", &NAMES, |parameters| {
            let now = std::time::SystemTime::now();
            let soon = now + std::time::Duration::from_secs(7 * 24 * 60 * 60);
            parameters.not_after = soon.into();
        });
        pki.add("etcd-client", &issued);
    });
    with_tls(&etcd, &pki, &[]).has(
        "warning",
        "certificates",
        &["--etcd-cert", "expires on", "renew"],
    );
}

#[test]
fn a_wrong_ca() {
    let (etcd, pki) = changed_site(|pki| {
        // kubeadm calls the CAs of all clusters alike.
        Authority::new("etcd-ca").write(pki.folder(), "other");
        pki.add("stranger", &Authority::new("etcd-ca").issue("cascade", &[]));
    });
    let other = format!("--etcd-ca={}", pki.file("other.crt"));
    let own = format!("--etcd={}", etcd.endpoint());
    Diagnosis::of(&[&own, &other]).has(
        "error",
        "reachability",
        &["not signed by the CA given with --etcd-ca"],
    );
    let files = [
        format!("--etcd-ca={}", pki.file("ca.crt")),
        format!("--etcd-cert={}", pki.file("stranger.crt")),
        format!("--etcd-key={}", pki.file("stranger.key")),
    ];
    Diagnosis::of(&[&own, &files[0], &files[1], &files[2]]).has(
        "error",
        "reachability",
        &[
            "compare --etcd-cert with etcd's --trusted-ca-file",
            "checked against --etcd-ca",
        ],
    );
    // kube-apiserver trusts another CA than the one that signed what it is shown.
    let folder = TempDir::new().unwrap();
    let flags = [
        "--etcd-servers=https://127.0.0.1:2479".to_owned(),
        format!("--etcd-cafile={}", pki.file("other.crt")),
        format!("--etcd-certfile={}", pki.file("stranger.crt")),
    ];
    let manifest = manifest(&folder, &flags, &[pki.folder().to_str().unwrap()]);
    with_tls(&etcd, &pki, &[&manifest])
        .has(
            "error",
            "certificates",
            &["--cert", "kube-apiserver", "other.crt"],
        )
        .has(
            "error",
            "certificates",
            &[
                "stranger.crt",
                "must be signed by the CA given with --client-ca",
            ],
        );
}

#[test]
fn a_wrong_name() {
    let (etcd, pki) = changed_site(|pki| {
        pki.add("server", &pki.authority.issue("etcd", &["etcd.local"]));
        pki.add(
            "interceptor",
            &pki.authority.issue("interceptor", &["shim.local"]),
        );
    });
    with_tls(&etcd, &pki, &[])
        .has(
            "error",
            "reachability",
            &["does not hold the host", "--etcd-server-name"],
        )
        .has(
            "error",
            "certificates",
            &[
                "--cert",
                "not for 127.0.0.1; it is for shim.local",
                "subjectAltName",
            ],
        );
    with_tls(&etcd, &pki, &["--etcd-server-name=etcd.local"]).has_nothing_of("reachability");
}

#[test]
fn a_missing_client_key_usage() {
    let (etcd, pki) = changed_site(|pki| {
        let issued = pki.authority.issue_with("cascade", &[], |parameters| {
            parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        });
        pki.add("etcd-client", &issued);
    });
    with_tls(&etcd, &pki, &[])
        .has(
            "error",
            "certificates",
            &[
                "--etcd-cert",
                "lacks the extended key usage clientAuth",
                "issue it again",
            ],
        )
        .has("error", "reachability", &["clientAuth"]);
}

#[test]
fn files_that_are_no_certificates() {
    let (etcd, pki) = changed_site(|_| {});
    fs::write(pki.folder().join("interceptor.key"), "nothing").unwrap();
    fs::remove_file(pki.folder().join("etcd-client.crt")).unwrap();
    let diagnosis = with_tls(&etcd, &pki, &[]);
    diagnosis
        .has("error", "certificates", &["--key", "holds no private key"])
        .has("error", "certificates", &["cannot read --etcd-cert"]);
    assert_eq!(diagnosis.outcome("reachability"), "not_checked");
}

#[test]
fn listeners_that_let_anyone_in() {
    let (etcd, pki) = changed_site(|_| {});
    let files = pki.upstream_flags();
    let own = format!("--etcd={}", etcd.endpoint());
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let plain = [&own, "--listen=0.0.0.0:2479"];
    Diagnosis::of(&[&plain[..], &files].concat()).has(
        "error",
        "exposure",
        &["takes plain text from other hosts"],
    );
    with_tls(&etcd, &pki, &["--insecure-no-client-auth"]).has(
        "warning",
        "exposure",
        &["may do everything"],
    );
}

#[test]
fn an_etcd_that_is_too_old() {
    let etcd = Etcd::start();
    let (front, version) = Front::of_version(etcd.address(), &version_of(&etcd));
    Diagnosis::of(&[&format!("--etcd={}", front.endpoint())]).has(
        "warning",
        "version",
        &[
            &front.endpoint(),
            &version,
            "3.5.24",
            "3.6.9",
            "upgrade etcd",
        ],
    );
}

#[test]
fn an_etcd_that_is_unreachable() {
    let etcd = Etcd::start();
    let nobody = free_address();
    let routes = [
        format!("--route=127.0.0.1:1={}", etcd.endpoint()),
        format!("--route=127.0.0.1:2=http://{nobody}"),
    ];
    Diagnosis::of(&[&routes[0], &routes[1]])
        .has(
            "error",
            "reachability",
            &[&nobody, "Connection refused", "check that it runs"],
        )
        // The other one is looked at all the same.
        .has_nothing_of("cluster");
    etcd.freeze();
    let frozen = Diagnosis::of(&[&format!("--etcd={}", etcd.endpoint())]);
    frozen.has(
        "error",
        "reachability",
        &["takes connections and does not answer"],
    );
    etcd.thaw();
}

#[test]
fn members_of_several_clusters() {
    let first = Etcd::start();
    let second = Etcd::start_with(EtcdOptions {
        cluster_token: "another".to_owned(),
        ..EtcdOptions::default()
    });
    let routes = [
        format!("--route=127.0.0.1:1={}", first.endpoint()),
        format!("--route=127.0.0.1:2={}", second.endpoint()),
    ];
    Diagnosis::of(&[&routes[0], &routes[1]]).has(
        "error",
        "cluster",
        &[
            &first.endpoint(),
            &second.endpoint(),
            "of its own for each cluster",
        ],
    );
}

#[test]
fn an_apiserver_whose_flags_lead_past_us() {
    let etcd = Etcd::start();
    let folder = TempDir::new().unwrap();
    let own = format!("--etcd={}", etcd.endpoint());
    let look = |servers: &str| {
        let flags = [format!("--etcd-servers={servers}")];
        let manifest = manifest(&folder, &flags, &[]);
        Diagnosis::of(&["--listen=127.0.0.1:2479", &own, &manifest])
    };
    let direct = etcd.endpoint().replace("127.0.0.1", "localhost");
    look(&direct).has(
        "error",
        "path",
        &[
            "kube-apiserver.yaml",
            "goes past the interceptor",
            &direct,
            "set --etcd-servers=http://127.0.0.1:2479",
        ],
    );
    look("https://127.0.0.1:2479").has(
        "error",
        "path",
        &["the listener 127.0.0.1:2479 speaks plain text"],
    );
    look("http://10.9.8.7:1").has("hint", "path", &["10.9.8.7", "another interceptor"]);
    look("http://127.0.0.1:2479").has_nothing_of("path");
    let missing = Diagnosis::of(&["--listen=a:1", &own, "--apiserver-manifest=/nonexistent"]);
    missing.has("error", "path", &["/nonexistent"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_go_past_us() {
    let etcd = Etcd::start();
    let folder = TempDir::new().unwrap();
    let trace = folder.path().join("trace");
    let interceptor = Interceptor::serve(&etcd, &trace, &[]);
    interceptor.ready().await;
    let mut client = etcd.client().await;
    for number in 0..30 {
        let key = format!("/registry/pods/n/{number}");
        client.put(key, "{}", None).await.unwrap();
    }
    support::eventually("the ledger has them", async || {
        let counted = interceptor.metric("cascade_ledger_changes_total");
        (counted >= 30.0).then_some(())
    })
    .await;
    Diagnosis::of(&[
        &format!("--listen={}", interceptor.address()),
        &format!("--etcd={}", etcd.endpoint()),
        &format!("--metrics-listen={}", interceptor.metrics_address()),
    ])
    .has(
        "warning",
        "path",
        &[
            "at least 30 writes went past it",
            "no client is connected",
            "--etcd-servers",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn events_in_another_etcd() {
    let etcd = Etcd::start();
    let mut client = etcd.client().await;
    client.put("/registry/pods/n/a", "{}", None).await.unwrap();
    let own = format!("--etcd={}", etcd.endpoint());
    let listen = "--listen=127.0.0.1:2479";
    Diagnosis::of(&[listen, &own]).has(
        "warning",
        "keys",
        &[
            "/registry/events/",
            "another etcd",
            "--etcd-servers-overrides",
        ],
    );
    let folder = TempDir::new().unwrap();
    let flags = [
        "--etcd-servers=http://127.0.0.1:2479".to_owned(),
        "--etcd-servers-overrides=/events#http://10.0.0.1:2379".to_owned(),
    ];
    let manifest = manifest(&folder, &flags, &[]);
    let diagnosis = Diagnosis::of(&[listen, &own, &manifest]);
    diagnosis.has(
        "warning",
        "keys",
        &[
            "/events in http://10.0.0.1:2379",
            "another interceptor with a --trace-dir of its own",
        ],
    );
    Diagnosis::of(&[listen, &own, "--etcd-prefix=kubernetes.io"]).has(
        "warning",
        "keys",
        &["/kubernetes.io/", "--etcd-prefix"],
    );
    client
        .put("/registry/events/n/a", "{}", None)
        .await
        .unwrap();
    Diagnosis::of(&[listen, &own]).has_nothing_of("keys");
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_are_encrypted_at_rest() {
    let etcd = Etcd::start();
    let mut client = etcd.client().await;
    let encrypted = "k8s:enc:aescbc:v1:key1:xxxx";
    client
        .put("/registry/secrets/n/a", encrypted, None)
        .await
        .unwrap();
    let own = format!("--etcd={}", etcd.endpoint());
    Diagnosis::of(&[&own]).has("hint", "encryption", &["secrets (aescbc:v1)"]);
    client
        .put("/registry/pods/n/a", encrypted, None)
        .await
        .unwrap();
    Diagnosis::of(&[&own]).has(
        "warning",
        "encryption",
        &["pods (aescbc:v1)", "--encryption-provider-config"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_may_not_read() {
    let etcd = Etcd::start();
    let mut client = etcd.client().await;
    client.put("/registry/pods/n/a", "{}", None).await.unwrap();
    for (name, role) in [("root", "root"), ("half", "half")] {
        client.user_add(name, "password", None).await.unwrap();
        client.role_add(role).await.unwrap();
        client.user_grant_role(name, role).await.unwrap();
    }
    etcd.etcdctl(&[
        "role",
        "grant-permission",
        "half",
        "read",
        "/registry/pods/",
        "--prefix",
    ]);
    client.auth_enable().await.unwrap();
    let folder = TempDir::new().unwrap();
    let password = folder.path().join("password");
    fs::write(&password, "password\n").unwrap();
    let own = format!("--etcd={}", etcd.endpoint());
    let password = format!("--ledger-password-file={}", password.display());
    Diagnosis::of(&[&own]).has_nothing_of("reachability").has(
        "error",
        "permissions",
        &["user name is empty", "--ledger-user"],
    );
    Diagnosis::of(&[&own, "--ledger-user=half", &password]).has(
        "error",
        "permissions",
        &["permission denied", "docs/tail.md"],
    );
    Diagnosis::of(&[&own, "--ledger-user=root", &password]).has_nothing_of("permissions");
}

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

/// The program with a limit on open files.
fn limited(open_files: u32) -> Command {
    let mut command = Command::new("sh");
    command
        .env_clear()
        .stdin(Stdio::null())
        .args(["-c", "ulimit -n \"$0\" && exec \"$@\""])
        .arg(open_files.to_string())
        .arg(env!("CARGO_BIN_EXE_cascade-interceptor"));
    command
}

#[test]
fn a_limit_on_open_files_that_is_too_low() {
    let etcd = Etcd::start();
    let own = format!("--etcd={}", etcd.endpoint());
    let listen = "--listen=127.0.0.1:2479";
    Diagnosis::by(limited(1024), &[listen, &own]).has(
        "warning",
        "open_files",
        &[
            "1024 open files allows 480 connections",
            "LimitNOFILE=65536",
        ],
    );
    Diagnosis::by(limited(1024), &[listen, &own, "--max-connections=480"])
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
fn a_clock_that_is_off() {
    let etcd = Etcd::start();
    let front = Front::of_the_past(etcd.address());
    Diagnosis::of(&[&format!("--etcd={}", front.endpoint())]).has(
        "warning",
        "clock",
        &[
            &front.endpoint(),
            "behind the clock of this host",
            "time server",
        ],
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

#[test]
fn request_tracing_and_how_to_switch_it_on() {
    let etcd = Etcd::start();
    let own = format!("--etcd={}", etcd.endpoint());
    let folder = TempDir::new().unwrap();
    let tracing = folder.path().join("tracing.yaml");
    let mut flags = vec!["--etcd-servers=http://127.0.0.1:2479".to_owned()];
    let listen = "--listen=127.0.0.1:2479";
    let look = |flags: &[String], more: &[&str]| {
        let mounts = [folder.path().to_str().unwrap()];
        let manifest = manifest(&folder, flags, &mounts);
        Diagnosis::of(&[&[listen, own.as_str(), manifest.as_str()], more].concat())
    };
    let steps = [
        "--tracing-config-file",
        "samplingRatePerMillion: 1000000",
        "docs/requests.md",
    ];
    look(&flags, &[]).has("hint", "request_tracing", &steps);
    let otlp = "--otlp-listen=127.0.0.1:4317";
    look(&flags, &[otlp]).has("warning", "request_tracing", &steps);
    flags.push(format!("--tracing-config-file={}", tracing.display()));
    fs::write(
        &tracing,
        "endpoint: 127.0.0.1:1\nsamplingRatePerMillion: 10\n",
    )
    .unwrap();
    look(&flags, &[]).has("hint", "request_tracing", &["takes none"]);
    look(&flags, &[otlp])
        .has(
            "warning",
            "request_tracing",
            &["127.0.0.1:1, not to --otlp-listen"],
        )
        .has("warning", "request_tracing", &["10 of a million"]);
    fs::remove_file(&tracing).unwrap();
    assert_eq!(
        look(&flags, &[otlp]).outcome("request_tracing"),
        "not_checked"
    );
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
