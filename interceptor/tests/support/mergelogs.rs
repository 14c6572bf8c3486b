//! Clients of the trace server, and mergelogs to post to it.

use std::net::SocketAddr;

use cascade_proto::wire::mergelog::mergelog_service_client::MergelogServiceClient;
use cascade_proto::wire::mergelog::{CauseType, Cpid, Mergelog, MergelogRequest, Span};
use tonic::transport::{Channel, Endpoint};

use super::{Interceptor, PATIENCE};

/// A client of the trace server.
pub(crate) type TraceServerClient = MergelogServiceClient<Channel>;

/// Where the interceptor's trace server listens.
pub(crate) fn trace_server(interceptor: &Interceptor) -> SocketAddr {
    interceptor.collector("taking mergelogs and spans")
}

/// A client of its own connection, which takes answers of any size. It does not wait longer than [`PATIENCE`]: what
/// a killed server last said can be lost even on one machine, and a client that sends nothing would never notice.
pub(crate) async fn trace_server_client(interceptor: &Interceptor) -> TraceServerClient {
    let endpoint = format!("http://{}", trace_server(interceptor));
    let channel = Endpoint::from_shared(endpoint)
        .expect("a URL")
        .connect_timeout(PATIENCE)
        .timeout(PATIENCE)
        .connect()
        .await
        .expect("a connection to the trace server");
    MergelogServiceClient::new(channel).max_decoding_message_size(usize::MAX)
}

/// A CPID.
pub(crate) fn cpid(text: impl Into<String>) -> Cpid {
    Cpid { cpid: text.into() }
}

/// A mergelog that says how `new_cpid` was made: a root without sources.
pub(crate) fn mergelog(new_cpid: &str, sources: &[&str]) -> Mergelog {
    let cause_type = match sources {
        [] => CauseType::NewChange,
        _ => CauseType::Merge,
    };
    Mergelog {
        new_cpid: Some(cpid(new_cpid)),
        source_cpids: sources.iter().map(|source| cpid(*source)).collect(),
        time: Some(prost_types::Timestamp {
            seconds: 1_700_000_000,
            nanos: 123_456_789,
        }),
        cause_type: cause_type.into(),
        cause_message: "for a test".to_owned(),
        by: "test".to_owned(),
    }
}

/// A span for a CPID.
pub(crate) fn span(of: &str, message: &str) -> Span {
    Span {
        cpid: Some(cpid(of)),
        start_time: Some(prost_types::Timestamp {
            seconds: 1_700_000_000,
            nanos: 0,
        }),
        end_time: None,
        service: "test".to_owned(),
        object_kind: "Pod".to_owned(),
        object_name: "web".to_owned(),
        message: message.to_owned(),
        span_id: String::new(),
        parent_id: String::new(),
    }
}

/// A post of these.
pub(crate) fn post(mergelogs: Vec<Mergelog>) -> MergelogRequest {
    MergelogRequest { mergelogs }
}

/// The CPIDs that mergelogs made, in their order.
pub(crate) fn made(mergelogs: &[Mergelog]) -> Vec<String> {
    let cpids = mergelogs
        .iter()
        .map(|mergelog| mergelog.new_cpid.clone().unwrap_or_default().cpid);
    cpids.collect()
}
