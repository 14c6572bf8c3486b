//! A static pod.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::Settings;

/// Where the kubelet looks for static pods, as kubeadm sets it up.
pub(super) const MANIFEST_FILE: &str = "/etc/kubernetes/manifests/cascade-interceptor.yaml";
/// Where it keeps the trace.
pub(super) const TRACE_DIR: &str = "/var/lib/cascade";

/// The files that make it: its manifest.
pub(super) fn files(settings: &Settings, image: &str) -> Vec<(PathBuf, String)> {
    vec![(MANIFEST_FILE.into(), manifest(settings, image))]
}

/// The manifest, in the style of kubeadm's. It runs as root, which the keys belong to.
fn manifest(settings: &Settings, image: &str) -> String {
    let mut command = vec!["cascade-interceptor".to_owned(), "serve".to_owned()];
    for (flag, values) in settings.plain() {
        let flags = values.iter().map(|value| format!("--{flag}={value}"));
        command.extend(flags);
    }
    let mut mounts = vec![(settings.trace_dir.clone(), "trace".to_owned(), false)];
    if let Some(tls) = &settings.tls {
        let files = [
            ("cert", &tls.server.0),
            ("key", &tls.server.1),
            ("client-ca", &tls.authority),
            ("etcd-ca", &tls.authority),
            ("etcd-cert", &tls.client.0),
            ("etcd-key", &tls.client.1),
        ];
        command.extend(files.map(|(flag, file)| format!("--{flag}={}", file.display())));
        mounts.extend(folders(&files.map(|(_, file)| file.as_path())));
    }
    command.push(format!("--trace-dir={}", settings.trace_dir.display()));
    let mut text = "\
apiVersion: v1
kind: Pod
metadata:
  labels:
    component: cascade-interceptor
    tier: control-plane
  name: cascade-interceptor
  namespace: kube-system
spec:
  containers:
  - command:
"
    .to_owned();
    for word in command {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "    - {}", scalar(&word));
    }
    let _ = writeln!(text, "    image: {}", scalar(image));
    text.push_str(
        "    imagePullPolicy: IfNotPresent
    livenessProbe:
      failureThreshold: 3
      httpGet:
        host: 127.0.0.1
        path: /healthz
        port: 2390
      periodSeconds: 10
      timeoutSeconds: 15
    name: cascade-interceptor
    resources:
      requests:
        cpu: 100m
    securityContext:
      allowPrivilegeEscalation: false
      capabilities:
        drop:
        - ALL
      readOnlyRootFilesystem: true
    volumeMounts:
",
    );
    for (path, name, read_only) in &mounts {
        let _ = writeln!(
            text,
            "    - mountPath: {}\n      name: {name}",
            scalar(&path.display().to_string())
        );
        if *read_only {
            text.push_str("      readOnly: true\n");
        }
    }
    text.push_str(
        "  hostNetwork: true
  priority: 2000001000
  priorityClassName: system-node-critical
  securityContext:
    seccompProfile:
      type: RuntimeDefault
  terminationGracePeriodSeconds: 60
  volumes:
",
    );
    for (path, name, read_only) in &mounts {
        let kind = match read_only {
            // Missing keys must be told, not made up for by an empty folder.
            true => "Directory",
            false => "DirectoryOrCreate",
        };
        let path = scalar(&path.display().to_string());
        let _ = writeln!(
            text,
            "  - hostPath:\n      path: {path}\n      type: {kind}\n    name: {name}"
        );
    }
    text
}

/// The folders that files are in, those within others left out. Folders, not files: a renewed
/// certificate is another file, and a mounted file stays the old one.
fn folders(files: &[&Path]) -> Vec<(PathBuf, String, bool)> {
    let parents = files.iter().filter_map(|file| file.parent());
    let mut folders: Vec<&Path> = parents.collect();
    folders.sort();
    folders.dedup();
    let within = |folder: &Path| {
        let mut others = folders.iter().filter(|other| **other != folder);
        others.any(|other| folder.starts_with(other))
    };
    let outer = folders.iter().filter(|folder| !within(folder));
    outer
        .enumerate()
        .map(|(number, folder)| (folder.to_path_buf(), format!("pki-{number}"), true))
        .collect()
}

/// A YAML scalar: as it is where that is safe, else quoted. JSON's strings are YAML's.
fn scalar(text: &str) -> String {
    let safe = |character: char| character.is_ascii_alphanumeric() || "-_./=:".contains(character);
    let plain =
        text.chars().all(safe) && !text.ends_with(':') && text.contains(char::is_alphabetic);
    match plain {
        true => text.to_owned(),
        false => serde_json::Value::from(text).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::install::testing::settings;

    #[test]
    fn a_pod_that_has_all_its_files() {
        let files = files(
            &settings(Some("/etc/kubernetes/pki"), 2),
            "example.org/cascade:1",
        );
        let (_, text) = files.first().unwrap();
        let pod: Value = serde_saphyr::from_str(text).unwrap();
        let container = &pod["spec"]["containers"][0];
        let words: Vec<_> = container["command"].as_array().unwrap().iter().collect();
        assert_eq!(words[0], "cascade-interceptor");
        assert_eq!(words[2], "--route=127.0.0.1:2479=https://etcd-0:2379");
        assert_eq!(container["image"], "example.org/cascade:1");
        let mounts = container["volumeMounts"].as_array().unwrap();
        let paths: Vec<_> = mounts.iter().map(|mount| &mount["mountPath"]).collect();
        assert_eq!(paths, ["/var/lib/cascade", "/etc/kubernetes/pki"]);
        let volumes = pod["spec"]["volumes"].as_array().unwrap();
        assert_eq!(volumes.len(), mounts.len());
        assert_eq!(volumes[1]["hostPath"]["path"], "/etc/kubernetes/pki");
        assert_eq!(volumes[1]["name"], mounts[1]["name"]);
    }

    #[test]
    fn scalars_mean_what_they_are() {
        for text in [
            "a", "--x=1", "2379", "", "a: b", "#", "true", "a\"b", "x:", "ü",
        ] {
            let parsed: Value = serde_saphyr::from_str(&format!("- {}\n", scalar(text))).unwrap();
            match text {
                "true" => {} // no flag, path or image is called so
                _ => assert_eq!(parsed[0], text, "{}", scalar(text)),
            }
        }
    }
}
