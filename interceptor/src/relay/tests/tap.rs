//! A tap cannot harm the traffic.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::connection::{Pair, exchange};
use crate::clock::Reading;
use crate::relay::{Observe, Tap};

/// Where a tap panics.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Panic {
    Connection,
    Request,
    Response,
    Closed,
}

struct Clumsy {
    panic: Panic,
    reported: AtomicI64,
}

struct ClumsyTap(Panic);

impl Observe for Arc<Clumsy> {
    fn connection(&self, _connection: i64) -> Option<Box<dyn Tap>> {
        assert!(self.panic != Panic::Connection, "as asked");
        Some(Box::new(ClumsyTap(self.panic)))
    }

    fn panicked(&self, connection: i64) {
        self.reported.fetch_add(connection, Ordering::SeqCst);
    }
}

impl Tap for ClumsyTap {
    fn request_bytes(&mut self, _bytes: &[u8], _now: Reading) {
        assert!(self.0 != Panic::Request, "as asked");
    }

    fn response_bytes(&mut self, _bytes: &[u8], _now: Reading) {
        assert!(self.0 != Panic::Response, "as asked");
    }

    fn closed(&mut self, _now: Reading) {
        assert!(self.0 != Panic::Closed, "as asked");
    }

    fn is_active(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn a_panicking_tap_is_dropped_and_the_bytes_go_on() {
    for panic in [
        Panic::Connection,
        Panic::Request,
        Panic::Response,
        Panic::Closed,
    ] {
        let clumsy = Arc::new(Clumsy {
            panic,
            reported: AtomicI64::new(0),
        });
        let mut pair = Pair::observed(Arc::new(Arc::clone(&clumsy)), 1024);
        for _ in 0..3 {
            exchange(&mut pair, b"a question", b"an answer").await;
        }
        let metrics = pair.metrics.clone();
        pair.close().await;
        assert_eq!(metrics.observer_panics(), 1);
        assert_eq!(
            clumsy.reported.load(Ordering::SeqCst),
            7,
            "connection 7, once"
        );
    }
}
