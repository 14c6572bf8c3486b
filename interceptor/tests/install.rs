//! `install kubeadm` prints patches that `patch` takes, and nothing else changes.

// Helpers of tests fail by panicking, but clippy's exemption covers `#[test]` functions only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::interceptor_command;
use support::patch::patch;
use tempfile::TempDir;

/// As `kubeadm init phase control-plane apiserver` of 1.34.4 writes it.
const MANIFEST: &str = include_str!("../../testdata/kubeadm/kube-apiserver.yaml");

/// A folder with a manifest in it.
struct Node {
    folder: TempDir,
    manifest: PathBuf,
}

impl Node {
    fn with(manifest: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("kube-apiserver.yaml");
        fs::write(&path, manifest).unwrap();
        Self {
            folder,
            manifest: path,
        }
    }

    /// Exit code, standard output, standard error.
    fn install(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = interceptor_command()
            .args(["install", "kubeadm", "--print", "--manifest"])
            .arg(&self.manifest)
            .args(arguments)
            .output()
            .unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }

    #[track_caller]
    fn prints(&self, arguments: &[&str]) -> String {
        let (code, text, message) = self.install(arguments);
        assert_eq!(code, 0, "{message}");
        text
    }

    #[track_caller]
    fn refuses(&self, arguments: &[&str], parts: &[&str]) {
        let (code, _, message) = self.install(arguments);
        assert_eq!(code, 64, "{message}");
        for part in parts {
            assert!(message.contains(part), "no `{part}` in: {message}");
        }
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.manifest).unwrap()
    }
}

/// Lines that differ, of the first and of the second.
fn differing<'a>(before: &'a str, after: &'a str) -> Vec<(&'a str, &'a str)> {
    assert_eq!(before.lines().count(), after.lines().count());
    let lines = before.lines().zip(after.lines());
    lines.filter(|(before, after)| before != after).collect()
}

#[test]
fn one_line_of_kubeadms_manifest_changes_and_comes_back() {
    let node = Node::with(MANIFEST);
    let all = node.prints(&[]);
    assert_eq!(node.text(), MANIFEST, "nothing is changed by printing");
    let change = node.prints(&["--only=apiserver"]);
    assert!(all.contains(&change), "{all}");
    let root = Path::new("/");
    patch(root, &change, &[]);
    let changed = node.text();
    assert_eq!(
        differing(MANIFEST, &changed),
        [(
            "    - --etcd-servers=https://127.0.0.1:2379",
            "    - --etcd-servers=https://127.0.0.1:2479"
        )]
    );
    // Again: nothing to do.
    assert_eq!(node.prints(&["--only=apiserver"]), "");
    assert!(node.prints(&[]).contains("Nothing to do"));
    // The kubelet would run anything that is left beside it.
    assert_eq!(fs::read_dir(node.folder.path()).unwrap().count(), 1);
    patch(root, &change, &["--reverse"]);
    assert_eq!(node.text(), MANIFEST);
}

#[test]
fn everything_that_is_printed_is_one_patch_and_says_the_order() {
    let node = Node::with(MANIFEST);
    let all = node.prints(&[]);
    let order = [
        "# 1. The interceptor",
        "# 2. kube-apiserver",
        "# Back, in this order",
    ];
    let places: Vec<_> = order.iter().map(|step| all.find(step).unwrap()).collect();
    assert!(places.is_sorted(), "{all}");
    for part in [
        "systemctl enable --now cascade-interceptor",
        "Keep copies out of the folder of the manifests",
        "set --etcd-servers=https://127.0.0.1:2379 again",
        "systemctl disable --now cascade-interceptor",
        "kubeadm upgrade",
    ] {
        assert!(all.contains(part), "no `{part}` in {all}");
    }
    // In a folder in the place of `/`.
    let root = TempDir::new().unwrap();
    let manifest = root.path().join(node.manifest.strip_prefix("/").unwrap());
    fs::create_dir_all(manifest.parent().unwrap()).unwrap();
    fs::write(&manifest, MANIFEST).unwrap();
    patch(root.path(), &all, &[]);
    assert_eq!(
        differing(MANIFEST, &fs::read_to_string(&manifest).unwrap()).len(),
        1
    );
    let settings = fs::read_to_string(root.path().join("etc/cascade/interceptor.toml")).unwrap();
    assert!(settings.contains("listen = \"127.0.0.1:2479\"\netcd = \"https://127.0.0.1:2379\"\n"));
    assert!(settings.contains("client-allowed-cn = [\"kube-apiserver-etcd-client\"]"));
    let unit = root
        .path()
        .join("etc/systemd/system/cascade-interceptor.service");
    assert!(fs::read_to_string(unit).unwrap().contains("Type=notify"));
    patch(root.path(), &all, &["--reverse"]);
    assert_eq!(fs::read_to_string(&manifest).unwrap(), MANIFEST);
}

#[test]
fn a_static_pod_several_members_and_plain_text() {
    let several = "https://10.0.0.1:2379,https://10.0.0.2:2379";
    let node = Node::with(&MANIFEST.replace("https://127.0.0.1:2379", several));
    let change = node.prints(&["--only=apiserver", "--listen=127.0.0.1:9000"]);
    assert!(
        change.contains("+    - --etcd-servers=https://127.0.0.1:9000,https://127.0.0.1:9001\n"),
        "{change}"
    );
    let pod = node.prints(&[
        "--only=interceptor",
        "--image=example.org/x:1",
        "--cert=/c",
        "--key=/k",
    ]);
    for part in [
        "+++ b/etc/kubernetes/manifests/cascade-interceptor.yaml",
        "+    - --route=127.0.0.1:2480=https://10.0.0.2:2379\n",
        "+    - --cert=/c\n",
        "+    - --etcd-key=/etc/kubernetes/pki/apiserver-etcd-client.key\n",
        "+    image: example.org/x:1\n",
    ] {
        assert!(pod.contains(part), "no `{part}` in {pod}");
    }
    let all = node.prints(&[]);
    assert!(
        all.contains("NOTE: /etc/kubernetes/pki/etcd/server.crt is not on this host"),
        "{all}"
    );
    let plain = Node::with(&MANIFEST.replace("https://127.0.0.1:2379", "http://127.0.0.1:2379"));
    let change = plain.prints(&["--only=apiserver"]);
    assert!(
        change.contains("+    - --etcd-servers=http://127.0.0.1:2479\n"),
        "{change}"
    );
    assert!(
        !plain
            .prints(&["--only=interceptor"])
            .contains("LoadCredential")
    );
}

#[test]
fn what_is_not_clear_is_refused() {
    let changed = |servers: &str| Node::with(&MANIFEST.replace("https://127.0.0.1:2379", servers));
    changed("https://127.0.0.1:2479,https://10.0.0.1:2379")
        .refuses(&[], &["leads in part to 127.0.0.1:2479"]);
    changed("https://10.0.0.1:2379,http://10.0.0.2:2379").refuses(&[], &["with TLS and without"]);
    changed("ftp://x").refuses(&[], &["--etcd-servers", "ftp://x"]);
    let without = |flag: &str| {
        let lines = MANIFEST.lines().filter(|line| !line.contains(flag));
        Node::with(&lines.map(|line| format!("{line}\n")).collect::<String>())
    };
    without("--etcd-servers=").refuses(&[], &["no flag --etcd-servers"]);
    without("--etcd-keyfile=").refuses(&[], &["--etcd-keyfile is missing"]);
    Node::with("kind: Deployment\n").refuses(&[], &["no manifest of a Pod"]);
    let several = "https://10.0.0.1:2379,https://10.0.0.2:2379";
    changed(several).refuses(
        &["--listen=127.0.0.1:65535"],
        &["no port for each of 2 members"],
    );
    let doubled = MANIFEST.replace(
        "    - --etcd-servers=",
        "    - --v=2 --etcd-servers=https://127.0.0.1:2379\n    - --etcd-servers=",
    );
    Node::with(&doubled).refuses(
        &[],
        &["change it by hand to `--etcd-servers=https://127.0.0.1:2479`"],
    );
    let silent = interceptor_command()
        .args(["install", "kubeadm", "--manifest=x"])
        .output()
        .unwrap();
    assert_eq!(silent.status.code(), Some(64));
    assert!(
        String::from_utf8(silent.stderr)
            .unwrap()
            .contains("--print")
    );
}
