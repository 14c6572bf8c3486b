//! What a certificate says about itself.

use std::net::IpAddr;

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Seconds before its end from which on a certificate is warned of: a week.
const SOON: i64 = 7 * 24 * 60 * 60;

/// What a certificate says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct CertificateFacts {
    /// The subject's common name.
    pub(super) common_name: Option<String>,
    /// DNS names and IP addresses it is for.
    pub(super) names: Vec<String>,
    /// Seconds since 1970 from which on it is valid.
    pub(super) not_before: i64,
    /// Seconds since 1970 until which it is valid.
    pub(super) not_after: i64,
    /// Whether it may sign others.
    pub(super) is_authority: bool,
    /// What it may be used for in TLS; `None` if it does not say, which is everything.
    pub(super) usage: Option<TlsUsage>,
}

/// The extended key usages that TLS knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TlsUsage {
    pub(super) server: bool,
    pub(super) client: bool,
}

impl CertificateFacts {
    /// Reads a certificate; one that cannot be parsed says nothing.
    pub(super) fn read(certificate: &CertificateDer<'_>) -> Self {
        let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
            return Self::default();
        };
        let mut common_names = parsed.subject().iter_common_name();
        let alternatives = parsed.subject_alternative_name().ok().flatten();
        let names = alternatives.map_or_else(Vec::new, |alternatives| {
            let names = &alternatives.value.general_names;
            names.iter().filter_map(name).collect()
        });
        let usage = parsed.extended_key_usage().ok().flatten();
        let usage = usage.map(|usage| TlsUsage {
            server: usage.value.server_auth || usage.value.any,
            client: usage.value.client_auth || usage.value.any,
        });
        Self {
            common_name: common_names
                .next()
                .and_then(|name| name.as_str().ok())
                .map(str::to_owned),
            names,
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            is_authority: parsed.is_ca(),
            usage,
        }
    }

    /// What is wrong with its dates at `now`, in seconds since 1970.
    pub(super) fn complaint(&self, now: i64) -> Option<&'static str> {
        if now > self.not_after {
            Some("it has expired")
        } else if now < self.not_before {
            Some("it is not valid yet; check the clock")
        } else if now > self.not_after.saturating_sub(SOON) {
            Some("it expires within a week")
        } else {
            None
        }
    }
}

/// A name as people write it.
fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let address = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let address = address.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            address.ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

/// Whether a certificate is for `name`, as its peers would check it.
pub(super) fn is_for(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> bool {
    ParsedCertificate::try_from(certificate)
        .is_ok_and(|certificate| verify_server_name(&certificate, name).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::Authority;

    #[test]
    fn names_and_dates() {
        let authority = Authority::new("clients");
        let made = authority.issue(
            "apiserver",
            &["localhost", "127.0.0.1", "::1", "*.etcd.local"],
        );
        let facts = CertificateFacts::read(made.der());
        assert_eq!(facts.common_name.as_deref(), Some("apiserver"));
        assert_eq!(
            facts.names,
            ["localhost", "127.0.0.1", "::1", "*.etcd.local"]
        );
        assert_eq!(facts.complaint(facts.not_after + 1), Some("it has expired"));
        assert!(
            facts
                .complaint(facts.not_before - 1)
                .unwrap()
                .contains("not valid yet")
        );
        assert!(
            facts
                .complaint(facts.not_after - 60)
                .unwrap()
                .contains("a week")
        );
        assert_eq!(facts.complaint(facts.not_before + 1), None);
        let is_for = |name: &str| is_for(made.der(), &ServerName::try_from(name).unwrap());
        assert!(is_for("LOCALHOST") && is_for("127.0.0.1") && is_for("a.etcd.local"));
        assert!(!is_for("etcd.local") && !is_for("a.b.etcd.local") && !is_for("10.0.0.1"));
    }

    #[test]
    fn bytes_that_are_no_certificate_say_nothing() {
        let facts = CertificateFacts::read(&CertificateDer::from(vec![0x30, 1, 2]));
        assert_eq!(facts, CertificateFacts::default());
    }
}
