//! What is agreed to be spoken.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::*;

/// What a client that offers these protocols agrees on with the listener.
async fn agreed_with(world: &World, offer: &[&[u8]]) -> Result<Option<Vec<u8>>, &'static str> {
    let server = ServerTls::load(world.server_settings()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let file = |name: &str| world.path().join(name);
    roots
        .add(CertificateDer::from_pem_file(file("server-ca.crt")).unwrap())
        .unwrap();
    let certificate = CertificateDer::from_pem_file(file("client.crt")).unwrap();
    let key = PrivateKeyDer::from_pem_file(file("client.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate], key)
        .unwrap();
    config.alpn_protocols = offer.iter().map(|protocol| protocol.to_vec()).collect();
    let (near, far) = duplex(4096);
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let connecting = connector.connect(name, near);
    let (server, client) = tokio::join!(server.accept(far), connecting);
    match (server, client) {
        (Ok(_), Ok(client)) => Ok(client.get_ref().1.alpn_protocol().map(<[u8]>::to_vec)),
        (Err(error), _) => Err(error.label()),
        (Ok(_), Err(_)) => Err("the client alone refuses"),
    }
}

/// The same table holds for etcd itself, which an integration test shows.
#[tokio::test]
async fn clients_get_what_etcd_would_have_agreed_to() {
    let world = World::new();
    let h2 = Ok(Some(b"h2".to_vec()));
    let table: [(&[&[u8]], _); 6] = [
        (&[], Ok(None)),
        (&[b"h2"], h2.clone()),
        (&[b"h2", b"http/1.1"], h2.clone()),
        (&[b"http/1.1", b"h2"], h2),
        (&[b"http/1.1"], Ok(None)),
        (&[b"spdy/3"], Err("alpn")),
    ];
    for (offer, expected) in table {
        assert_eq!(agreed_with(&world, offer).await, expected, "{offer:?}");
    }
}

#[tokio::test]
async fn etcd_must_agree_to_what_the_client_speaks() {
    let world = World::new();
    let client = ClientTls::load(world.client_settings()).unwrap();
    let server = ServerTls::load(world.server_settings()).unwrap();
    for alpn in [Alpn::H2, Alpn::None] {
        let met = meet(&server, &client, "127.0.0.1", alpn).await;
        assert_eq!(met.labels(), ("ok", "ok"));
        assert_eq!(agreed(&met.server.unwrap()), alpn);
    }
    // A server that knows nothing of ALPN.
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_no_client_auth()
    .with_cert_resolver(plain_identity(&world));
    config.alpn_protocols = Vec::new();
    let (near, far) = duplex(4096);
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let name = client.name_of("localhost").unwrap();
    let (_, refused) = tokio::join!(acceptor.accept(far), client.connect(near, name, Alpn::H2));
    assert_eq!(refused.unwrap_err().label(), "alpn");
}

fn plain_identity(world: &World) -> Arc<rustls::sign::SingleCertAndKey> {
    let settings = world.server_settings();
    let (certificate, key) = (
        settings.certificate.read().unwrap(),
        settings.key.read().unwrap(),
    );
    let identity = super::super::identity::load(
        (&settings.certificate, &certificate),
        (&settings.key, &key),
        &settings.policy,
    );
    identity.unwrap().certified
}
