//! Everything that is refused, and how it is told.

use rcgen::ExtendedKeyUsagePurpose;

use super::*;

/// What clients and servers are told when the server's settings are changed by `server`, and the
/// client's by `client`.
async fn refusal(
    world: &World,
    server: impl FnOnce(&mut ServerTlsSettings),
    client: impl FnOnce(&mut ClientTlsSettings),
) -> (&'static str, &'static str) {
    let (mut server_settings, mut client_settings) =
        (world.server_settings(), world.client_settings());
    server(&mut server_settings);
    client(&mut client_settings);
    let server = ServerTls::load(server_settings).unwrap();
    let client = ClientTls::load(client_settings).unwrap();
    meet(&server, &client, "localhost", Alpn::H2).await.labels()
}

/// The settings of a client that shows another certificate.
fn showing(world: &World, name: &str) -> impl FnOnce(&mut ClientTlsSettings) {
    let identity = (
        world.file("--etcd-cert", &format!("{name}.crt")),
        world.file("--etcd-key", &format!("{name}.key")),
    );
    |settings| settings.identity = Some(identity)
}

#[tokio::test]
async fn a_client_with_the_right_certificate_is_admitted() {
    let world = World::new();
    assert_eq!(refusal(&world, |_| {}, |_| {}).await, ("ok", "ok"));
}

#[tokio::test]
async fn clients_without_a_valid_certificate_are_refused() {
    let world = World::new();
    let (clients, servers) = (&world.clients, &world.servers);
    world.add("stranger", &servers.issue("apiserver", &[]));
    world.add(
        "expired",
        &clients.issue_with("apiserver", &[], |parameters| {
            parameters.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }),
    );
    world.add(
        "future",
        &clients.issue_with("apiserver", &[], |parameters| {
            parameters.not_before = rcgen::date_time_ymd(2999, 1, 1);
        }),
    );
    world.add(
        "server-only",
        &clients.issue_with("apiserver", &[], |parameters| {
            parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        }),
    );
    for (name, label) in [
        ("stranger", "unknown_issuer"),
        ("expired", "expired"),
        ("future", "not_yet_valid"),
        ("server-only", "wrong_purpose"),
    ] {
        let told = refusal(&world, |_| {}, showing(&world, name)).await;
        assert_eq!(told, (label, "refused_by_peer"), "{name}");
    }
    let told = refusal(&world, |_| {}, |settings| settings.identity = None).await;
    assert_eq!(told, ("no_certificate", "refused_by_peer"));
}

#[tokio::test]
async fn clients_that_are_not_allowed_are_refused() {
    let world = World::new();
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let hosts = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect();
    for (allowed, expected) in [
        (
            AllowedClients::CommonNames(names(&["other", "apiserver"])),
            "ok",
        ),
        (
            AllowedClients::CommonNames(names(&["apiserve", "apiserver2"])),
            "not_allowed",
        ),
        (AllowedClients::Hostnames(hosts(&["apiserver.local"])), "ok"),
        // A common name is no host name.
        (
            AllowedClients::Hostnames(hosts(&["apiserver", "10.0.0.1"])),
            "not_allowed",
        ),
    ] {
        let what = format!("{allowed:?}");
        let (told, _) = refusal(
            &world,
            |settings| settings.allowed_clients = allowed,
            |_| {},
        )
        .await;
        assert_eq!(told, expected, "{what}");
    }
}

#[tokio::test]
async fn revoked_certificates_are_refused() {
    let world = World::new();
    let revoked = world.clients.issue("apiserver", &[]);
    world.add("revoked", &revoked);
    let list = world.clients.revoke(&[&revoked]);
    std::fs::write(world.path().join("list"), &list).unwrap();
    let with_list = |settings: &mut ServerTlsSettings| {
        settings.client_revocations = Some(world.file("--client-crl-file", "list"));
    };
    let told = refusal(&world, with_list, showing(&world, "revoked")).await;
    assert_eq!(told, ("revoked", "refused_by_peer"));
    // Its update is overdue, and it still says who is not revoked.
    assert_eq!(refusal(&world, with_list, |_| {}).await, ("ok", "ok"));

    // The same list in DER.
    let der: Vec<u8> = {
        use rustls::pki_types::pem::PemObject;
        let list = rustls::pki_types::CertificateRevocationListDer::from_pem_slice(list.as_bytes());
        list.unwrap().to_vec()
    };
    std::fs::write(world.path().join("list"), der).unwrap();
    let told = refusal(&world, with_list, showing(&world, "revoked")).await;
    assert_eq!(told, ("revoked", "refused_by_peer"));

    // A list of somebody else says nothing, as a list that is not there.
    std::fs::write(world.path().join("list"), world.servers.revoke(&[&revoked])).unwrap();
    let told = refusal(&world, with_list, showing(&world, "revoked")).await;
    assert_eq!(told, ("ok", "ok"));
}

#[tokio::test]
async fn servers_without_a_valid_certificate_are_refused() {
    let world = World::new();
    let certificate = |name: &str| {
        let files = (
            world.file("--cert", &format!("{name}.crt")),
            world.file("--key", &format!("{name}.key")),
        );
        |settings: &mut ServerTlsSettings| (settings.certificate, settings.key) = files
    };
    world.add("stranger", &world.clients.issue("etcd", &["localhost"]));
    world.add(
        "other-name",
        &world.servers.issue("localhost", &["etcd.local"]),
    );
    world.add(
        "expired",
        &world
            .servers
            .issue_with("etcd", &["localhost"], |parameters| {
                parameters.not_after = rcgen::date_time_ymd(2020, 1, 1);
            }),
    );
    for (name, label) in [
        ("stranger", "unknown_issuer"),
        ("other-name", "wrong_name"),
        ("expired", "expired"),
    ] {
        let told = refusal(&world, certificate(name), |_| {}).await;
        assert_eq!(told, ("refused_by_peer", label), "{name}");
    }
    let named =
        |settings: &mut ClientTlsSettings| settings.server_name = Some("etcd.local".to_owned());
    let told = refusal(&world, certificate("other-name"), named).await;
    assert_eq!(told, ("ok", "ok"));
    let told = refusal(&world, |_| {}, named).await;
    assert_eq!(told, ("refused_by_peer", "wrong_name"));
}

#[tokio::test]
async fn versions_must_overlap() {
    let world = World::new();
    let only = |version| TlsPolicy::new(version, version, &[]).unwrap();
    let (old, new) = (only(TlsVersion::Tls12), only(TlsVersion::Tls13));
    for (server, client, expected) in [
        (&old, &old, ("ok", "ok")),
        (&new, &new, ("ok", "ok")),
        (&old, &new, ("incompatible", "refused_by_peer")),
        (&new, &old, ("incompatible", "refused_by_peer")),
    ] {
        let told = refusal(
            &world,
            |settings| settings.policy = server.clone(),
            |settings| settings.policy = client.clone(),
        );
        assert_eq!(told.await, expected);
    }
    let suite = |name: &str| {
        let suites = [name.parse().unwrap()];
        TlsPolicy::new(TlsVersion::Tls12, TlsVersion::Tls12, &suites).unwrap()
    };
    let told = refusal(
        &world,
        |settings| settings.policy = suite("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
        |settings| settings.policy = suite("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    );
    assert_eq!(told.await, ("incompatible", "refused_by_peer"));
}

#[tokio::test]
async fn plain_text_and_silence_are_told_apart() {
    let world = World::new();
    let server = ServerTls::load(world.server_settings()).unwrap();
    for (sent, label) in [
        (&b"GET /health HTTP/1.1\r\n\r\n"[..], "not_tls"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "not_tls"),
        (b"", "handshake_lost"),
        (b"\x16\x03\x01", "handshake_lost"),
    ] {
        let (mut near, far) = duplex(4096);
        near.write_all(sent).await.unwrap();
        near.shutdown().await.unwrap();
        let refused = server.accept(far).await.unwrap_err();
        assert_eq!(refused.label(), label, "{sent:?}: {refused}");
    }
    let mut impatient = world.server_settings();
    impatient.handshake_timeout = Duration::from_millis(1);
    let server = ServerTls::load(impatient).unwrap();
    let (_near, far) = duplex(4096);
    let refused = server.accept(far).await.unwrap_err();
    assert_eq!(refused.label(), "handshake_timeout");
}

#[test]
fn files_that_do_not_fit_are_told_with_what_to_do() {
    let world = World::new();
    let refused = |change: &dyn Fn(&mut ServerTlsSettings)| {
        let mut settings = world.server_settings();
        change(&mut settings);
        ServerTls::load(settings).unwrap_err().to_string()
    };
    let text = refused(&|settings| settings.key = world.file("--key", "client.key"));
    assert!(
        text.contains("client.key is not the key of --cert"),
        "{text}"
    );
    let text = refused(&|settings| settings.key = world.file("--key", "nowhere"));
    assert!(
        text.contains("cannot read --key") && text.contains("nowhere"),
        "{text}"
    );
    let text = refused(&|settings| settings.key = world.file("--key", "server.crt"));
    assert!(text.contains("holds no private key"), "{text}");
    let text = refused(&|settings| settings.certificate = world.file("--cert", "server.key"));
    assert!(text.contains("holds no certificate"), "{text}");
    let text = refused(&|settings| {
        settings.client_revocations = Some(world.file("--client-crl-file", "client-ca.crt"));
    });
    assert!(text.contains("there is no revocation list"), "{text}");

    let mut settings = world.client_settings();
    settings.server_name = Some("not a name".to_owned());
    let client = ClientTls::load(settings).unwrap();
    let text = client.name_of("localhost").unwrap_err().to_string();
    assert!(text.contains("--etcd-server-name"), "{text}");
}
