//! What can be read from etcd. Of values only how they begin is looked at.

use super::Subject;
use super::report::{Check, Finding, Report, Severity};
use crate::apiserver::Apiserver;
use crate::ledger::Keyspace;
use crate::tls::ClientTls;
use crate::transport::Upstream;

/// How encrypted values begin; the provider's name follows.
const ENCRYPTED: &[u8] = b"k8s:enc:";

/// Resources that are looked at for encryption: one value of each. Not the whole keyspace, since even a
/// read of one key lets etcd count all keys of its range.
const SAMPLED: [&str; 10] = [
    "secrets",
    "configmaps",
    "serviceaccounts",
    "pods",
    "deployments",
    "replicasets",
    "services/specs",
    "leases",
    "events",
    "minions",
];

/// Looks at the keys of a member that answers.
pub(super) async fn examine(
    subject: &Subject,
    tls: Option<ClientTls>,
    member: Option<&Upstream>,
    apiservers: &[Apiserver],
    report: &mut Report,
) {
    let all = [Check::Permissions, Check::Keys, Check::Encryption];
    let Some(member) = member else {
        for check in all {
            report.not_checked(check, "no member answers");
        }
        return;
    };
    let place = format!("etcd {member}");
    let settings = subject.connect_settings(tls);
    let opened = Keyspace::open(&member.url(), &settings).await;
    let mut keyspace = match opened {
        Ok(keyspace) => keyspace,
        Err(error) => return refused(&place, &error, report),
    };
    // Every key, as the ledger needs it: a user who may read some is refused.
    match keyspace.first_value("").await {
        Err(error) => return refused(&place, &error, report),
        Ok(None) => {
            for check in [Check::Keys, Check::Encryption] {
                report.not_checked(check, format!("{place} is empty"));
            }
            return;
        }
        Ok(Some(_)) => {}
    }
    if let Err(error) = sample(subject, &mut keyspace, &place, apiservers, report).await {
        for check in [Check::Keys, Check::Encryption] {
            report.not_checked(check, format!("{place}: {error}"));
        }
    }
}

async fn sample(
    subject: &Subject,
    keyspace: &mut Keyspace,
    place: &str,
    apiservers: &[Apiserver],
    report: &mut Report,
) -> Result<(), String> {
    let prefix = apiservers
        .iter()
        .find_map(|apiserver| apiserver.flags.get("etcd-prefix"))
        .unwrap_or(&subject.etcd_prefix);
    let prefix = format!("/{}", prefix.trim_matches('/'));
    if keyspace.first_value(&format!("{prefix}/")).await?.is_none() {
        report.find(Finding {
            severity: Severity::Warning,
            check: Check::Keys,
            place: place.to_owned(),
            what: format!("it has keys, and none of them begins with {prefix}/"),
            advice:
                "this is the etcd of something else than kube-apiserver, or kube-apiserver has \
                     another --etcd-prefix: give the same one here"
                    .to_owned(),
        });
        report.not_checked(Check::Encryption, format!("no keys below {prefix}"));
        return Ok(());
    }
    let mut encrypted = Vec::new();
    for resource in SAMPLED {
        let value = keyspace
            .first_value(&format!("{prefix}/{resource}/"))
            .await?;
        if let Some(provider) = value.as_deref().and_then(provider) {
            encrypted.push((resource, provider));
        }
    }
    encryption(&encrypted, place, report);
    let overridden = apiservers.iter().any(|apiserver| {
        let overrides = apiserver.flags.overrides();
        overrides.iter().any(|entry| entry.resource == "/events")
    });
    let events = keyspace.first_value(&format!("{prefix}/events/")).await?;
    if events.is_none() && !overridden {
        report.find(Finding {
            severity: Severity::Warning,
            check: Check::Keys,
            place: place.to_owned(),
            what: format!(
                "there is nothing below {prefix}/events/, while there are other keys: kube-apiserver \
                 may keep its Events in another etcd, which is not recorded then (or nothing happened \
                 for an hour, after which Events expire)"
            ),
            advice: other_etcd(),
        });
    }
    Ok(())
}

/// What to do about resources in another etcd.
pub(super) fn other_etcd() -> String {
    "look for --etcd-servers-overrides among kube-apiserver's flags; to record that etcd too, start \
     another interceptor with a --trace-dir of its own in front of it, and put its listener into that \
     flag"
        .to_owned()
}

fn encryption(encrypted: &[(&str, String)], place: &str, report: &mut Report) {
    if encrypted.is_empty() {
        return;
    }
    let found = encrypted.iter();
    let found = found.map(|(resource, provider)| format!("{resource} ({provider})"));
    let only_secrets = encrypted.iter().all(|(resource, _)| *resource == "secrets");
    report.find(Finding {
        // Of Secrets nothing but metadata is recorded anyway.
        severity: match only_secrets {
            true => Severity::Hint,
            false => Severity::Warning,
        },
        check: Check::Encryption,
        place: place.to_owned(),
        what: format!(
            "values are encrypted at rest: {}. Their changes are recorded with key, revision, size and \
             call, but without what is in them: kind, owners, conditions, CPIDs",
            found.collect::<Vec<_>>().join(", ")
        ),
        advice: "nothing, if that is meant; otherwise name fewer resources in kube-apiserver's \
                 --encryption-provider-config. Who asked for a change is known all the same with \
                 request tracing (docs/requests.md)"
            .to_owned(),
    });
}

/// The provider that an encrypted value names, such as `aescbc:v1`; `None` if it is not encrypted.
fn provider(value: &[u8]) -> Option<String> {
    let rest = value.strip_prefix(ENCRYPTED)?;
    let mut parts = rest.split(|byte| *byte == b':').take(2);
    let (kind, version) = (parts.next()?, parts.next()?);
    let text = |part: &[u8]| {
        let part = part.get(..part.len().min(16)).unwrap_or_default();
        String::from_utf8_lossy(part).escape_debug().to_string()
    };
    Some(format!("{}:{}", text(kind), text(version)))
}

fn refused(place: &str, error: &str, report: &mut Report) {
    report.find(Finding {
        severity: Severity::Error,
        check: Check::Permissions,
        place: place.to_owned(),
        what: format!("its keys cannot be read: {error}"),
        advice:
            "if etcd's authentication is on, give --ledger-user and --ledger-password-file of a \
                 user that may read all keys; docs/tail.md has the commands"
                .to_owned(),
    });
    for check in [Check::Keys, Check::Encryption] {
        report.not_checked(check, format!("the keys of {place} cannot be read"));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn encrypted_values_name_their_provider() {
        let named = |value: &[u8]| provider(value);
        assert_eq!(
            named(b"k8s:enc:aescbc:v1:key1:\xff\xfe").as_deref(),
            Some("aescbc:v1")
        );
        assert_eq!(named(b"k8s:enc:kms:v2:p:\0").as_deref(), Some("kms:v2"));
        assert_eq!(named(b"k8s\0\n"), None);
        assert_eq!(named(b"k8s:enc:"), None);
        assert_eq!(named(b"{}"), None);
    }

    proptest! {
        #[test]
        fn no_value_makes_it_panic(value in any::<Vec<u8>>()) {
            let _ = provider(&value);
            let _ = provider(&[ENCRYPTED, &value].concat());
        }
    }
}
