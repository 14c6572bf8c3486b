use proptest::prelude::*;

use super::super::testing::frame;
use super::*;

/// Writes down what it is shown, with pieces joined.
#[derive(Debug, Default, PartialEq)]
struct Recorder {
    frames: Vec<(FrameHead, Vec<u8>)>,
    piece: Vec<u8>,
}

impl FrameSink for Recorder {
    fn begins(&mut self, head: &FrameHead) -> Result<Wanted, LostBoundary> {
        Ok(match head.kind {
            DATA => Wanted::Pieces,
            HEADERS => Wanted::Whole,
            _ => Wanted::Nothing,
        })
    }

    fn frame(&mut self, head: &FrameHead, payload: &[u8]) -> Result<(), LostBoundary> {
        self.frames.push((*head, payload.to_vec()));
        Ok(())
    }

    fn piece(&mut self, head: &FrameHead, piece: &[u8], last: bool) {
        self.piece.extend(piece);
        if last {
            self.frames.push((*head, std::mem::take(&mut self.piece)));
        }
    }
}

fn read(chunks: &[&[u8]]) -> Result<Recorder, LostBoundary> {
    let mut reader = FrameReader::default();
    let mut recorder = Recorder::default();
    for chunk in chunks {
        reader.read(chunk, &mut recorder)?;
    }
    Ok(recorder)
}

#[test]
fn a_head_is_read_and_its_reserved_bit_ignored() {
    let head = FrameHead::parse([1, 2, 3, 4, 5, 0x80, 0, 1, 0]);
    assert_eq!(
        head,
        FrameHead {
            length: 0x01_0203,
            kind: 4,
            flags: 5,
            stream: 256
        }
    );
}

#[test]
fn empty_frames_are_frames() {
    let bytes = [frame(DATA, END_STREAM, 1, &[]), frame(HEADERS, 0, 3, &[])].concat();
    let recorder = read(&[&bytes]).unwrap();
    let streams: Vec<u32> = recorder
        .frames
        .iter()
        .map(|(head, _)| head.stream)
        .collect();
    assert_eq!(streams, [1, 3]);
}

#[test]
fn the_last_of_equal_settings_counts() {
    let payload = [
        [0, 5, 0, 0, 0x40, 0],
        [0, 3, 0, 0, 0, 1],
        [0, 5, 0, 1, 0, 0],
    ]
    .concat();
    assert_eq!(setting(&payload, MAX_FRAME_SIZE), Some(65_536));
    assert_eq!(setting(&payload, 9), None);
    assert_eq!(setting(&payload[..5], MAX_FRAME_SIZE), None);
}

#[test]
fn fragments_without_room_for_their_prefix_are_refused() {
    let head = |kind, flags| FrameHead {
        length: 0,
        kind,
        flags,
        stream: 1,
    };
    for (kind, flags, payload) in [
        (HEADERS, PADDED, &[][..]),
        (HEADERS, PADDED, &[1]),
        (HEADERS, PRIORITISED, &[0; 4]),
        (HEADERS, PRIORITISED | PADDED, &[1, 0, 0, 0, 0, 0]),
        (PUSH_PROMISE, 0, &[0; 3]),
    ] {
        let fragment = header_fragment(&head(kind, flags), payload);
        assert_eq!(
            fragment,
            Err(LostBoundary::Padding),
            "{kind} {flags} {payload:?}"
        );
    }
    let whole = header_fragment(
        &head(HEADERS, PRIORITISED | PADDED),
        &[1, 0, 0, 0, 0, 0, 7, 0],
    );
    assert_eq!(whole, Ok(&[7][..]));
    // Flags that a type of frame does not have mean nothing.
    let continued = header_fragment(&head(CONTINUATION, PRIORITISED | PADDED), &[1, 2]);
    assert_eq!(continued, Ok(&[1, 2][..]));
}

#[test]
fn frames_that_are_put_together_are_bounded() {
    for (kind, refused) in [(HEADERS, true), (DATA, false), (0x77, false)] {
        let mut reader = FrameReader::default();
        reader.allow_length(0xff_ffff);
        let mut recorder = Recorder::default();
        let bytes = frame(kind, 0, 1, &vec![0; MAX_WHOLE as usize + 1]);
        let read = reader.read(&bytes, &mut recorder);
        let length = MAX_WHOLE + 1;
        let expected = if refused {
            Err(LostBoundary::TooMuch { kind, length })
        } else {
            Ok(())
        };
        assert_eq!(read, expected);
    }
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let payload = proptest::collection::vec(any::<u8>(), 0..40);
    (
        prop_oneof![Just(DATA), Just(HEADERS), Just(CONTINUATION), Just(0x77)],
        1_u32..5,
        payload,
        0_u8..10,
    )
        .prop_map(|(kind, stream, mut payload, padding)| {
            let mut flags = 0;
            if kind == DATA && padding > 0 {
                flags = PADDED;
                payload.insert(0, padding - 1);
                payload.extend(vec![0xaa; usize::from(padding - 1)]);
            }
            frame(kind, flags, stream, &payload)
        })
}

proptest! {
    #[test]
    fn chunking_changes_nothing(
        frames in proptest::collection::vec(any_frame(), 0..12),
        sizes in proptest::collection::vec(1_usize..30, 1..20),
    ) {
        let bytes = frames.concat();
        let whole = read(&[&bytes]).unwrap();
        let mut chunks = Vec::new();
        let mut rest = &bytes[..];
        for size in sizes.iter().cycle() {
            let (chunk, after) = rest.split_at((*size).min(rest.len()));
            chunks.push(chunk);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(read(&chunks).unwrap(), whole);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let whole = read(&[&bytes]);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(read(&single), whole);
    }
}
