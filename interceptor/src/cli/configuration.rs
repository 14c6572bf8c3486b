//! From flags to what [`run`](crate::run::run) takes.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cascade_cpid::carriers::{Carrier, default_carriers};
use tokio::sync::Notify;

use super::arguments::{RecordingArguments, ServeArguments, Switch, TailArguments, TraceFailure};
use super::tls_arguments::EtcdLegArguments;
use super::{Failure, tls_configuration};
use crate::decode::HashKey;
use crate::relay::RelayOptions;
use crate::run::{self, Config, LedgerSettings, OtlpSettings, RecordingConfig, Route};
use crate::store::{StoreError, sanitise_instance};
use crate::transport::Upstream;

/// How long a start waits for etcd.
const REACH_TIMEOUT: Duration = Duration::from_secs(5);

/// Checks that the flags of `serve` fit together.
pub(super) fn serve(arguments: ServeArguments) -> Result<Config, Failure> {
    let routes = routes(&arguments)?;
    let observe = arguments.observe == Switch::On;
    let ledger = match arguments.ledger {
        Switch::On if arguments.ledger_etcd.is_empty() => {
            let members: Vec<Upstream> = routes.iter().map(|route| route.etcd.clone()).collect();
            Some(members)
        }
        Switch::On => Some(arguments.ledger_etcd),
        Switch::Off if arguments.ledger_etcd.is_empty() => None,
        Switch::Off => {
            return Err(Failure::usage(
                "--ledger-etcd is of no use with --ledger off",
            ));
        }
    };
    let members = routes.iter().map(|route| &route.etcd);
    let members: Vec<_> = members.chain(ledger.iter().flatten()).collect();
    let tls = tls_configuration::legs(Some(arguments.clients), &arguments.etcd_leg, &members)?;
    for route in &routes {
        run::check_exposure(route, &tls)?;
    }
    let connect = tls_configuration::ledger_connection(&arguments.etcd_leg, &tls)?;
    let recording = arguments.recording;
    let metrics_listen = recording.metrics_listen.clone();
    let ledger = ledger.map(|members| LedgerSettings {
        members,
        max_catchup_revisions: recording.max_catchup_revisions,
        connect,
    });
    let records = observe
        || ledger.is_some()
        || recording.trace_dir.is_some()
        || recording.otlp_listen.is_some()
        || recording.audit_log.is_some();
    let recording = if records {
        Some(self::recording(
            recording,
            &arguments.etcd_leg,
            observe,
            ledger,
        )?)
    } else {
        None
    };
    let mut relay = RelayOptions::default();
    if let Some(limit) = arguments.max_connections {
        relay.max_connections = usize::try_from(limit).unwrap_or(usize::MAX);
    }
    placed(Config {
        routes,
        relay,
        tls,
        reload: Arc::new(Notify::new()),
        metrics_listen,
        reach_timeout: REACH_TIMEOUT,
        recording,
    })
}

/// Checks that the flags of `tail` fit together.
pub(super) fn tail(arguments: TailArguments) -> Result<Config, Failure> {
    let TailArguments {
        etcd,
        recording,
        etcd_leg,
    } = arguments;
    if etcd.is_empty() {
        return Err(Failure::usage("nothing to watch: give --etcd URL"));
    }
    let members: Vec<_> = etcd.iter().collect();
    let tls = tls_configuration::legs(None, &etcd_leg, &members)?;
    let ledger = LedgerSettings {
        connect: tls_configuration::ledger_connection(&etcd_leg, &tls)?,
        members: etcd,
        max_catchup_revisions: recording.max_catchup_revisions,
    };
    placed(Config {
        routes: Vec::new(),
        relay: RelayOptions::default(),
        tls,
        reload: Arc::new(Notify::new()),
        metrics_listen: recording.metrics_listen.clone(),
        reach_timeout: REACH_TIMEOUT,
        recording: Some(self::recording(recording, &etcd_leg, false, Some(ledger))?),
    })
}

/// The settings, if their listeners can be opened beside each other.
fn placed(config: Config) -> Result<Config, Failure> {
    run::check_places(&config).map_err(|error| Failure::usage(error.to_string()))?;
    Ok(config)
}

/// Listeners and where they lead.
pub(super) fn routes(arguments: &ServeArguments) -> Result<Vec<Route>, Failure> {
    let ServeArguments {
        listen,
        etcd,
        route,
        ..
    } = arguments;
    match (listen, etcd, route.as_slice()) {
        (Some(listen), Some(etcd), []) => Ok(vec![Route {
            listen: listen.clone(),
            etcd: etcd.clone(),
        }]),
        (None, None, [_, ..]) => Ok(route.clone()),
        (None, None, []) => Err(Failure::usage(
            "nothing to relay: give --listen HOST:PORT and --etcd URL, or --route LISTEN=URL",
        )),
        (Some(_), None, []) => Err(Failure::usage(
            "--listen needs --etcd URL: where the connections go",
        )),
        (None, Some(_), []) => Err(Failure::usage(
            "--etcd needs --listen HOST:PORT: where kube-apiserver connects",
        )),
        (_, _, [_, ..]) => Err(Failure::usage(
            "--route replaces --listen and --etcd: give one or the other \
             (see `cascade-interceptor config` for where each comes from)",
        )),
    }
}

fn recording(
    arguments: RecordingArguments,
    etcd_leg: &EtcdLegArguments,
    observe: bool,
    ledger: Option<LedgerSettings>,
) -> Result<RecordingConfig, Failure> {
    let trace_dir = arguments
        .trace_dir
        .clone()
        .ok_or_else(|| Failure::usage("no folder to record to: give --trace-dir DIR"))?;
    if let Some(name) = arguments
        .instance
        .clone()
        .filter(|name| sanitise_instance(name).is_none())
    {
        // Found by the store as well, but only at a start.
        return Err(Failure::usage(
            StoreError::InvalidInstance { name }.to_string(),
        ));
    }
    let otlp = otlp(&arguments)?;
    Ok(RecordingConfig {
        trace_dir,
        instance: arguments.instance,
        flush_interval: arguments.flush_interval,
        memory_limit: arguments.memory_limit,
        ends_with_trace: arguments.on_trace_failure == TraceFailure::Exit,
        hash_key: arguments
            .hash_key_file
            .as_deref()
            .map(hash_key)
            .transpose()?,
        excluded: arguments.exclude.into_iter().collect(),
        carriers: carriers(arguments.carriers.as_deref())?.into(),
        observe,
        ledger,
        otlp,
        trace_server: arguments.mergelog.settings(etcd_leg)?,
    })
}

/// The carriers in a file, or else the default ones.
pub(super) fn carriers(file: Option<&Path>) -> Result<Vec<Carrier>, Failure> {
    match file {
        Some(file) => super::carriers::read(file)
            .map_err(|error| Failure::usage(format!("--carriers: {error}"))),
        None => Ok(default_carriers()),
    }
}

/// Where spans are received, if they are.
fn otlp(arguments: &RecordingArguments) -> Result<Option<OtlpSettings>, Failure> {
    let audit_log = arguments.audit_log.clone();
    let Some(listen) = arguments.otlp_listen.clone() else {
        return match audit_log {
            None => Ok(None),
            Some(_) => Err(Failure::usage(
                "--audit-log needs --otlp-listen: audit events add to the requests received there",
            )),
        };
    };
    Ok(Some(OtlpSettings {
        listen,
        max_message_bytes: arguments.otlp_max_message_bytes,
        max_requests_per_second: arguments.otlp_max_requests_per_second,
        audit_log,
    }))
}

/// Reads the key in a key file.
pub(super) fn hash_key(file: &Path) -> Result<HashKey, Failure> {
    let failure = |error: &dyn std::fmt::Display| {
        Failure::usage(format!("--hash-key-file {}: {error}", file.display()))
    };
    let content = fs::read(file).map_err(|error| failure(&error))?;
    HashKey::from_bytes(&content).map_err(|error| failure(&error))
}
