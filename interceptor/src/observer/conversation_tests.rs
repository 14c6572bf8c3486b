//! Whole conversations, cut into any chunks and with any bytes changed.

use cascade_proto::tables::{CallOutcome, Moment};
use cascade_proto::wire::etcd::{RangeRequest, RangeResponse};
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Instant;

use super::frame::{DATA, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM};
use super::testing::messages::*;
use super::testing::{Peer, client_start, data, frame, in_continuations, settings};
use super::{ConnectionObserver, Observation, ObserverMetrics};
use crate::clock::Reading;
use crate::decode::{HashKey, SharedHashKey};

/// What happens next on a connection.
#[derive(Debug, Clone)]
enum Step {
    Put {
        value_length: usize,
        headers: Vec<(&'static str, String)>,
        split: usize,
    },
    Transaction {
        revision: i64,
    },
    Read,
    /// Answers the oldest open call.
    Answer {
        revision: i64,
        in_parts: bool,
    },
    Conflict,
    Error {
        status: u8,
    },
    Reset {
        by_client: bool,
    },
    Ping,
    GoAway,
}

fn any_step() -> impl Strategy<Value = Step> {
    let header = prop_oneof![
        "[1-9][0-9]{0,7}[umS]".prop_map(|timeout| ("grpc-timeout", timeout)),
        "00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]".prop_map(|parent| ("traceparent", parent)),
        "cpid=[a-z0-9]{0,20}".prop_map(|baggage| ("baggage", baggage)),
        "[ -~]{0,40}".prop_map(|value| ("x-other", value)),
    ];
    let headers = proptest::collection::vec(header, 0..4);
    prop_oneof![
        4 => (0_usize..40_000, headers, 1_usize..300)
            .prop_map(|(value_length, headers, split)| Step::Put { value_length, headers, split }),
        3 => (0_i64..3).prop_map(|revision| Step::Transaction { revision }),
        2 => Just(Step::Read),
        5 => (1_i64..1000, any::<bool>())
            .prop_map(|(revision, in_parts)| Step::Answer { revision, in_parts }),
        1 => Just(Step::Conflict),
        1 => (1_u8..17).prop_map(|status| Step::Error { status }),
        1 => any::<bool>().prop_map(|by_client| Step::Reset { by_client }),
        1 => Just(Step::Ping),
        1 => Just(Step::GoAway),
    ]
}

/// The two ends, and what they have sent: `true` is from the client.
#[derive(Default)]
struct Conversation {
    client: Peer,
    server: Peer,
    next_stream: u32,
    open: std::collections::VecDeque<u32>,
    turns: Vec<(bool, Vec<u8>)>,
}

impl Conversation {
    fn of(steps: &[Step]) -> Vec<(bool, Vec<u8>)> {
        let mut conversation = Self {
            next_stream: 1,
            ..Self::default()
        };
        conversation.turns.push((true, client_start()));
        conversation.turns.push((false, settings()));
        for step in steps {
            conversation.step(step);
        }
        conversation.turns
    }

    fn open(&mut self) -> u32 {
        let stream = self.next_stream;
        self.next_stream += 2;
        self.open.push_back(stream);
        stream
    }

    fn step(&mut self, step: &Step) {
        let (from_client, bytes) = match step {
            Step::Put {
                value_length,
                headers,
                split,
            } => {
                let stream = self.open();
                let mut fields = vec![(":method", "POST"), (":path", "/etcdserverpb.KV/Put")];
                fields.extend(headers.iter().map(|(name, value)| (*name, value.as_str())));
                let block = self.client.encoder.block(&fields);
                let mut bytes = in_continuations(HEADERS, 0, stream, &[], &block, *split);
                let message = prost::Message::encode_to_vec(&put("k", &"v".repeat(*value_length)));
                for part in super::testing::grpc(&message).chunks(16_384) {
                    bytes.extend(frame(DATA, 0, stream, part));
                }
                bytes.extend(frame(DATA, END_STREAM, stream, &[]));
                (true, bytes)
            }
            Step::Transaction { revision } => {
                let stream = self.open();
                let message = txn(
                    vec![mod_equal("k", *revision)],
                    vec![op_put("k", "v")],
                    vec![op_range("k")],
                );
                (
                    true,
                    self.client
                        .request(stream, "/etcdserverpb.KV/Txn", &message),
                )
            }
            Step::Read => {
                let stream = self.open();
                let message = RangeRequest::default();
                (
                    true,
                    self.client
                        .request(stream, "/etcdserverpb.KV/Range", &message),
                )
            }
            Step::Answer { revision, in_parts } => {
                let Some(stream) = self.open.pop_front() else {
                    return;
                };
                let message = txn_answer(*revision, true, vec![did_put()]);
                let mut bytes = self.server.answer_headers(stream);
                if *in_parts {
                    for byte in &data(stream, 0, &message)[9..] {
                        bytes.extend(frame(DATA, 0, stream, &[*byte]));
                    }
                } else {
                    bytes.extend(data(stream, 0, &message));
                }
                bytes.extend(self.server.trailers(stream, "0"));
                (false, bytes)
            }
            Step::Conflict => {
                let Some(stream) = self.open.pop_front() else {
                    return;
                };
                let message = txn_answer(3, false, vec![did_range()]);
                (false, self.server.answer(stream, &message))
            }
            Step::Error { status } => {
                let Some(stream) = self.open.pop_front() else {
                    return;
                };
                (
                    false,
                    self.server
                        .error(stream, &status.to_string(), "etcdserver: message"),
                )
            }
            Step::Reset { by_client } => {
                let Some(stream) = self.open.pop_back() else {
                    return;
                };
                (
                    *by_client,
                    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()),
                )
            }
            Step::Ping => (false, frame(PING, 0, 0, &[1; 8])),
            Step::GoAway => {
                let last = self.next_stream.saturating_sub(4);
                self.open.retain(|stream| *stream <= last);
                (
                    false,
                    frame(GOAWAY, 0, 0, &[&last.to_be_bytes()[..], &[0; 4]].concat()),
                )
            }
        };
        self.turns.push((from_client, bytes));
    }
}

/// Shows a conversation to an observer in chunks of the given sizes, over and over.
fn observe(turns: &[(bool, Vec<u8>)], sizes: &[usize]) -> Vec<Observation> {
    let hash_key = SharedHashKey::default();
    hash_key.set(HashKey::from_cluster_id(1));
    let metrics = ObserverMetrics::default();
    let mut observer = ConnectionObserver::new(1, Arc::from("test"), hash_key, metrics.clone());
    let now = Reading {
        moment: Moment { unix_nano: 1 },
        instant: Instant::now(),
    };
    let mut seen = Vec::new();
    let mut sizes = sizes.iter().cycle();
    for (from_client, bytes) in turns {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let size = sizes.next().copied().unwrap_or(usize::MAX);
            let (chunk, after) = rest.split_at(size.min(rest.len()));
            rest = after;
            if *from_client {
                observer.request_bytes(chunk, now, &mut seen);
            } else {
                observer.response_bytes(chunk, now, &mut seen);
            }
        }
    }
    observer.closed(now, &mut seen);
    assert_eq!(metrics.open_calls.get(), 0);
    assert_eq!(metrics.buffered_bytes.get(), 0);
    for observation in &mut seen {
        if let Observation::Call(rows) = observation {
            for row in rows {
                // The same but for the part that is random for each connection.
                let (_, stream) = row.call_id.rsplit_once('-').unwrap();
                row.call_id = stream.to_owned();
            }
        }
    }
    seen
}

fn any_sizes() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(prop_oneof![Just(1), 1_usize..20, 1_usize..20_000], 1..10)
}

proptest! {
    #[test]
    fn chunking_changes_nothing(
        steps in proptest::collection::vec(any_step(), 0..30),
        sizes in any_sizes(),
    ) {
        let turns = Conversation::of(&steps);
        prop_assert_eq!(observe(&turns, &sizes), observe(&turns, &[]));
    }

    #[test]
    fn every_write_is_reported_once(steps in proptest::collection::vec(any_step(), 0..30)) {
        let writes =
            steps.iter().filter(|step| matches!(step, Step::Put { .. } | Step::Transaction { .. }));
        let seen = observe(&Conversation::of(&steps), &[]);
        let calls: Vec<_> = seen
            .iter()
            .map(|observation| match observation {
                Observation::Call(rows) => rows,
                other => panic!("{other:?}"),
            })
            .collect();
        prop_assert_eq!(calls.len(), writes.count());
        for rows in calls {
            prop_assert_eq!(rows.len(), 1);
            prop_assert_eq!(rows[0].key.as_deref(), Some("k"));
            let committed = rows[0].outcome == CallOutcome::Committed;
            prop_assert_eq!(rows[0].revision.is_some(), committed);
        }
    }

    #[test]
    fn changed_bytes_are_observed_alike_in_any_chunks_and_never_a_panic(
        steps in proptest::collection::vec(any_step(), 1..15),
        sizes in any_sizes(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut turns = Conversation::of(&steps);
        for (turn, position, byte) in changes {
            let turn = turn.index(turns.len());
            let bytes = &mut turns[turn].1;
            let position = position.index(bytes.len());
            bytes[position] = byte;
        }
        prop_assert_eq!(observe(&turns, &sizes), observe(&turns, &[]));
    }

    #[test]
    fn any_bytes_after_the_preface_are_no_panic(
        request in proptest::collection::vec(any::<u8>(), 0..2000),
        response in proptest::collection::vec(any::<u8>(), 0..2000),
        sizes in any_sizes(),
    ) {
        let turns =
            [(true, client_start()), (false, settings()), (true, request.clone()), (false, response), (true, request)];
        prop_assert_eq!(observe(&turns, &sizes), observe(&turns, &[]));
    }
}

/// The answer of a read is passed over whatever it looks like.
#[test]
fn a_conversation_of_reads_is_silent() {
    let mut client = Peer::default();
    let mut server = Peer::default();
    let mut turns = vec![(true, client_start()), (false, settings())];
    for stream in (1..100).step_by(2) {
        turns.push((
            true,
            client.request(stream, "/etcdserverpb.KV/Range", &RangeRequest::default()),
        ));
        turns.push((
            false,
            server.answer(
                stream,
                &RangeResponse {
                    more: true,
                    ..RangeResponse::default()
                },
            ),
        ));
    }
    assert_eq!(observe(&turns, &[7]), []);
}
