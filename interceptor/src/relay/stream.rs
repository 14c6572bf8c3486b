//! What the relay needs of a stream.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{client, server};

use crate::transport::{Peeked, Socket};

/// A stream that the relay can use on either side.
pub trait RelayStream: AsyncRead + AsyncWrite + Unpin + Send {
    /// Asks that closing the stream resets the connection, where there is such a thing.
    fn reset_on_close(&self);

    /// Whether a peer can tell a stream that was ended from one that was only closed.
    fn shows_a_cut(&self) -> bool {
        false
    }
}

impl RelayStream for Socket {
    fn reset_on_close(&self) {
        Self::reset_on_close(self);
    }
}

impl<S: RelayStream> RelayStream for Peeked<S> {
    fn reset_on_close(&self) {
        self.get_ref().reset_on_close();
    }
}

impl<S: RelayStream> RelayStream for Box<server::TlsStream<S>> {
    fn reset_on_close(&self) {
        self.get_ref().0.reset_on_close();
    }

    fn shows_a_cut(&self) -> bool {
        true
    }
}

impl<S: RelayStream> RelayStream for Box<client::TlsStream<S>> {
    fn reset_on_close(&self) {
        self.get_ref().0.reset_on_close();
    }

    fn shows_a_cut(&self) -> bool {
        true
    }
}

#[cfg(test)]
impl RelayStream for tokio::io::DuplexStream {
    fn reset_on_close(&self) {}
}

#[cfg(test)]
impl RelayStream for tokio::net::TcpStream {
    fn reset_on_close(&self) {
        self.set_zero_linger().unwrap();
    }
}
