//! Listeners that are in each other's way, found before anything is opened.

use super::address::{Listen, ListenAddress, ListenPlace};
use super::{Config, RecordingConfig};
use crate::transport::Upstream;

/// Why listeners cannot be opened as they are set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// Two listeners have one address.
    #[error(
        "{place} is given twice, with {first} and with {second}; choose another address for one of them"
    )]
    Twice {
        /// The address.
        place: String,
        /// The flag of the one.
        first: &'static str,
        /// The flag of the other.
        second: &'static str,
    },
    /// Clients' connections would come back to the listener they came from.
    #[error(
        "{0} is where etcd is said to be and where to listen; etcd has that address, so let \
         kube-apiserver connect to another one"
    )]
    Circle(String),
}

/// Refuses two listeners at one place, and a listener at the place of a member that it leads to. What
/// the addresses say is compared, not what they resolve to.
///
/// # Errors
/// [`PlaceError`], which says what to do.
pub fn check_places(config: &Config) -> Result<(), PlaceError> {
    let mut taken: Vec<(String, &'static str)> = Vec::new();
    for (place, flag) in places(config) {
        if let Some((_, first)) = taken.iter().find(|(other, _)| *other == place) {
            let (first, second) = (*first, flag);
            return Err(PlaceError::Twice {
                place,
                first,
                second,
            });
        }
        taken.push((place, flag));
    }
    let members = config.routes.iter().map(|route| &route.etcd);
    let members: Vec<String> = members.map(place_of_member).collect();
    let circle = config
        .routes
        .iter()
        .find_map(|route| place_of_listener(&route.listen).filter(|place| members.contains(place)));
    circle.map_or(Ok(()), |place| Err(PlaceError::Circle(place)))
}

/// All places that are listened at, each with its flag.
fn places(config: &Config) -> Vec<(String, &'static str)> {
    let routes = config.routes.iter();
    let mut places: Vec<_> = routes
        .filter_map(|route| Some((place_of_listener(&route.listen)?, "--listen or --route")))
        .collect();
    let mut add = |address: &ListenAddress, flag| {
        places.extend(place_of_address(address).map(|place| (place, flag)));
    };
    add(&config.metrics_listen, "--metrics-listen");
    if let Some(RecordingConfig {
        otlp, trace_server, ..
    }) = &config.recording
    {
        if let Some(otlp) = otlp {
            add(&otlp.listen, "--otlp-listen");
        }
        if let Some(trace_server) = trace_server {
            add(&trace_server.listen, "--mergelog-listen");
        }
    }
    places
}

fn place_of_listener(listen: &Listen) -> Option<String> {
    match &listen.place {
        ListenPlace::Tcp(address) => place_of_address(address),
        ListenPlace::Unix(path) => Some(path.display().to_string()),
        ListenPlace::Inherited(number) => Some(format!("systemd:{number}")),
    }
}

/// `None` where the system chooses the port.
fn place_of_address(address: &ListenAddress) -> Option<String> {
    (address.port() != 0).then(|| address.as_str().to_owned())
}

fn place_of_member(member: &Upstream) -> String {
    match member.path() {
        Some(path) => path.display().to_string(),
        None => member.authority(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::Notify;

    use super::*;
    use crate::relay::RelayOptions;
    use crate::run::TlsLegs;

    fn check(routes: &[&str], metrics: &str) -> Result<(), PlaceError> {
        check_places(&Config {
            routes: routes.iter().map(|route| route.parse().unwrap()).collect(),
            relay: RelayOptions::default(),
            tls: TlsLegs::default(),
            reload: Arc::new(Notify::new()),
            metrics_listen: metrics.parse().unwrap(),
            reach_timeout: Duration::from_secs(1),
            recording: None,
        })
    }

    #[test]
    fn every_listener_has_a_place_of_its_own() {
        let free = "127.0.0.1:0";
        let fine = [
            "127.0.0.1:1=http://127.0.0.1:2",
            "[::1]:1=http://[::1]:2",
            "127.0.0.1:0=http://127.0.0.1:3",
            "127.0.0.1:0=http://127.0.0.1:3",
            "unix:///run/a=unix:///run/b",
            "systemd:0=http://127.0.0.1:2",
        ];
        assert_eq!(check(&fine, free), Ok(()));
        for twice in ["127.0.0.1:1", "unix:///run/a", "systemd:0"] {
            let again = format!("{twice}=http://127.0.0.1:4");
            let refused = check(&[&fine[..], &[&again]].concat(), free);
            assert!(
                matches!(refused, Err(PlaceError::Twice { .. })),
                "{twice}: {refused:?}"
            );
        }
        let twice = check(&fine, "127.0.0.1:1").unwrap_err().to_string();
        assert!(
            twice.contains("--listen") && twice.contains("--metrics-listen"),
            "{twice}"
        );
    }

    #[test]
    fn no_listener_is_where_etcd_is() {
        for circle in [
            &["127.0.0.1:1=http://127.0.0.1:1"][..],
            &["[::1]:1=https://[::1]:1"],
            &["unix:///run/a=unix:///run/a"],
            &[
                "127.0.0.1:1=http://127.0.0.1:2",
                "127.0.0.1:2=http://127.0.0.1:3",
            ],
        ] {
            let refused = check(circle, "127.0.0.1:0");
            assert!(
                matches!(refused, Err(PlaceError::Circle(_))),
                "{circle:?}: {refused:?}"
            );
        }
    }
}
