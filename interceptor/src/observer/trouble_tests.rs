//! Connections that are not HTTP/2, break it, lose header state, or want too much memory.

use std::time::Duration;

use cascade_proto::tables::{CallOutcome, Moment};

use super::super::frame::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, MAX_FRAME_SIZE, PING, RST_STREAM,
    SETTINGS,
};
use super::super::streams::MAX_OPEN_CALLS;
use super::super::testing::messages::*;
use super::super::testing::{Indexing, Peer, Watched, client_start, data, frame, grpc, settings};
use super::*;

const PUT: &str = "/etcdserverpb.KV/Put";

const PADDED: u8 = 0x8;

fn moment(millis: i64) -> Moment {
    Moment {
        unix_nano: millis * 1_000_000,
    }
}

#[test]
fn http1_and_other_protocols_are_reported_once() {
    for (bytes, label) in [
        (&b"GET /health HTTP/1.1\r\n\r\n"[..], "HTTP/1.x"),
        (b"POST /v3/kv/put HTTP/1.1\r\n\r\n", "HTTP/1.x"),
        (b"\x16\x03\x01", "TLS"),
        (b"\0\0\0", "0x00"),
        (b"PRI * HTTP/2.0\r\n\r\nXX", "HTTP/1.x"),
    ] {
        let mut watched = Watched::new();
        for byte in bytes {
            watched.request(&[*byte]);
        }
        watched.response(b"HTTP/1.1 200 OK\r\n");
        watched.close();
        assert!(!watched.observer.is_observing());
        let [Observation::Unparsed { reason, .. }] = &watched.seen[..] else {
            panic!("{:?}", watched.seen);
        };
        assert!(reason.contains(label), "{reason}");
    }
}

#[test]
fn a_connection_without_bytes_is_nothing_to_report() {
    let mut watched = Watched::new();
    watched.close();
    let mut half = Watched::new();
    half.request(&PREFACE[..10]);
    half.close();
    assert_eq!((watched.seen, half.seen), (Vec::new(), Vec::new()));
}

#[test]
fn a_lost_frame_boundary_ends_observation_and_open_calls() {
    let too_long = frame(DATA, 0, 9, &[0; 16_385]);
    for bytes in [
        &too_long[..],
        &frame(PING, 0, 0, &[0; 7]),
        &frame(RST_STREAM, 0, 1, &[0; 5]),
        &frame(DATA, 0, 0, &[0; 5]),
        &frame(SETTINGS, 0, 1, &[]),
        &frame(HEADERS, END_HEADERS | PADDED, 3, &[9, 0, 0]),
        &frame(DATA, PADDED, 1, &[2, 0]),
        &frame(CONTINUATION, END_HEADERS, 1, &[]),
        &[frame(HEADERS, 0, 3, &[]), frame(PING, 0, 0, &[0; 8])].concat(),
        &[
            frame(HEADERS, 0, 3, &[]),
            frame(CONTINUATION, END_HEADERS, 5, &[]),
        ]
        .concat(),
    ] {
        let mut watched = Watched::started();
        let request = watched.client.call(1, PUT);
        watched.request(&request);
        let request = watched.client.request(21, PUT, &put("k", "v"));
        watched.request(&request);
        watched.request(bytes);
        assert!(!watched.observer.is_observing(), "{bytes:x?}");
        let [Observation::Call(rows), Observation::Unparsed { .. }] = &watched.seen[..] else {
            panic!("{:?} after {bytes:x?}", watched.seen);
        };
        assert_eq!(
            (rows[0].stream, rows[0].outcome),
            (21, CallOutcome::Unknown)
        );
        watched.request(&PREFACE[..]);
        watched.response(&settings());
        watched.close();
        assert_eq!(watched.seen.len(), 2);
    }
}

#[test]
fn an_answer_that_is_not_http2_ends_observation() {
    let mut watched = Watched::new();
    watched.request(&client_start());
    watched.response(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    assert!(
        matches!(&watched.seen[..], [Observation::Unparsed { .. }]),
        "{:?}",
        watched.seen
    );
}

#[test]
fn frames_may_be_as_long_as_the_receiver_announced() {
    let mut watched = Watched::new();
    watched.request(&client_start());
    let announced = [&MAX_FRAME_SIZE.to_be_bytes()[..], &20_000_u32.to_be_bytes()].concat();
    watched.response(&frame(SETTINGS, 0, 0, &announced));
    // A smaller limit counts for the peer; when it learns of it is not known.
    let smaller = [&MAX_FRAME_SIZE.to_be_bytes()[..], &16_384_u32.to_be_bytes()].concat();
    watched.response(&frame(SETTINGS, 0, 0, &smaller));
    watched.request(&frame(DATA, 0, 9, &[0; 20_000]));
    assert!(watched.observer.is_observing());
    watched.request(&frame(DATA, 0, 9, &[0; 20_001]));
    assert!(!watched.observer.is_observing());
}

#[test]
fn after_a_header_error_observation_heals() {
    let mut watched = Watched::started();
    let request = watched.client.request(1, PUT, &put("a", "v"));
    watched.request(&request);
    watched.request(&frame(HEADERS, END_HEADERS, 3, &[0x80])); // index 0
    let missed = Observation::Missed {
        count: 1,
        reason: "request headers lost",
        from: moment(4),
        to: moment(4),
    };
    assert_eq!(watched.seen, [missed]);
    watched.seen.clear();

    // The path is an index into a table that was lost: reported later, not at once again.
    let request = watched.client.request(5, PUT, &put("b", "v"));
    watched.request(&request);
    assert_eq!(watched.seen, []);
    // A client whose table was full anew: everything is added again.
    let mut block = Vec::new();
    watched.client.encoder.resize(&mut block, 0);
    watched.client.encoder.resize(&mut block, 4096);
    let path = ("baggage", "cpid=1");
    for (name, value) in [(":path", PUT), path] {
        let (name, value) = (name.as_bytes(), value.as_bytes());
        watched
            .client
            .encoder
            .field(&mut block, name, value, Indexing::Incremental, true);
    }
    watched.request(&frame(HEADERS, END_HEADERS, 7, &block));
    watched.request(&data(7, END_STREAM, &put("c", "v")));
    let block = watched.client.encoder.block(&[(":path", PUT), path]);
    assert_eq!(block.len(), 2, "two indices");
    watched.request(&frame(HEADERS, END_HEADERS, 9, &block));
    watched.request(&data(9, END_STREAM, &put("d", "v")));
    for stream in [1, 7, 9] {
        let answer = watched.server.answer(stream, &put_answer(2));
        watched.response(&answer);
    }
    let calls = watched.calls();
    let seen: Vec<_> = calls
        .iter()
        .map(|rows| (rows[0].key.as_deref(), rows[0].cpid.as_deref()))
        .collect();
    assert_eq!(
        seen,
        [
            (Some("a"), None),
            (Some("c"), Some("1")),
            (Some("d"), Some("1"))
        ]
    );
    watched.close();
    assert!(
        matches!(&watched.seen[..], [Observation::Missed { count: 1, .. }]),
        "{:?}",
        watched.seen
    );
}

#[test]
fn missed_calls_are_reported_together_after_a_while() {
    let mut watched = Watched::started();
    let lose = |watched: &mut Watched, stream| {
        watched.request(&frame(HEADERS, END_HEADERS, stream, &[0xbe])); // index 62 of an empty table
    };
    lose(&mut watched, 1);
    lose(&mut watched, 3);
    lose(&mut watched, 5);
    watched.wait(Duration::from_secs(11));
    lose(&mut watched, 7);
    let counts: Vec<_> = watched
        .seen
        .iter()
        .map(|observation| match observation {
            Observation::Missed {
                count, from, to, ..
            } => (*count, *from, *to),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        counts,
        [(1, moment(3), moment(3)), (3, moment(4), moment(11_006))]
    );
}

#[test]
fn a_header_block_without_end_is_given_up() {
    let mut watched = Watched::started();
    let request = watched.client.request(1, PUT, &put("before", "v"));
    watched.request(&request);
    let mut bytes = frame(HEADERS, 0, 3, &[0; 10]);
    for _ in 0..20 {
        bytes.extend(frame(CONTINUATION, 0, 3, &[0; 16_384]));
    }
    watched.request(&bytes);
    assert!(watched.streams_hold_less_than(1024));
    watched.request(&frame(CONTINUATION, END_HEADERS, 3, &[]));
    assert!(
        matches!(&watched.seen[..], [Observation::Missed { count: 1, .. }]),
        "{:?}",
        watched.seen
    );
    watched.seen.clear();
    // What the block may have added to the table is lost, so earlier entries are not known.
    let request = watched.client.request(5, PUT, &put("missed", "v"));
    watched.request(&request);
    watched.client = Peer::default();
    let request = watched.client.request(7, PUT, &put("after", "v"));
    watched.request(&request);
    for stream in [1, 5, 7] {
        let answer = watched.server.answer(stream, &put_answer(2));
        watched.response(&answer);
    }
    let calls = watched.calls();
    let keys: Vec<_> = calls.iter().map(|rows| rows[0].key.as_deref()).collect();
    assert_eq!(keys, [Some("before"), Some("after")]);
}

#[test]
fn only_so_many_calls_are_followed_at_once() {
    let mut watched = Watched::started();
    for call in 0..MAX_OPEN_CALLS as u32 + 2 {
        let headers = watched.client.call(2 * call + 1, PUT);
        watched.request(&headers);
    }
    assert_eq!(watched.metrics.open_calls.get(), MAX_OPEN_CALLS as i64);
    watched.close();
    let missed: Vec<_> = watched.seen.iter().collect();
    assert!(
        matches!(
            missed[..],
            [
                Observation::Missed { count: 1, .. },
                Observation::Missed { count: 1, .. }
            ]
        ),
        "{missed:?}"
    );
}

#[test]
fn memory_for_messages_is_bounded_and_what_does_not_fit_keeps_its_outcome() {
    let mut watched = Watched::started();
    // Three messages of 6 MiB each, of which the connection may hold 16 MiB.
    let message = grpc(&prost::Message::encode_to_vec(&put(
        "k",
        &"v".repeat(6 << 20),
    )));
    for stream in [1, 3, 5] {
        let headers = watched.client.call(stream, PUT);
        watched.request(&headers);
        for part in message.chunks(16_384).take(300) {
            watched.request(&frame(DATA, 0, stream, part));
        }
    }
    assert!(watched.metrics.buffered_bytes.get() <= 16 << 20);
    for stream in [1, 3, 5] {
        for part in message.chunks(16_384).skip(300) {
            watched.request(&frame(DATA, 0, stream, part));
        }
        let answer = watched
            .server
            .answer(stream, &put_answer(i64::from(stream)));
        watched.response(&answer);
    }
    let calls = watched.calls();
    let seen: Vec<_> = calls
        .iter()
        .map(|rows| (rows[0].key.as_deref(), rows[0].revision))
        .collect();
    assert_eq!(
        seen,
        [(Some("k"), Some(1)), (Some("k"), Some(3)), (None, Some(5))]
    );
    assert_eq!(watched.metrics.buffered_bytes.get(), 0);
}

#[test]
fn an_observer_that_is_dropped_gives_its_memory_back() {
    let mut watched = Watched::started();
    let headers = watched.client.call(1, PUT);
    watched.request(&headers);
    watched.request(&data(1, 0, &put("k", &"v".repeat(100)))[..50]);
    assert!(watched.metrics.buffered_bytes.get() > 0);
    drop(watched.observer);
    assert_eq!(watched.metrics.buffered_bytes.get(), 0);
    assert_eq!(watched.metrics.open_calls.get(), 0);
}

#[test]
fn an_idle_connection_is_small() {
    let watched = Watched::started();
    assert!(
        size_of::<ConnectionObserver>() < 1024,
        "{}",
        size_of::<ConnectionObserver>()
    );
    assert!(watched.streams_hold_less_than(1));
}

#[test]
fn an_observer_can_live_on_any_thread() {
    fn is_send<T: Send + 'static>() {}
    is_send::<ConnectionObserver>();
    is_send::<Observation>();
}

impl Watched {
    /// Whether what grows with traffic has less than `bytes` of capacity, table entries aside.
    fn streams_hold_less_than(&self, bytes: usize) -> bool {
        let streams = &self.observer.streams;
        let blocks = [
            &streams.from_client.block.gathered,
            &streams.from_server.block.gathered,
        ];
        let held: usize = blocks.iter().map(|block| block.capacity()).sum();
        held + streams.scratch.capacity() < bytes
    }
}
