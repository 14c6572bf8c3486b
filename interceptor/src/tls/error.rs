//! Why TLS cannot be set up as asked for.

use super::NamedFile;

/// Why TLS cannot be set up as asked for. Messages name the flag, the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error(
        "cannot read {file}: {source}; it must be readable by the user that the interceptor runs as"
    )]
    Read {
        /// The file.
        file: NamedFile,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not PEM.
    #[error("{file} is not PEM: {reason}; convert it (openssl x509 or openssl pkey, -outform pem)")]
    Pem {
        /// The file.
        file: NamedFile,
        /// What the parser says.
        reason: String,
    },
    /// A file has no certificate.
    #[error("{file} holds no certificate (no line -----BEGIN CERTIFICATE-----)")]
    NoCertificate {
        /// The file.
        file: NamedFile,
    },
    /// A certificate cannot be parsed or used.
    #[error("{file}: its certificate {number} cannot be used: {reason}")]
    Certificate {
        /// The file.
        file: NamedFile,
        /// Which one, from 1.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A file has no private key.
    #[error("{file} holds no private key (no line -----BEGIN PRIVATE KEY-----, RSA or EC)")]
    NoKey {
        /// The file.
        file: NamedFile,
    },
    /// The private key is encrypted.
    #[error(
        "{file} is encrypted, and there is nobody to ask for its password at a start; \
         decrypt it into a file of mode 0600 (openssl pkey -in FILE -out NEW)"
    )]
    EncryptedKey {
        /// The file.
        file: NamedFile,
    },
    /// The private key is of a kind that is not supported.
    #[error(
        "{file}: {reason}; RSA from 2048 bits, ECDSA P-256 and P-384, and Ed25519 are supported"
    )]
    Key {
        /// The file.
        file: NamedFile,
        /// What is wrong with it.
        reason: String,
    },
    /// Certificate and key do not belong together.
    #[error("{key} is not the key of {certificate}; give the two files that were made together")]
    WrongPair {
        /// File of the certificate.
        certificate: NamedFile,
        /// File of the key.
        key: NamedFile,
    },
    /// A revocation list cannot be used.
    #[error(
        "{file}: {reason}; a list of version 2 in PEM or DER, signed by the CA of the clients, is \
         expected"
    )]
    RevocationList {
        /// The file.
        file: NamedFile,
        /// What is wrong with it.
        reason: String,
    },
    /// A URL asks for TLS, but it is not known whom to trust.
    #[error("{0} needs --etcd-ca FILE: the CA that etcd's certificate is to be checked against")]
    NoAuthority(String),
    /// A certificate cannot hold this name.
    #[error(
        "`{0}` is no name that a certificate can hold; give the right one with --etcd-server-name"
    )]
    ServerName(String),
    /// Versions or cipher suites leave nothing.
    #[error("{0}")]
    Policy(String),
    /// rustls refuses the configuration.
    #[error("TLS cannot be set up: {0}")]
    Unusable(#[from] rustls::Error),
}
