//! Each member of etcd.

use std::collections::BTreeMap;
use std::io;

use futures::future::join_all;
use serde::Deserialize;
use tokio::time::timeout;

use super::report::{Check, Finding, Report, Severity};
use super::{PATIENCE, Subject, clock, http, version};
use crate::clock::wall_clock;
use crate::ledger::{self, MemberStatus};
use crate::tls::{self, Alpn, ClientTls, advice_about_etcd};
use crate::transport::{ConnectError, Dialer, Upstream};

/// What asking a member gave.
struct Asked<'a> {
    member: &'a Upstream,
    /// Why it cannot be reached: what, and the reason as the metrics have it.
    failure: Option<(String, &'static str)>,
    status: Option<Result<MemberStatus, String>>,
    skew: Option<clock::Skew>,
    /// What its page `/version` says, which it tells everybody.
    version: Option<String>,
}

/// The page `/version`.
#[derive(Deserialize)]
struct VersionPage {
    etcdserver: String,
}

/// What etcd says to users that it does not know, or that may not do what they ask for (rpctypes).
const REFUSALS: [&str; 4] = [
    "user name is empty",
    "authentication failed",
    "permission denied",
    "invalid auth token",
];

impl Asked<'_> {
    /// Whether it answered, if only to tell that it does not know us.
    fn answered(&self) -> bool {
        match &self.status {
            Some(Ok(_)) => true,
            Some(Err(error)) => REFUSALS.iter().any(|refusal| error.contains(refusal)),
            None => false,
        }
    }
}

/// Asks every member. Returns one that answers.
pub(super) async fn examine(
    subject: &Subject,
    tls: Option<&ClientTls>,
    report: &mut Report,
) -> Option<Upstream> {
    let without_tls = subject.etcd.is_some() && tls.is_none();
    let (askable, rest): (Vec<_>, Vec<_>) = subject
        .members
        .iter()
        .partition(|member| !member.uses_tls() || !without_tls);
    for member in rest {
        let reason = format!("{member}: the certificates towards etcd cannot be used");
        report.not_checked(Check::Reachability, reason);
    }
    let asked = join_all(askable.into_iter().map(|member| ask(subject, member, tls))).await;
    for asked in &asked {
        reachability(subject, asked, report);
        versions(asked, report);
        clocks(subject, asked, report);
    }
    clusters(&asked, report);
    let reached = asked.iter().find(|asked| asked.answered());
    reached.map(|asked| asked.member.clone())
}

async fn ask<'a>(subject: &Subject, member: &'a Upstream, tls: Option<&ClientTls>) -> Asked<'a> {
    let mut asked = Asked {
        member,
        failure: None,
        status: None,
        skew: None,
        version: None,
    };
    let dialer = match Dialer::new(member.clone(), tls) {
        Ok(dialer) => dialer,
        Err(error) => {
            asked.failure = Some((error.to_string(), "configuration"));
            return asked;
        }
    };
    if let Err(error) = dial(&dialer, Alpn::H2).await {
        asked.failure = Some((error.to_string(), error.label()));
        return asked;
    }
    // With TLS 1.3 a refusal of our certificate comes with the first answer.
    let before = wall_clock();
    match page(&dialer).await {
        Ok(page) => {
            let date = page.header("date");
            asked.skew = date.and_then(|date| clock::skew(date, before, wall_clock()));
            let version = serde_json::from_str::<VersionPage>(&page.body).ok();
            asked.version = version.map(|page| page.etcdserver);
        }
        Err(error) => {
            if let Some(refusal) = tls::tls_error(&error).filter(|error| tls::is_refusal(error)) {
                asked.failure = Some((refusal.to_string(), tls::label(refusal)));
                return asked;
            }
            // What listens may speak gRPC only (--listen-client-http-urls).
        }
    }
    let settings = subject.connect_settings(tls.cloned());
    asked.status = Some(ledger::member_status(&member.url(), &settings).await);
    asked
}

async fn dial(dialer: &Dialer, alpn: Alpn) -> Result<crate::transport::EtcdStream, ConnectError> {
    let connected = timeout(PATIENCE, dialer.connect(alpn)).await;
    connected.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
}

async fn page(dialer: &Dialer) -> io::Result<http::Page> {
    let stream = match dial(dialer, Alpn::None).await {
        Ok(stream) => stream,
        Err(error) => return Err(io::Error::other(error)),
    };
    let host = dialer.upstream().authority();
    let asking = timeout(PATIENCE, http::get(stream, &host, "/version")).await;
    asking.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn reachability(subject: &Subject, asked: &Asked<'_>, report: &mut Report) {
    let mut find = |what: String, advice: String| {
        report.find(Finding {
            severity: Severity::Error,
            check: Check::Reachability,
            place: format!("etcd {}", asked.member),
            what,
            advice,
        });
    };
    match (&asked.failure, &asked.status) {
        (Some((what, label)), _) => {
            let own = (*label == "refused_by_peer").then(|| own_flaw(subject)).flatten();
            find(
                format!("it cannot be reached: {what}{}", own.unwrap_or_default()),
                advice_about_etcd(label).to_owned(),
            );
        }
        // What it does not let us do is found with the keys.
        (None, Some(Err(_))) if asked.answered() => {}
        (None, Some(Err(error))) => find(
            format!("it takes connections and does not answer: {error}"),
            "look at its log; a frozen or overloaded member looks like this, and so does a proxy in \
             front of one that is down"
                .to_owned(),
        ),
        (None, Some(Ok(status))) => {
            if !status.has_leader {
                find(
                    "it has no leader: writes are refused".to_owned(),
                    "look at the log of every member; more than half of them must be running"
                        .to_owned(),
                );
            }
            for error in &status.errors {
                find(
                    format!("it complains: {error}"),
                    "etcdctl alarm list; for NOSPACE compact, defragment, and etcdctl alarm disarm"
                        .to_owned(),
                );
            }
        }
        (None, None) => {}
    }
}

/// What is to be said of our own certificate when etcd refuses it, if that is known without etcd.
fn own_flaw(subject: &Subject) -> Option<String> {
    let settings = subject.etcd.as_ref()?;
    let Some((certificate, _)) = &settings.identity else {
        return Some("; we show no certificate: give --etcd-cert and --etcd-key".to_owned());
    };
    // etcd's --trusted-ca-file is not known; with kubeadm it is the CA of its own certificate.
    let refusal = tls::refusal(certificate, &settings.authorities, None);
    let (_, what) = refusal.ok().flatten()?;
    Some(format!(
        "; checked against --etcd-ca, {certificate} fails: {what}"
    ))
}

fn versions(asked: &Asked<'_>, report: &mut Report) {
    let place = format!("etcd {}", asked.member);
    let told = match &asked.status {
        Some(Ok(status)) => Some(&status.version),
        _ => asked.version.as_ref(),
    };
    match told {
        Some(told) => {
            if let Some(complaint) = version::complaint(told) {
                report.find(Finding {
                    severity: Severity::Warning,
                    check: Check::Version,
                    place,
                    what: complaint.what,
                    advice: complaint.advice,
                });
            }
        }
        None => report.not_checked(Check::Version, format!("{place} does not answer")),
    }
}

fn clocks(subject: &Subject, asked: &Asked<'_>, report: &mut Report) {
    let place = format!("etcd {}", asked.member);
    match asked.skew {
        None if asked.failure.is_some() => {
            report.not_checked(Check::Clock, format!("{place} does not answer"));
        }
        None => report.not_checked(
            Check::Clock,
            format!("{place} does not answer in HTTP/1.1, and gRPC tells no time"),
        ),
        Some(skew) if skew.at_least > subject.limits.clock_skew_max => {
            let direction = if skew.ahead { "ahead of" } else { "behind" };
            report.find(Finding {
                severity: Severity::Warning,
                check: Check::Clock,
                place,
                what: format!(
                    "its clock is at least {:.1?} {direction} the clock of this host: times in the \
                     trace do not compare with those in objects and spans, and certificates may seem \
                     expired or not yet valid",
                    skew.at_least
                ),
                advice: "let both hosts follow a time server (chronyc tracking, timedatectl)"
                    .to_owned(),
            });
        }
        Some(_) => {}
    }
}

fn clusters(asked: &[Asked<'_>], report: &mut Report) {
    let mut clusters: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for asked in asked {
        if let Some(Ok(status)) = &asked.status {
            let members = clusters.entry(&status.cluster_id).or_default();
            members.push(asked.member.url());
        }
    }
    if clusters.is_empty() {
        report.not_checked(Check::Cluster, "no member says which it is of");
    }
    if clusters.len() < 2 {
        return;
    }
    let described = clusters.into_iter();
    let described =
        described.map(|(cluster, members)| format!("{cluster} ({})", members.join(", ")));
    report.find(Finding {
        severity: Severity::Error,
        check: Check::Cluster,
        place: "the members of all routes".to_owned(),
        what: format!(
            "they belong to several clusters, and a trace is of one: {}",
            described.collect::<Vec<_>>().join(" and ")
        ),
        advice: "start an interceptor with a --trace-dir of its own for each cluster".to_owned(),
    });
}
