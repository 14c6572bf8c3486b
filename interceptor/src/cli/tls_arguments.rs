//! Flags about TLS and who is who; the names are etcd's where etcd has them.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::arguments::{Switch, duration};
use crate::tls::{CipherSuite, ClientName, TlsVersion};

/// Flags about the leg towards kube-apiserver.
#[derive(Debug, Args)]
#[command(next_help_heading = "TLS towards kube-apiserver")]
pub(super) struct ClientLegArguments {
    /// Certificate that kube-apiserver is shown, PEM, with intermediate ones; makes listeners speak TLS
    #[arg(long, env = "CASCADE_CERT", value_name = "FILE")]
    pub(super) cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, env = "CASCADE_KEY", value_name = "FILE")]
    pub(super) key: Option<PathBuf>,
    /// CA that certificates of clients must be signed by, PEM
    #[arg(long, env = "CASCADE_CLIENT_CA", value_name = "FILE")]
    pub(super) client_ca: Option<PathBuf>,
    /// Revocation list for certificates of clients, PEM or DER
    #[arg(long, env = "CASCADE_CLIENT_CRL_FILE", value_name = "FILE")]
    pub(super) client_crl_file: Option<PathBuf>,
    /// Admit only clients whose certificate has one of these common names
    #[arg(
        long,
        env = "CASCADE_CLIENT_ALLOWED_CN",
        value_name = "CN",
        value_delimiter = ','
    )]
    pub(super) client_allowed_cn: Vec<String>,
    /// Admit only clients whose certificate is for one of these host names or IP addresses
    #[arg(
        long,
        env = "CASCADE_CLIENT_ALLOWED_HOSTNAME",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub(super) client_allowed_hostname: Vec<ClientName>,
    /// Let everybody who can connect do everything with etcd
    #[arg(
        long,
        env = "CASCADE_INSECURE_NO_CLIENT_AUTH",
        value_name = "on|off",
        hide_possible_values = true,
        num_args = 0..=1,
        require_equals = true,
        default_value = "off",
        default_missing_value = "on"
    )]
    pub(super) insecure_no_client_auth: Switch,
}

/// Flags about connections to etcd.
#[derive(Debug, Args)]
#[command(next_help_heading = "TLS and user towards etcd")]
pub(super) struct EtcdLegArguments {
    /// CA that etcd's certificate must be signed by, PEM; needed for https:// URLs
    #[arg(long, env = "CASCADE_ETCD_CA", value_name = "FILE")]
    pub(super) etcd_ca: Option<PathBuf>,
    /// Client certificate to show to etcd, PEM
    #[arg(long, env = "CASCADE_ETCD_CERT", value_name = "FILE")]
    pub(super) etcd_cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, env = "CASCADE_ETCD_KEY", value_name = "FILE")]
    pub(super) etcd_key: Option<PathBuf>,
    /// Name that etcd's certificate must hold [default: the host of the URL]
    #[arg(long, env = "CASCADE_ETCD_SERVER_NAME", value_name = "NAME")]
    pub(super) etcd_server_name: Option<String>,
    /// Lowest version of TLS, on both legs and of the trace server
    #[arg(
        long,
        env = "CASCADE_TLS_MIN_VERSION",
        value_name = "VERSION",
        default_value = "TLS1.2"
    )]
    pub(super) tls_min_version: TlsVersion,
    /// Highest version of TLS, on both legs and of the trace server
    #[arg(
        long,
        env = "CASCADE_TLS_MAX_VERSION",
        value_name = "VERSION",
        default_value = "TLS1.3"
    )]
    pub(super) tls_max_version: TlsVersion,
    /// Cipher suites by IANA's names, on both legs and of the trace server [default: all that are supported]
    #[arg(
        long,
        env = "CASCADE_CIPHER_SUITES",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub(super) cipher_suites: Vec<CipherSuite>,
    /// Longest time for a handshake, on both legs and with the trace server
    #[arg(
        long,
        env = "CASCADE_HANDSHAKE_TIMEOUT",
        value_name = "DURATION",
        default_value = "10s",
        value_parser = duration
    )]
    pub(super) handshake_timeout: Duration,
    /// User of etcd for the ledger's own connection, if etcd's authentication is on
    #[arg(long, env = "CASCADE_LEDGER_USER", value_name = "NAME")]
    pub(super) ledger_user: Option<String>,
    /// File with that user's password
    #[arg(long, env = "CASCADE_LEDGER_PASSWORD_FILE", value_name = "FILE")]
    pub(super) ledger_password_file: Option<PathBuf>,
}
