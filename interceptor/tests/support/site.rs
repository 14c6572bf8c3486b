//! An etcd, with or without TLS: the same test runs with both.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use etcd_client::Client;

use super::pki::Pki;
use super::{Etcd, EtcdOptions, http_get};

/// An etcd, and the certificates to talk to it, if it speaks TLS.
#[derive(Debug)]
pub(crate) struct Site {
    etcd: Etcd,
    pki: Option<Arc<Pki>>,
}

impl Deref for Site {
    type Target = Etcd;

    fn deref(&self) -> &Etcd {
        &self.etcd
    }
}

impl DerefMut for Site {
    fn deref_mut(&mut self) -> &mut Etcd {
        &mut self.etcd
    }
}

/// A connection.
pub(crate) trait ReadWrite: Read + Write {}

impl<S: Read + Write> ReadWrite for S {}

impl Site {
    /// An empty etcd that speaks plain text.
    pub(crate) fn plain() -> Self {
        Self {
            etcd: Etcd::start(),
            pki: None,
        }
    }

    /// An empty etcd that speaks TLS, and wants certificates of clients.
    pub(crate) fn tls() -> Self {
        let pki = Pki::new();
        Self {
            etcd: Etcd::start_with(EtcdOptions {
                tls: Some(pki.flags()),
                ..EtcdOptions::default()
            }),
            pki: Some(Arc::new(pki)),
        }
    }

    /// The certificates.
    ///
    /// # Panics
    /// There are none.
    pub(crate) fn pki(&self) -> &Arc<Pki> {
        self.pki.as_ref().expect("a site with TLS")
    }

    /// A client of its own connection.
    pub(crate) async fn client(&self) -> Client {
        let client = self.client_at(&self.endpoint()).await;
        client.expect("a client for the test's etcd")
    }

    /// A client of its own connection to an endpoint that leads to this etcd.
    pub(crate) async fn client_at(&self, endpoint: &str) -> Result<Client, etcd_client::Error> {
        match &self.pki {
            None => Client::connect([endpoint], None).await,
            Some(pki) => pki.connect(endpoint).await,
        }
    }

    /// A connection for HTTP/2, to an address that leads to this etcd.
    pub(crate) fn http2_at(&self, address: SocketAddr) -> Box<dyn ReadWrite> {
        let Some(pki) = &self.pki else {
            let stream = TcpStream::connect(address).expect("a connection");
            let patience = Some(Duration::from_secs(60));
            stream.set_read_timeout(patience).expect("a timeout");
            return Box::new(stream);
        };
        let mut dial = pki.dial();
        dial.alpn = vec![b"h2"];
        Box::new(dial.connect(address).expect("a connection"))
    }

    /// Status and body of a page, asked for in HTTP/1.1 at an address that leads to this etcd.
    pub(crate) fn page_at(&self, address: SocketAddr, path: &str) -> (u16, String) {
        let Some(pki) = &self.pki else {
            return http_get(address, path);
        };
        let page = pki.dial().get(address, path).expect("a page");
        (page.status, page.body)
    }
}

/// What an interceptor can be put in front of.
pub(crate) trait Target {
    /// The etcd.
    fn etcd(&self) -> &Etcd;
    /// Certificates for TLS on both legs.
    fn certificates(&self) -> Option<&Arc<Pki>>;
}

impl Target for Etcd {
    fn etcd(&self) -> &Etcd {
        self
    }

    fn certificates(&self) -> Option<&Arc<Pki>> {
        None
    }
}

impl Target for Site {
    fn etcd(&self) -> &Etcd {
        &self.etcd
    }

    fn certificates(&self) -> Option<&Arc<Pki>> {
        self.pki.as_ref()
    }
}

impl<T: Target> Target for Arc<T> {
    fn etcd(&self) -> &Etcd {
        T::etcd(self)
    }

    fn certificates(&self) -> Option<&Arc<Pki>> {
        T::certificates(self)
    }
}
