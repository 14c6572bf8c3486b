//! The leg towards kube-apiserver, and other listeners that speak TLS.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{Acceptor, NoServerSessionStorage, WebPkiClientVerifier};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::certificate::is_for;
use super::files::NamedFile;
use super::handshake::{Alpn, H2, HTTP_1_1, HandshakeError};
use super::identity::{self, Identity};
use super::reload::{Refresh, Reloadable, Source};
use super::verifier::{AllowedClientVerifier, AllowedClients};
use super::{Side, TlsError, TlsPolicy};

/// A connection of a client, boxed because its state is some kilobytes.
pub type TlsServerStream<S> = Box<TlsStream<S>>;

/// What TLS of a listener is made of.
#[derive(Debug, Clone)]
pub struct ServerTlsSettings {
    /// Whose listener it is.
    pub side: Side,
    /// The certificate that clients are shown, followed by intermediate ones.
    pub certificate: NamedFile,
    /// Its private key.
    pub key: NamedFile,
    /// CAs of clients; without them every client is admitted.
    pub client_authorities: Option<NamedFile>,
    /// Certificates of clients that are not taken any more.
    pub client_revocations: Option<NamedFile>,
    /// Which clients are admitted.
    pub allowed_clients: AllowedClients,
    /// Versions and cipher suites.
    pub policy: TlsPolicy,
    /// Longest time that a client may take for its handshake.
    pub handshake_timeout: Duration,
}

/// Content of the files.
#[derive(Hash)]
pub(super) struct ServerFiles {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_authorities: Option<Vec<u8>>,
    client_revocations: Option<Vec<u8>>,
}

/// What is made of them.
pub(super) struct ServerConfigs {
    /// For clients that speak HTTP/2.
    h2: Arc<ServerConfig>,
    /// For clients that offer nothing, or HTTP/1.1: etcd ignores their offer.
    no_alpn: Arc<ServerConfig>,
    certificate: CertificateDer<'static>,
    not_after: i64,
}

impl Source for ServerTlsSettings {
    type Files = ServerFiles;
    type Built = ServerConfigs;

    fn side(&self) -> Side {
        self.side
    }

    fn read(&self) -> Result<ServerFiles, TlsError> {
        let read_optional =
            |file: &Option<NamedFile>| file.as_ref().map(NamedFile::read).transpose();
        Ok(ServerFiles {
            certificate: self.certificate.read()?,
            key: self.key.read()?,
            client_authorities: read_optional(&self.client_authorities)?,
            client_revocations: read_optional(&self.client_revocations)?,
        })
    }

    fn build(&self, files: &ServerFiles) -> Result<ServerConfigs, TlsError> {
        let Identity {
            certified,
            certificate,
            not_after,
        } = identity::load(
            (&self.certificate, &files.certificate),
            (&self.key, &files.key),
            &self.policy,
        )?;
        let verifier = self.verifier(files)?;
        let mut config = ServerConfig::builder_with_provider(self.policy.provider())
            .with_protocol_versions(&self.policy.versions())?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(certified);
        // A resumed session would not be checked against revocations and dates.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let no_alpn = Arc::new(config.clone());
        config.alpn_protocols = vec![H2.to_vec()];
        Ok(ServerConfigs {
            h2: Arc::new(config),
            no_alpn,
            certificate,
            not_after,
        })
    }

    fn not_after(built: &ServerConfigs) -> Option<i64> {
        Some(built.not_after)
    }
}

impl ServerTlsSettings {
    fn verifier(
        &self,
        files: &ServerFiles,
    ) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
        let authorities = self.client_authorities.as_ref();
        let Some((file, content)) = authorities.zip(files.client_authorities.as_ref()) else {
            return Ok(WebPkiClientVerifier::no_client_auth());
        };
        let roots = identity::roots(file, content)?;
        let provider = self.policy.provider();
        let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider);
        if let Some((file, content)) = self
            .client_revocations
            .as_ref()
            .zip(files.client_revocations.as_ref())
        {
            // As etcd does: what no list tells of is not revoked, and an old list is better than
            // none.
            builder = builder
                .with_crls(file.revocation_lists(content)?)
                .allow_unknown_revocation_status();
        }
        let chain = builder
            .build()
            .map_err(|error| match &self.client_revocations {
                Some(file) => TlsError::RevocationList {
                    file: file.clone(),
                    reason: error.to_string(),
                },
                None => TlsError::Policy(error.to_string()),
            })?;
        let allowed = self.allowed_clients.clone();
        Ok(Arc::new(AllowedClientVerifier { chain, allowed }))
    }
}

/// TLS of a listener. Clones share what is loaded.
#[derive(Debug, Clone)]
pub struct ServerTls(Arc<Reloadable<ServerTlsSettings>>);

impl ServerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(settings: ServerTlsSettings) -> Result<Self, TlsError> {
        Reloadable::load(settings).map(|loaded| Self(Arc::new(loaded)))
    }

    /// For a task that looks at the files.
    #[must_use]
    pub fn refreshable(&self) -> Arc<dyn Refresh> {
        Arc::<Reloadable<ServerTlsSettings>>::clone(&self.0)
    }

    /// Longest time that a client may take for its handshake.
    #[must_use]
    pub fn handshake_timeout(&self) -> Duration {
        self.0.source().handshake_timeout
    }

    /// Whether clients must show a certificate.
    #[must_use]
    pub fn authenticates_clients(&self) -> bool {
        self.0.source().client_authorities.is_some()
    }

    /// Whether the certificate is for `host`; `None` when `host` is no name that it could hold.
    #[must_use]
    pub fn is_for(&self, host: &str) -> Option<bool> {
        let name = ServerName::try_from(host).ok()?;
        Some(is_for(&self.0.current().certificate, &name))
    }

    /// Does the handshake. What is agreed to be spoken is what etcd itself would have agreed to.
    ///
    /// # Errors
    /// [`HandshakeError`]; the client was told, unless it is gone.
    pub async fn accept<S>(&self, stream: S) -> Result<TlsServerStream<S>, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let limit = self.handshake_timeout();
        // Boxed: the state of a handshake is large, and connections live long after it.
        timeout(limit, Box::pin(self.accept_patiently(stream)))
            .await
            .map_err(|_elapsed| HandshakeError::Timeout(limit))?
    }

    async fn accept_patiently<S>(&self, stream: S) -> Result<TlsServerStream<S>, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let configs = self.0.current();
        let config = match offers_only_http_1_1(hello.client_hello().alpn()) {
            true => &configs.no_alpn,
            false => &configs.h2,
        };
        let stream = hello.into_stream(Arc::clone(config)).await?;
        Ok(Box::new(stream))
    }
}

/// Go's servers, and so etcd, let clients that offer `http/1.1` but not `h2` connect as if they had
/// offered nothing; others that do not offer `h2` are refused.
fn offers_only_http_1_1<'a>(offer: Option<impl Iterator<Item = &'a [u8]>>) -> bool {
    let offer: Vec<&[u8]> = offer.map_or_else(Vec::new, Iterator::collect);
    offer.contains(&HTTP_1_1) && !offer.contains(&H2)
}

/// What was agreed to be spoken with a client.
pub(crate) fn agreed<S>(stream: &TlsStream<S>) -> Alpn {
    match stream.get_ref().1.alpn_protocol() {
        Some(H2) => Alpn::H2,
        _ => Alpn::None,
    }
}
