//! What puts the interceptor between kube-apiserver and etcd on a control-plane node, as patches. It is
//! printed and nothing is changed: the node is its operator's.
//!
//! | module | duty |
//! |---|---|
//! | `manifest_edit` | the one line of kube-apiserver's manifest, changed in the text and checked by parsing |
//! | `diff` | unified diffs |
//! | `systemd`, `static_pod` | what runs the interceptor |
//! | `kubeadm` | all of it for a node of kubeadm's |

mod diff;
mod kubeadm;
mod manifest_edit;
mod static_pod;
mod systemd;

pub use kubeadm::{InstallError, Kubeadm, Part, kubeadm};
pub use manifest_edit::EditError;

use std::path::PathBuf;

use crate::run::ListenAddress;
use crate::transport::Upstream;

/// What the interceptor is to be told, whatever runs it.
#[derive(Debug, Clone)]
struct Settings {
    /// Listeners and the members they lead to, at least one.
    routes: Vec<(ListenAddress, Upstream)>,
    /// Certificates, if etcd speaks TLS.
    tls: Option<TlsFiles>,
    /// Where the trace is written to.
    trace_dir: PathBuf,
}

/// Files of both legs.
#[derive(Debug, Clone)]
struct TlsFiles {
    /// Shown to kube-apiserver, with its key.
    server: (PathBuf, PathBuf),
    /// CA of kube-apiserver's certificate and of etcd's: kubeadm has one for both.
    authority: PathBuf,
    /// Shown to etcd, with its key: those of kube-apiserver.
    client: (PathBuf, PathBuf),
    /// Common name of kube-apiserver's certificate.
    client_name: String,
}

impl Settings {
    /// Flags of `serve` that are no files: the keys of the configuration file.
    fn plain(&self) -> Vec<(&'static str, Vec<String>)> {
        let mut settings = match self.routes.as_slice() {
            [(listen, etcd)] => vec![
                ("listen", vec![listen.to_string()]),
                ("etcd", vec![etcd.url()]),
            ],
            several => {
                let routes = several.iter();
                let routes = routes.map(|(listen, etcd)| format!("{listen}={etcd}"));
                vec![("route", routes.collect())]
            }
        };
        if let Some(tls) = &self.tls {
            settings.push(("client-allowed-cn", vec![tls.client_name.clone()]));
        }
        settings
    }
}

#[cfg(test)]
mod testing {
    use super::*;

    /// Settings in front of `members` of an etcd, with kubeadm's files below `pki`.
    pub(super) fn settings(pki: Option<&str>, members: u16) -> Settings {
        let scheme = if pki.is_some() { "https" } else { "http" };
        let routes = (0..members).map(|number| {
            let host = match members {
                1 => "127.0.0.1".to_owned(),
                _ => format!("etcd-{number}"),
            };
            let listen = format!("127.0.0.1:{}", 2479 + number).parse().unwrap();
            (listen, format!("{scheme}://{host}:2379").parse().unwrap())
        });
        let pair = |pki: &str, name: &str| {
            let file = |ending: &str| PathBuf::from(format!("{pki}/{name}.{ending}"));
            (file("crt"), file("key"))
        };
        Settings {
            routes: routes.collect(),
            tls: pki.map(|pki| TlsFiles {
                server: pair(pki, "etcd/server"),
                authority: PathBuf::from(format!("{pki}/etcd/ca.crt")),
                client: pair(pki, "apiserver-etcd-client"),
                client_name: "kube-apiserver-etcd-client".to_owned(),
            }),
            trace_dir: "/var/lib/cascade".into(),
        }
    }
}
