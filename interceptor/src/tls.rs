//! TLS on both legs: kube-apiserver's connections end here, and connections to etcd begin here; also those
//! of the trace server's clients end here.
//!
//! | module | duty |
//! |---|---|
//! | `files` | PEM files to certificates, keys and revocation lists, with errors that say what to do |
//! | `policy` | versions and cipher suites |
//! | `verifier` | which clients' certificates are taken |
//! | `server`, `client` | listeners, and the leg towards etcd: handshakes with what the files hold now |
//! | `reload` | notices that files changed; a bad new file keeps the old one |
//! | `handshake` | why a handshake failed, and what to do about it |
//! | `inspect` | what is wrong with certificates in files, without a connection |
//!
//! The only cryptography is ring's. Sessions are not resumed on either leg, as etcd's own clients
//! do not: each connection is checked against the certificates, names and revocation lists of now.

mod certificate;
mod client;
mod error;
mod files;
mod handshake;
mod identity;
mod inspect;
mod metrics;
mod policy;
mod reload;
mod server;
#[cfg(test)]
#[path = "../tests/support/certificates.rs"]
#[allow(dead_code)] // Integration tests use the rest.
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod verifier;

pub use client::{ClientTls, ClientTlsSettings, TlsClientStream};
pub use error::TlsError;
pub use files::NamedFile;
pub use handshake::{Alpn, HandshakeError};
pub use metrics::{Side, TlsMetrics};
pub use policy::{CipherSuite, TlsPolicy, TlsVersion};
pub use reload::{Refresh, Refreshed, keep_fresh};
pub use server::{ServerTls, ServerTlsSettings, TlsServerStream};
pub use verifier::{AllowedClients, ClientName};

pub(crate) use handshake::{advice_about_client, advice_about_etcd, is_refusal, label, tls_error};
pub(crate) use inspect::{Flaw, FlawKind, Role, common_name, flaws, is_admitted, refusal};
pub(crate) use server::agreed;
