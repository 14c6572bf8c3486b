//! How many requests a collector takes in a second. What is too much is refused before it is read, so
//! that it costs next to nothing, and its sender is told when to come again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prost::Message;
use tonic::service::Interceptor;
use tonic::{Code, Request, Status};

use crate::complaints::Complaints;

/// When who was refused may come again. By then there is room for as many requests as a second takes.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Lets a limited number of requests through; clones share the limit.
#[derive(Debug, Clone)]
pub struct RateLimit {
    /// The flag that sets it.
    flag: &'static str,
    bucket: Arc<Mutex<Bucket>>,
    refused: Counter,
    complaints: Arc<Complaints>,
}

impl RateLimit {
    /// `per_second` requests on average, and as many at once. `flag` sets it; `refused` counts what
    /// was too much.
    #[must_use]
    pub fn new(per_second: u32, flag: &'static str, refused: Counter) -> Self {
        Self {
            flag,
            bucket: Arc::new(Mutex::new(Bucket::full(per_second, Instant::now()))),
            refused,
            complaints: Arc::default(),
        }
    }

    fn refusal(&self) -> Status {
        let message = format!("more requests in a second than {} allows", self.flag);
        let retry = RetryInfo {
            retry_delay: prost_types::Duration::try_from(RETRY_DELAY).ok(),
        };
        let details = RpcStatus {
            code: Code::ResourceExhausted.into(),
            message: message.clone(),
            details: vec![prost_types::Any {
                type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
                value: retry.encode_to_vec(),
            }],
        };
        let details = details.encode_to_vec().into();
        Status::with_details(Code::ResourceExhausted, message, details)
    }
}

impl Interceptor for RateLimit {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let now = Instant::now();
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        if bucket.take(now) {
            return Ok(request);
        }
        drop(bucket);
        self.refused.inc();
        if let Some(left_out) = self.complaints.due("rate", now) {
            tracing::warn!(
                left_out,
                "requests are refused: there are more in a second than {} allows",
                self.flag
            );
        }
        Err(self.refusal())
    }
}

/// A token bucket that holds what a second takes.
#[derive(Debug)]
struct Bucket {
    per_second: f64,
    /// Requests that may come now.
    room: f64,
    /// When the room was computed.
    at: Instant,
}

impl Bucket {
    fn full(per_second: u32, now: Instant) -> Self {
        Self {
            per_second: f64::from(per_second),
            room: f64::from(per_second),
            at: now,
        }
    }

    /// Whether there is room for a request.
    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.room = (self.room + passed * self.per_second).min(self.per_second);
        let is_room = self.room >= 1.0;
        if is_room {
            self.room -= 1.0;
        }
        is_room
    }
}

/// `google.rpc.Status`, as it stands in the trailer `grpc-status-details-bin`.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

/// `google.rpc.RetryInfo`. Without it exporters of OTLP do not send again what was refused so.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<prost_types::Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_takes_what_a_second_may_bring_and_fills_up_again() {
        let start = Instant::now();
        let mut bucket = Bucket::full(10, start);
        let mut taken = |after_ms| {
            let now = start + Duration::from_millis(after_ms);
            (0..100).filter(|_| bucket.take(now)).count()
        };
        assert_eq!(taken(0), 10);
        assert_eq!(taken(50), 0);
        assert_eq!(taken(100), 1);
        assert_eq!(taken(400), 3);
        // Not more than a second's worth, however long it was quiet.
        assert_eq!(taken(60_000), 10);
        // A clock that goes back gives nothing.
        assert_eq!(taken(30_000), 0);
    }

    #[test]
    fn who_is_refused_is_told_when_to_come_again() {
        let refused = Counter::default();
        let mut limit = RateLimit::new(1, "--limit", refused.clone());
        limit.clone().call(Request::new(())).unwrap();
        let status = loop {
            // There may be room again, on a machine that stands still for a second.
            if let Err(status) = limit.call(Request::new(())) {
                break status;
            }
        };
        assert_eq!(refused.get(), 1);
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(status.message().contains("--limit"), "{status}");
        let details = RpcStatus::decode(status.details()).unwrap();
        assert_eq!(details.code, 8);
        let retry = RetryInfo::decode(&*details.details[0].value).unwrap();
        assert_eq!(retry.retry_delay.unwrap().seconds, 1);
    }
}
