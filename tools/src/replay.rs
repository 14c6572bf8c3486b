//! Replays a recording of mutating calls into an etcd, one call after the other.
//!
//! Into an empty etcd this gives the same revisions as the recording: every call is sent alone, in
//! commit order, and its answer is compared with the recorded one before the next is sent.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::{Buf, BufMut, Bytes};
use cascade_proto::wire::etcd;
use prost::Message;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::recording::{RecordedCall, RecordingReader};

/// How to replay.
#[derive(Debug, Clone)]
pub struct ReplayOptions {
    /// Where to send the calls, such as `http://127.0.0.1:2379`.
    pub endpoint: String,
    /// How many times faster than recorded; infinite sends without pauses.
    pub speed: f64,
}

/// What a replay did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Number of calls sent.
    pub calls: u64,
    /// Revision after the last one.
    pub revision: i64,
}

/// Sends every call of the recording at `path`; calls `progress` after each.
///
/// # Errors
/// When the recording is damaged, etcd refuses a call, or an answer differs from the recorded one:
/// the first that does ends the replay, since every later revision would differ too.
pub async fn replay(
    path: &Path,
    options: &ReplayOptions,
    mut progress: impl FnMut(&RecordedCall),
) -> anyhow::Result<Replayed> {
    ensure!(
        options.speed > 0.0,
        "the speed must be positive, not {}",
        options.speed
    );
    let reader = RecordingReader::<RecordedCall>::open(path)?;
    let endpoint = Endpoint::from_shared(options.endpoint.clone())
        .with_context(|| format!("{} is not a URL", options.endpoint))?
        .tcp_nodelay(true);
    let mut connections = Connections {
        endpoint,
        channels: HashMap::new(),
    };
    let mut replayed = Replayed::default();
    let begun = Instant::now();

    for call in reader {
        let call = call?;
        pause_until(begun, call.offset_ns, options.speed).await;
        let channel = connections.of(call.connection).await?;
        let answer = send(channel, &call).await.with_context(|| {
            format!(
                "call {} ({}) at revision {}",
                replayed.calls, call.method, call.revision
            )
        })?;
        compare(&call, &answer).with_context(|| {
            format!(
                "call {} ({}): the replay differs from the recording; it needs an empty etcd that \
                 nothing else writes to",
                replayed.calls, call.method
            )
        })?;
        replayed = Replayed {
            calls: replayed.calls + 1,
            revision: call.revision,
        };
        progress(&call);
    }
    Ok(replayed)
}

/// Waits until `offset_ns` of the recording, at `speed`.
async fn pause_until(begun: Instant, offset_ns: i64, speed: f64) {
    if speed.is_infinite() {
        return;
    }
    let offset = Duration::from_nanos(u64::try_from(offset_ns).unwrap_or(0)).div_f64(speed);
    tokio::time::sleep_until((begun + offset).into()).await;
}

/// One channel for each recorded connection, so that the replay looks like kube-apiserver, which
/// has a connection per resource.
struct Connections {
    endpoint: Endpoint,
    channels: HashMap<i64, Channel>,
}

impl Connections {
    async fn of(&mut self, connection: i64) -> anyhow::Result<Channel> {
        if let Some(channel) = self.channels.get(&connection) {
            return Ok(channel.clone());
        }
        let channel = self
            .endpoint
            .connect()
            .await
            .with_context(|| format!("cannot connect to {}", self.endpoint.uri()))?;
        self.channels.insert(connection, channel.clone());
        Ok(channel)
    }
}

async fn send(channel: Channel, call: &RecordedCall) -> anyhow::Result<Bytes> {
    let mut request = Request::new(call.request.clone());
    for (name, value) in [
        ("traceparent", &call.traceparent),
        ("baggage", &call.baggage),
    ] {
        if !value.is_empty() {
            request
                .metadata_mut()
                .insert(name, MetadataValue::try_from(value.as_str())?);
        }
    }
    let path = PathAndQuery::try_from(call.method.as_str())
        .with_context(|| format!("{} is not a method path", call.method))?;
    let mut client = Grpc::new(channel).max_decoding_message_size(usize::MAX);
    client.ready().await.context("the connection is gone")?;
    let answer = client.unary(request, path, RawCodec).await?;
    Ok(answer.into_inner())
}

/// Checks that the answer's revision and outcome are the recorded ones.
fn compare(call: &RecordedCall, answer: &Bytes) -> anyhow::Result<()> {
    // Every answer of etcd has its header at field 1; a Txn's says whether the compares held.
    let transaction = etcd::TxnResponse::decode(answer.clone());
    let (header, succeeded) = match (call.method.as_str(), transaction) {
        ("/etcdserverpb.KV/Txn", Ok(answer)) => (answer.header, Some(answer.succeeded)),
        ("/etcdserverpb.KV/Txn", Err(error)) => bail!("the answer cannot be read: {error}"),
        _ => (etcd::PutResponse::decode(answer.clone())?.header, None),
    };
    let revision = header.context("the answer has no header")?.revision;
    ensure!(
        revision == call.revision,
        "revision {revision} instead of {}{}",
        call.revision,
        match succeeded {
            Some(false) if call.committed => " (the compare did not hold)",
            _ => "",
        }
    );
    Ok(())
}

/// Passes messages as bytes: a replay sends what was recorded, not what a message type keeps.
#[derive(Debug, Clone, Copy, Default)]
struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = buffer.remaining();
        Ok(Some(buffer.copy_to_bytes(length)))
    }
}
