//! Why a handshake failed, and what to do about it.

use std::io;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

use super::verifier::NotAllowed;

/// What is agreed to be spoken inside TLS (RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    /// Nothing was agreed; it is HTTP/1.1 then.
    None,
    /// HTTP/2, which gRPC needs.
    H2,
}

/// Name of HTTP/2 in ALPN.
pub(super) const H2: &[u8] = b"h2";
/// Name of HTTP/1.1 in ALPN.
pub(super) const HTTP_1_1: &[u8] = b"http/1.1";

/// Why there is no TLS connection.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The peer took too long.
    #[error("the handshake was not finished within {0:?}")]
    Timeout(Duration),
    /// The connection was lost.
    #[error("the connection was lost during the handshake: {0}")]
    Lost(io::Error),
    /// One side did not agree.
    #[error("{0}")]
    Refused(Error),
    /// etcd does not speak what the client does.
    #[error("the client speaks HTTP/2, and the server did not agree to it")]
    Alpn,
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        match tls_error(&error) {
            Some(refused) => Self::Refused(refused.clone()),
            None => Self::Lost(error),
        }
    }
}

/// The error of TLS inside an error of a stream.
pub(crate) fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

impl HandshakeError {
    /// Value of the label `reason`.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Timeout(_) => "handshake_timeout",
            Self::Lost(_) => "handshake_lost",
            Self::Refused(error) => label(error),
            Self::Alpn => "alpn",
        }
    }
}

/// Value of the label `reason` for an error of TLS.
pub(crate) fn label(error: &Error) -> &'static str {
    match error {
        Error::NoCertificatesPresented => "no_certificate",
        Error::InvalidCertificate(error) => certificate_label(error),
        Error::InvalidCertRevocationList(_) => "revocation_list",
        Error::AlertReceived(_) => "refused_by_peer",
        Error::PeerIncompatible(_) => "incompatible",
        Error::NoApplicationProtocol => "alpn",
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => "not_tls",
        _ => "protocol",
    }
}

fn certificate_label(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "not_yet_valid"
        }
        CertificateError::Revoked => "revoked",
        // A bad signature is what the CA of another cluster gives: kubeadm names all of them alike.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => "unknown_issuer",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "wrong_name"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "wrong_purpose"
        }
        CertificateError::Other(other) if other.0.is::<NotAllowed>() => "not_allowed",
        _ => "bad_certificate",
    }
}

/// What to do when a client could not be admitted.
pub(crate) fn advice_about_client(label: &str) -> &'static str {
    match label {
        "no_certificate" => {
            "the client sent no certificate: set kube-apiserver's --etcd-certfile and --etcd-keyfile"
        }
        "expired" => "renew the client's certificate (kubeadm certs renew apiserver-etcd-client)",
        "not_yet_valid" => "compare the clocks of the two hosts",
        "unknown_issuer" => {
            "the client's certificate must be signed by the CA given with --client-ca; one of the same \
             name is not enough"
        }
        "wrong_purpose" => "the client's certificate lacks the extended key usage clientAuth",
        "revoked" => "the list given with --client-crl-file names the client's certificate",
        "not_allowed" => "see --client-allowed-cn and --client-allowed-hostname",
        "not_tls" => {
            "the client speaks plain text: use https:// in kube-apiserver's --etcd-servers"
        }
        "refused_by_peer" => {
            "the client does not trust the certificate given with --cert: compare its CA with \
             kube-apiserver's --etcd-cafile, its names with the host in --etcd-servers, and its dates"
        }
        "incompatible" => "see --tls-min-version, --tls-max-version and --cipher-suites",
        _ => "see docs/tls.md",
    }
}

/// What to do when etcd could not be agreed with.
pub(crate) fn advice_about_etcd(label: &str) -> &'static str {
    match label {
        "expired" => "renew etcd's certificate (kubeadm certs renew etcd-server)",
        "not_yet_valid" => "compare the clocks of the two hosts",
        "unknown_issuer" => {
            "etcd's certificate is not signed by the CA given with --etcd-ca, though its name may be \
             the same"
        }
        "wrong_name" => {
            "etcd's certificate does not hold the host of its URL: use a name that it holds, or \
             --etcd-server-name"
        }
        "wrong_purpose" => "etcd's certificate lacks the extended key usage serverAuth",
        "not_tls" => "etcd speaks plain text there: use http:// in its URL",
        "refused_by_peer" => {
            "etcd refuses the interceptor: compare --etcd-cert with etcd's --trusted-ca-file and \
             --client-crl-file; it needs the extended key usage clientAuth and must not be expired"
        }
        "incompatible" => "see --tls-min-version, --tls-max-version and --cipher-suites",
        "alpn" => "what listens there does not speak gRPC",
        _ => "check that it runs, and its URL",
    }
}

/// Whether an alert means that the peer refused the certificate it was shown, or the lack of one.
pub(crate) fn is_refusal(error: &Error) -> bool {
    matches!(
        error,
        Error::AlertReceived(
            AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::CertificateRequired
                | AlertDescription::UnknownCA
                | AlertDescription::AccessDenied
                | AlertDescription::HandshakeFailure
        )
    )
}
