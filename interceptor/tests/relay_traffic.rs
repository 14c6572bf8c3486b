//! Clients behave the same through the interceptor as without it.

// Helpers of tests fail by panicking, but clippy's exemption covers `#[test]` functions only.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use etcd_client::{
    Client, Compare, CompareOp, DeleteOptions, EventType, GetOptions, PutOptions, Txn, TxnOp,
    TxnOpResponse, WatchOptions,
};
use support::{Etcd, Interceptor, Site, eventually, within_patience};
use tempfile::TempDir;

/// Runs each case with plain text and with TLS on both legs.
macro_rules! plain_and_tls {
    ($($case:ident),+ $(,)?) => {
        mod plain {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case(super::Site::plain).await;
            })+
        }
        mod tls {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case(super::Site::tls).await;
            })+
        }
    };
}

plain_and_tls!(
    a_client_gets_the_same_answers_directly_and_relayed,
    etcdctl_and_http_pass,
    clients_learn_of_a_lost_etcd_at_once_and_recover,
    a_shutdown_says_goaway_to_http2_connections,
    a_shutdown_under_load_loses_no_answer,
    an_idle_connection_costs_little_memory,
);

/// What a client gets for a fixed sequence of calls, as text.
async fn conversation(client: &mut Client) -> Vec<String> {
    let mut seen = Vec::new();
    let mut note = |what: &str, value: String| seen.push(format!("{what}: {value}"));

    let lease = client.lease_grant(600, None).await.unwrap().id();
    let put = client
        .put("a", "1", Some(PutOptions::new().with_lease(lease)))
        .await
        .unwrap();
    note("put", put.header().unwrap().revision().to_string());
    let (mut keeper, mut ticks) = client.lease_keep_alive(lease).await.unwrap();
    keeper.keep_alive().await.unwrap();
    note(
        "keep alive",
        ticks.message().await.unwrap().unwrap().ttl().to_string(),
    );

    let options = WatchOptions::new().with_start_revision(2).with_prev_key();
    let mut stream = client.watch("a", Some(options)).await.unwrap();
    let create = Txn::new()
        .when([Compare::mod_revision("b", CompareOp::Equal, 0)])
        .and_then([TxnOp::put("b", vec![7; 1_000_000], None)]);
    let created = client.txn(create.clone()).await.unwrap();
    note("create", created.succeeded().to_string());
    let again = create.or_else([TxnOp::get("b", None)]);
    let conflict = client.txn(again).await.unwrap();
    note("conflict", conflict.succeeded().to_string());
    for response in conflict.op_responses() {
        if let TxnOpResponse::Get(get) = response {
            let lengths: Vec<_> = get.kvs().iter().map(|kv| kv.value().len()).collect();
            note("conflict holds", format!("{lengths:?}"));
        }
    }

    let deleted = client
        .delete("a", Some(DeleteOptions::new().with_prev_key()))
        .await
        .unwrap();
    note("deleted", deleted.deleted().to_string());
    let mut events = 0;
    while events < 2 {
        let message = stream.message().await.unwrap().unwrap();
        for event in message.events() {
            events += 1;
            let kv = event.kv().unwrap();
            let kind = match event.event_type() {
                EventType::Put => "put",
                EventType::Delete => "delete",
            };
            note("event", format!("{kind} at {}", kv.mod_revision()));
        }
    }

    client.compact(4, None).await.unwrap();
    let old = client
        .get("b", Some(GetOptions::new().with_revision(2)))
        .await
        .unwrap_err();
    note("compacted", old.to_string());
    let unknown = client.lease_revoke(12345).await.unwrap_err();
    note("unknown lease", unknown.to_string());
    let too_large = client.put("c", vec![0; 3 << 20], None).await.unwrap_err();
    note("too large", too_large.to_string());
    seen
}

async fn a_client_gets_the_same_answers_directly_and_relayed(start: fn() -> Site) {
    let (direct, behind) = (start(), start());
    let interceptor = Interceptor::relay(&behind);
    let expected = conversation(&mut direct.client().await).await;
    let relayed = conversation(&mut interceptor.client().await).await;
    assert_eq!(relayed, expected);
    assert!(
        expected
            .iter()
            .any(|line| line.contains("required revision has been compacted"))
    );
}

async fn etcdctl_and_http_pass(start: fn() -> Site) {
    let etcd = start();
    let interceptor = Interceptor::relay(&etcd);
    let endpoint = interceptor.endpoint();
    let etcdctl = |endpoint: &str, arguments: &[&str]| etcd.etcdctl_at(endpoint, arguments);
    etcdctl(&endpoint, &["put", "a", "1"]);
    assert_eq!(etcdctl(&endpoint, &["get", "a"]), "a\n1\n");
    let members = |endpoint: &str| etcdctl(endpoint, &["member", "list", "-w", "json"]);
    assert_eq!(members(&endpoint), members(&etcd.endpoint()));
    // The status call names the endpoint that was asked; everything else is the member's.
    let status = |endpoint: &str| {
        let text = etcdctl(endpoint, &["endpoint", "status", "-w", "json"]);
        text.replace(endpoint, "ENDPOINT")
    };
    // etcd settles its database a moment after a write: what is compared is asked between two equal answers.
    loop {
        let before = status(&etcd.endpoint());
        let relayed = status(&endpoint);
        if before == status(&etcd.endpoint()) {
            assert_eq!(relayed, before);
            break;
        }
    }
    let folder = TempDir::new().unwrap();
    let snapshot = folder.path().join("snapshot");
    etcdctl(&endpoint, &["snapshot", "save", snapshot.to_str().unwrap()]);
    assert!(snapshot.metadata().unwrap().len() > 10_000);

    for path in ["/health", "/version", "/nowhere"] {
        assert_eq!(
            etcd.page_at(interceptor.address(), path),
            etcd.page_at(etcd.address(), path),
            "{path}"
        );
    }
}

async fn clients_learn_of_a_lost_etcd_at_once_and_recover(start: fn() -> Site) {
    let mut etcd = start();
    let interceptor = Interceptor::relay(&etcd);
    let mut client = interceptor.client().await;
    client.put("a", "1", None).await.unwrap();
    let mut stream = client.watch("a", None).await.unwrap();
    etcd.kill();
    let end = async { while let Ok(Some(_)) = stream.message().await {} };
    within_patience("the watch ends", end).await;
    // Nothing listens behind the interceptor: connections end, and none is left open.
    let refused = client.put("a", "2", None).await;
    assert!(refused.is_err());
    eventually("no connection is open", async || {
        (interceptor.metric("cascade_relay_connections_open") == 0.0).then_some(())
    })
    .await;
    etcd.run();
    eventually("a put succeeds again", async || {
        client.put("a", "3", None).await.ok()
    })
    .await;
}

/// Frames of `bytes` as (type, stream, payload).
fn frames(mut bytes: &[u8]) -> Vec<(u8, u32, Vec<u8>)> {
    let mut found = Vec::new();
    while let Some((header, rest)) = bytes.split_at_checked(9) {
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
        let stream = u32::from_be_bytes(header[5..9].try_into().unwrap());
        let (payload, rest) = rest.split_at(length);
        found.push((header[3], stream, payload.to_vec()));
        bytes = rest;
    }
    assert!(bytes.is_empty(), "a cut frame");
    found
}

async fn a_shutdown_says_goaway_to_http2_connections(start: fn() -> Site) {
    const GOAWAY: u8 = 7;
    let etcd = start();
    let interceptor = Interceptor::relay(&etcd);
    let mut stream = etcd.http2_at(interceptor.address());
    // Preface and empty SETTINGS; etcd answers with its own and an acknowledgement.
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .unwrap();
    let mut begin = [0; 9];
    stream.read_exact(&mut begin).unwrap();
    interceptor.signal("TERM");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    // etcd's acknowledgement may still come after it.
    let mut frames = frames(&[&begin[..], &rest].concat());
    frames.retain(|(kind, ..)| *kind == GOAWAY);
    assert_eq!(frames, [(GOAWAY, 0, vec![0; 8])]);
    drop(stream);
    assert_eq!(interceptor.wait().code(), Some(0));
}

/// What a shutdown interrupts either was committed and answered, or never reached etcd.
async fn a_shutdown_under_load_loses_no_answer(start: fn() -> Site) {
    let etcd = start();
    let interceptor = Interceptor::relay(&etcd);
    let mut workers = Vec::new();
    for worker in 0..8 {
        let mut client = interceptor.client().await;
        workers.push(tokio::spawn(async move {
            let mut answered = 0_u32;
            loop {
                let key = format!("{worker}/{answered}");
                match client.put(key, "x", None).await {
                    Ok(_) => answered += 1,
                    Err(_) => return answered,
                }
            }
        }));
    }
    let mut direct = etcd.client().await;
    eventually("load has begun", async || {
        let answer = direct.get("a", None).await.unwrap();
        (answer.header().unwrap().revision() > 200).then_some(())
    })
    .await;
    let ended = tokio::task::spawn_blocking(move || interceptor.stop());
    assert_eq!(ended.await.unwrap().code(), Some(0));
    for (index, worker) in workers.into_iter().enumerate() {
        let answered = within_patience("a worker ends", worker).await.unwrap();
        let options = GetOptions::new().with_prefix().with_count_only();
        let stored = direct
            .get(format!("{index}/"), Some(options))
            .await
            .unwrap();
        assert_eq!(stored.count(), i64::from(answered), "worker {index}");
    }
}

async fn an_idle_connection_costs_little_memory(start: fn() -> Site) {
    const CONNECTIONS: usize = 500;
    let etcd = start();
    let trace = TempDir::new().unwrap();
    let interceptor = Interceptor::serve(&etcd, trace.path(), &[]);
    interceptor.ready().await;
    let resident = || interceptor.metric("process_resident_memory_bytes");
    // Whatever the first connection brings into memory is not the cost of a connection.
    let mut first = interceptor.client().await;
    first.get("a", None).await.unwrap();
    let before = resident();
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut client = interceptor.client().await;
        client.put("a", "x", None).await.unwrap();
        clients.push(client);
    }
    let each = (resident() - before) / CONNECTIONS as f64;
    assert!(interceptor.metric("cascade_relay_connections_open") >= CONNECTIONS as f64);
    assert!(each < 64.0 * 1024.0, "{each} bytes for each connection");
    eprintln!("{each:.0} bytes for each idle connection");
}

#[tokio::test]
async fn several_routes_lead_to_their_members() {
    let (one, two) = (Etcd::start(), Etcd::start());
    let interceptor = Interceptor::start(&[
        "serve",
        "--ledger=off",
        "--observe=off",
        &format!("--route=127.0.0.1:0={}", one.endpoint()),
        &format!("--route=127.0.0.1:0={}", two.endpoint()),
    ]);
    for (listener, etcd) in interceptor.listeners().iter().zip([&one, &two]) {
        etcd.etcdctl_at(
            &format!("http://{listener}"),
            &["put", "who", &etcd.endpoint()],
        );
    }
    for etcd in [&one, &two] {
        assert_eq!(
            etcd.etcdctl(&["get", "--print-value-only", "who"]).trim(),
            etcd.endpoint()
        );
    }
}

/// Connections for which there are no file descriptors wait until others end.
#[tokio::test]
async fn a_lack_of_file_descriptors_is_waited_out() {
    let etcd = Etcd::start();
    // 64 for other things, and two for each connection.
    let interceptor = Interceptor::limited(
        64 + 2 * 3,
        &[
            "serve",
            "--listen=127.0.0.1:0",
            "--etcd",
            &etcd.endpoint(),
            "--ledger=off",
            "--observe=off",
        ],
    );
    // The system accepts connections on its own, whatever the program does.
    let connect = || TcpStream::connect(interceptor.address()).unwrap();
    let mut open: Vec<_> = (0..10).map(|_| connect()).collect();
    let mut last = open.pop().unwrap();
    last.write_all(b"GET /health HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\n\r\n")
        .unwrap();
    eventually("the lack is told", async || {
        let told = interceptor.log().contains("as many connections as");
        told.then_some(())
    })
    .await;
    assert!(interceptor.metric("cascade_relay_connections_open") <= 3.0);
    drop(open);
    let mut answer = String::new();
    last.set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    last.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("200 OK"), "{answer}");
}
