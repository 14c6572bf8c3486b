//! What is wrong with certificates in files, told without a connection: what peers would say of them.

use std::sync::Arc;

use chrono::DateTime;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;

use super::certificate::{CertificateFacts, is_for};
use super::handshake::label;
use super::{NamedFile, TlsError, TlsPolicy, identity};

/// What a certificate in a file is used as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Shown by a server, for these host names or IP addresses.
    Server,
    /// Shown by a client.
    Client,
    /// Signs those of others.
    Authority,
}

/// What is wrong with a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FlawKind {
    /// Its end has passed.
    Expired,
    /// Its end is near.
    ExpiresSoon,
    /// Its begin has not come.
    NotYetValid,
    /// It lacks an extended key usage.
    Usage,
    /// It is not for a name.
    Name,
    /// It may not sign others.
    NoAuthority,
}

/// What is wrong with a certificate, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flaw {
    /// What kind of thing.
    pub(crate) kind: FlawKind,
    /// A sentence that names the certificate.
    pub(crate) what: String,
}

/// What is wrong with the certificates of a file, which has the own one first and then those that
/// signed it, at `now`, in seconds since 1970. `soon` is how many seconds before its end one is
/// complained of. `hosts` are names that a server's certificate must be for.
///
/// # Errors
/// The file cannot be read, or holds no certificates.
pub(crate) fn flaws(
    file: &NamedFile,
    role: Role,
    hosts: &[String],
    now: i64,
    soon: i64,
) -> Result<Vec<Flaw>, TlsError> {
    let certificates = file.certificates(&file.read()?)?;
    let mut flaws = Vec::new();
    for (index, certificate) in certificates.iter().enumerate() {
        let facts = CertificateFacts::read(certificate);
        let own = index == 0 && role != Role::Authority;
        let name = describe(&facts, index, certificates.len());
        flaws.extend(date_flaw(&facts, &name, now, soon));
        if own {
            flaws.extend(usage_flaw(&facts, &name, role));
            let missing = hosts.iter().filter(|_| role == Role::Server);
            let missing = missing.filter(|host| !holds(certificate, host));
            flaws.extend(missing.map(|host| Flaw {
                kind: FlawKind::Name,
                what: format!(
                    "{name} is not for {host}; it is for {}",
                    names(&facts.names)
                ),
            }));
        } else if !facts.is_authority {
            flaws.push(Flaw {
                kind: FlawKind::NoAuthority,
                what: format!("{name} may not sign others (no CA:TRUE)"),
            });
        }
    }
    Ok(flaws)
}

/// Whether whoever trusts `authorities` would take the certificate of a server called `host`, or, if
/// that is `None`, of a client. Gives the reason of a refusal as the metrics have it, and in words.
///
/// # Errors
/// A file cannot be read, or does not hold what it should.
pub(crate) fn refusal(
    certificate: &NamedFile,
    authorities: &NamedFile,
    host: Option<&str>,
) -> Result<Option<(&'static str, String)>, TlsError> {
    let chain = certificate.certificates(&certificate.read()?)?;
    let roots = identity::roots(authorities, &authorities.read()?)?;
    let Some((own, intermediates)) = chain.split_first() else {
        return Ok(None); // a file without certificates was refused above
    };
    let provider = TlsPolicy::default().provider();
    let unusable = |error: &dyn std::fmt::Display| TlsError::Policy(error.to_string());
    let verdict = match host {
        None => WebPkiClientVerifier::builder_with_provider(roots, provider)
            .build()
            .map_err(|error| unusable(&error))?
            .verify_client_cert(own, intermediates, UnixTime::now())
            .map(|_| ()),
        Some(host) => {
            let name = ServerName::try_from(host.to_owned())
                .map_err(|_| TlsError::ServerName(host.to_owned()))?;
            let verifier: Arc<WebPkiServerVerifier> =
                WebPkiServerVerifier::builder_with_provider(roots, provider)
                    .build()
                    .map_err(|error| unusable(&error))?;
            verifier
                .verify_server_cert(own, intermediates, &name, &[], UnixTime::now())
                .map(|_| ())
        }
    };
    Ok(verdict
        .err()
        .map(|error| (label(&error), error.to_string())))
}

/// Whether a client with a certificate of this common name or these names is among the allowed.
///
/// # Errors
/// The file cannot be read, or holds no certificates.
pub(crate) fn is_admitted(
    allowed: &super::AllowedClients,
    certificate: &NamedFile,
) -> Result<bool, TlsError> {
    let chain = certificate.certificates(&certificate.read()?)?;
    Ok(chain.first().is_some_and(|own| allowed.admits(own)))
}

/// Common name of the own certificate in a file; `None` if it cannot be read or has none.
pub(crate) fn common_name(file: &NamedFile) -> Option<String> {
    let chain = file.certificates(&file.read().ok()?).ok()?;
    CertificateFacts::read(chain.first()?).common_name
}

fn date_flaw(facts: &CertificateFacts, name: &str, now: i64, soon: i64) -> Option<Flaw> {
    let (kind, what) = if now > facts.not_after {
        let end = date(facts.not_after);
        (FlawKind::Expired, format!("{name} expired on {end}"))
    } else if now < facts.not_before {
        let begin = date(facts.not_before);
        let what = format!("{name} is not valid before {begin}");
        (FlawKind::NotYetValid, what)
    } else if now > facts.not_after.saturating_sub(soon) {
        let end = date(facts.not_after);
        (FlawKind::ExpiresSoon, format!("{name} expires on {end}"))
    } else {
        return None;
    };
    Some(Flaw { kind, what })
}

fn usage_flaw(facts: &CertificateFacts, name: &str, role: Role) -> Option<Flaw> {
    let usage = facts.usage?;
    let missing = match role {
        Role::Server if !usage.server => "serverAuth",
        Role::Client if !usage.client => "clientAuth",
        _ => return None,
    };
    Some(Flaw {
        kind: FlawKind::Usage,
        what: format!("{name} lacks the extended key usage {missing}"),
    })
}

fn holds(certificate: &CertificateDer<'_>, host: &str) -> bool {
    ServerName::try_from(host).is_ok_and(|name| is_for(certificate, &name))
}

/// How a certificate is called: by its subject, and its place where there are several.
fn describe(facts: &CertificateFacts, index: usize, count: usize) -> String {
    let subject = match &facts.common_name {
        Some(name) => format!("the certificate of {name}"),
        None => "the certificate".to_owned(),
    };
    match count {
        1 => subject,
        _ => format!("{subject} (number {} in the file)", index.saturating_add(1)),
    }
}

fn names(names: &[String]) -> String {
    match names {
        [] => "no name at all (no subjectAltName)".to_owned(),
        names => names.join(", "),
    }
}

/// Seconds since 1970 as people write it.
fn date(seconds: i64) -> String {
    match DateTime::from_timestamp(seconds, 0) {
        Some(time) => time.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
        None => format!("second {seconds} since 1970"),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::ExtendedKeyUsagePurpose;
    use tempfile::TempDir;

    use super::*;
    use crate::tls::AllowedClients;
    use crate::tls::testing::{Authority, Issued};

    const YEAR_2100: i64 = 4_102_444_800;

    struct Files(TempDir);

    impl Files {
        fn file(&self, name: &str, issued: &Issued) -> NamedFile {
            let (path, _) = issued.write(self.0.path(), name);
            NamedFile {
                flag: "--cert",
                path,
            }
        }

        fn authority(&self, name: &str, authority: &Authority) -> NamedFile {
            NamedFile {
                flag: "--etcd-ca",
                path: authority.write(self.0.path(), name),
            }
        }
    }

    fn kinds(flaws: &[Flaw]) -> Vec<FlawKind> {
        flaws.iter().map(|flaw| flaw.kind).collect()
    }

    #[test]
    fn dates_usage_and_names() {
        let files = Files(TempDir::new().unwrap());
        let authority = Authority::new("etcd-ca");
        let server = authority.issue_with("etcd", &["localhost"], |parameters| {
            parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
            parameters.not_after = rcgen::date_time_ymd(2100, 1, 1);
            parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        });
        let file = files.file("server", &server);
        let look = |role, hosts: &[&str], now| {
            let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
            flaws(&file, role, &hosts, now, 60).unwrap()
        };
        let now = YEAR_2100 - 61;
        assert_eq!(look(Role::Server, &["localhost"], now), []);
        assert_eq!(
            kinds(&look(Role::Server, &["localhost", "10.0.0.1"], now)),
            [FlawKind::Name]
        );
        assert_eq!(
            kinds(&look(Role::Client, &["10.0.0.1"], now)),
            [FlawKind::Usage]
        );
        assert_eq!(
            kinds(&look(Role::Authority, &[], now)),
            [FlawKind::NoAuthority]
        );
        assert_eq!(
            kinds(&look(Role::Server, &[], now + 2)),
            [FlawKind::ExpiresSoon]
        );
        let expired = look(Role::Server, &[], YEAR_2100 + 1);
        assert_eq!(kinds(&expired), [FlawKind::Expired]);
        assert_eq!(
            expired.first().unwrap().what,
            "the certificate of etcd expired on 2100-01-01 00:00:00 UTC"
        );
        assert_eq!(kinds(&look(Role::Server, &[], 0)), [FlawKind::NotYetValid]);
        let authority = files.authority("ca", &authority);
        assert_eq!(
            flaws(&authority, Role::Authority, &[], now, 60).unwrap(),
            []
        );
    }

    #[test]
    fn who_would_be_refused() {
        let files = Files(TempDir::new().unwrap());
        let (authority, other) = (Authority::new("ca"), Authority::new("ca"));
        let server = authority.issue_with("etcd", &["localhost"], |parameters| {
            parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        });
        let certificate = files.file("server", &server);
        let (right, wrong) = (
            files.authority("right", &authority),
            files.authority("wrong", &other),
        );
        let label = |authorities: &NamedFile, host| {
            refusal(&certificate, authorities, host)
                .unwrap()
                .map(|(label, _)| label)
        };
        assert_eq!(label(&right, Some("localhost")), None);
        assert_eq!(label(&right, Some("etcd")), Some("wrong_name"));
        assert_eq!(label(&wrong, Some("localhost")), Some("unknown_issuer"));
        assert_eq!(label(&right, None), Some("wrong_purpose"));
        let allowed = AllowedClients::CommonNames(vec!["etcd".to_owned()]);
        assert!(is_admitted(&allowed, &certificate).unwrap());
        let allowed = AllowedClients::CommonNames(vec!["other".to_owned()]);
        assert!(!is_admitted(&allowed, &certificate).unwrap());
    }
}
