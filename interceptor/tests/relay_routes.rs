//! Several members of a cluster behind one interceptor, each with a listener of its own.

// Helpers of tests fail by panicking, but clippy's exemption covers `#[test]` functions only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use etcd_client::Client;
use support::oracle::{assert_complete, recorded, watched};
use support::{
    Etcd, Interceptor, eventually, interceptor_command, revision, trace, within_patience,
};
use tempfile::TempDir;

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_member_refuses_and_the_others_go_on() {
    let mut members = Etcd::start_cluster(3);
    let trace = TempDir::new().unwrap();
    let routes: Vec<String> = members
        .iter()
        .map(|member| format!("--route=127.0.0.1:0={}", member.endpoint()))
        .collect();
    let trace_dir = format!("--trace-dir={}", trace.path().display());
    let mut all = vec!["serve", &trace_dir];
    all.extend(routes.iter().map(String::as_str));
    let interceptor = Interceptor::start(&all);
    interceptor.ready().await;
    // A client that knows all three, as kube-apiserver does.
    let endpoints: Vec<String> = interceptor
        .listeners()
        .iter()
        .map(|listener| format!("http://{listener}"))
        .collect();
    let mut client = Client::connect(&endpoints, None).await.unwrap();
    for round in 0..9 {
        client.put(format!("a/{round}"), "1", None).await.unwrap();
    }

    members[0].kill();
    // As a port that nobody listens on would, though later: it ends without a byte.
    let ended = tokio::task::spawn_blocking({
        let address = interceptor.listeners()[0];
        move || {
            let mut stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(Duration::from_secs(60)))?;
            stream.write_all(b"GET /health HTTP/1.1\r\nHost: etcd\r\n\r\n")?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            assert!(answer.is_empty(), "{answer:?}");
            std::io::Result::Ok(())
        }
    });
    let ended = within_patience("the connection ends", ended).await.unwrap();
    if let Err(error) = ended {
        assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}");
    }
    for round in 0..9 {
        eventually("another member takes the write", async || {
            client.put(format!("b/{round}"), "1", None).await.ok()
        })
        .await;
    }
    Etcd::run_together(&mut members);
    eventually("the member is reached again", async || {
        let mut alone = Client::connect([&endpoints[0]], None).await.ok()?;
        alone.put("c", "1", None).await.ok()
    })
    .await;

    let mut direct = members[1].client().await;
    let last = revision(&mut direct).await;
    interceptor.ledger_reached(last).await;
    drop(client);
    assert_eq!(interceptor.stop().code(), Some(0));
    let changes = trace::changes(trace.path());
    assert_complete(&changes, 2, last);
    assert_eq!(recorded(&changes), watched(&mut direct, 2, last).await);
}

#[test]
fn members_of_several_clusters_are_not_recorded_into_one_trace() {
    let (one, two) = (Etcd::start(), Etcd::start());
    let trace = TempDir::new().unwrap();
    let refused = |arguments: &[String]| {
        let output = interceptor_command()
            .arg("serve")
            .args(arguments)
            .arg(format!("--trace-dir={}", trace.path().display()))
            .arg("--metrics-listen=127.0.0.1:0")
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{text}");
        for part in [&one.endpoint(), &two.endpoint(), "another interceptor"] {
            assert!(text.contains(part), "no {part} in {text}");
        }
    };
    let routes = [&one, &two].map(|etcd| format!("--route=127.0.0.1:0={}", etcd.endpoint()));
    refused(&routes);
    refused(&[
        routes[0].clone(),
        format!("--ledger-etcd={}", two.endpoint()),
    ]);
}
