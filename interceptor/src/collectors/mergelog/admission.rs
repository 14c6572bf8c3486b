//! How many requests are served at a time, so that their messages do not fill the memory: who comes
//! when all places are taken waits, and HTTP/2 makes its sender wait.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::Semaphore;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;

use super::metrics::TraceServerMetrics;
use super::paced::Paced;

/// Posts at a time. Each holds its message until it is durable.
const POSTS: usize = 32;
/// Answers at a time, deletions included. Each holds its message until it is sent.
const ANSWERS: usize = 2;
/// How long a client may take for a piece of its answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Lets a limited number of requests through to a service.
#[derive(Clone)]
pub(super) struct Admission<S> {
    service: S,
    posts: Arc<Semaphore>,
    /// Apart from the posts: a reader who takes no bytes must not stop those who post.
    answers: Arc<Semaphore>,
    metrics: TraceServerMetrics,
}

impl<S> Admission<S> {
    pub(super) fn new(service: S, metrics: TraceServerMetrics) -> Self {
        Self {
            service,
            posts: Arc::new(Semaphore::new(POSTS)),
            answers: Arc::new(Semaphore::new(ANSWERS)),
            metrics,
        }
    }
}

impl<S: NamedService> NamedService for Admission<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Admission<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let is_post = request
            .uri()
            .path()
            .rsplit('/')
            .next()
            .is_some_and(|method| method.starts_with("Post"));
        let places = Arc::clone(if is_post { &self.posts } else { &self.answers });
        // The clone is the one for later: readiness was asked of this one.
        let later = self.service.clone();
        let metrics = self.metrics.clone();
        let mut service = std::mem::replace(&mut self.service, later);
        Box::pin(async move {
            // Never closed, so it cannot fail.
            let place = places.acquire_owned().await.ok();
            let response = service.call(request).await?;
            // The place is free when the last byte is sent, or nobody wants more.
            Ok(response.map(|body| {
                Body::new(Paced::new(body, place, PATIENCE, move || {
                    metrics.given_up.inc();
                    tracing::debug!("an answer was given up: its client did not take it");
                }))
            }))
        })
    }
}
