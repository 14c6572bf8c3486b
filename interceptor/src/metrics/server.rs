//! A small HTTP/1.1 server.

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::control::Ends;
use super::{Control, Health};

/// How long a client may take to send a request's header, and as long again for its body.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest body that is read, bytes: more than the longest that says something.
const MAX_BODY: usize = 64;
/// Pause after a failed accept, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

const TEXT: &str = "text/plain; charset=utf-8";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is served.
pub struct Pages {
    /// `/metrics`.
    pub registry: Registry,
    /// `/readyz`.
    pub health: Health,
    /// `/observation`; `None` where nothing is observed and never will be.
    pub observation: Option<Control>,
}

/// Answers requests until `stop` is cancelled.
pub async fn serve(listener: TcpListener, pages: Arc<Pages>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (pages, stop) = (Arc::clone(&pages), stop.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = connection(stream, pages) => {}
                    }
                });
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection for metrics");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, pages: Arc<Pages>) {
    let ends = (stream.peer_addr(), stream.local_addr());
    let (Ok(peer), Ok(local)) = ends else {
        return; // gone already
    };
    let ends = Ends { peer, local };
    let service = service_fn(move |request: Request<Incoming>| {
        let pages = Arc::clone(&pages);
        async move { Ok::<_, Infallible>(answer(request, ends, &pages).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection for metrics failed");
    }
}

async fn answer<B>(request: Request<B>, ends: Ends, pages: &Pages) -> Response<Full<Bytes>>
where
    B: Body<Error: Into<Box<dyn Error + Send + Sync>>>,
{
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    match request.uri().path() {
        "/observation" if reads => state(pages.observation.as_ref()),
        "/observation" => change(request, ends, pages.observation.as_ref()).await,
        path if reads => page(path, pages),
        _ => not_allowed("GET, HEAD"),
    }
}

/// Whether something is on.
fn state(control: Option<&Control>) -> Response<Full<Bytes>> {
    match control {
        Some(control) if control.is_on() => response(StatusCode::OK, TEXT, "on\n".into()),
        Some(_) => response(StatusCode::OK, TEXT, "off\n".into()),
        None => response(
            StatusCode::CONFLICT,
            TEXT,
            "nothing is observed here: that takes `serve` with --trace-dir\n".into(),
        ),
    }
}

/// Switches something on or off, as the body says.
async fn change<B>(
    request: Request<B>,
    ends: Ends,
    control: Option<&Control>,
) -> Response<Full<Bytes>>
where
    B: Body<Error: Into<Box<dyn Error + Send + Sync>>>,
{
    if request.method() != Method::PUT {
        return not_allowed("GET, HEAD, PUT");
    }
    if !ends.may_change(request.headers()) {
        let advice = format!(
            "only for this host, without a proxy: curl -X PUT -d off http://127.0.0.1:{}{}\n",
            ends.local.port(),
            request.uri().path()
        );
        return response(StatusCode::FORBIDDEN, TEXT, advice);
    }
    let body = Limited::new(request.into_body(), MAX_BODY).collect();
    let on = match timeout(HEADER_TIMEOUT, body).await {
        Ok(Ok(body)) => match body.to_bytes().trim_ascii() {
            b"on" => Some(true),
            b"off" => Some(false),
            _ => None,
        },
        Ok(Err(_)) | Err(_) => None,
    };
    let Some(on) = on else {
        let advice = "write `on` or `off` into the body\n";
        return response(StatusCode::BAD_REQUEST, TEXT, advice.into());
    };
    if let Some(control) = control {
        tracing::info!(peer = %ends.peer, on, "asked to switch observation");
        control.switch(on);
    }
    state(control)
}

fn not_allowed(allowed: &'static str) -> Response<Full<Bytes>> {
    let text = format!("use {allowed}\n");
    let mut refusal = response(StatusCode::METHOD_NOT_ALLOWED, TEXT, text);
    refusal
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    refusal
}

fn page(path: &str, pages: &Pages) -> Response<Full<Bytes>> {
    match path {
        "/metrics" => {
            let mut text = String::new();
            match encode(&mut text, &pages.registry) {
                Ok(()) => response(StatusCode::OK, OPENMETRICS, text),
                Err(error) => response(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    TEXT,
                    format!("cannot encode the metrics: {error}\n"),
                ),
            }
        }
        "/healthz" => response(StatusCode::OK, TEXT, "ok\n".into()),
        "/readyz" => {
            let (ready, report) = pages.health.report();
            let status = if ready {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            };
            response(status, TEXT, report)
        }
        _ => response(
            StatusCode::NOT_FOUND,
            TEXT,
            "there is /metrics, /healthz, /readyz and /observation\n".into(),
        ),
    }
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn pages(observation: Option<Control>) -> Pages {
        Pages {
            registry: Registry::default(),
            health: Health::default(),
            observation,
        }
    }

    async fn ask(method: Method, path: &str, body: &str, pages: &Pages) -> (u16, String) {
        let address = "127.0.0.1:2390";
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", address)
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())));
        let address = address.parse().unwrap();
        let ends = Ends {
            peer: address,
            local: address,
        };
        let answer = answer(request.unwrap(), ends, pages).await;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn paths_and_methods() {
        let mut pages = pages(None);
        let get = async |path: &str, pages: &Pages| ask(Method::GET, path, "", pages).await;
        assert_eq!(get("/healthz", &pages).await.0, 200);
        assert_eq!(get("/readyz", &pages).await.0, 200);
        pages.health.add("store", || Err("disk full".into()));
        assert_eq!(get("/healthz", &pages).await.0, 200);
        let (status, body) = get("/readyz", &pages).await;
        assert_eq!(status, 503);
        assert!(body.contains("[-]store failed: disk full"), "{body}");
        assert_eq!(get("/metrics", &pages).await, (200, "# EOF\n".to_owned()));
        assert_eq!(ask(Method::POST, "/metrics", "", &pages).await.0, 405);
        assert_eq!(get("/", &pages).await.0, 404);
    }

    #[tokio::test]
    async fn a_control_is_shown_and_switched() {
        let is_on = Arc::new(AtomicBool::new(true));
        let (read, write) = (Arc::clone(&is_on), Arc::clone(&is_on));
        let control = Control::new(
            move || read.load(Ordering::SeqCst),
            move |on| write.store(on, Ordering::SeqCst),
        );
        let pages = pages(Some(control));
        let put = async |body: &str| ask(Method::PUT, "/observation", body, &pages).await;
        assert_eq!(put("off\n").await, (200, "off\n".to_owned()));
        assert!(!is_on.load(Ordering::SeqCst));
        for wrong in ["", "no", "on on", &"on".repeat(100)] {
            assert_eq!(put(wrong).await.0, 400, "{wrong}");
        }
        let (status, shown) = ask(Method::GET, "/observation", "", &pages).await;
        assert_eq!((status, shown.as_str()), (200, "off\n"));
        // What browsers send to others without asking first.
        for method in [Method::POST, Method::OPTIONS] {
            assert_eq!(ask(method, "/observation", "on", &pages).await.0, 405);
        }
        assert!(!is_on.load(Ordering::SeqCst));
        assert_eq!(put("on").await, (200, "on\n".to_owned()));
        assert!(is_on.load(Ordering::SeqCst));
    }
}
