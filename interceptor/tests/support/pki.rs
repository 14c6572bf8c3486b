//! Certificates as kubeadm lays them out, and clients that use them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use etcd_client::Client;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use tempfile::TempDir;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use super::TlsFlags;
use super::certificates::{Authority, Issued};

/// Names that etcd and interceptor are reached by in tests.
pub(crate) const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// A folder of certificates signed by one authority, as in kubeadm's `pki/etcd`.
#[derive(Debug)]
pub(crate) struct Pki {
    pub(crate) authority: Authority,
    folder: TempDir,
}

impl Pki {
    /// `ca.crt`; `server` for etcd, `interceptor` for the interceptor's listener, `client` for
    /// whoever connects to that, and `etcd-client` for the interceptor as a client of etcd.
    pub(crate) fn new() -> Self {
        let pki = Self {
            authority: Authority::new("etcd-ca"),
            folder: TempDir::with_prefix("cascade-pki-").expect("a temporary folder"),
        };
        pki.authority.write(pki.folder(), "ca");
        pki.add("server", &pki.authority.issue("etcd", &NAMES));
        pki.add("interceptor", &pki.authority.issue("interceptor", &NAMES));
        pki.add(
            "client",
            &pki.authority.issue("kube-apiserver-etcd-client", &[]),
        );
        pki.add("etcd-client", &pki.authority.issue("cascade", &[]));
        pki
    }

    /// Adds `NAME.crt` and `NAME.key`, or replaces them.
    pub(crate) fn add(&self, name: &str, issued: &Issued) {
        issued.write(self.folder(), name);
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Path of a file.
    pub(crate) fn file(&self, name: &str) -> String {
        self.path(name)
            .to_str()
            .expect("a name in UTF-8")
            .to_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    fn content(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).expect("a file of the tests")
    }

    /// Flags of etcd and etcdctl.
    pub(crate) fn flags(&self) -> TlsFlags {
        let files = |ca: &str, cert: &str, key: &str, name: &str| {
            vec![
                format!("{ca}={}", self.file("ca.crt")),
                format!("{cert}={}", self.file(&format!("{name}.crt"))),
                format!("{key}={}", self.file(&format!("{name}.key"))),
            ]
        };
        let mut etcd = files("--trusted-ca-file", "--cert-file", "--key-file", "server");
        etcd.push("--client-cert-auth".to_owned());
        TlsFlags {
            etcd,
            etcdctl: files("--cacert", "--cert", "--key", "client"),
        }
    }

    /// Flags of the interceptor about the leg towards clients.
    pub(crate) fn listen_flags(&self) -> Vec<String> {
        vec![
            format!("--cert={}", self.file("interceptor.crt")),
            format!("--key={}", self.file("interceptor.key")),
            format!("--client-ca={}", self.file("ca.crt")),
        ]
    }

    /// Flags of the interceptor about the leg towards etcd.
    pub(crate) fn upstream_flags(&self) -> Vec<String> {
        vec![
            format!("--etcd-ca={}", self.file("ca.crt")),
            format!("--etcd-cert={}", self.file("etcd-client.crt")),
            format!("--etcd-key={}", self.file("etcd-client.key")),
        ]
    }

    /// A client of `https://…`, made by other means than the interceptor's own.
    pub(crate) async fn connect(&self, endpoint: &str) -> Result<Client, etcd_client::Error> {
        let identity = Identity::from_pem(self.content("client.crt"), self.content("client.key"));
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(self.content("ca.crt")))
            .identity(identity);
        let channel = Endpoint::from_shared(endpoint.to_owned())?
            .tls_config(tls)?
            .connect()
            .await?;
        Client::from_channel(etcd_client::Channel::Tonic(channel), None).await
    }

    /// A client at the level of TLS, with the certificate of `client`.
    pub(crate) fn dial(&self) -> Dial<'_> {
        Dial {
            pki: self,
            identity: Some("client".to_owned()),
            alpn: Vec::new(),
            versions: rustls::ALL_VERSIONS,
            name: "localhost",
        }
    }
}

/// A client at the level of TLS.
pub(crate) struct Dial<'a> {
    pki: &'a Pki,
    /// Name of the certificate to show.
    pub(crate) identity: Option<String>,
    /// What is offered.
    pub(crate) alpn: Vec<&'static [u8]>,
    pub(crate) versions: &'static [&'static SupportedProtocolVersion],
    /// What the server's certificate must hold.
    pub(crate) name: &'static str,
}

/// A connection with TLS.
pub(crate) type TlsTcp = StreamOwned<ClientConnection, TcpStream>;

impl Dial<'_> {
    /// Connects and does the handshake, as far as the client can tell.
    pub(crate) fn connect(&self, address: SocketAddr) -> Result<TlsTcp, String> {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(&self.pki.content("ca.crt"));
        roots.add(authority.expect("PEM")).expect("a CA");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions)
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let certificate = self.pki.content(&format!("{name}.crt"));
                let key = self.pki.content(&format!("{name}.key"));
                let certificate = CertificateDer::from_pem_slice(&certificate).expect("PEM");
                let key = PrivateKeyDer::from_pem_slice(&key).expect("PEM");
                let config = builder.with_client_auth_cert(vec![certificate], key);
                config.expect("a certificate with its key")
            }
        };
        config.alpn_protocols = self.alpn.iter().map(|protocol| protocol.to_vec()).collect();
        let name = ServerName::try_from(self.name).expect("a name");
        let mut connection = ClientConnection::new(Arc::new(config), name).expect("a client");
        let mut tcp = TcpStream::connect(address).map_err(|error| error.to_string())?;
        let patience = Some(Duration::from_secs(60));
        tcp.set_read_timeout(patience).expect("a timeout");
        while connection.is_handshaking() {
            connection
                .complete_io(&mut tcp)
                .map_err(|error| error.to_string())?;
        }
        Ok(StreamOwned::new(connection, tcp))
    }

    /// Status and body of a page, and what was agreed to be spoken.
    pub(crate) fn get(&self, address: SocketAddr, path: &str) -> Result<Page, String> {
        let mut stream = self.connect(address)?;
        let agreed = stream.conn.alpn_protocol().map(<[u8]>::to_vec);
        let version = format!("{:?}", stream.conn.protocol_version().expect("a version"));
        let request = format!("GET {path} HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\n\r\n");
        stream
            .write_all(request.as_bytes())
            .map_err(|error| error.to_string())?;
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .map_err(|error| error.to_string())?;
        let status = answer.split(' ').nth(1).and_then(|text| text.parse().ok());
        let body = answer
            .split_once("\r\n\r\n")
            .map(|(_, body)| body.to_owned());
        Ok(Page {
            status: status.ok_or_else(|| format!("not an answer: {answer}"))?,
            body: body.unwrap_or_default(),
            agreed,
            version,
        })
    }
}

/// A page, and how it was got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) body: String,
    /// What was agreed to be spoken.
    pub(crate) agreed: Option<Vec<u8>>,
    /// Version of TLS.
    pub(crate) version: String,
}
