//! An answer on its way to a client, which has to take it.
//!
//! A client that takes no bytes makes HTTP/2 wait, for as long as its connection lives. The answer is
//! therefore handed over in small pieces, and when none was asked for in a while, the rest of it, and
//! the place that it holds, are given up.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Bytes, Frame};
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::task::AbortHandle;
use tonic::Status;
use tonic::body::Body;

/// Most that HTTP/2 is given at a time, bytes: what it holds is out of reach.
const PIECE: usize = 16 << 10;

/// The body of an answer that holds a place until it is sent or given up.
pub(super) struct Paced {
    shared: Arc<Shared>,
    watchdog: AbortHandle,
}

struct Shared {
    answer: Mutex<Option<Answer>>,
    /// The client has taken something.
    progress: Notify,
}

struct Answer {
    body: Body,
    /// What is left of a piece of the body.
    rest: Bytes,
    _place: Option<OwnedSemaphorePermit>,
}

impl Paced {
    /// A body that is given up once nothing was taken of it for `patience`; `given_up` is told then.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub(super) fn new(
        body: Body,
        place: Option<OwnedSemaphorePermit>,
        patience: Duration,
        given_up: impl FnOnce() + Send + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            answer: Mutex::new(Some(Answer {
                body,
                rest: Bytes::new(),
                _place: place,
            })),
            progress: Notify::new(),
        });
        let watched = Arc::clone(&shared);
        let watchdog = tokio::spawn(async move {
            while tokio::time::timeout(patience, watched.progress.notified())
                .await
                .is_ok()
            {}
            let answer = watched.answer().take();
            if answer.is_some() {
                given_up();
            }
        });
        Self {
            shared,
            watchdog: watchdog.abort_handle(),
        }
    }
}

impl Shared {
    fn answer(&self) -> MutexGuard<'_, Option<Answer>> {
        // Nothing panics while it is held, but for the body, which is not asked again then.
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        self.watchdog.abort();
        // The watchdog may not be gone for a while.
        drop(self.shared.answer().take());
    }
}

impl hyper::body::Body for Paced {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.shared.progress.notify_one();
        let mut answer = self.shared.answer();
        let Some(Answer { body, rest, .. }) = answer.as_mut() else {
            let error = Status::deadline_exceeded("the answer was not taken in time");
            return Poll::Ready(Some(Err(error)));
        };
        while rest.is_empty() {
            let frame = match ready!(Pin::new(&mut *body).poll_frame(context)) {
                None => return Poll::Ready(None),
                Some(frame) => frame?,
            };
            match frame.into_data() {
                Ok(data) => *rest = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let piece = rest.split_to(rest.len().min(PIECE));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};
    use tokio::sync::{Semaphore, oneshot};

    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    fn body(bytes: usize) -> Body {
        let content = (0..bytes)
            .map(|number| (number % 251) as u8)
            .collect::<Vec<_>>();
        Body::new(Full::from(content))
    }

    #[tokio::test]
    async fn an_answer_comes_in_small_pieces_and_gives_its_place_back() {
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).acquire_owned().await.ok();
        let mut paced = Paced::new(body(100_000), place, LONG, || panic!("taken"));
        let mut taken = Vec::new();
        while let Some(frame) = paced.frame().await {
            let data = frame.unwrap().into_data().unwrap();
            assert!(data.len() <= PIECE);
            taken.extend_from_slice(&data);
            assert_eq!(places.available_permits(), 0);
        }
        let whole = body(100_000).collect().await.unwrap().to_bytes();
        assert_eq!(taken, whole);
        drop(paced);
        assert_eq!(places.available_permits(), 1);
    }

    #[tokio::test]
    async fn what_is_not_taken_is_given_up_with_its_place() {
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).acquire_owned().await.ok();
        let (told, given_up) = oneshot::channel();
        let patience = Duration::from_millis(1);
        let mut paced = Paced::new(body(100_000), place, patience, || told.send(()).unwrap());
        given_up.await.unwrap();
        assert_eq!(places.available_permits(), 1);
        let error = paced.frame().await.unwrap().unwrap_err();
        assert_eq!(error.code(), tonic::Code::DeadlineExceeded);
    }

    #[tokio::test]
    async fn a_client_that_goes_away_gives_the_place_back_at_once() {
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).acquire_owned().await.ok();
        let mut paced = Paced::new(body(100_000), place, LONG, || panic!("gone"));
        assert!(paced.frame().await.is_some());
        drop(paced);
        assert_eq!(places.available_permits(), 1);
    }
}
