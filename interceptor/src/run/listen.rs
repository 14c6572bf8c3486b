//! Opens the listeners.

use std::io;

use listenfd::ListenFd;
use tokio::net::{TcpListener, UnixListener};

use super::address::{Listen, ListenPlace};
use crate::transport::Listener;

/// Sockets that systemd made for this process (sd_listen_fds(3)).
pub(super) struct InheritedSockets(ListenFd);

impl InheritedSockets {
    /// Those of the environment.
    pub(super) fn take() -> Self {
        Self(ListenFd::from_env())
    }

    /// Opens a listener.
    ///
    /// # Errors
    /// The address is taken, or not of this host; or systemd passed no such socket.
    pub(super) async fn open(&mut self, listen: &Listen) -> Result<Listener, io::Error> {
        match &listen.place {
            ListenPlace::Tcp(address) => Listener::bind_tcp(address.as_str()).await,
            ListenPlace::Unix(path) => Listener::bind_unix(path),
            ListenPlace::Inherited(number) => self.inherited(*number),
        }
    }

    /// Says which sockets nobody asked for.
    pub(super) fn warn_of_unused(&mut self) {
        for number in 0..self.0.len() {
            if matches!(self.0.take_raw_fd(number), Ok(Some(_))) {
                tracing::warn!(
                    "nobody uses systemd's socket {number}; name it with --listen systemd:{number}"
                );
            }
        }
    }

    fn inherited(&mut self, number: usize) -> Result<Listener, io::Error> {
        let passed = self.0.len();
        let missing = || {
            let reason = format!(
                "of the {passed} sockets that systemd has passed, counted from 0, this is none, or it \
                 is used already"
            );
            io::Error::new(io::ErrorKind::NotFound, reason)
        };
        if number >= passed {
            return Err(missing());
        }
        // Taken as one kind, a socket of the other kind stays where it is.
        if let Ok(Some(listener)) = self.0.take_tcp_listener(number) {
            listener.set_nonblocking(true)?;
            return Ok(Listener::from_tcp(TcpListener::from_std(listener)?));
        }
        match self.0.take_unix_listener(number)? {
            Some(listener) => {
                listener.set_nonblocking(true)?;
                Ok(Listener::from_unix(UnixListener::from_std(listener)?))
            }
            None => Err(missing()),
        }
    }
}
