//! The trace server with certificates.

// Helpers of tests fail by panicking, but clippy's exemption covers `#[test]` functions only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use cascade_proto::wire::mergelog::mergelog_service_client::MergelogServiceClient;
use support::certificates::Authority;
use support::mergelogs::{TraceServerClient, mergelog, post, trace_server};
use support::{Etcd, Interceptor, eventually, interceptor_command};
use tempfile::TempDir;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

/// Certificate and key of `authority` for the trace server, PEM files.
fn server_files(authority: &Authority, folder: &Path) -> (PathBuf, PathBuf) {
    let issued = authority.issue("trace-server", &["localhost"]);
    issued.write(folder, "server")
}

/// A client's certificate, signed by `authority`.
fn client_identity(authority: &Authority) -> Identity {
    let folder = TempDir::new().unwrap();
    let issued = authority.issue("a controller", &[]);
    let (certificate, key) = issued.write(folder.path(), "client");
    Identity::from_pem(fs::read(certificate).unwrap(), fs::read(key).unwrap())
}

/// A client that trusts the authority in the file `ca` and shows `identity`.
async fn client(
    interceptor: &Interceptor,
    ca: &Path,
    identity: Option<Identity>,
) -> Result<TraceServerClient, String> {
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(fs::read(ca).unwrap()))
        .domain_name("localhost");
    if let Some(identity) = identity {
        tls = tls.identity(identity);
    }
    let channel = Endpoint::from_shared(format!("https://{}", trace_server(interceptor)))
        .unwrap()
        .tls_config(tls)
        .unwrap()
        .connect()
        .await
        .map_err(|error| format!("{error:?}"))?;
    Ok(MergelogServiceClient::new(channel))
}

/// Posts a mergelog as such a client.
async fn try_post(
    interceptor: &Interceptor,
    ca: &Path,
    identity: Option<Identity>,
) -> Result<(), String> {
    client(interceptor, ca, identity)
        .await?
        .post_mergelogs(post(vec![mergelog("1", &[])]))
        .await
        .map(|_| ())
        .map_err(|status| status.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_clients_with_a_certificate_of_the_authority_can_post() {
    let etcd = Etcd::start();
    let trace = TempDir::new().unwrap();
    let files = TempDir::new().unwrap();
    let (authority, other) = (Authority::new("clients"), Authority::new("others"));
    let ca = authority.write(files.path(), "ca");
    let (cert, key) = server_files(&authority, files.path());
    let flags = [
        "--mergelog-listen=127.0.0.1:0".to_owned(),
        format!("--mergelog-cert={}", cert.display()),
        format!("--mergelog-key={}", key.display()),
        format!("--mergelog-client-ca={}", ca.display()),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let interceptor = Interceptor::serve(&etcd, trace.path(), &flags);
    interceptor.ready().await;

    try_post(&interceptor, &ca, Some(client_identity(&authority)))
        .await
        .unwrap();
    for (who, identity) in [
        ("nobody", None),
        ("a stranger", Some(client_identity(&other))),
    ] {
        let refused = try_post(&interceptor, &ca, identity).await;
        assert!(refused.is_err(), "{who} could post");
    }
    let plain = tokio::spawn({
        let endpoint = format!("http://{}", trace_server(&interceptor));
        async move {
            let channel = Endpoint::from_shared(endpoint).unwrap().connect().await;
            let mut client = MergelogServiceClient::new(channel.map_err(|_| ())?);
            client.get_all_mergelogs(()).await.map_err(|_| ())
        }
    });
    assert!(plain.await.unwrap().is_err(), "plain text was answered");
    let posts = "cascade_trace_server_posts_total";
    assert_eq!(interceptor.labelled_metric(posts, "mergelogs"), 1.0);
    assert_eq!(interceptor.stop().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_certificates_are_used_by_new_connections_while_others_stay_open() {
    let etcd = Etcd::start();
    let trace = TempDir::new().unwrap();
    let files = TempDir::new().unwrap();
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let (old_ca, new_ca) = (
        old.write(files.path(), "old-ca"),
        new.write(files.path(), "new-ca"),
    );
    let (cert, key) = server_files(&old, files.path());
    let clients_ca = files.path().join("clients.crt");
    fs::copy(&old_ca, &clients_ca).unwrap();
    let flags = [
        "--mergelog-listen=127.0.0.1:0".to_owned(),
        format!("--mergelog-cert={}", cert.display()),
        format!("--mergelog-key={}", key.display()),
        format!("--mergelog-client-ca={}", clients_ca.display()),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let interceptor = Interceptor::serve(&etcd, trace.path(), &flags);
    interceptor.ready().await;
    let mut open = client(&interceptor, &old_ca, Some(client_identity(&old)))
        .await
        .unwrap();
    open.post_mergelogs(post(vec![mergelog("1", &[])]))
        .await
        .unwrap();

    // Noticed without being asked: of another authority, and clients of that one are let in.
    fs::copy(&new_ca, &clients_ca).unwrap();
    server_files(&new, files.path());
    eventually("new certificates are in use", async || {
        try_post(&interceptor, &new_ca, Some(client_identity(&new)))
            .await
            .ok()
    })
    .await;
    let refused = try_post(&interceptor, &new_ca, Some(client_identity(&old))).await;
    assert!(refused.is_err(), "a client of the old authority was let in");
    eventually("the refusal is counted", async || {
        let name = "cascade_trace_server_handshake_failures_total";
        (interceptor.labelled_metric(name, "unknown_issuer") >= 1.0).then_some(())
    })
    .await;

    // On SIGHUP a file that is of no use changes nothing, and is told.
    fs::write(&key, "nonsense").unwrap();
    interceptor.signal("HUP");
    eventually("the bad file is told", async || {
        let told = interceptor.log().contains("holds no private key");
        let (_, text) = interceptor.page("/metrics");
        let counted = text.contains("side=\"trace_server\",result=\"failed\"}");
        (told && counted).then_some(())
    })
    .await;
    try_post(&interceptor, &new_ca, Some(client_identity(&new)))
        .await
        .unwrap();

    // All the while the first connection was there.
    open.post_mergelogs(post(vec![mergelog("2", &[])]))
        .await
        .unwrap();
    drop(open);
    assert_eq!(interceptor.stop().code(), Some(0));
}

#[test]
fn certificates_of_no_use_are_refused_with_what_to_check() {
    let etcd = Etcd::start();
    let files = TempDir::new().unwrap();
    let others = TempDir::new().unwrap();
    let authority = Authority::new("one");
    let (cert, _) = server_files(&authority, files.path());
    let (_, key) = server_files(&authority, others.path());
    let serve = |arguments: &[&str]| {
        let output = interceptor_command()
            .args(["tail", "--etcd", &etcd.endpoint(), "--trace-dir"])
            .arg(files.path().join("trace"))
            .args(["--metrics-listen=127.0.0.1:0"])
            .args(arguments)
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), error)
    };
    let cert = format!("--mergelog-cert={}", cert.display());
    let key = format!("--mergelog-key={}", key.display());
    let listen = "--mergelog-listen=127.0.0.1:0";

    let (code, error) = serve(&[listen, &cert, &key]);
    assert_eq!(code, Some(64), "{error}");
    for part in ["--mergelog-key", "is not the key of --mergelog-cert"] {
        assert!(error.contains(part), "{error}");
    }
    let (code, error) = serve(&[listen, &cert]);
    assert_eq!(code, Some(64), "{error}");
    assert!(error.contains("go together"), "{error}");
    let (code, error) = serve(&[&cert]);
    assert_eq!(code, Some(64), "{error}");
    assert!(error.contains("--mergelog-listen"), "{error}");
    let (code, error) = serve(&[listen, "--mergelog-client-ca=/dev/null"]);
    assert_eq!(code, Some(64), "{error}");
    assert!(error.contains("needs --mergelog-cert"), "{error}");
}
