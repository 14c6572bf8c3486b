//! Sockets that accept connections.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, UnixListener};

use super::AcceptedSocket;

/// Where a listener can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BoundAddress {
    /// Over TCP.
    Tcp(SocketAddr),
    /// At a file of this host; `None` for a socket without a name.
    Unix(Option<PathBuf>),
}

impl BoundAddress {
    /// Whether only processes of this host can connect.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for BoundAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(formatter),
            Self::Unix(Some(path)) => write!(formatter, "unix://{}", path.display()),
            Self::Unix(None) => formatter.write_str("unix socket without a name"),
        }
    }
}

/// Who connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerAddress {
    /// Over TCP.
    Tcp(SocketAddr),
    /// A process of this host.
    Unix,
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(formatter),
            Self::Unix => formatter.write_str("this host"),
        }
    }
}

/// A socket that accepts connections.
#[derive(Debug)]
pub struct Listener {
    socket: ListeningSocket,
    /// File of the socket, removed at the end. Inherited sockets belong to who made them.
    _file: Option<SocketFile>,
}

#[derive(Debug)]
enum ListeningSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Listens on `HOST:PORT`.
    ///
    /// # Errors
    /// The address is taken, or not of this host.
    pub async fn bind_tcp(address: &str) -> Result<Self, io::Error> {
        Ok(Self::from_tcp(TcpListener::bind(address).await?))
    }

    /// Listens at a file. One that a killed process left behind is replaced; one that somebody
    /// listens on is not.
    ///
    /// # Errors
    /// The file cannot be made, or somebody listens on it.
    pub fn bind_unix(path: &Path) -> Result<Self, io::Error> {
        remove_orphan(path)?;
        Ok(Self {
            socket: ListeningSocket::Unix(UnixListener::bind(path)?),
            _file: Some(SocketFile(path.to_owned())),
        })
    }

    /// A TCP socket that listens already.
    #[must_use]
    pub fn from_tcp(listener: TcpListener) -> Self {
        Self {
            socket: ListeningSocket::Tcp(listener),
            _file: None,
        }
    }

    /// A Unix socket that listens already.
    #[must_use]
    pub fn from_unix(listener: UnixListener) -> Self {
        Self {
            socket: ListeningSocket::Unix(listener),
            _file: None,
        }
    }

    /// Where it can be reached.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> Result<BoundAddress, io::Error> {
        match &self.socket {
            ListeningSocket::Tcp(listener) => listener.local_addr().map(BoundAddress::Tcp),
            ListeningSocket::Unix(listener) => {
                let address = listener.local_addr()?;
                Ok(BoundAddress::Unix(
                    address.as_pathname().map(Path::to_owned),
                ))
            }
        }
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// None can be accepted, mostly for want of file descriptors, or the client gave up.
    pub async fn accept(&self) -> Result<(AcceptedSocket, PeerAddress), io::Error> {
        match &self.socket {
            ListeningSocket::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                let socket = AcceptedSocket::Tcp(stream.into_std()?);
                Ok((socket, PeerAddress::Tcp(peer)))
            }
            ListeningSocket::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let socket = AcceptedSocket::Unix(stream.into_std()?);
                Ok((socket, PeerAddress::Unix))
            }
        }
    }
}

/// The file of a Unix socket; removed on drop.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::debug!(path = %self.0.display(), %error, "cannot remove a socket's file");
        }
    }
}

/// Removes the file of a socket that nobody listens on any more.
fn remove_orphan(path: &Path) -> Result<(), io::Error> {
    let is_socket = match path.symlink_metadata() {
        Ok(metadata) => metadata.file_type().is_socket(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !is_socket {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is a file of this name, and it is not a socket",
        ));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[tokio::test]
    async fn a_socket_left_behind_is_replaced_and_one_in_use_is_not() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("socket");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let listener = Listener::bind_unix(&path).unwrap();
        assert_eq!(
            listener.address().unwrap().to_string(),
            format!("unix://{}", path.display())
        );
        let taken = Listener::bind_unix(&path).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn an_ordinary_file_is_not_replaced() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("precious");
        std::fs::write(&path, "data").unwrap();
        let refused = Listener::bind_unix(&path).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"data");
    }

    #[test]
    fn local_addresses() {
        let local = |text: &str| BoundAddress::Tcp(text.parse().unwrap()).is_local();
        assert!(local("127.0.0.1:1") && local("127.1.2.3:1"));
        assert!(local("[::1]:1") && local("[::ffff:127.0.0.1]:1"));
        assert!(!local("0.0.0.0:1") && !local("[::]:1") && !local("10.0.0.1:1"));
        assert!(BoundAddress::Unix(None).is_local());
    }
}
