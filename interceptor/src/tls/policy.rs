//! Versions of TLS and cipher suites.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};

use super::TlsError;

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl TlsVersion {
    fn supported(self) -> &'static SupportedProtocolVersion {
        match self {
            Self::Tls12 => &rustls::version::TLS12,
            Self::Tls13 => &rustls::version::TLS13,
        }
    }
}

impl FromStr for TlsVersion {
    type Err = String;

    /// Reads `TLS1.2` as etcd has it, or `VersionTLS12` as Kubernetes has it.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "TLS1.2" | "VersionTLS12" => Ok(Self::Tls12),
            "TLS1.3" | "VersionTLS13" => Ok(Self::Tls13),
            _ => Err("TLS1.2 and TLS1.3 are supported".to_owned()),
        }
    }
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Tls12 => "TLS1.2",
            Self::Tls13 => "TLS1.3",
        })
    }
}

/// A cipher suite that is supported.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CipherSuite(SupportedCipherSuite);

impl CipherSuite {
    fn version(self) -> TlsVersion {
        match self.0 {
            SupportedCipherSuite::Tls12(_) => TlsVersion::Tls12,
            SupportedCipherSuite::Tls13(_) => TlsVersion::Tls13,
        }
    }

    /// Its name in IANA's registry.
    fn name(self) -> String {
        let name = self.0.suite().as_str().unwrap_or("unknown");
        name.replace("TLS13_", "TLS_")
    }
}

impl FromStr for CipherSuite {
    type Err = String;

    /// Reads a name of IANA's registry, which are those that etcd takes.
    fn from_str(text: &str) -> Result<Self, String> {
        // Go had a name of its own for two suites and still takes it.
        let text = match text {
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305" | "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305" => {
                format!("{text}_SHA256")
            }
            other => other.to_owned(),
        };
        let mut all = ring::ALL_CIPHER_SUITES.iter().map(|suite| Self(*suite));
        all.find(|suite| suite.name() == text).ok_or_else(|| {
            let names = ring::ALL_CIPHER_SUITES
                .iter()
                .map(|suite| Self(*suite).name());
            let names: Vec<_> = names.collect();
            format!("not supported; supported are {}", names.join(", "))
        })
    }
}

/// Versions of TLS and cipher suites, for both legs.
#[derive(Debug, Clone)]
pub struct TlsPolicy {
    versions: Vec<TlsVersion>,
    suites: Vec<SupportedCipherSuite>,
}

impl Default for TlsPolicy {
    /// Everything that is supported.
    fn default() -> Self {
        Self {
            versions: vec![TlsVersion::Tls13, TlsVersion::Tls12],
            suites: ring::ALL_CIPHER_SUITES.to_vec(),
        }
    }
}

impl TlsPolicy {
    /// Versions from `minimum` to `maximum`. As with etcd, `suites` limits the cipher suites of TLS
    /// 1.2; those of TLS 1.3, which are all sound, only if it names one of them.
    ///
    /// # Errors
    /// [`TlsError::Policy`] when nothing is left.
    pub fn new(
        minimum: TlsVersion,
        maximum: TlsVersion,
        suites: &[CipherSuite],
    ) -> Result<Self, TlsError> {
        if minimum > maximum {
            return Err(TlsError::Policy(format!(
                "--tls-min-version {minimum} is above --tls-max-version {maximum}"
            )));
        }
        let versions = [TlsVersion::Tls13, TlsVersion::Tls12];
        let versions = versions
            .into_iter()
            .filter(|version| (minimum..=maximum).contains(version));
        let versions: Vec<_> = versions.collect();
        if suites.is_empty() {
            return Ok(Self {
                versions,
                ..Self::default()
            });
        }
        if !suites
            .iter()
            .any(|suite| versions.contains(&suite.version()))
        {
            return Err(TlsError::Policy(format!(
                "--cipher-suites names no suite of the versions from {minimum} to {maximum}"
            )));
        }
        let limits_13 = suites
            .iter()
            .any(|suite| suite.version() == TlsVersion::Tls13);
        let allowed = ring::ALL_CIPHER_SUITES.iter().copied().filter(|suite| {
            let suite = CipherSuite(*suite);
            suites.contains(&suite) || (suite.version() == TlsVersion::Tls13 && !limits_13)
        });
        let allowed: Vec<_> = allowed.collect();
        let versions = versions
            .into_iter()
            .filter(|version| {
                let of_version = |suite: &SupportedCipherSuite| CipherSuite(*suite).version();
                allowed.iter().any(|suite| of_version(suite) == *version)
            })
            .collect();
        Ok(Self {
            versions,
            suites: allowed,
        })
    }

    /// ring, with the cipher suites that are allowed.
    pub(super) fn provider(&self) -> Arc<CryptoProvider> {
        Arc::new(CryptoProvider {
            cipher_suites: self.suites.clone(),
            ..ring::default_provider()
        })
    }

    /// The versions that are allowed.
    pub(super) fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        self.versions
            .iter()
            .map(|version| version.supported())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(minimum: &str, maximum: &str, suites: &[&str]) -> Result<TlsPolicy, String> {
        let suites: Vec<CipherSuite> = suites.iter().map(|name| name.parse().unwrap()).collect();
        let (minimum, maximum) = (minimum.parse().unwrap(), maximum.parse().unwrap());
        TlsPolicy::new(minimum, maximum, &suites).map_err(|error| error.to_string())
    }

    fn names(policy: &TlsPolicy) -> Vec<String> {
        let suites = policy.suites.iter();
        suites.map(|suite| CipherSuite(*suite).name()).collect()
    }

    #[test]
    fn versions_are_limited() {
        let all = policy("TLS1.2", "TLS1.3", &[]).unwrap();
        assert_eq!(all.versions, [TlsVersion::Tls13, TlsVersion::Tls12]);
        assert_eq!(names(&all).len(), 9);
        let new = policy("VersionTLS13", "TLS1.3", &[]).unwrap();
        assert_eq!(new.versions, [TlsVersion::Tls13]);
        let old = policy("TLS1.2", "TLS1.2", &[]).unwrap();
        assert_eq!(old.versions, [TlsVersion::Tls12]);
        assert!(
            policy("TLS1.3", "TLS1.2", &[])
                .unwrap_err()
                .contains("above")
        );
        assert!("TLS1.1".parse::<TlsVersion>().is_err());
    }

    #[test]
    fn suites_are_limited_as_etcd_does_it() {
        let one = policy(
            "TLS1.2",
            "TLS1.3",
            &["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"],
        )
        .unwrap();
        assert_eq!(names(&one).len(), 4, "{:?}", names(&one));
        assert_eq!(one.versions.len(), 2);
        let strict = policy("TLS1.2", "TLS1.3", &["TLS_AES_256_GCM_SHA384"]).unwrap();
        assert_eq!(names(&strict), ["TLS_AES_256_GCM_SHA384"]);
        assert_eq!(strict.versions, [TlsVersion::Tls13]);
        let none = policy(
            "TLS1.3",
            "TLS1.3",
            &["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"],
        );
        assert!(none.unwrap_err().contains("names no suite"));
    }

    #[test]
    fn an_unknown_suite_is_answered_with_all_that_are_supported() {
        let error = "TLS_RSA_WITH_AES_128_CBC_SHA"
            .parse::<CipherSuite>()
            .unwrap_err();
        for suite in ring::ALL_CIPHER_SUITES {
            assert!(error.contains(&CipherSuite(*suite).name()), "{error}");
        }
        let go: CipherSuite = "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305".parse().unwrap();
        assert_eq!(go.name(), "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256");
    }
}
