//! Certificates, keys and CAs in files.

use super::path::{Way, way};
use super::report::{Check, Finding, Report, Severity};
use super::{PATIENCE, Subject};
use crate::apiserver::Apiserver;
use crate::clock::wall_clock;
use crate::run::{self, Listen, TlsLegs};
use crate::tls::{
    self, ClientTls, ClientTlsSettings, Flaw, FlawKind, NamedFile, Role, ServerTls,
    ServerTlsSettings, TlsError, advice_about_client,
};
use crate::transport::Upstream;

/// Seconds before its end from which on a certificate is complained of: a month.
const SOON: i64 = 30 * 24 * 60 * 60;
/// Nanoseconds in a second.
const SECOND: i64 = 1_000_000_000;

/// Looks at the files of both legs. Returns the leg towards etcd, if it can be used.
pub(super) fn examine(
    subject: &Subject,
    apiservers: &[Apiserver],
    report: &mut Report,
) -> Option<ClientTls> {
    if subject.clients.is_none() && subject.etcd.is_none() {
        report.not_checked(Check::Certificates, "neither leg speaks TLS");
    }
    let clients = subject
        .clients
        .as_ref()
        .and_then(|settings| client_leg(settings, subject, apiservers, report));
    let etcd = subject
        .etcd
        .as_ref()
        .and_then(|settings| etcd_leg(settings, report));
    let complete =
        clients.is_some() == subject.clients.is_some() && etcd.is_some() == subject.etcd.is_some();
    if complete {
        exposure(subject, clients, etcd.clone(), report);
    } else {
        report.not_checked(Check::Exposure, "certificates cannot be used");
    }
    etcd
}

fn exposure(
    subject: &Subject,
    clients: Option<ServerTls>,
    etcd: Option<ClientTls>,
    report: &mut Report,
) {
    let tls = TlsLegs {
        clients,
        etcd,
        admit_anyone: subject.admit_anyone,
    };
    if subject.admit_anyone {
        report.find(Finding {
            severity: Severity::Warning,
            check: Check::Exposure,
            place: "--insecure-no-client-auth".to_owned(),
            what: "whoever can connect to a listener may do everything with etcd".to_owned(),
            advice: "give --cert, --key and --client-ca, and remove this flag".to_owned(),
        });
    }
    for route in &subject.routes {
        if let Err(error) = run::check_exposure(route, &tls) {
            report.find(Finding {
                severity: Severity::Error,
                check: Check::Exposure,
                place: format!("listener {}", route.listen),
                what: error.to_string(),
                advice: "docs/tls.md says what is refused at the start, and why".to_owned(),
            });
        }
    }
}

fn client_leg(
    settings: &ServerTlsSettings,
    subject: &Subject,
    apiservers: &[Apiserver],
    report: &mut Report,
) -> Option<ServerTls> {
    let hosts = hosts(subject, apiservers);
    look(&settings.certificate, Role::Server, &hosts, report);
    if let Some(authorities) = &settings.client_authorities {
        look(authorities, Role::Authority, &[], report);
    }
    for apiserver in apiservers {
        if let Err(error) = each_other(settings, subject, apiserver, report) {
            report.not_checked(
                Check::Certificates,
                format!("{}: {error}", apiserver.origin),
            );
        }
    }
    usable(
        ServerTls::load(settings.clone()),
        "towards kube-apiserver",
        report,
    )
}

fn etcd_leg(settings: &ClientTlsSettings, report: &mut Report) -> Option<ClientTls> {
    look(&settings.authorities, Role::Authority, &[], report);
    if let Some((certificate, _)) = &settings.identity {
        look(certificate, Role::Client, &[], report);
    }
    let settings = ClientTlsSettings {
        handshake_timeout: settings.handshake_timeout.min(PATIENCE),
        ..settings.clone()
    };
    usable(ClientTls::load(settings), "towards etcd", report)
}

/// What is loaded; what keeps it from being loaded is found.
fn usable<T>(loaded: Result<T, TlsError>, leg: &str, report: &mut Report) -> Option<T> {
    match loaded {
        Ok(loaded) => Some(loaded),
        Err(error) => {
            report.find(Finding {
                severity: Severity::Error,
                check: Check::Certificates,
                place: format!("the leg {leg}"),
                what: error.to_string(),
                advice: "docs/tls.md says which file goes where".to_owned(),
            });
            None
        }
    }
}

/// Names that kube-apiserver uses for our listeners: those of its flags, and of the listeners.
fn hosts(subject: &Subject, apiservers: &[Apiserver]) -> Vec<String> {
    let mut hosts = Vec::new();
    for apiserver in apiservers {
        for server in apiserver.flags.etcd_servers() {
            if let Ok(server) = server.parse::<Upstream>()
                && matches!(way(subject, &server), Way::Listener(_))
            {
                hosts.push(server.host().to_owned());
            }
        }
    }
    let speaking_tls = subject.routes.iter().map(|route| &route.listen);
    for listen in speaking_tls.filter(|listen| listen.tls != Some(false)) {
        hosts.extend(host(listen));
    }
    hosts.sort();
    hosts.dedup();
    hosts
}

/// The host of a listener, unless it is all addresses of this host.
fn host(listen: &Listen) -> Option<String> {
    let host = listen.host()?;
    let any = host
        .parse::<std::net::IpAddr>()
        .is_ok_and(|address| address.is_unspecified());
    (!any).then(|| host.to_owned())
}

/// Looks at one file. One that cannot be read is found when the leg is loaded.
fn look(file: &NamedFile, role: Role, hosts: &[String], report: &mut Report) {
    let now = wall_clock().unix_nano / SECOND;
    let Ok(flaws) = tls::flaws(file, role, hosts, now, SOON) else {
        return;
    };
    for Flaw { kind, what } in flaws {
        report.find(Finding {
            severity: match kind {
                FlawKind::ExpiresSoon => Severity::Warning,
                _ => Severity::Error,
            },
            check: Check::Certificates,
            place: file.to_string(),
            what,
            advice: advice(kind, file.flag),
        });
    }
}

fn advice(kind: FlawKind, flag: &str) -> String {
    let kubeadm = match flag {
        "--cert" => " (kubeadm certs renew etcd-server)",
        "--etcd-cert" => " (kubeadm certs renew apiserver-etcd-client)",
        _ => "",
    };
    match kind {
        FlawKind::Expired | FlawKind::ExpiresSoon => format!(
            "renew it{kubeadm}; a running interceptor takes the changed file without a restart"
        ),
        FlawKind::NotYetValid => {
            "compare the clock of this host with that of the host that issued it".to_owned()
        }
        FlawKind::Usage if flag == "--etcd-cert" => {
            "issue it again with the extended key usage clientAuth: etcd refuses it as it is \
             (kubeadm's apiserver-etcd-client.crt has it)"
                .to_owned()
        }
        FlawKind::Usage => {
            "issue it again with the extended key usage serverAuth: kube-apiserver refuses it as it \
             is (kubeadm's etcd/server.crt has it)"
                .to_owned()
        }
        FlawKind::Name => {
            "use one of its names in kube-apiserver's --etcd-servers and in --listen, or issue it \
             again with this one in subjectAltName (kubeadm: etcd.local.serverCertSANs)"
                .to_owned()
        }
        FlawKind::NoAuthority => {
            "give the certificate of the CA itself, not one that it signed".to_owned()
        }
    }
}

/// Whether kube-apiserver would take our certificate, and we its.
///
/// # Errors
/// Files of kube-apiserver cannot be looked at.
fn each_other(
    settings: &ServerTlsSettings,
    subject: &Subject,
    apiserver: &Apiserver,
    report: &mut Report,
) -> Result<(), TlsError> {
    let file = |flag: &'static str, name: &str| {
        let path = apiserver.flags.get(name)?;
        let path = apiserver.host_path(path)?;
        Some(NamedFile { flag, path })
    };
    let origin = &apiserver.origin;
    if let Some(authorities) = file("--etcd-cafile", "etcd-cafile") {
        for host in hosts(subject, std::slice::from_ref(apiserver)) {
            let refusal = tls::refusal(&settings.certificate, &authorities, Some(&host))?;
            // Dates, names and usage of our own certificate are told with more detail already.
            if let Some(("unknown_issuer", what)) = refusal {
                report.find(Finding {
                    severity: Severity::Error,
                    check: Check::Certificates,
                    place: settings.certificate.to_string(),
                    what: format!(
                        "kube-apiserver ({origin}) would refuse it by its --etcd-cafile: {what}"
                    ),
                    advice: format!(
                        "give a certificate signed by the CA in {}, or add our CA to that file",
                        authorities.path.display()
                    ),
                });
                break;
            }
        }
    }
    let Some(authorities) = &settings.client_authorities else {
        return Ok(());
    };
    let Some(certificate) = file("--etcd-certfile", "etcd-certfile") else {
        report.find(Finding {
            severity: Severity::Error,
            check: Check::Certificates,
            place: origin.clone(),
            what: "kube-apiserver shows no certificate to etcd, and --client-ca wants one"
                .to_owned(),
            advice: advice_about_client("no_certificate").to_owned(),
        });
        return Ok(());
    };
    let place = format!("{origin}: {certificate}");
    if let Some((label, what)) = tls::refusal(&certificate, authorities, None)? {
        report.find(Finding {
            severity: Severity::Error,
            check: Check::Certificates,
            place,
            what: format!("{authorities} refuses kube-apiserver's certificate: {what}"),
            advice: advice_about_client(label).to_owned(),
        });
    } else if !tls::is_admitted(&settings.allowed_clients, &certificate)? {
        report.find(Finding {
            severity: Severity::Error,
            check: Check::Certificates,
            place,
            what: "kube-apiserver's certificate is not of an allowed client".to_owned(),
            advice: advice_about_client("not_allowed").to_owned(),
        });
    }
    Ok(())
}
