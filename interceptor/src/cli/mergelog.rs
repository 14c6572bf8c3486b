//! Flags of the trace server.

use std::path::PathBuf;

use clap::Args;

use super::arguments::Switch;
use super::tls_arguments::EtcdLegArguments;
use super::tls_configuration::named;
use super::{Failure, tls_configuration};
use crate::collectors::mergelog::TraceServerConfig;
use crate::run::{ListenAddress, TraceServerSettings};
use crate::tls::{AllowedClients, ServerTls, ServerTlsSettings, Side};

/// Flags of the trace server; it is off without the first.
#[derive(Debug, Args)]
pub(super) struct MergelogArguments {
    /// Address of the trace server, which takes mergelogs and spans over gRPC [default: none, off]
    #[arg(long, env = "CASCADE_MERGELOG_LISTEN", value_name = "HOST:PORT")]
    mergelog_listen: Option<ListenAddress>,
    /// Certificate chain that the trace server shows, PEM [default: plain text]
    #[arg(long, env = "CASCADE_MERGELOG_CERT", value_name = "FILE")]
    mergelog_cert: Option<PathBuf>,
    /// Private key of that certificate, PEM
    #[arg(long, env = "CASCADE_MERGELOG_KEY", value_name = "FILE")]
    mergelog_key: Option<PathBuf>,
    /// Clients of the trace server must show a certificate signed by one of these, PEM
    #[arg(long, env = "CASCADE_MERGELOG_CLIENT_CA", value_name = "FILE")]
    mergelog_client_ca: Option<PathBuf>,
    /// Let clients hide all mergelogs or spans from later answers; the trace keeps them
    #[arg(
        long,
        env = "CASCADE_MERGELOG_ALLOW_DELETE",
        value_name = "on|off",
        hide_possible_values = true,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "on",
        default_value = "off"
    )]
    mergelog_allow_delete: Switch,
    /// More requests to the trace server in a second are refused; their sender is told to come again
    #[arg(
        long,
        env = "CASCADE_MERGELOG_MAX_REQUESTS_PER_SECOND",
        value_name = "N",
        default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000)
    )]
    mergelog_max_requests_per_second: u32,
    /// Largest request to the trace server
    #[arg(
        long,
        env = "CASCADE_MERGELOG_MAX_MESSAGE_BYTES",
        value_name = "BYTES",
        default_value_t = 4 << 20,
        value_parser = clap::value_parser!(u32).range(1024..=64 << 20)
    )]
    mergelog_max_message_bytes: u32,
    /// Largest answer of the trace server; what would be larger is refused
    #[arg(
        long,
        env = "CASCADE_MERGELOG_MAX_ANSWER_BYTES",
        value_name = "BYTES",
        default_value_t = 32 << 20,
        value_parser = clap::value_parser!(u32).range(1024..=1 << 30)
    )]
    mergelog_max_answer_bytes: u32,
    /// Memory for the trace server's index of mergelogs, and as much of spans; posts are refused when
    /// it is full
    #[arg(
        long,
        env = "CASCADE_MERGELOG_MAX_INDEX_BYTES",
        value_name = "BYTES",
        default_value_t = 512 << 20,
        value_parser = clap::value_parser!(u64).range(1024..)
    )]
    mergelog_max_index_bytes: u64,
}

impl MergelogArguments {
    /// Checks that the flags fit together, and reads the certificates; `None` when the trace server is
    /// off. What `both_legs` says about versions, cipher suites and handshakes counts here too.
    pub(super) fn settings(
        self,
        both_legs: &EtcdLegArguments,
    ) -> Result<Option<TraceServerSettings>, Failure> {
        let Some(listen) = self.mergelog_listen else {
            let of_no_use = [
                ("--mergelog-cert", self.mergelog_cert.is_some()),
                ("--mergelog-key", self.mergelog_key.is_some()),
                ("--mergelog-client-ca", self.mergelog_client_ca.is_some()),
            ];
            return match of_no_use.into_iter().find(|(_, given)| *given) {
                Some((flag, _)) => Err(Failure::usage(format!(
                    "{flag} is of no use without --mergelog-listen"
                ))),
                None => Ok(None),
            };
        };
        let tls = match (self.mergelog_cert, self.mergelog_key) {
            (Some(certificate), Some(key)) => Some(ServerTlsSettings {
                side: Side::TraceServer,
                certificate: named("--mergelog-cert", certificate),
                key: named("--mergelog-key", key),
                client_authorities: self
                    .mergelog_client_ca
                    .map(|file| named("--mergelog-client-ca", file)),
                client_revocations: None,
                allowed_clients: AllowedClients::Any,
                policy: tls_configuration::policy(both_legs)?,
                handshake_timeout: both_legs.handshake_timeout,
            }),
            (None, None) if self.mergelog_client_ca.is_none() => None,
            (None, None) => {
                return Err(Failure::usage(
                    "--mergelog-client-ca needs --mergelog-cert and --mergelog-key: without TLS no \
                     client can show a certificate",
                ));
            }
            _ => {
                return Err(Failure::usage(
                    "--mergelog-cert and --mergelog-key go together",
                ));
            }
        };
        Ok(Some(TraceServerSettings {
            listen,
            server: TraceServerConfig {
                tls: tls.map(ServerTls::load).transpose()?,
                max_requests_per_second: self.mergelog_max_requests_per_second,
                max_message_bytes: bytes(self.mergelog_max_message_bytes.into()),
                max_answer_bytes: bytes(self.mergelog_max_answer_bytes.into()),
                max_index_bytes: bytes(self.mergelog_max_index_bytes),
                allow_delete: self.mergelog_allow_delete == Switch::On,
            },
        }))
    }
}

fn bytes(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
