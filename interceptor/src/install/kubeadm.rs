//! A control-plane node of kubeadm's: what is to be put where, in which order, and how to take it back.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::manifest_edit::{self, EditError};
use super::{Settings, TlsFiles, diff, static_pod, systemd};
use crate::apiserver::{Apiserver, ManifestError};
use crate::run::{AddressError, ListenAddress};
use crate::tls::{self, NamedFile};
use crate::transport::{Upstream, UpstreamError};

/// Common name that kubeadm gives kube-apiserver as a client of etcd.
const CLIENT_NAME: &str = "kube-apiserver-etcd-client";

/// What is wanted.
#[derive(Debug, Clone)]
pub struct Kubeadm {
    /// The manifest of kube-apiserver.
    pub manifest: PathBuf,
    /// Where the interceptor is to listen; further members get the ports that follow.
    pub listen: ListenAddress,
    /// An image makes the interceptor a static pod; without one it is a systemd service.
    pub image: Option<String>,
    /// Certificate and key that it shows to kube-apiserver; without them etcd's own.
    pub server: Option<(PathBuf, PathBuf)>,
    /// Only one part of what is to be done, without a word, for `patch`.
    pub only: Option<Part>,
}

/// A part of what is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Files that run the interceptor.
    Interceptor,
    /// kube-apiserver's manifest.
    Apiserver,
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// It cannot be read any more.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The manifest.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It does not say where etcd is.
    #[error("{}: kube-apiserver has no flag --etcd-servers, so it is not known where etcd is", .0.display())]
    NoServers(PathBuf),
    /// A URL in it is none.
    #[error("{}: --etcd-servers: {reason}", path.display())]
    Server {
        /// The manifest.
        path: PathBuf,
        /// What is wrong.
        reason: UpstreamError,
    },
    /// Some URLs lead to the interceptor and others do not.
    #[error(
        "{}: --etcd-servers={servers} leads in part to {listen}, where the interceptor would listen, and \
         in part past it; name etcd's members only, or choose another --listen",
        path.display()
    )]
    Half {
        /// The manifest.
        path: PathBuf,
        /// What it says.
        servers: String,
        /// Where the interceptor would listen.
        listen: String,
    },
    /// Members with TLS and without.
    #[error("{}: --etcd-servers names members with TLS and without; they must be alike", .0.display())]
    MixedTls(PathBuf),
    /// kube-apiserver has no certificate for etcd.
    #[error(
        "{}: etcd speaks TLS, and kube-apiserver's {flag} is missing, or is not in a folder that the pod \
         mounts from the host",
        path.display()
    )]
    NoFile {
        /// The manifest.
        path: PathBuf,
        /// The flag.
        flag: &'static str,
    },
    /// There is no port for every member.
    #[error(
        "there is no port for each of {members} members from {listen} on; choose another --listen"
    )]
    Ports {
        /// Number of members.
        members: usize,
        /// Where the first listens.
        listen: String,
    },
    /// An address to listen on.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The manifest's text.
    #[error("{}: {reason}", path.display())]
    Edit {
        /// The manifest.
        path: PathBuf,
        /// Why it cannot be changed.
        reason: EditError,
    },
}

/// Says what is to be done, as text whose parts are patches.
///
/// # Errors
/// [`InstallError`].
pub fn kubeadm(wanted: &Kubeadm) -> Result<String, InstallError> {
    let path = &wanted.manifest;
    let apiserver = Apiserver::from_manifest(path)?;
    let servers = members(path, &apiserver)?;
    let ours = servers.iter().enumerate();
    let ours = ours.filter(|(place, server)| leads_to(server, &wanted.listen, *place));
    match ours.count() {
        0 => {}
        all if all == servers.len() => return Ok(nothing_to_do(wanted)),
        _ => {
            return Err(InstallError::Half {
                path: path.clone(),
                servers: join(servers.iter().map(Upstream::url)),
                listen: wanted.listen.to_string(),
            });
        }
    }
    let settings = settings(wanted, &apiserver, servers)?;
    let text = std::fs::read_to_string(path).map_err(|source| InstallError::Read {
        path: path.clone(),
        source,
    })?;
    let before = apiserver.flags.etcd_servers().join(",");
    let scheme = if settings.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let listeners = settings.routes.iter();
    let after = join(listeners.map(|(listen, _)| format!("{scheme}://{listen}")));
    let changed = manifest_edit::set_etcd_servers(&text, &before, &after);
    let changed = changed.map_err(|reason| InstallError::Edit {
        path: path.clone(),
        reason,
    })?;
    let apiserver_part = diff::change(path, &text, &changed);
    let files = match &wanted.image {
        None => systemd::files(&settings),
        Some(image) => static_pod::files(&settings, image),
    };
    let interceptor_part: String = files
        .iter()
        .map(|(path, content)| diff::creation(path, content))
        .collect();
    Ok(match wanted.only {
        Some(Part::Interceptor) => interceptor_part,
        Some(Part::Apiserver) => apiserver_part,
        None => {
            let notes = notes(&apiserver, &settings);
            explain(wanted, &notes, &interceptor_part, &apiserver_part, &before)
        }
    })
}

/// etcd's members as kube-apiserver has them.
fn members(path: &Path, apiserver: &Apiserver) -> Result<Vec<Upstream>, InstallError> {
    let servers = apiserver.flags.etcd_servers();
    if servers.is_empty() {
        return Err(InstallError::NoServers(path.to_owned()));
    }
    let parse = |server: &&str| {
        server.parse().map_err(|reason| InstallError::Server {
            path: path.to_owned(),
            reason,
        })
    };
    servers.iter().map(parse).collect()
}

/// Whether the member at a place of the list is our listener for that place.
fn leads_to(server: &Upstream, listen: &ListenAddress, place: usize) -> bool {
    let port = usize::from(listen.port()).saturating_add(place);
    server.host() == listen.host() && server.port().map(usize::from) == Some(port)
}

fn settings(
    wanted: &Kubeadm,
    apiserver: &Apiserver,
    servers: Vec<Upstream>,
) -> Result<Settings, InstallError> {
    let path = &wanted.manifest;
    let members = servers.len();
    let with_tls = servers.iter().filter(|server| server.uses_tls()).count();
    if with_tls != 0 && with_tls != members {
        return Err(InstallError::MixedTls(path.clone()));
    }
    let mut routes = Vec::new();
    for (place, server) in servers.into_iter().enumerate() {
        let port = u16::try_from(place)
            .ok()
            .and_then(|place| wanted.listen.port().checked_add(place))
            .ok_or_else(|| InstallError::Ports {
                members,
                listen: wanted.listen.to_string(),
            })?;
        let host = wanted.listen.as_str().rsplit_once(':');
        let host = host.map_or("", |(host, _)| host);
        let listen = format!("{host}:{port}").parse()?;
        routes.push((listen, server));
    }
    let trace_dir = match wanted.image {
        None => systemd::TRACE_DIR,
        Some(_) => static_pod::TRACE_DIR,
    };
    Ok(Settings {
        routes,
        tls: match with_tls {
            0 => None,
            _ => Some(tls_files(wanted, apiserver)?),
        },
        trace_dir: trace_dir.into(),
    })
}

fn tls_files(wanted: &Kubeadm, apiserver: &Apiserver) -> Result<TlsFiles, InstallError> {
    let file = |flag: &'static str| {
        let name = flag.trim_start_matches("--");
        let named = apiserver.flags.get(name);
        let file = named.and_then(|path| apiserver.host_path(path));
        file.ok_or_else(|| InstallError::NoFile {
            path: wanted.manifest.clone(),
            flag,
        })
    };
    let authority = file("--etcd-cafile")?;
    let client = (file("--etcd-certfile")?, file("--etcd-keyfile")?);
    // kubeadm has etcd's own certificate beside its CA.
    let beside = |name: &str| authority.with_file_name(name);
    let server = wanted.server.clone();
    let server = server.unwrap_or_else(|| (beside("server.crt"), beside("server.key")));
    let named = NamedFile {
        flag: "--etcd-certfile",
        path: client.0.clone(),
    };
    let client_name = tls::common_name(&named).unwrap_or_else(|| CLIENT_NAME.to_owned());
    Ok(TlsFiles {
        server,
        authority,
        client,
        client_name,
    })
}

/// What is to be known besides.
fn notes(apiserver: &Apiserver, settings: &Settings) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(tls) = &settings.tls
        && !tls.server.0.exists()
    {
        notes.push(format!(
            "{} is not on this host (etcd is elsewhere?), or you may not see it: give --cert and \
                 --key of a certificate that holds {} and is signed by the CA in {}.",
            tls.server.0.display(),
            settings
                .routes
                .first()
                .map_or("", |(listen, _)| listen.host()),
            tls.authority.display(),
        ));
    }
    let overrides = apiserver.flags.overrides();
    if !overrides.is_empty() {
        notes.push(format!(
            "kube-apiserver keeps {} in another etcd (--etcd-servers-overrides), which is not recorded: \
             a trace is of one etcd. That flag stays as it is.",
            join(overrides.iter().map(|entry| entry.resource.clone()))
        ));
    }
    notes
}

fn nothing_to_do(wanted: &Kubeadm) -> String {
    match wanted.only {
        Some(_) => String::new(),
        None => format!(
            "# Nothing to do: in {} --etcd-servers leads to the interceptor at {} already.\n\
             # To take it back, apply the patch of then with `patch --reverse`, or set --etcd-servers to \
             etcd's own URL\n# (kubeadm: https://127.0.0.1:2379), and stop the interceptor once \
             kube-apiserver is ready again.\n",
            wanted.manifest.display(),
            wanted.listen
        ),
    }
}

/// All of it, in the order in which it is to be done.
fn explain(
    wanted: &Kubeadm,
    notes: &[String],
    interceptor: &str,
    apiserver: &str,
    before: &str,
) -> String {
    let manifest = wanted.manifest.display();
    let program = "cascade-interceptor install kubeadm";
    let (start, stop) = match &wanted.image {
        None => (
            "systemctl daemon-reload && systemctl enable --now cascade-interceptor",
            "systemctl disable --now cascade-interceptor".to_owned(),
        ),
        Some(_) => (
            "(the kubelet starts it)",
            format!("rm {}", static_pod::MANIFEST_FILE),
        ),
    };
    let mut text = String::from(
        "# What puts the interceptor between kube-apiserver and etcd on this node. Nothing was changed.\n\
         # Each part is a patch for `patch --directory=/ --strip=1`: print it alone with\n\
         # --only interceptor and --only apiserver. Save this output: it takes everything back, too.\n",
    );
    for note in notes {
        let _ = writeln!(text, "#\n# NOTE: {note}");
    }
    let _ = write!(
        text,
        "#\n# 1. The interceptor, before anything else:\n\
         #      {program} --manifest {manifest} --print --only interceptor | patch --directory=/ --strip=1\n\
         #      {start}\n\
         #      curl --fail http://127.0.0.1:2390/readyz\n\n\
         {interceptor}\n\
         # 2. kube-apiserver, once the interceptor is ready. The kubelet restarts it as soon as the file \
         changes.\n\
         #    Keep copies out of the folder of the manifests: the kubelet would run them as well.\n\
         #      cp {manifest} /root/\n\
         #      {program} --manifest {manifest} --print --only apiserver | patch --directory=/ --strip=1\n\
         #      kubectl get --raw /readyz\n\
         #      cascade-interceptor doctor --apiserver-manifest {manifest} (and the interceptor's settings)\n\n\
         {apiserver}\n\
         # Back, in this order:\n\
         #   set --etcd-servers={before} again (the second part with `patch --reverse`),\n\
         #   wait until kube-apiserver is ready, and only then\n\
         #      {stop}\n\
         # `kubeadm upgrade` writes the manifest anew, without the interceptor: run this again after it.\n"
    );
    text
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(",")
}
