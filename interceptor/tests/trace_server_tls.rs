//! The trace server with certificates.

// Helpers of tests fail by panicking, but clippy's exemption covers `#[test]` functions only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use cascade_proto::wire::mergelog::mergelog_service_client::MergelogServiceClient;
use support::certificates::Authority;
use support::mergelogs::{mergelog, post, trace_server};
use support::{Etcd, Interceptor, interceptor_command};
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

/// Posts a mergelog as a client that trusts the authority in the file `ca` and shows `identity`.
async fn try_post(
    interceptor: &Interceptor,
    ca: &Path,
    identity: Option<Identity>,
) -> Result<(), String> {
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
    MergelogServiceClient::new(channel)
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
    assert!(error.contains("check the files given with"), "{error}");
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
