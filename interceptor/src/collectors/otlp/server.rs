//! The gRPC service.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;

use super::Assembler;
use crate::clock::Reading;
use crate::collectors::listener;
use crate::collectors::rate::RateLimit;

/// Default limit of a message: gRPC's own. kube-apiserver's batches of 512 spans have 0.2 MB.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;
/// Default limit of messages per second: a kube-apiserver that serves 2,000 requests in a second sends 40.
pub const MAX_REQUESTS_PER_SECOND: u32 = 1_000;
/// Connections at once; there is one per kube-apiserver.
const MAX_CONNECTIONS: usize = 32;
/// Calls that a connection may have open; exporters have one. With the two limits above, messages
/// take at most 256 MiB on their way in.
const MAX_STREAMS: u32 = 2;
/// An exporter that sends nothing for this long is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Answers exporters until `stop` is cancelled.
///
/// # Errors
/// The server cannot go on.
pub async fn serve(
    listener: TcpListener,
    assembler: Arc<Mutex<Assembler>>,
    max_message_bytes: usize,
    rate: RateLimit,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let service = TraceServiceServer::new(Receiver { assembler })
        // Of the message as it is sent, and of what it is decompressed to.
        .max_decoding_message_size(max_message_bytes)
        .accept_compressed(CompressionEncoding::Gzip);
    Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .add_service(InterceptedService::new(service, rate))
        .serve_with_incoming_shutdown(
            listener::incoming(listener, MAX_CONNECTIONS, None),
            stop.cancelled_owned(),
        )
        .await
}

struct Receiver {
    // Held for as long as it takes to look through one message; the audit log's thread waits.
    assembler: Arc<Mutex<Assembler>>,
}

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let peer = request
            .remote_addr()
            .map(|address| address.ip().to_string());
        let now = Reading::now();
        let (refused, reason) = self
            .assembler
            .lock()
            // A panic in between leaves rows that are still true.
            .unwrap_or_else(PoisonError::into_inner)
            .take(request.get_ref(), peer.as_deref(), now.moment, now.instant);
        let partial_success = (refused > 0).then(|| ExportTracePartialSuccess {
            rejected_spans: i64::try_from(refused).unwrap_or(i64::MAX),
            error_message: reason.unwrap_or_default(),
        });
        Ok(tonic::Response::new(ExportTraceServiceResponse {
            partial_success,
        }))
    }
}
