//! The manifest of a static pod that runs kube-apiserver.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::PROGRAM;

/// Larger files are no manifests.
const MAX_BYTES: u64 = 1 << 20;

/// What a manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The container's command and arguments.
    pub arguments: Vec<String>,
    /// Folders and files of the host in the container: (in the container, on the host).
    pub mounts: Vec<(PathBuf, PathBuf)>,
    /// Whether the pod uses the host's network.
    pub host_network: bool,
}

/// Why a file is not the manifest of a kube-apiserver.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It cannot be read.
    #[error("cannot read {}: {source}; the manifests of kubeadm's nodes are root's", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no Pod.
    #[error("{} is no manifest of a Pod: {reason}", path.display())]
    NoPod {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        reason: String,
    },
    /// No container of it runs kube-apiserver.
    #[error("{}: no container of this Pod runs kube-apiserver; kubeadm's is /etc/kubernetes/manifests/kube-apiserver.yaml", path.display())]
    NoApiserver {
        /// The file.
        path: PathBuf,
    },
}

#[derive(Debug, Deserialize)]
struct Pod {
    kind: String,
    spec: Spec,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    containers: Vec<Container>,
    volumes: Option<Vec<Volume>>,
    #[serde(default)]
    host_network: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    // Kubernetes takes a list without an entry, which YAML reads as null, for an empty one.
    command: Option<Vec<String>>,
    args: Option<Vec<String>>,
    volume_mounts: Option<Vec<VolumeMount>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct VolumeMount {
    name: String,
    mount_path: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Volume {
    name: String,
    host_path: Option<HostPath>,
}

#[derive(Debug, Deserialize)]
struct HostPath {
    path: PathBuf,
}

impl Manifest {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn read(path: &Path) -> Result<Self, ManifestError> {
        let failed = |source| ManifestError::Read {
            path: path.to_owned(),
            source,
        };
        let length = fs::metadata(path).map_err(failed)?.len();
        if length > MAX_BYTES {
            return Err(ManifestError::NoPod {
                path: path.to_owned(),
                reason: format!("it has {length} bytes"),
            });
        }
        let text = fs::read_to_string(path).map_err(failed)?;
        parse(path, &text)
    }
}

/// Reads the text of a manifest, which is that of the file `path`.
///
/// # Errors
/// [`ManifestError`].
pub fn parse(path: &Path, text: &str) -> Result<Manifest, ManifestError> {
    let no_pod = |reason: String| ManifestError::NoPod {
        path: path.to_owned(),
        reason,
    };
    let pod: Pod = serde_saphyr::from_str(text).map_err(|error| {
        let text = error.to_string();
        no_pod(text.lines().next().unwrap_or_default().to_owned())
    })?;
    if pod.kind != "Pod" {
        return Err(no_pod(format!("its kind is {}", pod.kind)));
    }
    let Spec {
        containers,
        volumes,
        host_network,
    } = pod.spec;
    let volumes = volumes.unwrap_or_default();
    let named = |word: &String| word.rsplit('/').next() == Some(PROGRAM);
    let arguments = |container: &Container| {
        let words = [&container.command, &container.args].into_iter().flatten();
        words.flatten().cloned().collect::<Vec<_>>()
    };
    let container = containers
        .into_iter()
        .find(|container| arguments(container).iter().any(named))
        .ok_or_else(|| ManifestError::NoApiserver {
            path: path.to_owned(),
        })?;
    let host_path = |name: &str| {
        let mut found = volumes.iter().filter(|volume| volume.name == name);
        found.find_map(|volume| volume.host_path.as_ref().map(|host| host.path.clone()))
    };
    let arguments = arguments(&container);
    let mounts = container.volume_mounts.into_iter().flatten();
    let mounts = mounts.filter_map(|mount| {
        let host = host_path(&mount.name)?;
        Some((mount.mount_path, host))
    });
    let mounts = mounts.collect();
    Ok(Manifest {
        arguments,
        mounts,
        host_network,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::apiserver::Apiserver;

    const MANIFEST: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: kube-apiserver
spec:
  containers:
  - image: sidecar
    name: sidecar
  - command: # as kubeadm writes it
    - kube-apiserver
    - --etcd-servers=https://127.0.0.1:2379
    - --etcd-cafile=/pki/etcd/ca.crt
    - '--audit-policy-file=/policy.yaml'
    name: kube-apiserver
    volumeMounts:
    - mountPath: /pki
      name: certificates
      readOnly: true
    - mountPath: /policy.yaml
      name: policy
    - mountPath: /pki/etcd
      name: etcd
  hostNetwork: true
  volumes:
  - hostPath:
      path: /etc/kubernetes/pki
      type: DirectoryOrCreate
    name: certificates
  - hostPath: {path: /srv/etcd-pki}
    name: etcd
  - hostPath: {path: /etc/audit.yaml}
    name: policy
  - emptyDir: {}
    name: scratch
";

    #[test]
    fn flags_and_where_their_files_are() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("kube-apiserver.yaml");
        fs::write(&path, MANIFEST).unwrap();
        let apiserver = Apiserver::from_manifest(&path).unwrap();
        assert_eq!(apiserver.flags.etcd_servers(), ["https://127.0.0.1:2379"]);
        let host = |path: &str| apiserver.host_path(path);
        assert_eq!(
            host("/pki/apiserver.key"),
            Some("/etc/kubernetes/pki/apiserver.key".into())
        );
        assert_eq!(
            host("/pki/etcd/ca.crt"),
            Some("/srv/etcd-pki/ca.crt".into())
        );
        assert_eq!(host("/policy.yaml"), Some("/etc/audit.yaml".into()));
        assert_eq!(host("/elsewhere"), None);
    }

    #[test]
    fn other_files_are_refused_with_what_they_are() {
        let refused = |text: &str| parse(Path::new("x.yaml"), text).unwrap_err().to_string();
        assert!(refused("a: [").contains("x.yaml is no manifest of a Pod"));
        assert!(refused("kind: Deployment\nspec: {containers: []}").contains("Deployment"));
        let bare = "kind: Pod\nspec:\n  containers:\n  - command: [kube-apiserver]\n    volumeMounts:\n  volumes:\n";
        assert_eq!(parse(Path::new("x"), bare).unwrap().mounts, []);
        let etcd = "kind: Pod\nspec: {containers: [{command: [etcd]}]}";
        assert!(refused(etcd).contains("no container of this Pod runs kube-apiserver"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>(), place in 0..MANIFEST.len()) {
            let _ = parse(Path::new("x"), &text);
            if MANIFEST.is_char_boundary(place) {
                let (before, after) = MANIFEST.split_at(place);
                let _ = parse(Path::new("x"), &format!("{before}{text}{after}"));
            }
        }
    }
}
