//! Whether kube-apiserver goes through the interceptor, and with everything, by its flags.

use std::net::IpAddr;

use super::Subject;
use super::keyspace::other_etcd;
use super::report::{Check, Finding, Report, Severity};
use crate::apiserver::Apiserver;
use crate::run::{ListenPlace, Route};
use crate::transport::Upstream;

/// Where a URL in kube-apiserver's flags leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Way<'a> {
    /// To a listener of the interceptor.
    Listener(&'a Route),
    /// To a member of etcd, past the interceptor.
    Member,
    /// Somewhere else, or a listener whose address only systemd knows.
    Unknown,
}

/// Where a URL leads.
pub(super) fn way<'a>(subject: &'a Subject, server: &Upstream) -> Way<'a> {
    let leads_there = |route: &&Route| match &route.listen.place {
        ListenPlace::Tcp(address) => {
            Some(address.port()) == server.port() && same_host(address.host(), server.host())
        }
        ListenPlace::Unix(path) => server.url().ends_with(&format!("://{}", path.display())),
        ListenPlace::Inherited(_) => false,
    };
    if let Some(route) = subject.routes.iter().find(leads_there) {
        return Way::Listener(route);
    }
    let is_it = |member: &&Upstream| {
        member.port() == server.port()
            && match member.port() {
                Some(_) => same_host(member.host(), server.host()),
                None => member.url() == server.url(),
            }
    };
    match subject.members.iter().find(is_it) {
        Some(_) => Way::Member,
        None => Way::Unknown,
    }
}

/// Whether a connection to `there` can arrive at what listens on `here`, as far as names tell.
fn same_host(here: &str, there: &str) -> bool {
    let address = |host: &str| host.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
    let (ours, theirs) = (address(here), address(there));
    let is_loopback = |host: &str, address: Option<IpAddr>| {
        host.eq_ignore_ascii_case("localhost") || address.is_some_and(|ip| ip.is_loopback())
    };
    ours.is_some_and(|address| address.is_unspecified())
        || (ours.is_some() && ours == theirs)
        || here.eq_ignore_ascii_case(there)
        || (is_loopback(here, ours) && is_loopback(there, theirs))
}

/// Whether a kube-apiserver uses one of our listeners or members.
pub(super) fn concerns(subject: &Subject, apiserver: &Apiserver) -> bool {
    let servers = apiserver.flags.etcd_servers();
    let servers = servers.iter().filter_map(|server| server.parse().ok());
    let mut ways = servers.map(|server| way(subject, &server));
    ways.any(|way| way != Way::Unknown)
}

/// Looks at the flags of the kube-apiservers that are known.
pub(super) fn examine(subject: &Subject, apiservers: &[Apiserver], report: &mut Report) {
    if subject.routes.is_empty() {
        report.not_checked(Check::Path, "nothing is relayed (no --listen, no --route)");
    } else if apiservers.is_empty() {
        report.not_checked(
            Check::Path,
            "no kube-apiserver that uses this etcd was found on this host: give \
             --apiserver-manifest FILE",
        );
    }
    for apiserver in apiservers {
        if !subject.routes.is_empty() {
            servers(subject, apiserver, report);
        }
        overrides(apiserver, report);
    }
}

fn servers(subject: &Subject, apiserver: &Apiserver, report: &mut Report) {
    let listeners = subject
        .routes
        .iter()
        .map(|route| listener_url(subject, route));
    let listeners = listeners.collect::<Vec<_>>().join(",");
    let mut find = |severity, what: String, advice: String| {
        report.find(Finding {
            severity,
            check: Check::Path,
            place: apiserver.origin.clone(),
            what,
            advice,
        });
    };
    let servers = apiserver.flags.etcd_servers();
    if servers.is_empty() {
        find(
            Severity::Warning,
            "it has no flag --etcd-servers".to_owned(),
            format!("set --etcd-servers={listeners}"),
        );
    }
    for server in servers {
        let Ok(parsed) = server.parse::<Upstream>() else {
            find(
                Severity::Error,
                format!("--etcd-servers: {server} is no URL"),
                format!("set --etcd-servers={listeners}"),
            );
            continue;
        };
        match way(subject, &parsed) {
            Way::Listener(route) => {
                let tls = speaks_tls(subject, route);
                if parsed.uses_tls() != tls {
                    find(
                        Severity::Error,
                        format!(
                            "--etcd-servers: {server}, and the listener {} speaks {}",
                            route.listen,
                            if tls { "TLS" } else { "plain text" }
                        ),
                        format!("set --etcd-servers={listeners}"),
                    );
                }
            }
            Way::Member => find(
                Severity::Error,
                format!(
                    "kube-apiserver goes past the interceptor: its --etcd-servers names {server}, \
                     which is etcd itself. Its calls are not recorded"
                ),
                format!(
                    "set --etcd-servers={listeners}, once the interceptor runs: kube-apiserver \
                     restarts and connects through it (on a node of kubeadm's, `cascade-interceptor \
                     install kubeadm --print` prints the patch)"
                ),
            ),
            Way::Unknown => find(
                Severity::Hint,
                format!(
                    "its --etcd-servers names {server}, which is neither a listener of this \
                     interceptor nor a member that it knows"
                ),
                "nothing, if another interceptor listens there; else set --etcd-servers to listeners \
                 only"
                    .to_owned(),
            ),
        }
    }
}

/// Whether a listener speaks TLS.
fn speaks_tls(subject: &Subject, route: &Route) -> bool {
    route.listen.tls.unwrap_or(subject.clients.is_some())
}

/// The URL that kube-apiserver has to use for a listener.
fn listener_url(subject: &Subject, route: &Route) -> String {
    let tls = speaks_tls(subject, route);
    match &route.listen.place {
        ListenPlace::Tcp(address) if tls => format!("https://{address}"),
        ListenPlace::Tcp(address) => format!("http://{address}"),
        ListenPlace::Unix(path) if tls => format!("unixs://{}", path.display()),
        ListenPlace::Unix(path) => format!("unix://{}", path.display()),
        ListenPlace::Inherited(_) => route.listen.to_string(),
    }
}

fn overrides(apiserver: &Apiserver, report: &mut Report) {
    let overrides = apiserver.flags.overrides();
    if overrides.is_empty() {
        return;
    }
    let described = overrides
        .iter()
        .map(|entry| format!("{} in {}", entry.resource, entry.servers.join(" and ")));
    report.find(Finding {
        severity: Severity::Warning,
        check: Check::Keys,
        place: apiserver.origin.clone(),
        what: format!(
            "kube-apiserver keeps resources in another etcd (--etcd-servers-overrides), which this \
             interceptor does not record: {}",
            described.collect::<Vec<_>>().join(", ")
        ),
        advice: other_etcd(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_are_the_same() {
        for (here, there) in [
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1", "localhost"),
            ("::1", "127.0.0.1"),
            ("0.0.0.0", "10.0.0.1"),
            ("::", "etcd"),
            ("10.0.0.1", "10.0.0.1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("Etcd.local", "etcd.local"),
        ] {
            assert!(same_host(here, there), "{here} {there}");
        }
        for (here, there) in [
            ("127.0.0.1", "10.0.0.1"),
            ("10.0.0.1", "0.0.0.0"),
            ("etcd", "10.0.0.1"),
        ] {
            assert!(!same_host(here, there), "{here} {there}");
        }
    }
}
