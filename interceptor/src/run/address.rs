//! Addresses to listen on, and routes from them to etcd.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use crate::transport::{Upstream, UpstreamError, unix_path};

/// Where to listen: a host name or IP address, and a port; port 0 lets the system choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAddress {
    text: String,
}

impl ListenAddress {
    /// The address as `HOST:PORT`, an IPv6 address in brackets.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        let host = self.text.rsplit_once(':').map_or("", |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port; 0 lets the system choose.
    #[must_use]
    pub fn port(&self) -> u16 {
        let port = self.text.rsplit_once(':').map_or("", |(_, port)| port);
        // It was parsed when the address was made.
        port.parse().unwrap_or_default()
    }

    /// Whether only processes of this host can connect.
    fn is_local(&self) -> bool {
        let host = self.host();
        match host.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback(),
            Err(_) => host == "localhost",
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Why text is not an address or a route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not an address.
    #[error(
        "`{0}` is not of the form HOST:PORT, such as 127.0.0.1:2479, [::1]:2479 or 0.0.0.0:2479"
    )]
    Listen(String),
    /// Not a place for kube-apiserver to connect to.
    #[error(
        "`{0}` is not of the form HOST:PORT, https://HOST:PORT, http://HOST:PORT, unix:///PATH, \
         unixs:///PATH, or systemd:NUMBER"
    )]
    Place(String),
    /// Not a route.
    #[error(
        "`{0}` is not of the form HOST:PORT=URL, such as 127.0.0.1:2479=https://127.0.0.1:2379"
    )]
    Route(String),
    /// A route to something that is no etcd member.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}

impl FromStr for ListenAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let form = || AddressError::Listen(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(form)?;
        port.parse::<u16>().map_err(|_| form())?;
        let bracketed = host.starts_with('[') && host.ends_with(']');
        let plausible = !host.is_empty()
            && !host.contains(['/', '=', ' '])
            && (bracketed || !host.contains(':'));
        if !plausible {
            return Err(form());
        }
        Ok(Self {
            text: text.to_owned(),
        })
    }
}

/// Where kube-apiserver connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// The place.
    pub place: ListenPlace,
    /// Whether TLS is spoken there; `None` leaves it to whether there is a certificate.
    pub tls: Option<bool>,
}

/// A place to listen at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenPlace {
    /// Over TCP.
    Tcp(ListenAddress),
    /// At a file of this host.
    Unix(PathBuf),
    /// A socket that systemd made: its place, from 0, in the list of the sockets passed.
    Inherited(usize),
}

impl Listen {
    /// The host that clients use, if the place tells it.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        match &self.place {
            ListenPlace::Tcp(address) => Some(address.host()),
            ListenPlace::Unix(_) => Some("localhost"),
            ListenPlace::Inherited(_) => None,
        }
    }

    /// Whether only processes of this host can connect; `None` when only the socket itself tells.
    #[must_use]
    pub fn is_local(&self) -> Option<bool> {
        match &self.place {
            ListenPlace::Tcp(address) => Some(address.is_local()),
            ListenPlace::Unix(_) => Some(true),
            ListenPlace::Inherited(_) => None,
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.place, self.tls) {
            (ListenPlace::Tcp(address), None) => address.fmt(formatter),
            (ListenPlace::Tcp(address), Some(true)) => write!(formatter, "https://{address}"),
            (ListenPlace::Tcp(address), Some(false)) => write!(formatter, "http://{address}"),
            (ListenPlace::Unix(path), Some(true)) => {
                write!(formatter, "unixs://{}", path.display())
            }
            (ListenPlace::Unix(path), _) => write!(formatter, "unix://{}", path.display()),
            (ListenPlace::Inherited(number), _) => write!(formatter, "systemd:{number}"),
        }
    }
}

impl FromStr for Listen {
    type Err = AddressError;

    /// Reads `HOST:PORT`; `https://HOST:PORT` or `http://HOST:PORT`; `unix:///PATH`, or
    /// `unixs:///PATH` for TLS; or `systemd:NUMBER`.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let form = || AddressError::Place(text.to_owned());
        let tcp = |address: &str| address.parse().map(ListenPlace::Tcp).map_err(|_| form());
        let unix = |path: &str| unix_path(path).map(ListenPlace::Unix).ok_or_else(form);
        if let Some(number) = text.strip_prefix("systemd:") {
            let number = number.parse().map_err(|_| form())?;
            let place = ListenPlace::Inherited(number);
            return Ok(Self { place, tls: None });
        }
        let (place, tls) = match text.split_once("://") {
            None => (tcp(text)?, None),
            Some(("https", address)) => (tcp(address)?, Some(true)),
            Some(("http", address)) => (tcp(address)?, Some(false)),
            Some(("unixs", path)) => (unix(path)?, Some(true)),
            Some(("unix", path)) => (unix(path)?, Some(false)),
            Some(_) => return Err(form()),
        };
        Ok(Self { place, tls })
    }
}

/// A listener, and the etcd member that its connections go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where to listen.
    pub listen: Listen,
    /// Where to connect.
    pub etcd: Upstream,
}

impl FromStr for Route {
    type Err = AddressError;

    /// Reads `LISTEN=URL`; the path of a Unix socket to listen at cannot hold `=`.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (listen, etcd) = text
            .split_once('=')
            .ok_or_else(|| AddressError::Route(text.to_owned()))?;
        Ok(Self {
            listen: listen.parse()?,
            etcd: etcd.parse()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for right in ["127.0.0.1:0", "[::1]:2379", "localhost:1", "0.0.0.0:65535"] {
            assert_eq!(right.parse::<ListenAddress>().unwrap().as_str(), right);
        }
        for wrong in [
            "",
            "2379",
            ":2379",
            "::1:2379",
            "a:b",
            "a:70000",
            "http://a:1",
        ] {
            assert_eq!(
                wrong.parse::<ListenAddress>(),
                Err(AddressError::Listen(wrong.to_owned()))
            );
        }
    }

    #[test]
    fn routes() {
        let route: Route = "[::1]:1=http://etcd:2".parse().unwrap();
        assert_eq!(route.listen.to_string(), "[::1]:1");
        assert_eq!(route.etcd.url(), "http://etcd:2");
        assert!(matches!(
            "[::1]:1".parse::<Route>(),
            Err(AddressError::Route(_))
        ));
        assert!(matches!(
            "a:1=ftp://etcd:2".parse::<Route>(),
            Err(AddressError::Upstream(UpstreamError::Form(_)))
        ));
    }

    #[test]
    fn places_to_listen_at() {
        for (text, tls, local, host) in [
            ("127.0.0.1:1", None, Some(true), Some("127.0.0.1")),
            ("https://[::1]:1", Some(true), Some(true), Some("::1")),
            (
                "http://0.0.0.0:1",
                Some(false),
                Some(false),
                Some("0.0.0.0"),
            ),
            ("localhost:1", None, Some(true), Some("localhost")),
            ("etcd.local:1", None, Some(false), Some("etcd.local")),
            ("unix:///run/a", Some(false), Some(true), Some("localhost")),
            ("unixs:///run/a", Some(true), Some(true), Some("localhost")),
            ("systemd:3", None, None, None),
        ] {
            let listen: Listen = text.parse().unwrap();
            assert_eq!(listen.to_string(), text);
            assert_eq!(
                (listen.tls, listen.is_local(), listen.host()),
                (tls, local, host),
                "{text}"
            );
        }
        for wrong in [
            "",
            "1",
            "ftp://a:1",
            "unix://a",
            "unix:///",
            "systemd:",
            "systemd:-1",
            "https://",
        ] {
            assert!(
                matches!(wrong.parse::<Listen>(), Err(AddressError::Place(_))),
                "{wrong}"
            );
        }
    }
}
