//! Files that change.

use super::*;
use crate::tls::reload::Refresh;

/// Serial number of the certificate that the server shows.
fn shown(met: &Met) -> Vec<u8> {
    let client = met.client.as_ref().unwrap();
    let certificates = client.get_ref().1.peer_certificates().unwrap();
    certificates[0].to_vec()
}

#[tokio::test]
async fn new_connections_use_new_files_and_old_ones_go_on() {
    let world = World::new();
    let server = ServerTls::load(world.server_settings()).unwrap();
    let client = ClientTls::load(world.client_settings()).unwrap();
    let watched: Vec<std::sync::Arc<dyn Refresh>> =
        vec![server.refreshable(), client.refreshable()];
    let before = meet(&server, &client, "localhost", Alpn::H2).await;
    for part in &watched {
        assert!(matches!(part.refresh(), Refreshed::Unchanged));
    }

    world.add("server", &world.servers.issue("etcd", &["localhost"]));
    assert!(matches!(watched[0].refresh(), Refreshed::Loaded));
    assert!(matches!(watched[0].refresh(), Refreshed::Unchanged));
    assert!(matches!(watched[1].refresh(), Refreshed::Unchanged));
    let after = meet(&server, &client, "localhost", Alpn::H2).await;
    assert_ne!(shown(&before), shown(&after));

    let (mut near, mut far) = (before.client.unwrap(), before.server.unwrap());
    near.write_all(b"still there").await.unwrap();
    near.flush().await.unwrap();
    let mut read = [0; 11];
    far.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"still there");
}

#[tokio::test]
async fn bad_new_files_leave_the_old_ones_in_use_and_are_told_once() {
    let world = World::new();
    let server = ServerTls::load(world.server_settings()).unwrap();
    let client = ClientTls::load(world.client_settings()).unwrap();
    let watched = server.refreshable();
    let before = shown(&meet(&server, &client, "localhost", Alpn::H2).await);
    let renewed = world.servers.issue("etcd", &["localhost"]);
    // The certificate comes first, and the key that belongs to it later.
    let (_, key) = renewed.write(world.path(), "server");
    let new_key = std::fs::read(&key).unwrap();
    world
        .servers
        .issue("other", &[])
        .write(world.path(), "other");
    std::fs::copy(world.path().join("other.key"), &key).unwrap();
    let Refreshed::Failed(error) = watched.refresh() else {
        panic!("a wrong pair was loaded");
    };
    assert!(matches!(error, TlsError::WrongPair { .. }), "{error}");
    assert!(matches!(watched.refresh(), Refreshed::Unchanged));
    let met = meet(&server, &client, "localhost", Alpn::H2).await;
    assert_eq!(shown(&met), before);

    std::fs::remove_file(&key).unwrap();
    assert!(matches!(
        watched.refresh(),
        Refreshed::Failed(TlsError::Read { .. })
    ));
    assert!(matches!(watched.refresh(), Refreshed::Unchanged));
    std::fs::write(&key, new_key).unwrap();
    assert!(matches!(watched.refresh(), Refreshed::Loaded));
    let met = meet(&server, &client, "localhost", Alpn::H2).await;
    assert_ne!(shown(&met), before);
}

#[tokio::test]
async fn a_client_revoked_meanwhile_is_refused() {
    let world = World::new();
    std::fs::write(world.path().join("list"), world.clients.revoke(&[])).unwrap();
    let issued = world.clients.issue("apiserver", &[]);
    world.add("client", &issued);
    let mut settings = world.server_settings();
    settings.client_revocations = Some(world.file("--client-crl-file", "list"));
    let server = ServerTls::load(settings).unwrap();
    let client = ClientTls::load(world.client_settings()).unwrap();
    let met = meet(&server, &client, "localhost", Alpn::H2).await;
    assert_eq!(met.labels(), ("ok", "ok"));
    std::fs::write(world.path().join("list"), world.clients.revoke(&[&issued])).unwrap();
    assert!(matches!(server.refreshable().refresh(), Refreshed::Loaded));
    // The client connects as it did before: there is no session to resume.
    let met = meet(&server, &client, "localhost", Alpn::H2).await;
    assert_eq!(met.labels(), ("revoked", "refused_by_peer"));
}
