//! `doctor`: what is wrong with a set-up, and what to do.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::arguments::{ServeArguments, Switch, duration};
use super::{Failure, configuration, print, tls_configuration};
use crate::doctor::{self, Limits, Severity, Subject};
use crate::transport::Upstream;

/// Flags of `doctor`: its own, and those of `serve`.
#[derive(Debug, Args)]
pub(super) struct DoctorArguments {
    /// Manifest of kube-apiserver's static pod [default: kubeadm's, and processes of this host]
    #[arg(long, env = "CASCADE_APISERVER_MANIFEST", value_name = "FILE")]
    apiserver_manifest: Option<PathBuf>,
    /// kube-apiserver's --etcd-prefix, if its flags are not known
    #[arg(
        long,
        env = "CASCADE_ETCD_PREFIX",
        value_name = "PREFIX",
        default_value = "/registry"
    )]
    etcd_prefix: String,
    /// Less free space for the trace is complained of
    #[arg(
        long,
        env = "CASCADE_DISK_FREE_MIN",
        value_name = "SIZE",
        default_value = "1GiB",
        value_parser = size
    )]
    disk_free_min: u64,
    /// A larger difference between this host's clock and etcd's is complained of
    #[arg(
        long,
        env = "CASCADE_CLOCK_SKEW_MAX",
        value_name = "DURATION",
        default_value = "1s",
        value_parser = duration
    )]
    clock_skew_max: Duration,
    /// How findings are shown
    #[arg(
        long,
        env = "CASCADE_FORMAT",
        value_name = "text|json",
        hide_possible_values = true,
        default_value = "text"
    )]
    format: Format,
    /// The settings to look at.
    #[command(flatten)]
    serve: ServeArguments,
}

/// How findings are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Looks at a set-up and prints what was found. Whether there are errors.
pub(super) fn doctor(arguments: DoctorArguments) -> Result<bool, Failure> {
    let format = arguments.format;
    let subject = subject(arguments)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::internal(format!("cannot start: {error}")))?;
    let report = runtime.block_on(doctor::examine(&subject));
    let text = match format {
        Format::Text => doctor::to_text(&report),
        Format::Json => doctor::to_json(&report)
            .map_err(|error| Failure::internal(format!("cannot write JSON: {error}")))?,
    };
    print(text.as_bytes())?;
    Ok(report.count(Severity::Error) > 0)
}

/// Checks that the flags fit together. Files are not read yet: what is wrong with them is a finding.
fn subject(arguments: DoctorArguments) -> Result<Subject, Failure> {
    let DoctorArguments {
        apiserver_manifest,
        etcd_prefix,
        disk_free_min,
        clock_skew_max,
        format: _,
        serve,
    } = arguments;
    let (routes, mut members) = match (&serve.listen, &serve.etcd, serve.route.as_slice()) {
        // As for `tail`.
        (None, Some(etcd), []) => (Vec::new(), vec![etcd.clone()]),
        (None, None, []) => {
            return Err(Failure::usage(
                "nothing to look at: give the settings of `serve` or `tail`, by flags or --config \
                 FILE; at least --etcd URL",
            ));
        }
        _ => (configuration::routes(&serve)?, Vec::new()),
    };
    let relayed = routes.iter().map(|route| route.etcd.clone());
    for member in relayed.chain(serve.ledger_etcd.iter().cloned()) {
        if !members.contains(&member) {
            members.push(member);
        }
    }
    let uses_tls: Vec<&Upstream> = members.iter().collect();
    let policy = tls_configuration::policy(&serve.etcd_leg)?;
    let etcd = tls_configuration::etcd_settings(&serve.etcd_leg, policy.clone(), &uses_tls)?;
    let user = tls_configuration::ledger_user(&serve.etcd_leg)?;
    let admit_anyone = serve.clients.insecure_no_client_auth == Switch::On;
    let clients = tls_configuration::client_settings(serve.clients, &serve.etcd_leg, &policy)?;
    let recording = serve.recording;
    Ok(Subject {
        routes,
        members,
        clients,
        etcd,
        admit_anyone,
        user,
        trace_dir: recording.trace_dir,
        max_connections: serve
            .max_connections
            .map(|connections| usize::try_from(connections).unwrap_or(usize::MAX)),
        metrics_listen: recording.metrics_listen,
        otlp_listen: recording.otlp_listen,
        manifest: apiserver_manifest,
        etcd_prefix,
        limits: Limits {
            disk_free_min,
            clock_skew_max,
        },
    })
}

/// Reads a size such as `500MiB` or `2GiB`.
fn size(text: &str) -> Result<u64, String> {
    let split = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let bytes: u64 = match unit {
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err("write a number and a unit: 500MiB, 2GiB".to_owned()),
    };
    number
        .parse()
        .ok()
        .and_then(|number: u64| number.checked_mul(bytes))
        .ok_or_else(|| "write a number and a unit: 500MiB, 2GiB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size("500MiB"), Ok(500 << 20));
        assert_eq!(size("0GiB"), Ok(0));
        assert_eq!(size("2TiB"), Ok(2 << 40));
        for wrong in ["", "1", "GiB", "-1GiB", "1 GiB", "1GB", "99999999999TiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
