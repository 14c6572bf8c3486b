//! Commands and flags. Every flag can also be set by an environment variable and a key of the
//! configuration file: see [`settings`](super::settings).

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::doctor::DoctorArguments;
use super::install::InstallArguments;
use super::mergelog::MergelogArguments;
use super::tls_arguments::{ClientLegArguments, EtcdLegArguments};
use crate::collectors::otlp::{MAX_MESSAGE_BYTES, MAX_REQUESTS_PER_SECOND};
use crate::run::{Listen, ListenAddress, MemoryLimit, Route};
use crate::transport::Upstream;

/// Stands between kube-apiserver and etcd, forwards every byte, and records every revision.
#[derive(Debug, Parser)]
#[command(
    name = "cascade-interceptor",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 ok, 1 doctor found errors, 64 bad flags or configuration, \n\
        69 cannot reach or listen, 70 internal error, 73 cannot write the trace folder."
)]
pub(super) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(super) command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Relay connections to etcd and record what happens
    #[command(after_help = "\
Examples:
  cascade-interceptor serve --listen 127.0.0.1:2479 --etcd http://127.0.0.1:2379 --trace-dir ./trace
  kube-apiserver --etcd-servers=http://127.0.0.1:2479 ...

  One listener for each member of a cluster:
  cascade-interceptor serve --trace-dir ./trace \\
      --route 127.0.0.1:2479=http://etcd-0:2379 --route 127.0.0.1:2480=http://etcd-1:2379

  With TLS, in front of an etcd that kubeadm has set up (docs/tls.md):
  cascade-interceptor serve --listen 127.0.0.1:2479 --etcd https://127.0.0.1:2379 \\
      --trace-dir /var/lib/cascade --cert /etc/kubernetes/pki/etcd/server.crt \\
      --key /etc/kubernetes/pki/etcd/server.key --client-ca /etc/kubernetes/pki/etcd/ca.crt \\
      --etcd-ca /etc/kubernetes/pki/etcd/ca.crt \\
      --etcd-cert /etc/kubernetes/pki/apiserver-etcd-client.crt \\
      --etcd-key /etc/kubernetes/pki/apiserver-etcd-client.key")]
    Serve(ServeArguments),
    /// Record what happens without relaying anything: no call timing, no risk
    #[command(after_help = "\
Example:
  cascade-interceptor tail --etcd http://127.0.0.1:2379 --trace-dir ./trace")]
    Tail(TailArguments),
    /// Decode one stored value from standard input to JSON: what a row of `changes` would hold
    #[command(after_help = "\
Example:
  etcdctl get --print-value-only /registry/pods/default/web | head -c -1 |
      cascade-interceptor decode --key /registry/pods/default/web")]
    Decode(DecodeArguments),
    /// Show or check the settings that `serve` would run with
    #[command(after_help = "\
Examples:
  cascade-interceptor config --check --config /etc/cascade/interceptor.toml
  cascade-interceptor config --listen 127.0.0.1:2479 --etcd http://127.0.0.1:2379 > interceptor.toml

The configuration file is TOML; its keys are the flags without the leading dashes:
  listen = \"127.0.0.1:2479\"
  etcd = \"http://127.0.0.1:2379\"
  trace-dir = \"/var/lib/cascade/trace\"
  exclude = [\"leases.coordination.k8s.io\", \"events\"]")]
    Config(ConfigArguments),
    /// Look for what is wrong with a set-up, and say what to do; changes nothing
    #[command(after_help = "\
Examples, with the settings that `serve` or `tail` has:
  cascade-interceptor doctor --config /etc/cascade/interceptor.toml
  cascade-interceptor doctor --listen 127.0.0.1:2479 --etcd http://127.0.0.1:2379 --trace-dir ./trace
  cascade-interceptor doctor --config interceptor.toml --format json | jq .findings

Looks at certificates, every member of etcd, clocks, permissions, where kube-apiserver keeps what, how it
connects, the trace folder, disk and limits (docs/doctor.md).
Exit codes: 0 no errors (warnings and hints there may be), 1 errors, 64 bad flags or configuration.")]
    Doctor(Box<DoctorArguments>),
    /// Print what puts the interceptor in front of a node's etcd, as patches; changes nothing
    #[command(after_help = "\
Example:
  cascade-interceptor install kubeadm --manifest /etc/kubernetes/manifests/kube-apiserver.yaml --print")]
    Install(InstallArguments),
    /// Print a script that completes commands and flags
    #[command(after_help = "\
Example:
  cascade-interceptor completions bash > ~/.local/share/bash-completion/completions/cascade-interceptor")]
    Completions(CompletionsArguments),
    /// Print the manual page of the program or of a command
    #[command(after_help = "\
Example:
  cascade-interceptor man serve | man -l -")]
    Man(ManArguments),
}

/// Flags of `serve`.
#[derive(Debug, Args)]
pub(super) struct ServeArguments {
    /// Where to accept kube-apiserver's connections: HOST:PORT, unix:///PATH or systemd:NUMBER
    #[arg(long, env = "CASCADE_LISTEN", value_name = "LISTEN")]
    pub(super) listen: Option<Listen>,
    /// The etcd member that these connections go to
    #[arg(long, env = "CASCADE_ETCD", value_name = "URL")]
    pub(super) etcd: Option<Upstream>,
    /// Listener and member in one, instead of --listen and --etcd; may be given several times
    #[arg(
        long,
        env = "CASCADE_ROUTE",
        value_name = "LISTEN=URL",
        value_delimiter = ','
    )]
    pub(super) route: Vec<Route>,
    /// Connections relayed at the same time; further ones wait [default: what the limit on open files allows]
    #[arg(
        long,
        env = "CASCADE_MAX_CONNECTIONS",
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub(super) max_connections: Option<u32>,
    /// Watch the whole keyspace and record every change
    #[arg(
        long,
        env = "CASCADE_LEDGER",
        value_name = "on|off",
        hide_possible_values = true,
        default_value = "on"
    )]
    pub(super) ledger: Switch,
    /// etcd members for the ledger's own connection [default: the members that are relayed to]
    #[arg(
        long,
        env = "CASCADE_LEDGER_ETCD",
        value_name = "URL",
        value_delimiter = ','
    )]
    pub(super) ledger_etcd: Vec<Upstream>,
    /// Read the relayed bytes and record mutating calls; can be switched later (docs/operation.md)
    #[arg(
        long,
        env = "CASCADE_OBSERVE",
        value_name = "on|off",
        hide_possible_values = true,
        default_value = "on"
    )]
    pub(super) observe: Switch,
    /// Flags about recording.
    #[command(flatten)]
    pub(super) recording: RecordingArguments,
    /// Flags about the leg towards kube-apiserver.
    #[command(flatten)]
    pub(super) clients: ClientLegArguments,
    /// Flags about connections to etcd.
    #[command(flatten)]
    pub(super) etcd_leg: EtcdLegArguments,
}

/// Flags of `tail`.
#[derive(Debug, Args)]
pub(super) struct TailArguments {
    /// etcd members to watch
    #[arg(long, env = "CASCADE_ETCD", value_name = "URL", value_delimiter = ',')]
    pub(super) etcd: Vec<Upstream>,
    /// Flags about recording.
    #[command(flatten)]
    pub(super) recording: RecordingArguments,
    /// Flags about connections to etcd.
    #[command(flatten)]
    pub(super) etcd_leg: EtcdLegArguments,
}

/// Flags that `serve` and `tail` share.
#[derive(Debug, Args)]
pub(super) struct RecordingArguments {
    /// Folder that the trace is written to; created if it does not exist
    #[arg(long, env = "CASCADE_TRACE_DIR", value_name = "DIR")]
    pub(super) trace_dir: Option<PathBuf>,
    /// Name of this interceptor in file names and in the column `instance` [default: the host's name]
    #[arg(long, env = "CASCADE_INSTANCE", value_name = "NAME")]
    pub(super) instance: Option<String>,
    /// Resources of which only identity and sizes are recorded, as `leases` or `leases.coordination.k8s.io`
    #[arg(
        long,
        env = "CASCADE_EXCLUDE",
        value_name = "RESOURCE",
        value_delimiter = ','
    )]
    pub(super) exclude: Vec<String>,
    /// File that says where CPIDs stand on objects [default: the annotations of docs/carriers.toml]
    #[arg(long, env = "CASCADE_CARRIERS", value_name = "FILE")]
    pub(super) carriers: Option<PathBuf>,
    /// File with the key of all hashes; also hashes Secrets [default: a key made from the cluster id]
    #[arg(long, env = "CASCADE_HASH_KEY_FILE", value_name = "FILE")]
    pub(super) hash_key_file: Option<PathBuf>,
    /// Give up catching up with a longer backlog and take a new snapshot, which spares etcd
    #[arg(
        long,
        env = "CASCADE_MAX_CATCHUP_REVISIONS",
        value_name = "N",
        default_value_t = 20_000,
        value_parser = clap::value_parser!(i64).range(0..)
    )]
    pub(super) max_catchup_revisions: i64,
    /// Longest time until a recorded row is on the disk
    #[arg(
        long,
        env = "CASCADE_FLUSH_INTERVAL",
        value_name = "DURATION",
        default_value = "1s",
        value_parser = duration
    )]
    pub(super) flush_interval: Duration,
    /// Most memory for what waits to be recorded; beyond it observations are shed, traffic never
    #[arg(
        long,
        env = "CASCADE_MEMORY_LIMIT",
        value_name = "SIZE",
        default_value_t = MemoryLimit::default()
    )]
    pub(super) memory_limit: MemoryLimit,
    /// What to do while the trace cannot be written, or when the ledger cannot go on (docs/operation.md)
    #[arg(
        long,
        env = "CASCADE_ON_TRACE_FAILURE",
        value_name = "keep-serving|exit",
        hide_possible_values = true,
        default_value = "keep-serving"
    )]
    pub(super) on_trace_failure: TraceFailure,
    /// Address to receive kube-apiserver's spans on (OTLP/gRPC): they tell the request behind each call
    #[arg(long, env = "CASCADE_OTLP_LISTEN", value_name = "HOST:PORT")]
    pub(super) otlp_listen: Option<ListenAddress>,
    /// Larger OTLP messages are refused
    #[arg(
        long,
        env = "CASCADE_OTLP_MAX_MESSAGE_BYTES",
        value_name = "N",
        default_value_t = MAX_MESSAGE_BYTES,
        value_parser = message_bytes
    )]
    pub(super) otlp_max_message_bytes: usize,
    /// More OTLP messages in a second are refused; their sender is told to come again
    #[arg(
        long,
        env = "CASCADE_OTLP_MAX_REQUESTS_PER_SECOND",
        value_name = "N",
        default_value_t = MAX_REQUESTS_PER_SECOND,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000)
    )]
    pub(super) otlp_max_requests_per_second: u32,
    /// kube-apiserver's audit log: adds user, groups, source address and decision to requests
    #[arg(long, env = "CASCADE_AUDIT_LOG", value_name = "FILE")]
    pub(super) audit_log: Option<PathBuf>,
    /// Address of /metrics, /healthz, /readyz and /observation
    #[arg(
        long,
        env = "CASCADE_METRICS_LISTEN",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:2390"
    )]
    pub(super) metrics_listen: ListenAddress,
    /// Flags of the trace server.
    #[command(flatten)]
    pub(super) mergelog: MergelogArguments,
    /// How log lines are written to standard error; RUST_LOG chooses which
    #[arg(
        long,
        env = "CASCADE_LOG_FORMAT",
        value_name = "text|json",
        hide_possible_values = true,
        default_value = "text"
    )]
    pub(super) log_format: LogFormat,
    /// File with settings; flags and environment variables win over it
    #[arg(long, env = "CASCADE_CONFIG", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

/// Flags of `decode`.
#[derive(Debug, Args)]
pub(super) struct DecodeArguments {
    /// etcd key of the value, which tells resource, namespace and name
    #[arg(long, env = "CASCADE_KEY", value_name = "KEY", default_value = "")]
    pub(super) key: String,
    /// etcd cluster id in hexadecimal: hash as traces of this cluster do [default: leave hashes out]
    #[arg(
        long,
        env = "CASCADE_CLUSTER_ID",
        value_name = "HEX",
        value_parser = super::decode::cluster_id
    )]
    pub(super) cluster_id: Option<u64>,
    /// File that says where CPIDs stand on objects [default: the annotations of docs/carriers.toml]
    #[arg(long, env = "CASCADE_CARRIERS", value_name = "FILE")]
    pub(super) carriers: Option<PathBuf>,
    /// File with the key of all hashes
    #[arg(long, env = "CASCADE_HASH_KEY_FILE", value_name = "FILE")]
    pub(super) hash_key_file: Option<PathBuf>,
}

/// Flags of `config`.
#[derive(Debug, Args)]
pub(super) struct ConfigArguments {
    /// Only say whether the settings are complete and valid
    #[arg(long)]
    pub(super) check: bool,
    /// The settings.
    #[command(flatten)]
    pub(super) serve: ServeArguments,
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub(super) struct CompletionsArguments {
    /// The shell to write for
    pub(super) shell: Shell,
}

/// Arguments of `man`.
#[derive(Debug, Args)]
pub(super) struct ManArguments {
    /// The command to tell about [default: the program]
    pub(super) command: Option<String>,
}

/// A setting that is on or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Switch {
    /// It is done.
    #[value(alias = "true")]
    On,
    /// It is not done.
    #[value(alias = "false")]
    Off,
}

/// What becomes of the traffic when recording fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum TraceFailure {
    /// It goes on; the trace tells of the gap once it can be written again.
    KeepServing,
    /// Connections end in order, and the program with an error: no traffic without a trace.
    Exit,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Reads a limit of messages. gRPC has four bytes for their length; a limit below a thousandth of the
/// default would refuse everything.
fn message_bytes(text: &str) -> Result<usize, String> {
    let bytes: u32 = text
        .parse()
        .map_err(|_| "write a number of bytes up to 4294967295".to_owned())?;
    if bytes < 4096 {
        return Err("write at least 4096".to_owned());
    }
    usize::try_from(bytes).map_err(|error| error.to_string())
}

/// Reads a duration such as `500ms`, `1s` or `2m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let split = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let nanoseconds = match unit {
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60 * 1_000_000_000,
        _ => return Err("write a number and a unit: 500ms, 1s, 2m".to_owned()),
    };
    u64::from_str(number)
        .ok()
        .and_then(|number| number.checked_mul(nanoseconds))
        .filter(|total| *total > 0)
        .map(Duration::from_nanos)
        .ok_or_else(|| "write a duration above zero: 500ms, 1s, 2m".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_flag_has_an_environment_variable() {
        let command = Arguments::command();
        for subcommand in command.get_subcommands() {
            for argument in subcommand.get_arguments() {
                let Some(long) = argument.get_long().filter(|long| *long != "check") else {
                    continue;
                };
                let expected = format!("CASCADE_{}", long.to_uppercase().replace('-', "_"));
                let found = argument.get_env().and_then(|name| name.to_str());
                assert_eq!(found, Some(expected.as_str()), "--{long}");
            }
        }
    }

    #[test]
    fn every_command_has_an_example() {
        for subcommand in Arguments::command().get_subcommands() {
            let help = subcommand.get_after_help().unwrap().to_string();
            assert!(help.contains("cascade-interceptor "), "{help}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in [
            "",
            "1",
            "0s",
            "1h",
            "-1s",
            "s",
            "99999999999999999999s",
            "1 s",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
