//! Connections as relay and ledger use them: addresses of etcd members, sockets, and the way to a
//! member, which may lead through TLS.

mod dialer;
mod listener;
mod peeked;
mod socket;
mod upstream;

pub use dialer::{ConnectError, Dialer, EtcdStream};
pub use listener::{BoundAddress, Listener, PeerAddress};
pub(crate) use peeked::Peeked;
pub use socket::{AcceptedSocket, Socket};
pub(crate) use upstream::unix_path;
pub use upstream::{Upstream, UpstreamError};
