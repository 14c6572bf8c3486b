//! Certificates of both legs.

use std::fs;
use std::sync::Arc;

use rcgen::ExtendedKeyUsagePurpose;
use tempfile::TempDir;

use crate::support::certificates::Authority;
use crate::support::pki::{NAMES, Pki};
use crate::support::{Etcd, EtcdOptions};
use crate::{Diagnosis, MODEST, free_address, manifest};

/// An etcd that speaks TLS, with certificates changed before it starts.
fn changed_site(change: impl FnOnce(&Pki)) -> (Etcd, Arc<Pki>) {
    let pki = Pki::new();
    change(&pki);
    let etcd = Etcd::start_with(EtcdOptions {
        tls: Some(pki.flags()),
        ..EtcdOptions::default()
    });
    (etcd, Arc::new(pki))
}

/// Diagnosis of an interceptor in front of an etcd with TLS.
fn with_tls(etcd: &Etcd, pki: &Pki, more: &[&str]) -> Diagnosis {
    let own = [
        vec![
            "--listen=127.0.0.1:2479".to_owned(),
            format!("--etcd={}", etcd.endpoint()),
            format!("--metrics-listen={}", free_address()),
        ],
        pki.listen_flags(),
        pki.upstream_flags(),
    ]
    .concat();
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    Diagnosis::of(&[&own[..], more, &MODEST].concat())
}

#[test]
fn expired_certificates() {
    let expired = |parameters: &mut rcgen::CertificateParams| {
        parameters.not_before = rcgen::date_time_ymd(2019, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2020, 1, 1);
    };
    let (etcd, pki) = changed_site(|pki| {
        let issued = |name| pki.authority.issue_with(name, &NAMES, expired);
        pki.add("etcd-client", &issued("cascade"));
        pki.add("interceptor", &issued("interceptor"));
    });
    with_tls(&etcd, &pki, &[])
        .has(
            "error",
            "certificates",
            &[
                "--etcd-cert",
                "certificate of cascade expired on 2020-01-01",
                "kubeadm certs renew apiserver-etcd-client",
            ],
        )
        .has(
            "error",
            "certificates",
            &["--cert", "expired on 2020-01-01", "renew etcd-server"],
        )
        // And what came of it.
        .has("error", "reachability", &["etcd refuses the interceptor"]);

    let (etcd, pki) = changed_site(|pki| {
        pki.add("server", &pki.authority.issue_with("etcd", &NAMES, expired));
    });
    with_tls(&etcd, &pki, &[])
        .has_nothing_of("certificates")
        .has(
            "error",
            "reachability",
            &["certificate expired", "kubeadm certs renew etcd-server"],
        );
}

#[test]
fn certificates_that_end_soon() {
    let (etcd, pki) = changed_site(|pki| {
        let issued = pki.authority.issue_with("cascade", &NAMES, |parameters| {
            let now = std::time::SystemTime::now();
            let soon = now + std::time::Duration::from_secs(7 * 24 * 60 * 60);
            parameters.not_after = soon.into();
        });
        pki.add("etcd-client", &issued);
    });
    with_tls(&etcd, &pki, &[]).has(
        "warning",
        "certificates",
        &["--etcd-cert", "expires on", "renew"],
    );
}

#[test]
fn a_wrong_ca() {
    let (etcd, pki) = changed_site(|pki| {
        // kubeadm calls the CAs of all clusters alike.
        Authority::new("etcd-ca").write(pki.folder(), "other");
        pki.add("stranger", &Authority::new("etcd-ca").issue("cascade", &[]));
    });
    let other = format!("--etcd-ca={}", pki.file("other.crt"));
    let own = format!("--etcd={}", etcd.endpoint());
    Diagnosis::of(&[&own, &other]).has(
        "error",
        "reachability",
        &["not signed by the CA given with --etcd-ca"],
    );
    let files = [
        format!("--etcd-ca={}", pki.file("ca.crt")),
        format!("--etcd-cert={}", pki.file("stranger.crt")),
        format!("--etcd-key={}", pki.file("stranger.key")),
    ];
    Diagnosis::of(&[&own, &files[0], &files[1], &files[2]]).has(
        "error",
        "reachability",
        &[
            "compare --etcd-cert with etcd's --trusted-ca-file",
            "checked against --etcd-ca",
        ],
    );
    // kube-apiserver trusts another CA than the one that signed what it is shown.
    let folder = TempDir::new().unwrap();
    let flags = [
        "--etcd-servers=https://127.0.0.1:2479".to_owned(),
        format!("--etcd-cafile={}", pki.file("other.crt")),
        format!("--etcd-certfile={}", pki.file("stranger.crt")),
    ];
    let manifest = manifest(&folder, &flags, &[pki.folder().to_str().unwrap()]);
    with_tls(&etcd, &pki, &[&manifest])
        .has(
            "error",
            "certificates",
            &["--cert", "kube-apiserver", "other.crt"],
        )
        .has(
            "error",
            "certificates",
            &[
                "stranger.crt",
                "must be signed by the CA given with --client-ca",
            ],
        );
}

#[test]
fn a_wrong_name() {
    let (etcd, pki) = changed_site(|pki| {
        pki.add("server", &pki.authority.issue("etcd", &["etcd.local"]));
        pki.add(
            "interceptor",
            &pki.authority.issue("interceptor", &["shim.local"]),
        );
    });
    with_tls(&etcd, &pki, &[])
        .has(
            "error",
            "reachability",
            &["does not hold the host", "--etcd-server-name"],
        )
        .has(
            "error",
            "certificates",
            &[
                "--cert",
                "not for 127.0.0.1; it is for shim.local",
                "subjectAltName",
            ],
        );
    with_tls(&etcd, &pki, &["--etcd-server-name=etcd.local"]).has_nothing_of("reachability");
}

#[test]
fn a_missing_client_key_usage() {
    let (etcd, pki) = changed_site(|pki| {
        let issued = pki.authority.issue_with("cascade", &[], |parameters| {
            parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        });
        pki.add("etcd-client", &issued);
    });
    with_tls(&etcd, &pki, &[])
        .has(
            "error",
            "certificates",
            &[
                "--etcd-cert",
                "lacks the extended key usage clientAuth",
                "issue it again",
            ],
        )
        .has("error", "reachability", &["clientAuth"]);
}

#[test]
fn files_that_are_no_certificates() {
    let (etcd, pki) = changed_site(|_| {});
    fs::write(pki.folder().join("interceptor.key"), "nothing").unwrap();
    fs::remove_file(pki.folder().join("etcd-client.crt")).unwrap();
    let diagnosis = with_tls(&etcd, &pki, &[]);
    diagnosis
        .has("error", "certificates", &["--key", "holds no private key"])
        .has("error", "certificates", &["cannot read --etcd-cert"]);
    assert_eq!(diagnosis.outcome("reachability"), "not_checked");
}

#[test]
fn listeners_that_let_anyone_in() {
    let (etcd, pki) = changed_site(|_| {});
    let files = pki.upstream_flags();
    let own = format!("--etcd={}", etcd.endpoint());
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let plain = [&own, "--listen=0.0.0.0:2479"];
    Diagnosis::of(&[&plain[..], &files].concat()).has(
        "error",
        "exposure",
        &["takes plain text from other hosts"],
    );
    with_tls(&etcd, &pki, &["--insecure-no-client-auth"]).has(
        "warning",
        "exposure",
        &["may do everything"],
    );
}
