//! kube-apiserver: whether it goes through, with everything, and says who asked.

use std::fs;

use tempfile::TempDir;

use crate::support::{Etcd, Interceptor, eventually};
use crate::{Diagnosis, manifest};

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
    eventually("the ledger has them", async || {
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
