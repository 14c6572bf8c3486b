//! A systemd service: the packaged unit with this node's files, and its settings.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::{Settings, TlsFiles};

/// The packaged unit, which is for kubeadm's default paths.
const UNIT: &str = include_str!("../../../packaging/systemd/cascade-interceptor.service");

/// Where the unit goes.
pub(super) const UNIT_FILE: &str = "/etc/systemd/system/cascade-interceptor.service";
/// Where its settings go.
pub(super) const SETTINGS_FILE: &str = "/etc/cascade/interceptor.toml";
/// Where the unit keeps the trace (`StateDirectory`).
pub(super) const TRACE_DIR: &str = "/var/lib/cascade";

/// The files that make it.
pub(super) fn files(settings: &Settings) -> Vec<(PathBuf, String)> {
    vec![
        (SETTINGS_FILE.into(), configuration(settings)),
        (UNIT_FILE.into(), unit(settings)),
    ]
}

/// The configuration file. It holds no secret.
fn configuration(settings: &Settings) -> String {
    let mut text =
        "# Made by `cascade-interceptor install kubeadm`; the keys are the flags of `serve`.\n"
            .to_owned();
    for (key, values) in settings.plain() {
        // JSON's strings are TOML's.
        let quoted = values
            .iter()
            .map(|value| serde_json::Value::from(value.as_str()).to_string());
        let quoted: Vec<_> = quoted.collect();
        let value = match (key, quoted.as_slice()) {
            ("listen" | "etcd", [value]) => value.clone(),
            (_, several) => format!("[{}]", several.join(", ")),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{key} = {value}");
    }
    text
}

/// The unit. What names a file of kubeadm's names this node's; without TLS nothing does.
fn unit(settings: &Settings) -> String {
    let mut text = String::new();
    for line in UNIT.lines() {
        let credential = line.strip_prefix("LoadCredential=");
        let named = credential.and_then(|credential| credential.split_once(':'));
        match (&settings.tls, named) {
            (Some(tls), Some((name, packaged))) => {
                let file = credential_file(tls, name).unwrap_or(Path::new(packaged));
                let _ = writeln!(text, "LoadCredential={name}:{}", file.display());
            }
            (None, Some(_)) => {}
            (None, None) if line.contains("%d/") => {}
            (None, None) if line.starts_with("# The service cannot read root's keys") => {}
            _ => {
                let _ = writeln!(text, "{line}");
            }
        }
    }
    text
}

/// The file that systemd hands over under a name.
fn credential_file<'a>(tls: &'a TlsFiles, name: &str) -> Option<&'a Path> {
    Some(match name {
        "cert" => &tls.server.0,
        "key" => &tls.server.1,
        "client-ca" | "etcd-ca" => &tls.authority,
        "etcd-cert" => &tls.client.0,
        "etcd-key" => &tls.client.1,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install::testing::settings;

    #[test]
    fn the_packaged_unit_is_that_of_kubeadms_default_paths() {
        let files = files(&settings(Some("/etc/kubernetes/pki"), 1));
        let [(_, configuration), (_, unit)] = files.as_slice() else {
            panic!("{files:?}")
        };
        assert_eq!(unit, UNIT);
        let packaged = include_str!("../../../packaging/systemd/interceptor.toml");
        let keys = |text: &str| {
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(keys(configuration), keys(packaged));
    }

    #[test]
    fn other_paths_several_members_and_plain_text() {
        let elsewhere = files(&settings(Some("/srv/pki"), 2));
        let text = elsewhere
            .iter()
            .map(|(_, text)| text.as_str())
            .collect::<String>();
        assert!(
            text.contains("LoadCredential=etcd-key:/srv/pki/apiserver-etcd-client.key\n"),
            "{text}"
        );
        assert!(!text.contains("/etc/kubernetes"), "{text}");
        let routes = "route = [\"127.0.0.1:2479=https://etcd-0:2379\", \"127.0.0.1:2480=https://etcd-1:2379\"]\n";
        assert!(text.contains(routes), "{text}");
        let plain = files(&settings(None, 1));
        let text = plain
            .iter()
            .map(|(_, text)| text.as_str())
            .collect::<String>();
        assert!(
            !text.contains("LoadCredential") && !text.contains("%d"),
            "{text}"
        );
        assert!(!text.contains("allowed-cn"), "{text}");
        assert!(
            text.contains("CASCADE_CONFIG=/etc/cascade/interceptor.toml"),
            "{text}"
        );
    }
}
