//! TCP sockets as the relay wants them.

use std::io;
use std::str::FromStr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// After this long a silent peer is probed, and then again as often: the values of Go's `net`
/// package, which etcd and kube-apiserver use towards each other.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 9;

/// Half of what etcd's clients allow for a connection to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A stream that the relay can use on either side.
pub trait RelayStream: AsyncRead + AsyncWrite + Unpin + Send {
    /// Asks that closing the stream resets the connection, where there is such a thing.
    fn reset_on_close(&self);
}

impl RelayStream for TcpStream {
    fn reset_on_close(&self) {
        if let Err(error) = self.set_zero_linger() {
            tracing::debug!(%error, "cannot reset a connection; it is closed instead");
        }
    }
}

#[cfg(test)]
impl RelayStream for tokio::io::DuplexStream {
    fn reset_on_close(&self) {}
}

/// Sets what both sides need: no delay of small segments, and probes that find a dead peer.
pub(super) fn prepare(stream: &TcpStream) -> Result<(), io::Error> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE)
        .with_retries(KEEPALIVE_PROBES);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// Where an etcd member listens for clients.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Upstream {
    host: String,
    port: u16,
}

impl Upstream {
    /// Connects. A name is resolved each time, and its addresses are tried in order.
    ///
    /// # Errors
    /// The name cannot be resolved, no address accepts the connection, or none answers within ten
    /// seconds.
    pub async fn connect(&self) -> Result<TcpStream, io::Error> {
        let connecting = TcpStream::connect((self.host.as_str(), self.port));
        let stream = timeout(CONNECT_TIMEOUT, connecting)
            .await
            .map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))??;
        prepare(&stream)?;
        Ok(stream)
    }

    /// The URL that etcd's clients use.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{self}")
    }
}

impl std::fmt::Display for Upstream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

/// Why a URL does not name an etcd member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// TLS was asked for.
    #[error(
        "`{0}`: TLS towards etcd is not supported in this version; \
         use an http:// URL of a listener without TLS"
    )]
    Tls(String),
    /// It is not a URL of the expected form.
    #[error("`{0}` is not a URL of the form http://HOST:PORT")]
    Form(String),
}

impl FromStr for Upstream {
    type Err = UpstreamError;

    /// Reads `http://HOST:PORT` or `HOST:PORT`, with an IPv6 address in brackets.
    fn from_str(text: &str) -> Result<Self, UpstreamError> {
        let form = || UpstreamError::Form(text.to_owned());
        if text.starts_with("https://") {
            return Err(UpstreamError::Tls(text.to_owned()));
        }
        let authority = text.strip_prefix("http://").unwrap_or(text);
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let (host, port) = authority.rsplit_once(':').ok_or_else(form)?;
        let port = port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(form)?;
        let bracketed = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let plain = bracketed.unwrap_or(host);
        let allowed = |character: char| match character {
            ':' => bracketed.is_some(),
            '-' | '.' | '_' | '%' => true,
            other => other.is_ascii_alphanumeric(),
        };
        if plain.is_empty() || !plain.chars().all(allowed) {
            return Err(form());
        }
        Ok(Self {
            host: plain.to_owned(),
            port,
        })
    }
}

/// Descriptors that are not for connections.
const RESERVED_DESCRIPTORS: u64 = 64;

/// How many files this process may have open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DescriptorLimit {
    /// The limit in force; `None` is none.
    pub limit: Option<u64>,
}

impl DescriptorLimit {
    /// How many connections fit, at least one: each takes two descriptors, and listeners, threads,
    /// the trace and clients of metrics need some.
    #[must_use]
    pub fn connections(self) -> Option<usize> {
        let connections = self.limit?.saturating_sub(RESERVED_DESCRIPTORS) / 2;
        Some(usize::try_from(connections).unwrap_or(usize::MAX).max(1))
    }
}

/// Raises the limit on open files as far as this process may.
///
/// # Errors
/// The system refuses to raise it; the limit stays as it was.
pub fn raise_descriptor_limit() -> Result<DescriptorLimit, io::Error> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let before = getrlimit(Resource::Nofile);
    if before.current != before.maximum {
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: before.maximum,
                maximum: before.maximum,
            },
        )?;
    }
    Ok(DescriptorLimit {
        limit: getrlimit(Resource::Nofile).current,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_members() {
        let display = |text: &str| text.parse::<Upstream>().map(|upstream| upstream.url());
        assert_eq!(
            display("http://127.0.0.1:2379"),
            Ok("http://127.0.0.1:2379".to_owned())
        );
        assert_eq!(display("etcd-0:2379/"), Ok("http://etcd-0:2379".to_owned()));
        assert_eq!(display("[::1]:2379"), Ok("http://[::1]:2379".to_owned()));
        assert!(matches!(
            display("https://etcd:2379"),
            Err(UpstreamError::Tls(_))
        ));
        for wrong in [
            "",
            "http://",
            "etcd",
            "etcd:0",
            "etcd:99999",
            "http://etcd:2379/path",
            "ftp://etcd:1",
            "::1:2379",
            "a b:1",
            ":2379",
        ] {
            assert!(
                matches!(display(wrong), Err(UpstreamError::Form(_))),
                "{wrong}"
            );
        }
    }
}
