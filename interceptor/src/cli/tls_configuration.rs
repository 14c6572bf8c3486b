//! From flags about TLS to loaded certificates.

use std::path::PathBuf;

use super::Failure;
use super::arguments::Switch;
use super::tls_arguments::{ClientLegArguments, EtcdLegArguments};
use crate::ledger::{ConnectSettings, EtcdUser};
use crate::run::TlsLegs;
use crate::tls::{
    AllowedClients, ClientTls, ClientTlsSettings, NamedFile, ServerTls, ServerTlsSettings, Side,
    TlsError, TlsPolicy,
};
use crate::transport::Upstream;

/// Checks the flags of both legs, and reads the files. `etcd_speaks_tls`: whether some member does.
pub(super) fn legs(
    clients: Option<ClientLegArguments>,
    etcd: &EtcdLegArguments,
    members: &[&Upstream],
) -> Result<TlsLegs, Failure> {
    let policy = policy(etcd)?;
    let admit_anyone = clients
        .as_ref()
        .is_some_and(|clients| clients.insecure_no_client_auth == Switch::On);
    let clients = match clients {
        None => None,
        Some(clients) => client_settings(clients, etcd, &policy)?,
    };
    let clients = clients.map(ServerTls::load).transpose()?;
    let etcd = etcd_settings(etcd, policy, members)?;
    let etcd = etcd.map(ClientTls::load).transpose()?;
    if let Some(tls) = &etcd {
        for member in members.iter().filter(|member| member.uses_tls()) {
            tls.name_of(member.host())?;
        }
    }
    Ok(TlsLegs {
        clients,
        etcd,
        admit_anyone,
    })
}

/// Versions and cipher suites.
pub(super) fn policy(arguments: &EtcdLegArguments) -> Result<TlsPolicy, Failure> {
    Ok(TlsPolicy::new(
        arguments.tls_min_version,
        arguments.tls_max_version,
        &arguments.cipher_suites,
    )?)
}

/// Checks the flags of the leg towards kube-apiserver. No file is read.
pub(super) fn client_settings(
    arguments: ClientLegArguments,
    etcd: &EtcdLegArguments,
    policy: &TlsPolicy,
) -> Result<Option<ServerTlsSettings>, Failure> {
    let allowed_clients = allowed_clients(&arguments)?;
    let (certificate, key) = match (arguments.cert, arguments.key) {
        (Some(certificate), Some(key)) => (certificate, key),
        (None, None) => {
            let useless = [
                ("--client-ca", arguments.client_ca.is_some()),
                ("--client-crl-file", arguments.client_crl_file.is_some()),
                (
                    "--client-allowed-cn",
                    !arguments.client_allowed_cn.is_empty(),
                ),
                (
                    "--client-allowed-hostname",
                    !arguments.client_allowed_hostname.is_empty(),
                ),
            ];
            return match useless.into_iter().find(|(_, given)| *given) {
                None => Ok(None),
                Some((flag, _)) => Err(Failure::usage(format!(
                    "{flag} needs --cert FILE and --key FILE: without TLS clients show no certificate"
                ))),
            };
        }
        (Some(_), None) => return Err(Failure::usage("--cert needs --key FILE: its private key")),
        (None, Some(_)) => return Err(Failure::usage("--key needs --cert FILE: its certificate")),
    };
    let checks_clients =
        allowed_clients != AllowedClients::Any || arguments.client_crl_file.is_some();
    if checks_clients && arguments.client_ca.is_none() {
        return Err(Failure::usage(
            "--client-crl-file, --client-allowed-cn and --client-allowed-hostname need --client-ca \
             FILE: the CA of the clients' certificates",
        ));
    }
    let settings = ServerTlsSettings {
        side: Side::Clients,
        certificate: named("--cert", certificate),
        key: named("--key", key),
        client_authorities: arguments.client_ca.map(|path| named("--client-ca", path)),
        client_revocations: arguments
            .client_crl_file
            .map(|path| named("--client-crl-file", path)),
        allowed_clients,
        policy: policy.clone(),
        handshake_timeout: etcd.handshake_timeout,
    };
    Ok(Some(settings))
}

fn allowed_clients(arguments: &ClientLegArguments) -> Result<AllowedClients, Failure> {
    let common_names = arguments.client_allowed_cn.clone();
    let hostnames = arguments.client_allowed_hostname.clone();
    match (common_names.is_empty(), hostnames.is_empty()) {
        (true, true) => Ok(AllowedClients::Any),
        (false, true) => Ok(AllowedClients::CommonNames(common_names)),
        (true, false) => Ok(AllowedClients::Hostnames(hostnames)),
        (false, false) => Err(Failure::usage(
            "give --client-allowed-cn or --client-allowed-hostname, not both: it would not be \
             clear whether a client must have one or the other",
        )),
    }
}

/// Checks the flags of the leg towards etcd. No file is read.
pub(super) fn etcd_settings(
    arguments: &EtcdLegArguments,
    policy: TlsPolicy,
    members: &[&Upstream],
) -> Result<Option<ClientTlsSettings>, Failure> {
    let identity = match (&arguments.etcd_cert, &arguments.etcd_key) {
        (Some(certificate), Some(key)) => Some((
            named("--etcd-cert", certificate.clone()),
            named("--etcd-key", key.clone()),
        )),
        (None, None) => None,
        (Some(_), None) => {
            return Err(Failure::usage(
                "--etcd-cert needs --etcd-key FILE: its private key",
            ));
        }
        (None, Some(_)) => {
            return Err(Failure::usage(
                "--etcd-key needs --etcd-cert FILE: its certificate",
            ));
        }
    };
    let with_tls = members.iter().find(|member| member.uses_tls());
    let given = [
        ("--etcd-ca", arguments.etcd_ca.is_some()),
        ("--etcd-cert", identity.is_some()),
        ("--etcd-server-name", arguments.etcd_server_name.is_some()),
    ];
    let given = given.into_iter().find(|(_, given)| *given);
    match (with_tls, given, &arguments.etcd_ca) {
        (None, None, _) => Ok(None),
        // Forgotten letters would send everything in plain text.
        (None, Some((flag, _)), _) => Err(Failure::usage(format!(
            "{flag} is of no use: no URL of etcd begins with https:// (or unixs://)"
        ))),
        (Some(member), _, None) => Err(TlsError::NoAuthority(member.url()).into()),
        (Some(_), _, Some(authorities)) => Ok(Some(ClientTlsSettings {
            authorities: named("--etcd-ca", authorities.clone()),
            identity,
            server_name: arguments.etcd_server_name.clone(),
            policy,
            handshake_timeout: arguments.handshake_timeout,
        })),
    }
}

/// How the ledger connects.
pub(super) fn ledger_connection(
    arguments: &EtcdLegArguments,
    tls: &TlsLegs,
) -> Result<ConnectSettings, Failure> {
    Ok(ConnectSettings {
        tls: tls.etcd.clone(),
        user: ledger_user(arguments)?,
        ..ConnectSettings::default()
    })
}

/// Who the ledger is to etcd.
pub(super) fn ledger_user(arguments: &EtcdLegArguments) -> Result<Option<EtcdUser>, Failure> {
    match (&arguments.ledger_user, &arguments.ledger_password_file) {
        (None, None) => Ok(None),
        (Some(name), Some(password_file)) => {
            let user = EtcdUser {
                name: name.clone(),
                password_file: password_file.clone(),
            };
            user.password()
                .map_err(|error| Failure::usage(format!("--ledger-password-file: {error}")))?;
            Ok(Some(user))
        }
        (Some(_), None) => Err(Failure::usage(
            "--ledger-user needs --ledger-password-file FILE",
        )),
        (None, Some(_)) => Err(Failure::usage(
            "--ledger-password-file needs --ledger-user NAME",
        )),
    }
}

pub(super) fn named(flag: &'static str, path: PathBuf) -> NamedFile {
    NamedFile { flag, path }
}

impl From<TlsError> for Failure {
    fn from(error: TlsError) -> Self {
        Self::usage(error.to_string())
    }
}
