//! Which clients' certificates are taken.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};

use super::certificate::{CertificateFacts, is_for};

/// A host name or IP address that a client's certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientName(ServerName<'static>);

impl FromStr for ClientName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        ServerName::try_from(text.to_owned())
            .map(Self)
            .map_err(|_| "neither a host name nor an IP address".to_owned())
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.to_str())
    }
}

/// Which of the clients with a valid certificate are admitted, as with etcd's
/// `--client-cert-allowed-hostname` and `--peer-cert-allowed-cn`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AllowedClients {
    /// All.
    #[default]
    Any,
    /// Those whose subject has one of these common names.
    CommonNames(Vec<String>),
    /// Those whose certificate is for one of these names.
    Hostnames(Vec<ClientName>),
}

impl AllowedClients {
    pub(super) fn admits(&self, certificate: &CertificateDer<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::CommonNames(names) => CertificateFacts::read(certificate)
                .common_name
                .is_some_and(|name| names.contains(&name)),
            Self::Hostnames(names) => names.iter().any(|name| is_for(certificate, &name.0)),
        }
    }
}

/// A client with a valid certificate is not among the allowed.
#[derive(Debug)]
pub(super) struct NotAllowed(CertificateFacts);

impl fmt::Display for NotAllowed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let common_name = self.0.common_name.as_deref().unwrap_or_default();
        write!(
            formatter,
            "the client's certificate is valid, but not of an allowed client: CN {common_name:?}, names {:?}",
            self.0.names
        )
    }
}

impl std::error::Error for NotAllowed {}

/// Checks the chain as `chain` does, and then the names.
#[derive(Debug)]
pub(super) struct AllowedClientVerifier {
    pub(super) chain: Arc<dyn ClientCertVerifier>,
    pub(super) allowed: AllowedClients,
}

impl ClientCertVerifier for AllowedClientVerifier {
    fn offer_client_auth(&self) -> bool {
        self.chain.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.chain.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .chain
            .verify_client_cert(end_entity, intermediates, now)?;
        if self.allowed.admits(end_entity) {
            return Ok(verified);
        }
        let refused = NotAllowed(CertificateFacts::read(end_entity));
        let refused = CertificateError::Other(OtherError(Arc::new(refused)));
        Err(Error::InvalidCertificate(refused))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
