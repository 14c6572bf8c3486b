//! Members of etcd, and what they hold.

use std::fs;

use tempfile::TempDir;

use crate::support::{Etcd, EtcdOptions, Front};
use crate::{Diagnosis, free_address, version_of};

#[test]
fn an_etcd_that_is_too_old() {
    let etcd = Etcd::start();
    let (front, version) = Front::of_version(etcd.address(), &version_of(&etcd));
    Diagnosis::of(&[&format!("--etcd={}", front.endpoint())]).has(
        "warning",
        "version",
        &[
            &front.endpoint(),
            &version,
            "3.5.24",
            "3.6.9",
            "upgrade etcd",
        ],
    );
}

#[test]
fn an_etcd_that_is_unreachable() {
    let etcd = Etcd::start();
    let nobody = free_address();
    let routes = [
        format!("--route=127.0.0.1:1={}", etcd.endpoint()),
        format!("--route=127.0.0.1:2=http://{nobody}"),
    ];
    Diagnosis::of(&[&routes[0], &routes[1]])
        .has(
            "error",
            "reachability",
            &[&nobody, "Connection refused", "check that it runs"],
        )
        // The other one is looked at all the same.
        .has_nothing_of("cluster");
    etcd.freeze();
    let frozen = Diagnosis::of(&[&format!("--etcd={}", etcd.endpoint())]);
    frozen.has(
        "error",
        "reachability",
        &["takes connections and does not answer"],
    );
    etcd.thaw();
}

#[test]
fn members_of_several_clusters() {
    let first = Etcd::start();
    let second = Etcd::start_with(EtcdOptions {
        cluster_token: "another".to_owned(),
        ..EtcdOptions::default()
    });
    let routes = [
        format!("--route=127.0.0.1:1={}", first.endpoint()),
        format!("--route=127.0.0.1:2={}", second.endpoint()),
    ];
    Diagnosis::of(&[&routes[0], &routes[1]]).has(
        "error",
        "cluster",
        &[
            &first.endpoint(),
            &second.endpoint(),
            "of its own for each cluster",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_are_encrypted_at_rest() {
    let etcd = Etcd::start();
    let mut client = etcd.client().await;
    let encrypted = "k8s:enc:aescbc:v1:key1:xxxx";
    client
        .put("/registry/secrets/n/a", encrypted, None)
        .await
        .unwrap();
    let own = format!("--etcd={}", etcd.endpoint());
    Diagnosis::of(&[&own]).has("hint", "encryption", &["secrets (aescbc:v1)"]);
    client
        .put("/registry/pods/n/a", encrypted, None)
        .await
        .unwrap();
    Diagnosis::of(&[&own]).has(
        "warning",
        "encryption",
        &["pods (aescbc:v1)", "--encryption-provider-config"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_may_not_read() {
    let etcd = Etcd::start();
    let mut client = etcd.client().await;
    client.put("/registry/pods/n/a", "{}", None).await.unwrap();
    for (name, role) in [("root", "root"), ("half", "half")] {
        client.user_add(name, "password", None).await.unwrap();
        client.role_add(role).await.unwrap();
        client.user_grant_role(name, role).await.unwrap();
    }
    etcd.etcdctl(&[
        "role",
        "grant-permission",
        "half",
        "read",
        "/registry/pods/",
        "--prefix",
    ]);
    client.auth_enable().await.unwrap();
    let folder = TempDir::new().unwrap();
    let password = folder.path().join("password");
    fs::write(&password, "password\n").unwrap();
    let own = format!("--etcd={}", etcd.endpoint());
    let password = format!("--ledger-password-file={}", password.display());
    Diagnosis::of(&[&own]).has_nothing_of("reachability").has(
        "error",
        "permissions",
        &["user name is empty", "--ledger-user"],
    );
    Diagnosis::of(&[&own, "--ledger-user=half", &password]).has(
        "error",
        "permissions",
        &["permission denied", "docs/tail.md"],
    );
    Diagnosis::of(&[&own, "--ledger-user=root", &password]).has_nothing_of("permissions");
}

#[test]
fn a_clock_that_is_off() {
    let etcd = Etcd::start();
    let front = Front::of_the_past(etcd.address());
    Diagnosis::of(&[&format!("--etcd={}", front.endpoint())]).has(
        "warning",
        "clock",
        &[
            &front.endpoint(),
            "behind the clock of this host",
            "time server",
        ],
    );
}
