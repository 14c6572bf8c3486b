//! Where an etcd member listens for clients.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::Socket;

/// Half of what etcd's clients allow for a connection to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where an etcd member listens for clients, and whether it speaks TLS there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Upstream {
    place: Place,
    tls: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Place {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

impl Upstream {
    /// Connects. A name is resolved each time, and its addresses are tried in order.
    ///
    /// # Errors
    /// The name cannot be resolved, no address accepts the connection, or none answers within ten
    /// seconds.
    pub async fn connect(&self) -> Result<Socket, io::Error> {
        timeout(CONNECT_TIMEOUT, self.connect_patiently())
            .await
            .map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))?
    }

    async fn connect_patiently(&self) -> Result<Socket, io::Error> {
        match &self.place {
            Place::Tcp { host, port } => {
                Socket::from_tcp(TcpStream::connect((host.as_str(), *port)).await?)
            }
            Place::Unix(path) => Ok(Socket::Unix(UnixStream::connect(path).await?)),
        }
    }

    /// Whether it speaks TLS.
    #[must_use]
    pub fn uses_tls(&self) -> bool {
        self.tls
    }

    /// The name or IP address that a certificate must hold; that of a Unix socket is `localhost`,
    /// as etcd's own clients have it.
    #[must_use]
    pub fn host(&self) -> &str {
        match &self.place {
            Place::Tcp { host, .. } => host,
            Place::Unix(_) => "localhost",
        }
    }

    /// The port; `None` of a Unix socket.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match &self.place {
            Place::Tcp { port, .. } => Some(*port),
            Place::Unix(_) => None,
        }
    }

    /// The file of a Unix socket.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::Tcp { .. } => None,
            Place::Unix(path) => Some(path),
        }
    }

    /// What HTTP calls it: `HOST:PORT`, or `localhost` for a Unix socket.
    #[must_use]
    pub fn authority(&self) -> String {
        match &self.place {
            Place::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Place::Tcp { host, port } => format!("{host}:{port}"),
            Place::Unix(_) => "localhost".to_owned(),
        }
    }

    /// The URL that etcd's clients use.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = match (&self.place, self.tls) {
            (Place::Tcp { .. }, false) => "http",
            (Place::Tcp { .. }, true) => "https",
            (Place::Unix(_), false) => "unix",
            (Place::Unix(_), true) => "unixs",
        };
        match &self.place {
            Place::Tcp { .. } => format!("{scheme}://{}", self.authority()),
            Place::Unix(path) => format!("{scheme}://{}", path.display()),
        }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.url())
    }
}

/// Why a URL does not name an etcd member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// It is not a URL of the expected form.
    #[error(
        "`{0}` is not a URL of the form https://HOST:PORT or http://HOST:PORT, \
         nor unix:///PATH or unixs:///PATH"
    )]
    Form(String),
}

impl FromStr for Upstream {
    type Err = UpstreamError;

    /// Reads `http://HOST:PORT`, `https://HOST:PORT`, `unix:///PATH` or `unixs:///PATH` (a Unix
    /// socket with TLS), or `HOST:PORT`, which is without TLS; an IPv6 address is in brackets.
    fn from_str(text: &str) -> Result<Self, UpstreamError> {
        let form = || UpstreamError::Form(text.to_owned());
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let tls = match scheme {
            "http" | "unix" => false,
            "https" | "unixs" => true,
            _ => return Err(form()),
        };
        let place = match scheme {
            "http" | "https" => tcp_place(rest),
            _ => unix_path(rest).map(Place::Unix),
        };
        let place = place.ok_or_else(form)?;
        Ok(Self { place, tls })
    }
}

/// Reads `HOST:PORT`.
fn tcp_place(text: &str) -> Option<Place> {
    let authority = text.strip_suffix('/').unwrap_or(text);
    let (host, port) = authority.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
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
        return None;
    }
    Some(Place::Tcp {
        host: plain.to_owned(),
        port,
    })
}

/// Reads the path of a Unix socket, which is absolute.
pub(crate) fn unix_path(text: &str) -> Option<PathBuf> {
    let absolute = text.starts_with('/') && text.len() > 1 && !text.contains('\0');
    absolute.then(|| PathBuf::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_members() {
        let display = |text: &str| text.parse::<Upstream>().map(|upstream| upstream.url());
        for (given, expected) in [
            ("http://127.0.0.1:2379", "http://127.0.0.1:2379"),
            ("etcd-0:2379/", "http://etcd-0:2379"),
            ("[::1]:2379", "http://[::1]:2379"),
            ("https://etcd:2379", "https://etcd:2379"),
            ("https://[fd00::1]:2379/", "https://[fd00::1]:2379"),
            ("unix:///run/etcd.sock", "unix:///run/etcd.sock"),
            ("unixs:///run/etcd.sock", "unixs:///run/etcd.sock"),
        ] {
            assert_eq!(display(given), Ok(expected.to_owned()));
        }
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
            "unix://",
            "unix:///",
            "unix://run/etcd.sock",
            "https://",
        ] {
            assert!(
                matches!(display(wrong), Err(UpstreamError::Form(_))),
                "{wrong}"
            );
        }
    }

    #[test]
    fn names_for_certificates_and_requests() {
        let names = |text: &str| {
            let upstream: Upstream = text.parse().unwrap();
            (
                upstream.host().to_owned(),
                upstream.authority(),
                upstream.uses_tls(),
            )
        };
        assert_eq!(
            names("https://[::1]:1"),
            ("::1".to_owned(), "[::1]:1".to_owned(), true)
        );
        assert_eq!(
            names("unix:///a"),
            ("localhost".to_owned(), "localhost".to_owned(), false)
        );
    }
}
