//! Certificates, keys and revocation lists in files.

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::TlsError;

/// Others than owner and group may read.
const READABLE_BY_OTHERS: u32 = 0o004;

/// A file, and the flag that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    /// The flag, with its dashes.
    pub flag: &'static str,
    /// Where it is.
    pub path: PathBuf,
}

impl fmt::Display for NamedFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.flag, self.path.display())
    }
}

impl NamedFile {
    /// The file's content.
    pub(super) fn read(&self) -> Result<Vec<u8>, TlsError> {
        std::fs::read(&self.path).map_err(|source| TlsError::Read {
            file: self.clone(),
            source,
        })
    }

    /// Warns when users that have nothing to do with it can read the file.
    pub(super) fn warn_if_readable_by_others(&self) {
        let mode = std::fs::metadata(&self.path).map(|metadata| metadata.permissions().mode());
        if mode.is_ok_and(|mode| mode & READABLE_BY_OTHERS != 0) {
            tracing::warn!(
                file = %self.path.display(),
                "every user of this host can read this private key; chmod 600 it"
            );
        }
    }

    /// The certificates in `content`, at least one.
    pub(super) fn certificates(
        &self,
        content: &[u8],
    ) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let certificates = CertificateDer::pem_slice_iter(content)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| self.not_pem(&error))?;
        if certificates.is_empty() {
            return Err(TlsError::NoCertificate { file: self.clone() });
        }
        for (index, certificate) in certificates.iter().enumerate() {
            if let Err(error) = X509Certificate::from_der(certificate) {
                return Err(self.certificate(index + 1, &error));
            }
        }
        Ok(certificates)
    }

    /// An error about a certificate of this file, counted from 1.
    pub(super) fn certificate(&self, number: usize, reason: &dyn fmt::Display) -> TlsError {
        TlsError::Certificate {
            file: self.clone(),
            number,
            reason: reason.to_string(),
        }
    }

    /// The private key in `content`.
    pub(super) fn private_key(&self, content: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
        match PrivateKeyDer::from_pem_slice(content) {
            _ if is_encrypted(content) => Err(TlsError::EncryptedKey { file: self.clone() }),
            Ok(key) => Ok(key),
            Err(pem::Error::NoItemsFound) => Err(TlsError::NoKey { file: self.clone() }),
            Err(error) => Err(self.not_pem(&error)),
        }
    }

    /// The revocation lists in `content`: PEM, or one in DER.
    pub(super) fn revocation_lists(
        &self,
        content: &[u8],
    ) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
        const SEQUENCE: u8 = 0x30;
        if content.first() == Some(&SEQUENCE) {
            return Ok(vec![content.to_vec().into()]);
        }
        let lists = CertificateRevocationListDer::pem_slice_iter(content)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| self.not_pem(&error))?;
        if lists.is_empty() {
            return Err(TlsError::RevocationList {
                file: self.clone(),
                reason: "there is no revocation list in it".to_owned(),
            });
        }
        Ok(lists)
    }

    fn not_pem(&self, error: &pem::Error) -> TlsError {
        // Some of the parser's errors print lines of the file, which may be those of a key.
        let reason = match error {
            pem::Error::MissingSectionEnd { .. } => "a section has no end line",
            pem::Error::IllegalSectionStart { .. } => "a line that begins a section is malformed",
            pem::Error::Base64Decode(_) => "a section is not base64",
            _ => "it cannot be parsed",
        };
        TlsError::Pem {
            file: self.clone(),
            reason: reason.to_owned(),
        }
    }
}

/// Whether a PEM file holds an encrypted key, in either of the forms there are (RFC 5958 and the
/// older one of OpenSSL).
fn is_encrypted(content: &[u8]) -> bool {
    content.split(|byte| *byte == b'\n').any(|line| {
        line.starts_with(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
            || line.starts_with(b"Proc-Type: 4,ENCRYPTED")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file() -> NamedFile {
        NamedFile {
            flag: "--key",
            path: "server.key".into(),
        }
    }

    #[test]
    fn encrypted_keys_are_named_as_such() {
        let modern =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\
                   DEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
        for content in [modern, old] {
            let error = file().private_key(content.as_bytes()).unwrap_err();
            assert!(matches!(error, TlsError::EncryptedKey { .. }), "{error}");
        }
    }

    #[test]
    fn errors_name_the_file_and_no_key_material() {
        let secret = "c2VjcmV0";
        let broken = format!("-----BEGIN PRIVATE KEY-----\n{secret}!\n-----END PRIVATE KEY-----\n");
        let endless = format!("-----BEGIN PRIVATE KEY-----\n{secret}\n");
        let odd = format!("-----BEGIN PRIVATE {secret}\n");
        for content in [broken, endless, odd] {
            let error = file().private_key(content.as_bytes()).unwrap_err();
            for text in [error.to_string(), format!("{error:?}")] {
                assert!(text.contains("server.key"), "{text}");
                assert!(!text.contains(secret), "{text}");
            }
        }
        let none = file().private_key(b"").unwrap_err();
        assert!(matches!(none, TlsError::NoKey { .. }), "{none}");
        let none = file().certificates(b"nothing").unwrap_err();
        assert!(matches!(none, TlsError::NoCertificate { .. }), "{none}");
    }

    proptest! {
        #[test]
        fn no_file_makes_it_panic(content in any::<Vec<u8>>(), body in any::<Vec<u8>>()) {
            use base64::Engine;
            let body = base64::engine::general_purpose::STANDARD.encode(body);
            let framed = |label: &str| {
                format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
            };
            let _ = file().certificates(&content);
            let _ = file().private_key(&content);
            let _ = file().revocation_lists(&content);
            let _ = file().certificates(framed("CERTIFICATE").as_bytes());
            let _ = file().private_key(framed("PRIVATE KEY").as_bytes());
            let _ = file().revocation_lists(framed("X509 CRL").as_bytes());
        }
    }
}
