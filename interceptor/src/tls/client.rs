//! The leg towards etcd.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::files::NamedFile;
use super::handshake::{Alpn, H2, HandshakeError};
use super::identity;
use super::reload::{Refresh, Reloadable, Source};
use super::{Side, TlsError, TlsPolicy};

/// A connection to etcd, boxed because its state is some kilobytes.
pub type TlsClientStream<S> = Box<TlsStream<S>>;

/// What the leg towards etcd is made of.
#[derive(Debug, Clone)]
pub struct ClientTlsSettings {
    /// CAs of etcd's certificate.
    pub authorities: NamedFile,
    /// The interceptor's own certificate and key, if etcd wants one.
    pub identity: Option<(NamedFile, NamedFile)>,
    /// Name that etcd's certificate must hold, if it is not the host of the URL.
    pub server_name: Option<String>,
    /// Versions and cipher suites.
    pub policy: TlsPolicy,
    /// Longest time that etcd may take for its handshake.
    pub handshake_timeout: Duration,
}

/// Content of the files.
#[derive(Hash)]
pub(super) struct ClientFiles {
    authorities: Vec<u8>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// What is made of them.
pub(super) struct ClientConfigs {
    h2: Arc<ClientConfig>,
    no_alpn: Arc<ClientConfig>,
    not_after: Option<i64>,
}

impl Source for ClientTlsSettings {
    type Files = ClientFiles;
    type Built = ClientConfigs;

    fn side(&self) -> Side {
        Side::Etcd
    }

    fn read(&self) -> Result<ClientFiles, TlsError> {
        Ok(ClientFiles {
            authorities: self.authorities.read()?,
            identity: match &self.identity {
                None => None,
                Some((certificate, key)) => Some((certificate.read()?, key.read()?)),
            },
        })
    }

    fn build(&self, files: &ClientFiles) -> Result<ClientConfigs, TlsError> {
        let roots = identity::roots(&self.authorities, &files.authorities)?;
        let provider = self.policy.provider();
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(|error| TlsError::Policy(error.to_string()))?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.policy.versions())?
            .with_webpki_verifier(verifier);
        let (mut config, not_after) = match self.identity.as_ref().zip(files.identity.as_ref()) {
            None => (builder.with_no_client_auth(), None),
            Some(((certificate, key), (certificate_content, key_content))) => {
                let identity = identity::load(
                    (certificate, certificate_content),
                    (key, key_content),
                    &self.policy,
                )?;
                let config = builder.with_client_cert_resolver(identity.certified);
                (config, Some(identity.not_after))
            }
        };
        // As etcd's own clients; and a session with the certificate of before is never gone on with.
        config.resumption = Resumption::disabled();
        let no_alpn = Arc::new(config.clone());
        config.alpn_protocols = vec![H2.to_vec()];
        Ok(ClientConfigs {
            h2: Arc::new(config),
            no_alpn,
            not_after,
        })
    }

    fn not_after(built: &ClientConfigs) -> Option<i64> {
        built.not_after
    }
}

/// The leg towards etcd. Clones share what is loaded.
#[derive(Debug, Clone)]
pub struct ClientTls(Arc<Reloadable<ClientTlsSettings>>);

impl ClientTls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(settings: ClientTlsSettings) -> Result<Self, TlsError> {
        Reloadable::load(settings).map(|loaded| Self(Arc::new(loaded)))
    }

    /// For a task that looks at the files.
    #[must_use]
    pub fn refreshable(&self) -> Arc<dyn Refresh> {
        Arc::<Reloadable<ClientTlsSettings>>::clone(&self.0)
    }

    /// Whether etcd is shown a certificate, which gives whoever gets through the interceptor the
    /// rights of that certificate.
    #[must_use]
    pub fn has_identity(&self) -> bool {
        self.0.source().identity.is_some()
    }

    /// Longest time that etcd may take for its handshake.
    #[must_use]
    pub fn handshake_timeout(&self) -> Duration {
        self.0.source().handshake_timeout
    }

    /// The name that the certificate of a member at `host` must hold.
    pub(crate) fn name_of(&self, host: &str) -> Result<ServerName<'static>, TlsError> {
        let name = self.0.source().server_name.as_deref().unwrap_or(host);
        ServerName::try_from(name.to_owned()).map_err(|_| TlsError::ServerName(name.to_owned()))
    }

    /// Does the handshake, offering `alpn`.
    ///
    /// # Errors
    /// [`HandshakeError`], also when etcd does not agree to what is offered.
    pub(crate) async fn connect<S>(
        &self,
        stream: S,
        name: ServerName<'static>,
        alpn: Alpn,
    ) -> Result<TlsClientStream<S>, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let configs = self.0.current();
        let config = match alpn {
            Alpn::H2 => &configs.h2,
            Alpn::None => &configs.no_alpn,
        };
        let connecting = TlsConnector::from(Arc::clone(config)).connect(name, stream);
        let limit = self.handshake_timeout();
        // Boxed: the state of a handshake is large, and connections live long after it.
        let stream = timeout(limit, Box::pin(connecting))
            .await
            .map_err(|_elapsed| HandshakeError::Timeout(limit))??;
        let agreed = stream.get_ref().1.alpn_protocol();
        match (alpn, agreed) {
            (Alpn::H2, Some(H2)) | (Alpn::None, None) => Ok(Box::new(stream)),
            _ => Err(HandshakeError::Alpn),
        }
    }
}
