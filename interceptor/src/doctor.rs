//! Looks for what is wrong with a set-up, before it carries traffic or while it does, and says what to
//! do about it. Nothing is changed: no folder is made, no lock is taken, nothing is written to etcd.
//!
//! | module | duty |
//! |---|---|
//! | `report`, `layout` | findings, and how they are shown |
//! | `certificates` | files of both legs, and whether kube-apiserver and we would take each other's |
//! | `members`, `version`, `clock` | each etcd member: reachable, of one cluster, recent, and the time it has |
//! | `keyspace` | what can be read from etcd: permissions, Events, encrypted values |
//! | `path` | whether kube-apiserver goes through us, and with everything |
//! | `running` | the interceptor that runs, by its metrics |
//! | `host` | trace folder, disk, open files |
//! | `request_tracing` | kube-apiserver's spans |

mod certificates;
mod clock;
mod host;
mod http;
mod keyspace;
mod layout;
mod members;
mod path;
mod report;
mod request_tracing;
mod running;
mod version;

pub use layout::{to_json, to_text};
pub use report::{Check, Finding, Outcome, Report, Severity};

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::apiserver::{self, Apiserver};
use crate::ledger::{ConnectSettings, EtcdUser};
use crate::run::{ListenAddress, Route};
use crate::tls::{ClientTlsSettings, ServerTlsSettings};
use crate::transport::Upstream;

/// Where kubeadm puts the manifest of kube-apiserver.
const KUBEADM_MANIFEST: &str = "/etc/kubernetes/manifests/kube-apiserver.yaml";
/// Longest wait for any one answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A set-up to look at: the settings of `serve` or `tail`, as far as they are given.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Listeners and the members they lead to; empty for `tail`.
    pub routes: Vec<Route>,
    /// All members that are connected to, each once.
    pub members: Vec<Upstream>,
    /// The leg towards kube-apiserver, if it speaks TLS.
    pub clients: Option<ServerTlsSettings>,
    /// The leg towards etcd, if it speaks TLS.
    pub etcd: Option<ClientTlsSettings>,
    /// Clients that nobody can tell apart may use the interceptor's own certificate.
    pub admit_anyone: bool,
    /// User of etcd for the ledger.
    pub user: Option<EtcdUser>,
    /// Where the trace is written to.
    pub trace_dir: Option<PathBuf>,
    /// Limit on connections, if one is set.
    pub max_connections: Option<usize>,
    /// Where a running interceptor serves its metrics.
    pub metrics_listen: ListenAddress,
    /// Where spans are received, if they are.
    pub otlp_listen: Option<ListenAddress>,
    /// The manifest of kube-apiserver; without one, kubeadm's and running processes are looked at.
    pub manifest: Option<PathBuf>,
    /// kube-apiserver's `--etcd-prefix`.
    pub etcd_prefix: String,
    /// From where on something is complained of.
    pub limits: Limits,
}

/// From where on something is complained of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that should be free for the trace.
    pub disk_free_min: u64,
    /// Difference of the clocks of this host and of etcd's.
    pub clock_skew_max: Duration,
}

impl Subject {
    fn connect_settings(&self, tls: Option<crate::tls::ClientTls>) -> ConnectSettings {
        ConnectSettings {
            connect_timeout: PATIENCE,
            call_timeout: PATIENCE,
            tls,
            user: self.user.clone(),
            ..ConnectSettings::default()
        }
    }
}

/// Looks at everything.
pub async fn examine(subject: &Subject) -> Report {
    let mut report = Report::default();
    let apiservers = apiservers(subject, &mut report);
    let etcd_tls = certificates::examine(subject, &apiservers, &mut report);
    let reached = members::examine(subject, etcd_tls.as_ref(), &mut report).await;
    keyspace::examine(
        subject,
        etcd_tls,
        reached.as_ref(),
        &apiservers,
        &mut report,
    )
    .await;
    path::examine(subject, &apiservers, &mut report);
    running::examine(subject, &mut report).await;
    host::examine(subject, &mut report);
    request_tracing::examine(subject, &apiservers, &mut report);
    report
}

/// The kube-apiservers that have to do with this set-up: the one of the manifest that was named; or
/// those of kubeadm's manifest and of processes that use one of our listeners or members.
fn apiservers(subject: &Subject, report: &mut Report) -> Vec<Apiserver> {
    if let Some(manifest) = &subject.manifest {
        return match Apiserver::from_manifest(manifest) {
            Ok(apiserver) => vec![apiserver],
            Err(error) => {
                report.find(Finding {
                    severity: Severity::Error,
                    check: Check::Path,
                    place: "--apiserver-manifest".to_owned(),
                    what: error.to_string(),
                    advice: "give the manifest of this node's kube-apiserver".to_owned(),
                });
                Vec::new()
            }
        };
    }
    let processes = apiserver::running().into_iter();
    let manifest = Apiserver::from_manifest(Path::new(KUBEADM_MANIFEST)).ok();
    let found = manifest.into_iter().chain(processes);
    found
        .filter(|apiserver| path::concerns(subject, apiserver))
        .collect()
}
