//! From flags to what [`run`](crate::run::run) takes.

use std::time::Duration;

use super::Failure;
use super::arguments::ServeArguments;
use crate::relay::RelayOptions;
use crate::run::{Config, Route};

/// How long a start waits for etcd.
const REACH_TIMEOUT: Duration = Duration::from_secs(5);

/// Checks that the flags of `serve` fit together.
pub(super) fn serve(arguments: ServeArguments) -> Result<Config, Failure> {
    let routes = routes(&arguments)?;
    Ok(Config {
        routes,
        relay: RelayOptions::default(),
        metrics_listen: arguments.recording.metrics_listen,
        reach_timeout: REACH_TIMEOUT,
    })
}

fn routes(arguments: &ServeArguments) -> Result<Vec<Route>, Failure> {
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
            "nothing to relay: give --listen HOST:PORT and --etcd URL, or --route HOST:PORT=URL",
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
