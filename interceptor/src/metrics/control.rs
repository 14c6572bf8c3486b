//! What can be changed while the program runs, and who may.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::{FORWARDED, HOST, ORIGIN, VIA};

/// Something that is on or off. Clones share it.
#[derive(Clone)]
pub struct Control {
    is_on: Arc<dyn Fn() -> bool + Send + Sync>,
    switch: Arc<dyn Fn(bool) + Send + Sync>,
}

impl Control {
    /// A control made of how to look and how to switch.
    pub fn new(
        is_on: impl Fn() -> bool + Send + Sync + 'static,
        switch: impl Fn(bool) + Send + Sync + 'static,
    ) -> Self {
        Self {
            is_on: Arc::new(is_on),
            switch: Arc::new(switch),
        }
    }

    /// Whether it is on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        (self.is_on)()
    }

    /// Switches it on or off.
    pub fn switch(&self, on: bool) {
        (self.switch)(on);
    }
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    /// Who asks.
    pub(super) peer: SocketAddr,
    /// The address that was asked.
    pub(super) local: SocketAddr,
}

impl Ends {
    /// Whether a request with these headers may change anything: it comes from this host, not
    /// through a proxy that speaks for others, and no web page has made a browser send it.
    pub(super) fn may_change(self, headers: &HeaderMap) -> bool {
        let own = |address: IpAddr| {
            let address = address.to_canonical();
            address.is_loopback() || address == self.local.ip().to_canonical()
        };
        let forwarded = headers.contains_key(FORWARDED)
            || headers.contains_key(VIA)
            || headers.contains_key("x-forwarded-for");
        // A page of another origin has to name it. A page whose name was made to lead here (DNS
        // rebinding) has that name in the host.
        let named = headers.get(HOST).and_then(|host| host.to_str().ok());
        let named = named.is_some_and(|host| match host_of(host) {
            Some(address) => own(address),
            None => host.split(':').next() == Some("localhost"),
        });
        own(self.peer.ip()) && named && !forwarded && !headers.contains_key(ORIGIN)
    }
}

/// The address in a `Host` header, if it is one.
fn host_of(host: &str) -> Option<IpAddr> {
    let with_port = host.parse::<SocketAddr>().map(|address| address.ip());
    let brackets = |host: &str| Some(host.strip_prefix('[')?.strip_suffix(']')?.to_owned());
    with_port
        .or_else(|_| brackets(host).as_deref().unwrap_or(host).parse())
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may_change(peer: &str, local: &str, headers: &[(&'static str, &str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        let ends = Ends {
            peer: format!("{peer}:40000").parse().unwrap(),
            local: format!("{local}:2390").parse().unwrap(),
        };
        ends.may_change(&map)
    }

    #[test]
    fn this_host_may_change_things() {
        for (address, host) in [
            ("127.0.0.1", "127.0.0.1:2390"),
            ("127.0.0.1", "localhost:2390"),
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]", "[::1]:2390"),
            ("[::1]", "[::1]"),
            ("[::ffff:127.0.0.1]", "localhost"),
            ("10.0.0.5", "10.0.0.5:2390"),
        ] {
            assert!(may_change(address, address, &[("host", host)]), "{host}");
        }
    }

    #[test]
    fn others_may_not() {
        let local = ("host", "127.0.0.1:2390");
        // From another host.
        assert!(!may_change(
            "10.0.0.6",
            "10.0.0.5",
            &[("host", "10.0.0.5:2390")]
        ));
        assert!(!may_change("10.0.0.6", "10.0.0.5", &[local]));
        // A browser on this host, led here by a page.
        for headers in [
            vec![local, ("origin", "https://example.org")],
            vec![local, ("origin", "null")],
            vec![("host", "example.org:2390")],
            vec![("host", "localhost.example.org")],
            vec![("host", "[::1")],
            vec![],
        ] {
            assert!(
                !may_change("127.0.0.1", "127.0.0.1", &headers),
                "{headers:?}"
            );
        }
        // A proxy on this host.
        for header in ["forwarded", "via", "x-forwarded-for"] {
            let headers = [local, (header, "10.0.0.6")];
            assert!(!may_change("127.0.0.1", "127.0.0.1", &headers), "{header}");
        }
    }
}
