//! Where frames end, which streams are open, and what a GOAWAY keeps back.

use proptest::prelude::*;

use super::*;
use crate::relay::frames::{Frames, Protocol};

fn client_of(requests: &[Vec<u8>]) -> Frames {
    let mut frames = Frames::new();
    frames.request_bytes(PREFACE);
    for request in requests {
        frames.request_bytes(request);
    }
    frames
}

fn answer(frames: &mut Frames, response: &[u8]) {
    assert_eq!(frames.response_bytes(response, false), response.len());
}

#[test]
fn the_preface_decides_the_protocol_however_it_is_cut() {
    for cut in 0..PREFACE.len() {
        let mut frames = Frames::new();
        let (begin, end) = PREFACE.split_at(cut);
        frames.request_bytes(begin);
        assert_eq!(frames.protocol(), Protocol::Undecided { matched: cut });
        frames.request_bytes(end);
        assert_eq!(frames.protocol(), Protocol::Http2);
    }
    for other in [
        &b"GET /health HTTP/1.1\r\n"[..],
        b"PRI * HTTP/1",
        b"\x16\x03",
    ] {
        let mut frames = Frames::new();
        frames.request_bytes(other);
        assert_eq!(frames.protocol(), Protocol::Other, "{other:?}");
    }
}

#[test]
fn a_call_is_in_flight_until_its_answer_ends() {
    let mut frames = client_of(&[frame(HEADERS, END_HEADERS, 1, b"h")]);
    assert!(frames.calls_in_flight(), "request still on its way");
    frames.request_bytes(&frame(DATA, END_STREAM, 1, b"put"));
    assert!(frames.calls_in_flight());
    answer(&mut frames, &frame(SETTINGS, 0, 0, b""));
    answer(&mut frames, &frame(HEADERS, END_HEADERS, 1, b"h"));
    answer(&mut frames, &frame(DATA, 0, 1, b"answer"));
    assert!(frames.calls_in_flight(), "status not seen");
    answer(
        &mut frames,
        &frame(HEADERS, END_HEADERS | END_STREAM, 1, b"status"),
    );
    assert!(!frames.calls_in_flight());
}

#[test]
fn a_watch_is_not_a_call_once_it_is_answered() {
    let mut frames = client_of(&[
        frame(HEADERS, END_HEADERS, 1, b"h"),
        frame(DATA, 0, 1, b"watch"),
    ]);
    assert!(frames.calls_in_flight());
    answer(&mut frames, &frame(HEADERS, END_HEADERS, 1, b"h"));
    assert!(!frames.calls_in_flight());
    // A call next to it is.
    frames.request_bytes(&frame(HEADERS, END_HEADERS | END_STREAM, 3, b"h"));
    assert!(frames.calls_in_flight());
    answer(&mut frames, &frame(HEADERS, END_HEADERS, 3, b"h"));
    assert!(frames.calls_in_flight());
    answer(&mut frames, &frame(RST_STREAM, 0, 3, &[0; 4]));
    assert!(!frames.calls_in_flight());
}

#[test]
fn a_reset_by_the_client_ends_a_call() {
    let mut frames = client_of(&[frame(HEADERS, END_HEADERS | END_STREAM, 5, b"h")]);
    assert!(frames.calls_in_flight());
    frames.request_bytes(&frame(RST_STREAM, 0, 5, &[0, 0, 0, 8]));
    assert!(!frames.calls_in_flight());
}

#[test]
fn too_many_streams_count_as_calls_in_flight() {
    let mut frames = client_of(&[]);
    for index in 0..=65_536_u32 {
        frames.request_bytes(&frame(HEADERS, END_HEADERS, 2 * index + 1, b""));
    }
    let mut response = Vec::new();
    for index in 0..=65_536_u32 {
        response.extend(frame(HEADERS, END_STREAM | END_HEADERS, 2 * index + 1, b""));
    }
    answer(&mut frames, &response);
    assert!(frames.calls_in_flight());
}

#[test]
fn a_goaway_waits_for_its_moment() {
    let mut frames = Frames::new();
    frames.request_bytes(&PREFACE[..10]);
    answer(&mut frames, &frame(SETTINGS, 0, 0, b""));
    assert!(frames.goaway().is_none(), "protocol not known");
    frames.request_bytes(&PREFACE[10..]);
    frames.request_bytes(&frame(HEADERS, END_HEADERS, 7, b"h"));
    assert_eq!(frames.goaway().unwrap().0.to_vec(), goaway(7));

    frames.request_bytes(&frame(HEADERS, END_HEADERS, 9, b"h")[..5]);
    assert!(frames.goaway().is_none(), "a request header is under way");
    frames.request_bytes(&frame(HEADERS, END_HEADERS, 9, b"h")[5..]);
    assert_eq!(frames.goaway().unwrap().0.to_vec(), goaway(9));

    answer(&mut frames, &frame(HEADERS, 0, 7, b"begin"));
    assert!(frames.goaway().is_none(), "inside a header block");
    answer(
        &mut frames,
        &frame(CONTINUATION, END_HEADERS, 7, b"end")[..9],
    );
    assert!(frames.goaway().is_none(), "inside a frame");
    answer(&mut frames, b"end");
    assert!(frames.goaway().is_some());

    answer(&mut frames, &goaway(9));
    assert!(frames.goaway().is_none(), "the server said it");
    assert!(frames.server_said_goaway());
}

#[test]
fn nothing_is_inserted_before_the_servers_first_frame() {
    let mut frames = client_of(&[]);
    assert!(frames.goaway().is_none());
    let settings = frame(SETTINGS, 0, 0, &[0; 6]);
    assert_eq!(frames.response_bytes(&settings, true), settings.len());
    assert!(frames.goaway().is_some());
}

/// One frame of a well-behaved peer: everything but header blocks, which come whole.
pub(super) fn any_frames() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let one = (0..4_usize, 0..20_u32, 0..40_usize, any::<bool>()).prop_map(
        |(which, number, length, flag)| {
            let stream = 2 * number + 1;
            let payload = vec![0x2a; length];
            match which {
                0 => vec![frame(DATA, u8::from(flag), stream, &payload)],
                1 => vec![frame(
                    WINDOW_UPDATE,
                    0,
                    if flag { 0 } else { stream },
                    &[1; 4],
                )],
                2 => vec![frame(HEADERS, END_HEADERS, stream, &payload)],
                _ => vec![
                    frame(HEADERS, u8::from(flag), stream, &payload),
                    frame(CONTINUATION, 0, stream, &payload),
                    frame(CONTINUATION, END_HEADERS, stream, b""),
                ],
            }
        },
    );
    prop::collection::vec(one, 1..12).prop_map(|blocks| blocks.concat())
}

pub(super) fn stream_of(frame: &[u8]) -> u32 {
    u32::from_be_bytes(frame[5..9].try_into().unwrap())
}

/// The places behind a whole frame that is not followed by the rest of its header block.
fn boundaries(frames: &[Vec<u8>]) -> Vec<usize> {
    let mut position = 0;
    let mut found = Vec::new();
    for frame in frames {
        position += frame.len();
        let ends_block = frame[4] & END_HEADERS != 0;
        if ends_block || !matches!(frame[3], HEADERS | CONTINUATION) {
            found.push(position);
        }
    }
    found
}

proptest! {
    #[test]
    fn a_frame_is_inserted_at_the_next_boundary(
        frames in any_frames(),
        begin in 0.0..1.0_f64,
        lengths in prop::collection::vec(1..50_usize, 1..5),
    ) {
        let bytes = frames.concat();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a position")]
        let begin = 1 + (begin * (bytes.len() - 1) as f64) as usize;
        let mut scanner = client_of(&[]);
        for chunk in chunks(&bytes[..begin], &lengths) {
            scanner.response_bytes(chunk, false);
        }
        let expected = boundaries(&frames).into_iter().find(|end| *end >= begin);
        let stopped = begin + scanner.response_bytes(&bytes[begin..], true);
        prop_assert_eq!(Some(stopped), expected.or(Some(bytes.len())));
        prop_assert_eq!(scanner.goaway().is_some(), expected.is_some());
    }

    #[test]
    fn a_filter_keeps_exactly_the_streams_seen_before(
        frames in any_frames(),
        cut in 0..12_usize,
        extra in 0..9_usize,
        lengths in prop::collection::vec(1..50_usize, 1..5),
    ) {
        // The GOAWAY comes after some frames and, if there is one, inside the payload of the next.
        let cut = cut.min(frames.len());
        let (seen, later) = frames.split_at(cut);
        let mut before = seen.concat();
        let mut after = later.concat();
        if let Some(next) = later.first() {
            let inside = (9 + extra).min(next.len());
            before.extend(&after[..inside]);
            after.drain(..inside);
        }
        let mut scanner = client_of(&[before]);
        scanner.response_bytes(&frame(SETTINGS, 0, 0, b""), false);
        let (goaway, mut filter) = scanner.goaway().unwrap();
        let last = u32::from_be_bytes(goaway[9..13].try_into().unwrap());
        let kept: Vec<u8> = chunks(&after, &lengths).flat_map(|chunk| filter.filter(chunk)).collect();

        let mut expected = Vec::<u8>::new();
        if let Some(next) = later.first() {
            expected.extend(&next[(9 + extra).min(next.len())..]);
        }
        for frame in later.iter().skip(1) {
            if stream_of(frame) <= last {
                expected.extend(frame);
            }
        }
        prop_assert_eq!(kept, expected);
    }

    #[test]
    fn arbitrary_bytes_are_harmless(
        request in prop::collection::vec(any::<u8>(), 0..300),
        response in prop::collection::vec(any::<u8>(), 0..300),
        preface in any::<bool>(),
    ) {
        let mut frames = if preface { client_of(&[]) } else { Frames::new() };
        frames.request_bytes(&request);
        frames.response_bytes(&response, true);
        frames.response_bytes(&response, false);
        if let Some((_, mut filter)) = frames.goaway() {
            filter.filter(&response);
        }
    }
}
