//! Addresses to listen on, and routes from them to etcd.

use std::fmt;
use std::str::FromStr;

use crate::relay::{Upstream, UpstreamError};

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
    /// Not a route.
    #[error("`{0}` is not of the form HOST:PORT=URL, such as 127.0.0.1:2479=http://127.0.0.1:2379")]
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

/// A listener, and the etcd member that its connections go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where to listen.
    pub listen: ListenAddress,
    /// Where to connect.
    pub etcd: Upstream,
}

impl FromStr for Route {
    type Err = AddressError;

    /// Reads `HOST:PORT=URL`.
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
        assert_eq!(route.listen.as_str(), "[::1]:1");
        assert_eq!(route.etcd.url(), "http://etcd:2");
        assert!(matches!(
            "[::1]:1".parse::<Route>(),
            Err(AddressError::Route(_))
        ));
        assert!(matches!(
            "a:1=https://etcd:2".parse::<Route>(),
            Err(AddressError::Upstream(UpstreamError::Tls(_)))
        ));
    }
}
