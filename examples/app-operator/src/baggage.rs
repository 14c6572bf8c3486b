//! Sends the CPID of a write along with its request, as `baggage: cpid=…`.
//!
//! kube-apiserver hands the header on to the etcd call of exactly that write. It reaches what no
//! annotation reaches: a deletion, which writes no object, and the status of a custom resource,
//! whose request cannot change annotations.

use std::future::poll_fn;
use std::task::{Context, Poll};

use cascade_cpid::ChangeContext;
use cascade_cpid::carriers::baggage;
use futures::future::BoxFuture;
use http::{HeaderValue, Method, Request};
use tower::{Layer, Service};

tokio::task_local! {
    static CPID: String;
}

/// Runs `request` so that every write in it carries this CPID, if there is one.
pub(crate) async fn with_cpid<F: Future>(context: Option<&ChangeContext>, request: F) -> F::Output {
    match context {
        Some(context) => CPID.scope(context.cpid.clone(), request).await,
        None => request.await,
    }
}

/// Adds the header to the requests of a client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BaggageLayer;

impl<S> Layer<S> for BaggageLayer {
    type Service = SendBaggage<S>;

    fn layer(&self, inner: S) -> Self::Service {
        SendBaggage(inner)
    }
}

/// See [`BaggageLayer`].
#[derive(Debug, Clone)]
pub(crate) struct SendBaggage<S>(S);

impl<S, B> Service<Request<B>> for SendBaggage<S>
where
    S: Service<Request<B>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let mut inner = self.0.clone();
        // The kube client calls its service in a task of its own, where the task-local is not set;
        // but what that returns is polled by whoever asked. So everything is in the future.
        Box::pin(async move {
            if request.method() != Method::GET
                && let Ok(cpid) = CPID.try_with(Clone::clone)
            {
                add_header(&mut request, &cpid);
            }
            poll_fn(|context| inner.poll_ready(context)).await?;
            inner.call(request).await
        })
    }
}

/// A write is worth more than its trace: with a CPID that no header can carry it goes without.
fn add_header<B>(request: &mut Request<B>, cpid: &str) {
    let existing = request
        .headers()
        .get("baggage")
        .and_then(|value| value.to_str().ok());
    let value = baggage::write(existing, cpid)
        .map_err(|error| error.to_string())
        .and_then(|text| HeaderValue::from_str(&text).map_err(|error| error.to_string()));
    match value {
        Ok(value) => {
            request.headers_mut().insert("baggage", value);
        }
        Err(error) => tracing::warn!(cpid, error, "sent a request without its cpid"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use tower::buffer::Buffer;

    /// Answers with the header that arrived.
    #[derive(Clone)]
    struct Echo;

    impl Service<Request<()>> for Echo {
        type Response = Option<String>;
        type Error = Infallible;
        type Future = std::future::Ready<Result<Option<String>, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<()>) -> Self::Future {
            let header = request.headers().get("baggage");
            std::future::ready(Ok(header.map(|value| value.to_str().unwrap().to_owned())))
        }
    }

    /// What arrives of a request that is made through a buffer with its own task, as kube does.
    async fn arrives(request: Request<()>, cpid: Option<&str>) -> Option<String> {
        let mut client = Buffer::new(BaggageLayer.layer(Echo), 8);
        let context = cpid.map(|cpid| ChangeContext {
            cpid: cpid.to_owned(),
            ancestors: Vec::new(),
        });
        poll_fn(|task| Service::<Request<()>>::poll_ready(&mut client, task))
            .await
            .unwrap();
        with_cpid(context.as_ref(), async move {
            client.call(request).await.unwrap()
        })
        .await
    }

    #[tokio::test]
    async fn writes_carry_the_cpid_of_whoever_asked_and_reads_do_not() {
        let delete = || Request::delete("/x").body(()).unwrap();
        assert_eq!(
            arrives(delete(), Some("a-1")).await.as_deref(),
            Some("cpid=a-1")
        );
        assert_eq!(arrives(delete(), None).await, None);
        let get = Request::get("/x").body(()).unwrap();
        assert_eq!(arrives(get, Some("a-1")).await, None);
    }

    #[tokio::test]
    async fn other_baggage_stays() {
        let request = Request::post("/x")
            .header("baggage", "team=web")
            .body(())
            .unwrap();
        let arrived = arrives(request, Some("a-1")).await.unwrap();
        assert!(
            arrived.contains("team=web") && arrived.contains("cpid=a-1"),
            "{arrived}"
        );
    }
}
