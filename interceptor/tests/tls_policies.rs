//! Who gets in and who does not, with real processes on both sides: refusals, reloads, Unix sockets.

// Helpers of tests fail by panicking, but clippy's exemption covers `#[test]` functions only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::Read;
use std::net::TcpStream;
use std::sync::Arc;

use etcd_client::{GetOptions, WatchOptions};
use rustls::version::TLS12;
use support::pki::{NAMES, Pki};
use support::{
    Etcd, EtcdOptions, Interceptor, Site, eventually, interceptor_command, within_patience,
};
use tempfile::TempDir;

const ONLY_TLS12: &[&rustls::SupportedProtocolVersion] = &[&TLS12];

/// Relays `etcd` with TLS on both legs and further flags.
fn relay(etcd: &Site, further: &[&str]) -> Interceptor {
    let pki = etcd.pki();
    let endpoint = etcd.endpoint();
    let flags = [pki.listen_flags(), pki.upstream_flags()].concat();
    let mut all = vec!["serve", "--listen=127.0.0.1:0", "--etcd", &endpoint];
    all.extend(["--ledger=off", "--observe=off"]);
    all.extend(flags.iter().map(String::as_str));
    all.extend(further);
    Interceptor::start(&all)
}

/// That a start ends with exit code 64 (or 69) and says these things.
fn refused(code: i32, arguments: &[&str], parts: &[&str]) {
    let output = interceptor_command()
        .args(arguments)
        .args(["--metrics-listen=127.0.0.1:0"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    for part in parts {
        assert!(text.contains(part), "{arguments:?}: no `{part}` in: {text}");
    }
}

#[test]
fn what_was_agreed_is_what_etcd_agrees_to() {
    let etcd = Site::tls();
    let interceptor = relay(&etcd, &[]);
    let pki = etcd.pki();
    let offers: [&[&'static [u8]]; 4] = [&[], &[b"http/1.1"], &[b"h2"], &[b"h2", b"http/1.1"]];
    for offer in offers {
        let mut dial = pki.dial();
        dial.alpn = offer.to_vec();
        let agreed = |address| {
            let stream = dial.connect(address).unwrap();
            stream.conn.alpn_protocol().map(<[u8]>::to_vec)
        };
        assert_eq!(
            agreed(interceptor.address()),
            agreed(etcd.address()),
            "{offer:?}"
        );
    }
    let mut dial = pki.dial();
    dial.alpn = vec![b"spdy/3"];
    assert!(dial.connect(etcd.address()).is_err());
    assert!(dial.connect(interceptor.address()).is_err());
}

#[test]
fn pages_pass_whatever_is_offered_in_either_version() {
    let etcd = Site::tls();
    let interceptor = relay(&etcd, &[]);
    let pki = etcd.pki();
    let offers: [&[&'static [u8]]; 2] = [&[], &[b"http/1.1"]];
    for offer in offers {
        for versions in [rustls::ALL_VERSIONS, ONLY_TLS12] {
            let mut dial = pki.dial();
            (dial.alpn, dial.versions) = (offer.to_vec(), versions);
            for path in ["/health", "/version", "/nowhere"] {
                let relayed = dial.get(interceptor.address(), path).unwrap();
                assert_eq!(relayed, dial.get(etcd.address(), path).unwrap(), "{path}");
            }
            let metrics = dial.get(interceptor.address(), "/metrics").unwrap();
            assert_eq!(metrics.status, 200);
            assert!(metrics.body.contains("etcd_server_has_leader 1"));
        }
    }
}

#[tokio::test]
async fn every_client_that_must_not_get_in_is_told_and_counted() {
    let etcd = Site::tls();
    let pki = etcd.pki();
    let stranger = Pki::new();
    stranger
        .authority
        .issue("stranger", &[])
        .write(pki.folder(), "stranger");
    pki.add(
        "expired",
        &pki.authority.issue_with("expired", &[], |parameters| {
            parameters.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }),
    );
    let revoked = pki.authority.issue("kube-apiserver-etcd-client", &[]);
    pki.add("revoked", &revoked);
    pki.add("other", &pki.authority.issue("somebody-else", &[]));
    std::fs::write(pki.folder().join("list"), pki.authority.revoke(&[&revoked])).unwrap();
    let list = format!("--client-crl-file={}", pki.file("list"));
    let interceptor = relay(
        &etcd,
        &[&list, "--client-allowed-cn=kube-apiserver-etcd-client"],
    );
    let page = |identity: Option<&str>| {
        let mut dial = pki.dial();
        dial.identity = identity.map(str::to_owned);
        dial.get(interceptor.address(), "/health")
    };
    assert_eq!(page(Some("client")).unwrap().status, 200);
    for (identity, reason) in [
        (None, "no_certificate"),
        (Some("stranger"), "unknown_issuer"),
        (Some("expired"), "expired"),
        (Some("revoked"), "revoked"),
        (Some("other"), "not_allowed"),
    ] {
        // Told once, counted each time.
        for count in [1.0, 2.0] {
            assert!(page(identity).is_err(), "{identity:?}");
            eventually("the refusal is counted", async || {
                let name = "cascade_relay_client_handshake_failures_total";
                (interceptor.labelled_metric(name, reason) == count).then_some(())
            })
            .await;
        }
        let told = format!("\"reason\":\"{reason}\"");
        assert_eq!(interceptor.log().matches(&told).count(), 1, "{reason}");
    }
    let mut dial = pki.dial();
    dial.name = "etcd.local";
    assert!(dial.connect(interceptor.address()).is_err());
    assert_eq!(page(Some("client")).unwrap().status, 200);
    // None of them reached etcd.
    eventually("only the admitted were relayed", async || {
        (interceptor.metric("cascade_relay_connections_ended_total") == 2.0).then_some(())
    })
    .await;
    assert_eq!(interceptor.metric("cascade_relay_connections_open"), 0.0);
}

#[test]
fn an_etcd_that_is_not_the_right_one_is_not_connected_to() {
    let etcd = Site::tls();
    let (pki, other) = (etcd.pki(), Pki::new());
    let endpoint = etcd.endpoint();
    let listen = pki.listen_flags();
    let with = |flags: &[String]| {
        let mut all = vec!["serve".to_owned(), "--listen=127.0.0.1:0".to_owned()];
        all.extend([
            format!("--etcd={endpoint}"),
            "--ledger=off".to_owned(),
            "--observe=off".to_owned(),
        ]);
        all.extend(listen.iter().cloned());
        all.extend(flags.iter().cloned());
        all
    };
    let refused_with = |flags: &[String], parts: &[&str]| {
        let all = with(flags);
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        refused(69, &all, parts);
    };
    refused_with(
        &[format!("--etcd-ca={}", other.file("ca.crt"))],
        &["--etcd-ca", "etcd's certificate is not signed by"],
    );
    let right = format!("--etcd-ca={}", pki.file("ca.crt"));
    refused_with(
        &[right, "--etcd-server-name=etcd.local".to_owned()],
        &["--etcd-server-name", "etcd.local"],
    );
}

/// With TLS 1.3 etcd refuses a certificate only after the handshake; that is told all the same.
#[tokio::test]
async fn an_etcd_that_refuses_the_interceptor_is_told() {
    let etcd = Site::tls();
    let pki = etcd.pki();
    let (endpoint, ca) = (etcd.endpoint(), format!("--etcd-ca={}", pki.file("ca.crt")));
    let listen = pki.listen_flags();
    let mut all = vec!["serve", "--listen=127.0.0.1:0", "--etcd", &endpoint, &ca];
    all.extend(["--ledger=off", "--observe=off"]);
    all.extend(listen.iter().map(String::as_str));
    let interceptor = Interceptor::start(&all);
    assert!(pki.dial().get(interceptor.address(), "/health").is_err());
    eventually("the refusal is counted and told", async || {
        let name = "cascade_relay_upstream_connect_failures_total";
        let counted = interceptor.labelled_metric(name, "refused_by_peer") >= 1.0;
        (counted && interceptor.log().contains("compare --etcd-cert")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_renewed_while_connections_stay_open() {
    let etcd = Site::tls();
    let pki = Arc::clone(etcd.pki());
    let trace = TempDir::new().unwrap();
    let interceptor = Interceptor::serve(&etcd, trace.path(), &[]);
    interceptor.ready().await;
    let mut client = interceptor.client().await;
    let options = WatchOptions::new().with_start_revision(1);
    let mut stream = client.watch("a", Some(options)).await.unwrap();
    client.put("a", "1", None).await.unwrap();
    let shown = || {
        let stream = pki.dial().connect(interceptor.address()).unwrap();
        stream.conn.peer_certificates().unwrap()[0].to_vec()
    };
    let loaded = |side: &'static str| {
        let (_, text) = interceptor.page("/metrics");
        let line = format!("cascade_tls_reloads_total{{side=\"{side}\",result=\"loaded\"}} 1");
        text.contains(&line).then_some(())
    };
    let first = shown();

    // On SIGHUP, both legs.
    pki.add("interceptor", &pki.authority.issue("interceptor", &NAMES));
    pki.add("etcd-client", &pki.authority.issue("cascade", &[]));
    interceptor.signal("HUP");
    eventually("new certificates are in use", async || {
        loaded("clients").and(loaded("etcd"))
    })
    .await;
    let second = shown();
    assert_ne!(second, first);

    // A bad one stays out, on its own, and is told once.
    std::fs::write(pki.folder().join("interceptor.key"), "nonsense").unwrap();
    eventually("the bad file is told", async || {
        let (_, text) = interceptor.page("/metrics");
        let line = "cascade_tls_reloads_total{side=\"clients\",result=\"failed\"} 1";
        text.contains(line).then_some(())
    })
    .await;
    assert_eq!(shown(), second);
    assert!(interceptor.log().contains("holds no private key"));

    // All the while the first connection and its watch were there.
    client.put("a", "2", None).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let message = within_patience("an event", stream.message())
            .await
            .unwrap()
            .unwrap();
        let values = message
            .events()
            .iter()
            .map(|event| event.kv().unwrap().value_str().unwrap().to_owned());
        seen.extend(values);
    }
    assert_eq!(seen, ["1", "2"]);
    // Its connection, and the three that looked at the certificate.
    let accepted = interceptor.metric("cascade_relay_connections_accepted_total");
    assert_eq!(accepted, 4.0);
    drop((client, stream));
    assert_eq!(interceptor.stop().code(), Some(0));
}

#[test]
fn doors_that_would_stand_open_are_refused() {
    let pki = Pki::new();
    let listen: Vec<String> = pki.listen_flags();
    let upstream: Vec<String> = pki.upstream_flags();
    let (cert, key, client_ca) = (listen[0].as_str(), listen[1].as_str(), listen[2].as_str());
    let upstream: Vec<&str> = upstream.iter().map(String::as_str).collect();
    let with = |further: &[&'static str]| {
        let mut all = vec![
            "serve",
            "--ledger=off",
            "--observe=off",
            "--etcd=https://127.0.0.1:1",
        ];
        all.extend(&upstream);
        all.extend(further);
        all
    };
    let mut open = with(&["--listen=127.0.0.1:0"]);
    open.extend([cert, key]);
    refused(
        64,
        &open,
        &["--client-ca FILE", "--insecure-no-client-auth"],
    );
    refused(
        64,
        &with(&["--listen=0.0.0.0:0"]),
        &["plain text from other hosts", "--insecure-no-client-auth"],
    );
    refused(
        64,
        &with(&["--listen=https://127.0.0.1:0"]),
        &["--cert FILE"],
    );
    let mut half = with(&["--listen=127.0.0.1:0"]);
    half.push(cert);
    refused(64, &half, &["--cert needs --key"]);
    let mut no_tls = with(&["--listen=127.0.0.1:0"]);
    no_tls.push(client_ca);
    refused(64, &no_tls, &["--client-ca needs --cert"]);
    let plain = [
        "serve",
        "--ledger=off",
        "--observe=off",
        "--listen=127.0.0.1:0",
        "--etcd=127.0.0.1:1",
    ];
    let forgotten = [&plain[..], &[upstream[0]]].concat();
    refused(64, &forgotten, &["--etcd-ca is of no use", "https://"]);
    let suite = [
        &plain[..],
        &["--cipher-suites=TLS_RSA_WITH_AES_128_CBC_SHA"],
    ]
    .concat();
    refused(
        64,
        &suite,
        &[
            "TLS_RSA_WITH_AES_128_CBC_SHA",
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        ],
    );
    let versions = [
        &plain[..],
        &["--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"],
    ]
    .concat();
    refused(64, &versions, &["--tls-min-version"]);
    // All of it is found by `config --check` too.
    let mut check = open.clone();
    check[0] = "config";
    check.push("--check");
    refused(64, &check, &["--client-ca FILE"]);
}

#[tokio::test]
async fn a_door_can_be_left_open_on_purpose() {
    let etcd = Site::tls();
    let pki = etcd.pki();
    let endpoint = etcd.endpoint();
    let flags = pki.upstream_flags();
    let mut all = vec![
        "serve",
        "--listen=0.0.0.0:0",
        "--etcd",
        &endpoint,
        "--ledger=off",
        "--observe=off",
    ];
    all.extend(flags.iter().map(String::as_str));
    all.push("--insecure-no-client-auth");
    let interceptor = Interceptor::start(&all);
    assert!(interceptor.log().contains("plain text on one leg"));
    let address = format!("http://127.0.0.1:{}", interceptor.address().port());
    let mut client = etcd_client::Client::connect([&address], None)
        .await
        .unwrap();
    client.put("a", "1", None).await.unwrap();
    // What speaks HTTP/1.1 is recognised as such.
    let page = support::http_get(
        ([127, 0, 0, 1], interceptor.address().port()).into(),
        "/health",
    );
    assert_eq!(page.0, 200);
}

#[tokio::test]
async fn unix_sockets_on_both_sides() {
    let folder = TempDir::new().unwrap();
    let behind = folder.path().join("etcd.sock");
    let front = folder.path().join("front.sock");
    let etcd = Etcd::start();
    // An interceptor in front of another one: etcd's own Unix sockets are relative paths.
    let inner = Interceptor::start(&[
        "serve",
        &format!("--listen=unix://{}", behind.display()),
        &format!("--etcd={}", etcd.endpoint()),
        "--ledger=off",
        "--observe=off",
    ]);
    let trace = TempDir::new().unwrap();
    let outer = Interceptor::start(&[
        "serve",
        &format!("--listen=unix://{}", front.display()),
        &format!("--etcd=unix://{}", behind.display()),
        &format!("--trace-dir={}", trace.path().display()),
    ]);
    outer.ready().await;
    let endpoint = format!("unix://{}", front.display());
    etcd.etcdctl_at(&endpoint, &["put", "a", "1"]);
    assert_eq!(etcd.etcdctl(&["get", "a"]), "a\n1\n");
    assert_eq!(outer.stop().code(), Some(0));
    assert!(!front.exists(), "the file of the socket is left");
    assert_eq!(inner.stop().code(), Some(0));
}

#[tokio::test]
async fn further_connections_than_allowed_wait() {
    let etcd = Site::tls();
    let interceptor = relay(&etcd, &["--max-connections=2"]);
    let pki = etcd.pki();
    let mut dial = pki.dial();
    dial.alpn = vec![b"h2"];
    let open: Vec<_> = (0..2)
        .map(|_| dial.connect(interceptor.address()).unwrap())
        .collect();
    eventually("both are relayed", async || {
        (interceptor.metric("cascade_relay_connections_open") == 2.0).then_some(())
    })
    .await;
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| pki.dial().get(interceptor.address(), "/health"));
        while interceptor.metric("cascade_relay_full_total") == 0.0 {
            std::thread::yield_now();
        }
        drop(open);
        waiting.join().unwrap()
    });
    assert_eq!(waiting.unwrap().status, 200);
}

#[tokio::test]
async fn a_silent_client_is_not_waited_for() {
    let etcd = Site::tls();
    let interceptor = relay(&etcd, &["--handshake-timeout=50ms"]);
    let mut silent = TcpStream::connect(interceptor.address()).unwrap();
    let mut rest = Vec::new();
    // Ends by the interceptor's doing.
    let _ = silent.read_to_end(&mut rest);
    eventually("the timeout is counted", async || {
        let name = "cascade_relay_client_handshake_failures_total";
        (interceptor.labelled_metric(name, "handshake_timeout") == 1.0).then_some(())
    })
    .await;
}

/// etcd's authentication is on; the ledger has a user of its own, whose token expires meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_can_be_a_user_of_etcd() {
    let etcd = Etcd::start_with(EtcdOptions {
        arguments: vec!["--auth-token-ttl=1".to_owned()],
        ..EtcdOptions::default()
    });
    let folder = TempDir::new().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, "secret\n").unwrap();
    for command in [
        &["user", "add", "root:root"][..],
        &["user", "grant-role", "root", "root"],
        &["user", "add", "cascade:secret"],
        &["role", "add", "reader"],
        &[
            "role",
            "grant-permission",
            "reader",
            "read",
            "",
            "--from-key",
        ],
        &["user", "grant-role", "cascade", "reader"],
        &["auth", "enable"],
    ] {
        etcd.etcdctl(command);
    }
    let trace = folder.path().join("trace");
    let interceptor = Interceptor::start(&[
        "tail",
        "--etcd",
        &etcd.endpoint(),
        "--trace-dir",
        trace.to_str().unwrap(),
        "--ledger-user=cascade",
        &format!("--ledger-password-file={}", password.display()),
    ]);
    interceptor.ready().await;
    let put = ["--user=root:root", "put", "a", "1"];
    etcd.etcdctl(&put);
    let options = etcd_client::ConnectOptions::new().with_user("root", "root");
    let mut root = etcd_client::Client::connect([etcd.endpoint()], Some(options))
        .await
        .unwrap();
    let answer = root.get("a", Some(GetOptions::new())).await.unwrap();
    let last = answer.header().unwrap().revision();
    interceptor.ledger_reached(last).await;
    assert!(!interceptor.log().contains("secret"));
    assert_eq!(interceptor.stop().code(), Some(0));
}
