//! Something in front of an etcd that changes what it says, to make set-ups that are not at hand.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// Bytes, and what stands in their place; of the same length, so that everything around stays right.
pub(crate) type Exchange = (Vec<u8>, Vec<u8>);

/// A relay to an etcd that exchanges bytes of its answers; it goes on until the test's process ends.
#[derive(Debug)]
pub(crate) struct Front {
    address: SocketAddr,
}

impl Front {
    /// Listens on a free port. What is exchanged must come in one piece, as short answers do.
    pub(crate) fn start(
        etcd: SocketAddr,
        exchange: impl Fn(&[u8]) -> Option<Exchange> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let exchange = Arc::new(exchange);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let exchange = Arc::clone(&exchange);
                let upstream = TcpStream::connect(etcd).expect("a running etcd");
                let (from_client, to_etcd) = (
                    client.try_clone().expect("a socket"),
                    upstream.try_clone().expect("a socket"),
                );
                thread::spawn(move || copy(from_client, to_etcd, |_| None));
                thread::spawn(move || copy(upstream, client, |bytes| exchange(bytes)));
            }
        });
        Self { address }
    }

    /// An etcd that says that it is another version: of the series 3.5, and as long as the real one.
    pub(crate) fn of_version(etcd: SocketAddr, real: &str) -> (Self, String) {
        let digits = real.len().checked_sub(4).expect("a version such as 3.6.16");
        let version = format!("3.5.1{}", "0".repeat(digits - 1));
        let pair = (real.as_bytes().to_vec(), version.as_bytes().to_vec());
        (Self::start(etcd, move |_| Some(pair.clone())), version)
    }

    /// An etcd whose clock stands in the year 2000.
    pub(crate) fn of_the_past(etcd: SocketAddr) -> Self {
        Self::start(etcd, |bytes| {
            let text = String::from_utf8_lossy(bytes);
            let date = text.lines().find_map(|line| line.strip_prefix("Date: "))?;
            let past = b"Sat, 01 Jan 2000 00:00:00 GMT".to_vec();
            Some((date.trim().as_bytes().to_vec(), past))
        })
    }

    /// Where clients connect, as a URL.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, exchange: impl Fn(&[u8]) -> Option<Exchange>) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let bytes = buffer.get(..count).expect("what was read");
        let mut bytes = bytes.to_vec();
        if let Some((old, new)) = exchange(&bytes) {
            assert_eq!(old.len(), new.len());
            let mut windows = bytes.windows(old.len());
            if let Some(place) = windows.position(|window| window == old) {
                bytes.splice(place..place + old.len(), new);
            }
        }
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
