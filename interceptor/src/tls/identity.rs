//! A certificate with its key, and the CAs that others' certificates are checked against.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{Error, InconsistentKeys, RootCertStore};

use super::certificate::CertificateFacts;
use super::files::NamedFile;
use super::{TlsError, TlsPolicy};
use crate::clock::wall_clock;

/// Nanoseconds in a second.
const SECOND: i64 = 1_000_000_000;

/// A certificate with its key.
pub(super) struct Identity {
    /// For rustls, on either leg.
    pub(super) certified: Arc<SingleCertAndKey>,
    /// The certificate itself, without intermediate ones.
    pub(super) certificate: CertificateDer<'static>,
    /// End of its validity, in seconds since 1970.
    pub(super) not_after: i64,
}

/// Makes an identity of the contents of two files.
pub(super) fn load(
    (certificate_file, certificate): (&NamedFile, &[u8]),
    (key_file, key): (&NamedFile, &[u8]),
    policy: &TlsPolicy,
) -> Result<Identity, TlsError> {
    let chain = certificate_file.certificates(certificate)?;
    let key = key_file.private_key(key)?;
    key_file.warn_if_readable_by_others();
    let own = chain
        .first()
        .cloned()
        .ok_or_else(|| TlsError::NoCertificate {
            file: certificate_file.clone(),
        })?;
    let key = policy
        .provider()
        .key_provider
        .load_private_key(key)
        .map_err(|_| TlsError::Key {
            file: key_file.clone(),
            reason: "its private key is not of a supported kind".to_owned(),
        })?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        // Not every kind of key can be compared.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(Error::InconsistentKeys(_)) => {
            return Err(TlsError::WrongPair {
                certificate: certificate_file.clone(),
                key: key_file.clone(),
            });
        }
        Err(error) => return Err(certificate_file.certificate(1, &error)),
    }
    let facts = CertificateFacts::read(&own);
    if let Some(complaint) = facts.complaint(wall_clock().unix_nano / SECOND) {
        tracing::warn!(
            file = %certificate_file.path.display(),
            "trouble with the interceptor's own certificate: {complaint}"
        );
    }
    Ok(Identity {
        certified: Arc::new(SingleCertAndKey::from(certified)),
        certificate: own,
        not_after: facts.not_after,
    })
}

/// The CAs in a file.
pub(super) fn roots(file: &NamedFile, content: &[u8]) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for (index, certificate) in file.certificates(content)?.into_iter().enumerate() {
        roots
            .add(certificate)
            .map_err(|error| file.certificate(index + 1, &error))?;
    }
    Ok(Arc::new(roots))
}
