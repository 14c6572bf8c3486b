use cascade_proto::tables::{Branch, Call, CallOutcome, CallShape, Moment};
use cascade_proto::wire::etcd::{RangeRequest, RangeResponse};

use super::super::frame::{
    ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PRIORITY, PUSH_PROMISE, RST_STREAM,
    SETTINGS, WINDOW_UPDATE,
};
use super::super::sides::REFUSED_STREAM;
use super::super::testing::messages::*;
use super::super::testing::{Watched, client_start, data, frame, grpc, in_continuations, settings};
use super::*;
use crate::decode::HashKey;

const PUT: &str = "/etcdserverpb.KV/Put";
const TXN: &str = "/etcdserverpb.KV/Txn";
const RANGE: &str = "/etcdserverpb.KV/Range";

const PADDED: u8 = 0x8;
const PRIORITISED: u8 = 0x20;

fn moment(millis: i64) -> Moment {
    Moment {
        unix_nano: millis * 1_000_000,
    }
}

/// A connection with an open Put of key "k" on stream 1.
fn with_open_put() -> Watched {
    let mut watched = Watched::started();
    let request = watched.client.request(1, PUT, &put("k", "v"));
    watched.request(&request);
    watched
}

#[test]
fn a_put_from_first_byte_to_answer() {
    let hash_key = SharedHashKey::default();
    let mut watched = Watched::with_key(hash_key.clone());
    hash_key.set(HashKey::from_cluster_id(CLUSTER));
    watched.request(&client_start()); // 1 ms
    watched.response(&settings()); // 2 ms
    let headers = watched.client.call_with(
        1,
        PUT,
        &[
            ("grpc-timeout", "34S"),
            (
                "traceparent",
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            ),
            ("baggage", "user=jane,cpid=a%20b"),
        ],
    );
    watched.request(&headers); // 3 ms
    let message = put("/registry/pods/default/web", "value");
    watched.request(&data(1, END_STREAM, &message)); // 4 ms
    let headers = watched.server.answer_headers(1);
    watched.response(&headers); // 5 ms
    watched.response(&data(1, 0, &put_answer(42))); // 6 ms
    assert!(watched.seen.is_empty());
    let trailers = watched.server.trailers(1, "0");
    watched.response(&trailers); // 7 ms

    let row = watched.row();
    assert!(row.call_id.ends_with("-1"), "{}", row.call_id);
    let expected = Call {
        call_id: row.call_id.clone(),
        op_index: 0,
        cluster_id: Some("cdf8181e32272efa".to_owned()),
        epoch: None,
        instance: "test".to_owned(),
        connection: 7,
        stream: 1,
        method: PUT.to_owned(),
        shape: CallShape::Update,
        branch: None,
        key: Some("/registry/pods/default/web".to_owned()),
        range_end: None,
        deleted: None,
        compare_revision: None,
        outcome: CallOutcome::Committed,
        grpc_status: Some(0),
        revision: Some(42),
        value_hash: Some(HashKey::from_cluster_id(CLUSTER).hash(b"value")),
        request: moment(4),
        response: Some(moment(6)),
        duration_ns: Some(2_000_000),
        request_bytes: 35,
        deadline_ns: Some(34_000_000_000),
        trace_id: Some("0af7651916cd43dd8448eb211c80319c".to_owned()),
        span_id: Some("b7ad6b7169203331".to_owned()),
        trace_flags: Some(1),
        baggage: Some("user=jane,cpid=a%20b".to_owned()),
        cpid: Some("a b".to_owned()),
        lease_id: None,
        lease_ttl: None,
    };
    assert_eq!(row, expected);
    assert_eq!(watched.metrics.open_calls.get(), 0);
    assert_eq!(watched.metrics.buffered_bytes.get(), 0);
}

#[test]
fn header_compression_carries_over_from_call_to_call() {
    let mut watched = Watched::started();
    for stream in [1, 3, 5, 7, 9] {
        let path = if stream == 5 { RANGE } else { PUT };
        let request = watched.client.request(stream, path, &put("k", "v"));
        watched.request(&request);
        let answer = watched
            .server
            .answer(stream, &put_answer(i64::from(stream)));
        watched.response(&answer);
    }
    let calls = watched.calls();
    let streams: Vec<_> = calls
        .iter()
        .map(|rows| (rows[0].stream, rows[0].revision))
        .collect();
    assert_eq!(
        streams,
        [(1, Some(1)), (3, Some(3)), (7, Some(7)), (9, Some(9))]
    );
    assert!(calls.iter().all(|rows| rows[0].grpc_status == Some(0)));
}

#[test]
fn reads_leave_nothing_behind() {
    let mut watched = Watched::started();
    let range = watched.client.request(1, RANGE, &RangeRequest::default());
    watched.request(&range);
    let read_only = txn(
        vec![mod_equal("k", 1)],
        vec![op_range("k")],
        vec![op_range("k")],
    );
    let request = watched.client.request(3, TXN, &read_only);
    watched.request(&request);
    assert_eq!(watched.metrics.open_calls.get(), 0);
    let answer = watched.server.answer(1, &RangeResponse::default());
    watched.response(&answer);
    let answer = watched
        .server
        .answer(3, &txn_answer(5, true, vec![did_range()]));
    watched.response(&answer);
    watched.close();
    assert_eq!(watched.seen, []);
}

#[test]
fn an_error_answer_tells_its_status_even_when_it_is_only_an_index() {
    let mut watched = Watched::started();
    for stream in [1, 3] {
        let request = watched.client.request(stream, PUT, &put("k", "v"));
        watched.request(&request);
        let error = watched
            .server
            .error(stream, "3", "etcdserver: key is not provided");
        assert!(
            stream == 1 || error.len() == 9 + 4,
            "four indices: {}",
            error.len()
        );
        watched.response(&error);
        let row = watched.row();
        assert_eq!(row.outcome, CallOutcome::Error);
        assert_eq!(row.grpc_status, Some(3));
        assert_eq!(row.revision, None);
        assert!(row.response.is_some() && row.duration_ns.is_some());
    }
}

#[test]
fn statuses_that_leave_it_open_whether_the_call_was_carried_out_are_unknown() {
    for (status, outcome) in [
        ("1", CallOutcome::Unknown),
        ("2", CallOutcome::Unknown),
        ("3", CallOutcome::Error),
        ("4", CallOutcome::Unknown),
        ("5", CallOutcome::Error),
        ("8", CallOutcome::Unknown),
        ("9", CallOutcome::Error),
        ("11", CallOutcome::Error),
        ("14", CallOutcome::Unknown),
        ("16", CallOutcome::Error),
        ("0", CallOutcome::Unknown), // without a message: not an answer of etcd
    ] {
        let mut watched = with_open_put();
        let error = watched.server.error(1, status, "message");
        watched.response(&error);
        let row = watched.row();
        assert_eq!(row.outcome, outcome, "status {status}");
        assert_eq!(row.grpc_status, status.parse().ok());
    }
}

#[test]
fn an_answer_outside_grpc_is_an_error_without_a_status() {
    let mut watched = with_open_put();
    let headers = watched.server.headers(1, END_STREAM, &[(":status", "503")]);
    watched.response(&headers);
    let row = watched.row();
    assert_eq!((row.outcome, row.grpc_status), (CallOutcome::Error, None));
}

#[test]
fn a_reset_by_either_side_cancels() {
    for by_client in [true, false] {
        let mut watched = with_open_put();
        let reset = frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes());
        if by_client {
            watched.request(&reset);
        } else {
            watched.response(&reset);
        }
        let row = watched.row();
        assert_eq!(row.outcome, CallOutcome::Cancelled);
        assert_eq!(
            (row.response, row.duration_ns, row.grpc_status),
            (None, None, None)
        );
        // What still comes of the stream is ignored.
        let answer = watched.server.answer(1, &put_answer(3));
        watched.response(&answer);
        assert_eq!(watched.seen, []);
    }
}

#[test]
fn a_reset_after_the_message_does_not_undo_the_commit() {
    let mut watched = with_open_put();
    let headers = watched.server.answer_headers(1);
    watched.response(&headers);
    watched.response(&data(1, 0, &put_answer(9)));
    watched.request(&frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes()));
    let row = watched.row();
    assert_eq!(
        (row.outcome, row.revision, row.grpc_status),
        (CallOutcome::Committed, Some(9), None)
    );
}

#[test]
fn refused_streams_were_not_carried_out() {
    let mut watched = with_open_put();
    watched.response(&frame(RST_STREAM, 0, 1, &REFUSED_STREAM.to_be_bytes()));
    assert_eq!(watched.row().outcome, CallOutcome::Error);

    let mut watched = Watched::started();
    for stream in [1, 3, 5] {
        let request = watched.client.request(stream, PUT, &put("k", "v"));
        watched.request(&request);
    }
    let goaway = |last: u32| frame(GOAWAY, 0, 0, &[&last.to_be_bytes()[..], &[0; 4]].concat());
    watched.response(&goaway(0x7fff_ffff)); // a warning
    assert_eq!(watched.seen, []);
    watched.response(&goaway(1));
    let calls = watched.calls();
    let ends: Vec<_> = calls
        .iter()
        .map(|rows| (rows[0].stream, rows[0].outcome))
        .collect();
    assert_eq!(ends, [(3, CallOutcome::Error), (5, CallOutcome::Error)]);
    let answer = watched.server.answer(1, &put_answer(2));
    watched.response(&answer);
    assert_eq!(watched.row().outcome, CallOutcome::Committed);
}

#[test]
fn the_end_of_the_connection_leaves_open_calls_unknown() {
    let mut watched = with_open_put();
    let headers = watched.client.call(3, PUT); // without a message
    watched.request(&headers);
    let request = watched.client.call(5, PUT);
    watched.request(&request);
    watched.request(&data(5, 0, &put("k", "v"))[..19]); // a part of it
    watched.close();
    let row = watched.row();
    assert_eq!((row.stream, row.outcome), (1, CallOutcome::Unknown));
    assert_eq!((row.response, row.grpc_status), (None, None));
    assert_eq!(watched.metrics.open_calls.get(), 0);
    assert_eq!(watched.metrics.buffered_bytes.get(), 0);
}

#[test]
fn an_error_before_the_request_is_complete_is_a_row_without_a_key() {
    let mut watched = Watched::started();
    let headers = watched.client.call(1, TXN);
    watched.request(&headers);
    let message = grpc(&[0; 3_000_000]);
    watched.request(&frame(DATA, 0, 1, &message[..16_384]));
    let error = watched
        .server
        .error(1, "8", "grpc: received message larger than max");
    watched.response(&error);
    let row = watched.row();
    assert_eq!((row.shape, row.key.as_deref()), (CallShape::Other, None));
    assert_eq!(
        (row.outcome, row.grpc_status),
        (CallOutcome::Unknown, Some(8))
    );
    assert_eq!(row.request_bytes, 3_000_000);
    assert_eq!(watched.metrics.buffered_bytes.get(), 0);
}

#[test]
fn an_answer_without_trailers_leaves_the_status_open() {
    let mut watched = with_open_put();
    let headers = watched.server.answer_headers(1);
    watched.response(&headers);
    watched.response(&data(1, END_STREAM, &put_answer(9)));
    let row = watched.row();
    assert_eq!(
        (row.outcome, row.revision, row.grpc_status),
        (CallOutcome::Committed, Some(9), None)
    );
}

#[test]
fn frames_of_other_kinds_and_other_streams_are_passed_over() {
    let mut watched = Watched::started();
    let mut request = Vec::new();
    request.extend(frame(PING, 0, 0, &[0; 8]));
    request.extend(frame(PRIORITY, 0, 1, &[0; 5]));
    request.extend(frame(0x42, 0xff, 3, &[1, 2, 3])); // unknown
    request.extend(watched.client.call(1, PUT));
    request.extend(frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]));
    request.extend(frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]));
    request.extend(frame(DATA, 0, 9, &[0xff; 100]));
    request.extend(data(1, END_STREAM, &put("k", "v")));
    watched.request(&request);
    let mut response = frame(DATA, END_STREAM, 9, &[0xff; 100]);
    response.extend(frame(SETTINGS, ACK, 0, &[]));
    response.extend(watched.server.answer(1, &put_answer(2)));
    watched.response(&response);
    assert_eq!(watched.row().outcome, CallOutcome::Committed);
}

#[test]
fn padding_priority_and_continuation() {
    let mut watched = Watched::started();
    let fields = [(":method", "POST"), (":path", PUT), ("grpc-timeout", "1S")];
    let block = watched.client.encoder.block(&fields);
    // Padding of 3, then priority, then the block, then the padding.
    let padded = [&[3][..], &[0; 5], &block, &[0; 3]].concat();
    watched.request(&frame(
        HEADERS,
        END_HEADERS | PADDED | PRIORITISED,
        1,
        &padded,
    ));
    let message = grpc(&prost::Message::encode_to_vec(&put("k", "v")));
    let padded = |message: &[u8]| [&[200][..], message, &[0xee; 200]].concat();
    watched.request(&frame(DATA, PADDED, 1, &padded(&message[..4])));
    watched.request(&frame(DATA, PADDED, 1, &[0])); // nothing but padding
    watched.request(&frame(DATA, PADDED | END_STREAM, 1, &padded(&message[4..])));

    let block = watched.client.encoder.block(&fields);
    watched.request(&in_continuations(
        HEADERS,
        PRIORITISED,
        3,
        &[0; 5],
        &block,
        1,
    ));
    watched.request(&data(3, END_STREAM, &put("k", "v")));
    for stream in [1, 3] {
        let block = watched.server.encoder.block(&[(":status", "200")]);
        watched.response(&in_continuations(HEADERS, 0, stream, &[], &block, 2));
        watched.response(&data(stream, 0, &put_answer(2)));
        let block = watched
            .server
            .encoder
            .block(&[("grpc-status", "0"), ("x", "a long one")]);
        watched.response(&in_continuations(
            HEADERS,
            END_STREAM,
            stream,
            &[],
            &block,
            1,
        ));
        let row = watched.row();
        assert_eq!(
            (row.outcome, row.grpc_status),
            (CallOutcome::Committed, Some(0))
        );
        assert_eq!(row.key.as_deref(), Some("k"));
        assert_eq!(row.deadline_ns, Some(1_000_000_000));
    }
}

#[test]
fn promised_streams_keep_the_header_tables_right() {
    let mut watched = with_open_put();
    let block = watched
        .server
        .encoder
        .block(&[("grpc-status", "0"), ("x", "y")]);
    let promise = [&2_u32.to_be_bytes()[..], &block].concat();
    watched.response(&frame(PUSH_PROMISE, END_HEADERS, 1, &promise));
    let answer = watched.server.answer(1, &put_answer(2));
    watched.response(&answer);
    assert_eq!(watched.row().grpc_status, Some(0));
}

#[test]
fn trailers_of_a_request_open_no_call() {
    let mut watched = Watched::started();
    let mut request = watched.client.call(1, PUT);
    request.extend(data(1, 0, &put("k", "v")));
    request.extend(watched.client.headers(1, END_STREAM, &[("x", "y")]));
    // Nor are they a call that was missed if they cannot be read.
    request.extend(frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff, 0x7f]));
    watched.request(&request);
    assert_eq!(watched.metrics.open_calls.get(), 1);
    let answer = watched.server.answer(1, &put_answer(2));
    watched.response(&answer);
    assert_eq!(watched.row().outcome, CallOutcome::Committed);
}

#[test]
fn calls_that_are_no_grpc_are_not_etcd_calls() {
    let mut watched = Watched::started();
    let fields = [
        (":method", "POST"),
        (":path", PUT),
        ("content-type", "application/json"),
    ];
    let headers = watched.client.headers(1, 0, &fields);
    watched.request(&headers);
    assert_eq!(watched.metrics.open_calls.get(), 0);
    watched.close();
    assert_eq!(watched.seen, []);
}

#[test]
fn compressed_messages_keep_their_outcome() {
    let mut watched = Watched::started();
    for (stream, path, shape) in [(1, PUT, CallShape::Update), (3, TXN, CallShape::Other)] {
        let headers = watched.client.call(stream, path);
        watched.request(&headers);
        watched.request(&frame(
            DATA,
            END_STREAM,
            stream,
            &[1, 0, 0, 0, 2, 0xab, 0xcd],
        ));
        let answer = watched
            .server
            .answer(stream, &txn_answer(8, true, vec![did_put()]));
        watched.response(&answer);
        let row = watched.row();
        assert_eq!((row.shape, row.key.as_deref()), (shape, None));
        assert_eq!(
            (row.outcome, row.revision),
            (CallOutcome::Committed, Some(8))
        );
        assert_eq!(row.request_bytes, 2);
    }
    // An answer that is compressed too tells no more than that there was one.
    for (stream, path, outcome) in [
        (5, PUT, CallOutcome::Committed),
        (7, TXN, CallOutcome::Unknown),
    ] {
        let headers = watched.client.call(stream, path);
        watched.request(&headers);
        watched.request(&frame(
            DATA,
            END_STREAM,
            stream,
            &[1, 0, 0, 0, 2, 0xab, 0xcd],
        ));
        let mut answer = watched.server.answer_headers(stream);
        answer.extend(frame(DATA, 0, stream, &[1, 0, 0, 0, 1, 0xab]));
        answer.extend(watched.server.trailers(stream, "0"));
        watched.response(&answer);
        let row = watched.row();
        assert_eq!(
            (row.outcome, row.revision, row.grpc_status),
            (outcome, None, Some(0))
        );
    }
}

#[test]
fn compressed_transactions_that_wrote_nothing() {
    let mut watched = Watched::started();
    for (stream, succeeded) in [(1, false), (3, true)] {
        let headers = watched.client.call(stream, TXN);
        watched.request(&headers);
        watched.request(&frame(
            DATA,
            END_STREAM,
            stream,
            &[1, 0, 0, 0, 2, 0xab, 0xcd],
        ));
        let answer = watched
            .server
            .answer(stream, &txn_answer(8, succeeded, vec![did_range()]));
        watched.response(&answer);
    }
    // The second one was a read.
    let row = watched.row();
    assert_eq!((row.stream, row.outcome), (1, CallOutcome::Conflict));
    assert_eq!((row.branch, row.revision), (Some(Branch::Failure), None));
}
