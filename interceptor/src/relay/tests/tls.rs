//! The same with TLS on both legs.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::connection::{LONG, Pair, SHORT, expect, expect_end, patience, run};
use crate::relay::{Ending, MAXIMUM_BACKLOG, Patience, Unobserved};
use crate::tls::testing::Authority;

type Client = Box<client::TlsStream<DuplexStream>>;
type Server = Box<server::TlsStream<DuplexStream>>;

/// Both ends of a connection with TLS.
async fn tls_pair(capacity: usize) -> (Client, Server) {
    use rustls::pki_types::pem::PemObject;
    let authority = Authority::new("ca");
    let folder = tempfile::TempDir::new().unwrap();
    let (certificate, key) = authority
        .issue("etcd", &["localhost"])
        .write(folder.path(), "server");
    let certificate = rustls::pki_types::CertificateDer::from_pem_file(certificate).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::from_pem_file(key).unwrap();
    let ca = rustls::pki_types::CertificateDer::from_pem_file(authority.write(folder.path(), "ca"));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(ca.unwrap()).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (near, far) = duplex(capacity);
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(client));
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let (client, server) = tokio::join!(connector.connect(name, near), acceptor.accept(far));
    (Box::new(client.unwrap()), Box::new(server.unwrap()))
}

/// What a client and a server hold, with a relay and two connections with TLS between them.
async fn relayed(patience: Patience) -> Pair<Client, Server> {
    let (downstream, upstream) = (tls_pair(1024).await, tls_pair(1024).await);
    run(downstream, upstream, Arc::new(Unobserved), patience)
}

#[tokio::test]
async fn a_half_close_is_passed_on_and_the_other_half_goes_on() {
    let mut pair = relayed(patience(LONG, LONG)).await;
    pair.client.write_all(b"question").await.unwrap();
    pair.client.shutdown().await.unwrap();
    expect(&mut pair.server, b"question").await;
    // Without close_notify this would be an error.
    expect_end(&mut pair.server).await;
    pair.server.write_all(b"answer").await.unwrap();
    pair.server.flush().await.unwrap();
    expect(&mut pair.client, b"answer").await;
    pair.server.shutdown().await.unwrap();
    expect_end(&mut pair.client).await;
    assert_eq!(pair.running.await.unwrap(), Ending::Closed);
}

/// A server that is killed ends the connection without close_notify. The client gets everything it
/// sent, and sees the same end as without a relay.
#[tokio::test]
async fn a_cut_stays_a_cut() {
    let mut pair = relayed(patience(LONG, LONG)).await;
    pair.server.write_all(b"last words").await.unwrap();
    pair.server.flush().await.unwrap();
    drop(pair.server);
    expect(&mut pair.client, b"last words").await;
    let cut = pair.client.read(&mut [0]).await.unwrap_err();
    assert_eq!(cut.kind(), std::io::ErrorKind::UnexpectedEof);
    assert_eq!(pair.running.await.unwrap(), Ending::ServerLost);

    let mut pair = relayed(patience(LONG, LONG)).await;
    pair.client.write_all(b"put").await.unwrap();
    pair.client.flush().await.unwrap();
    drop(pair.client);
    expect(&mut pair.server, b"put").await;
    let cut = pair.server.read(&mut [0]).await.unwrap_err();
    assert_eq!(cut.kind(), std::io::ErrorKind::UnexpectedEof);
    assert_eq!(pair.running.await.unwrap(), Ending::ClientLost);
}

#[tokio::test]
async fn a_server_that_closes_in_order_takes_its_client_with_it() {
    let mut pair = relayed(patience(LONG, SHORT)).await;
    pair.server.write_all(b"last words").await.unwrap();
    pair.server.shutdown().await.unwrap();
    expect(&mut pair.client, b"last words").await;
    expect_end(&mut pair.client).await;
    assert_eq!(pair.running.await.unwrap(), Ending::ServerClosed);
}

#[tokio::test]
async fn a_slow_reader_holds_back_the_writer() {
    /// What rustls keeps of records that it could not send yet, and those of the test's own ends.
    const TLS_BUFFERS: usize = 4 * (64 + 16) * 1024;
    let mut pair = relayed(patience(LONG, LONG)).await;
    let chunk = [7_u8; 1000];
    let mut accepted = 0;
    let stalled = async {
        loop {
            pair.server.write_all(&chunk).await.unwrap();
            accepted += chunk.len();
        }
    };
    let questions = async {
        for _ in 0..2000 {
            pair.client.write_all(b"?").await.unwrap();
            pair.client.flush().await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = questions => {}
        () = stalled => unreachable!(),
    }
    assert!(accepted >= 1024, "{accepted}");
    assert!(accepted <= MAXIMUM_BACKLOG + TLS_BUFFERS, "{accepted}");
    expect(&mut pair.server, &[b'?'; 2000]).await;
}
