//! Both legs with each other, over streams in memory.

mod agreement;
mod refusals;
mod reload;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::testing::{Authority, Issued};
use super::*;

/// Two authorities with certificates of theirs, in files.
struct World {
    folder: TempDir,
    /// Signs what clients show.
    clients: Authority,
    /// Signs what servers show.
    servers: Authority,
}

impl World {
    fn new() -> Self {
        let world = Self {
            folder: TempDir::new().unwrap(),
            clients: Authority::new("client-ca"),
            servers: Authority::new("server-ca"),
        };
        world.clients.write(world.path(), "client-ca");
        world.servers.write(world.path(), "server-ca");
        world.add(
            "server",
            &world.servers.issue("etcd", &["localhost", "127.0.0.1"]),
        );
        world.add(
            "client",
            &world.clients.issue("apiserver", &["apiserver.local"]),
        );
        world
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Adds `NAME.crt` and `NAME.key`.
    fn add(&self, name: &str, issued: &Issued) {
        issued.write(self.path(), name);
    }

    fn file(&self, flag: &'static str, name: &str) -> NamedFile {
        let path: PathBuf = self.path().join(name);
        NamedFile { flag, path }
    }

    fn server_settings(&self) -> ServerTlsSettings {
        ServerTlsSettings {
            side: Side::Clients,
            certificate: self.file("--cert", "server.crt"),
            key: self.file("--key", "server.key"),
            client_authorities: Some(self.file("--client-ca", "client-ca.crt")),
            client_revocations: None,
            allowed_clients: AllowedClients::Any,
            policy: TlsPolicy::default(),
            handshake_timeout: Duration::from_secs(600),
        }
    }

    fn client_settings(&self) -> ClientTlsSettings {
        ClientTlsSettings {
            authorities: self.file("--etcd-ca", "server-ca.crt"),
            identity: Some((
                self.file("--etcd-cert", "client.crt"),
                self.file("--etcd-key", "client.key"),
            )),
            server_name: None,
            policy: TlsPolicy::default(),
            handshake_timeout: Duration::from_secs(600),
        }
    }
}

/// What both sides say of a handshake, and of a byte each way after it.
struct Met {
    server: Result<TlsServerStream<DuplexStream>, HandshakeError>,
    client: Result<TlsClientStream<DuplexStream>, HandshakeError>,
}

impl Met {
    /// Labels of what went wrong.
    fn labels(&self) -> (&'static str, &'static str) {
        let label = |error: Option<&HandshakeError>| error.map_or("ok", HandshakeError::label);
        (
            label(self.server.as_ref().err()),
            label(self.client.as_ref().err()),
        )
    }
}

/// Lets a client meet a server.
async fn meet(server: &ServerTls, client: &ClientTls, host: &str, alpn: Alpn) -> Met {
    let (near, far) = duplex(4096);
    let name = client.name_of(host).unwrap();
    let accepting = async {
        let mut stream = server.accept(far).await?;
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        stream.write_all(&byte).await?;
        stream.flush().await?;
        Ok(stream)
    };
    let connecting = async {
        let mut stream = client.connect(near, name, alpn).await?;
        // With TLS 1.3 the server's refusal comes after the handshake.
        stream.write_all(b"?").await?;
        stream.flush().await?;
        stream.read_exact(&mut [0]).await?;
        Ok(stream)
    };
    let (server, client) = tokio::join!(accepting, connecting);
    Met { server, client }
}
