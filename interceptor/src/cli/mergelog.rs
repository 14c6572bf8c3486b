//! Flags of the trace server.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Failure;
use super::arguments::Switch;
use crate::collectors::mergelog::{TlsIdentity, TraceServerConfig};
use crate::run::{ListenAddress, TraceServerSettings};

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
    /// Checks that the flags fit together; `None` when the trace server is off.
    pub(super) fn settings(self) -> Result<Option<TraceServerSettings>, Failure> {
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
            (Some(certificate), Some(key)) => Some(TlsIdentity {
                certificate: pem("--mergelog-cert", &certificate)?,
                key: pem("--mergelog-key", &key)?,
                client_ca: self
                    .mergelog_client_ca
                    .as_deref()
                    .map(|file| pem("--mergelog-client-ca", file))
                    .transpose()?,
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
                tls,
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

fn pem(flag: &str, file: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(file).map_err(|error| Failure::usage(format!("{flag} {}: {error}", file.display())))
}
