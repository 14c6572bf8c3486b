use proptest::prelude::*;

use super::super::testing::{Encoder, Indexing};
use super::*;

/// The fields of interest of a block, decoded.
fn decode(decoder: &mut HpackDecoder, block: &[u8]) -> Result<Vec<(Name, String)>, HpackError> {
    let mut fields = Vec::new();
    let mut scratch = Vec::new();
    decoder.decode(block, |field| {
        if field.name != Name::Other {
            let value = field.value.decode(&mut scratch).unwrap();
            fields.push((field.name, String::from_utf8_lossy(value).into_owned()));
        }
    })?;
    Ok(fields)
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .collect();
    digits
        .chunks(2)
        .map(|pair| (pair[0] * 16 + pair[1]) as u8)
        .collect()
}

#[test]
fn requests_of_rfc_7541_appendix_c() {
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let huffman = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    for blocks in [plain, huffman] {
        let mut decoder = HpackDecoder::default();
        for (block, path) in blocks.iter().zip(["/", "/", "/index.html"]) {
            let expected = vec![(Name::Path, path.to_owned())];
            assert_eq!(decode(&mut decoder, &hex(block)), Ok(expected));
        }
        assert_eq!(decoder.table.entries.len(), 3);
    }
}

#[test]
fn responses_of_rfc_7541_appendix_c_with_a_table_of_256_bytes() {
    let plain = [
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a \
         3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 \
         677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 \
         553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
    ];
    let huffman = [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e \
         919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 \
         821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed \
         4ee5 b106 3d50 07",
    ];
    for blocks in [plain, huffman] {
        let mut decoder = HpackDecoder::default();
        decoder.table.resize(256);
        for (block, status) in blocks.iter().zip(["302", "307", "200"]) {
            let expected = vec![(Name::Status, status.to_owned())];
            assert_eq!(decode(&mut decoder, &hex(block)), Ok(expected));
        }
    }
}

#[test]
fn integers_of_rfc_7541_appendix_c() {
    assert_eq!(Input(&[0b0110_1010]).integer(5), Ok(10));
    assert_eq!(Input(&[31, 0b1001_1010, 0b0000_1010]).integer(5), Ok(1337));
    assert_eq!(Input(&[42]).integer(8), Ok(42));
    assert_eq!(
        Input(&[0xff, 0x80, 0xff, 0xff, 0xff, 0x0f]).integer(7),
        Ok(u32::MAX as usize)
    );
    assert_eq!(
        Input(&[0xff, 0x81, 0xff, 0xff, 0xff, 0x0f]).integer(7),
        Err(HpackError::Integer)
    );
    assert_eq!(Input(&[0x7f, 0, 0]).integer(7), Ok(127));
    assert_eq!(
        Input(&[0xff, 0x80, 0x80, 0x80, 0x80, 0x80, 0]).integer(7),
        Err(HpackError::Integer)
    );
    assert_eq!(Input(&[0xff, 0x80]).integer(7), Err(HpackError::Truncated));
    assert_eq!(Input(&[]).integer(7), Err(HpackError::Truncated));
}

#[test]
fn an_entry_larger_than_the_table_empties_it() {
    // 32 bytes overhead, "baggage" has 7: a value of 4057 just fits.
    for (length, entries, huffman) in [
        (4057, 1, false),
        (4058, 0, false),
        (4057, 1, true),
        (4058, 0, true),
    ] {
        let mut decoder = HpackDecoder::default();
        let mut encoder = Encoder::default();
        let mut block = Vec::new();
        encoder.field(&mut block, b"x", b"y", Indexing::Incremental, huffman);
        encoder.field(
            &mut block,
            b"baggage",
            "z".repeat(length).as_bytes(),
            Indexing::Incremental,
            huffman,
        );
        decode(&mut decoder, &block).unwrap();
        assert_eq!(decoder.table.entries.len(), entries, "{length} {huffman}");
    }
}

#[test]
fn a_table_larger_than_what_is_kept_loses_only_old_entries() {
    let mut decoder = HpackDecoder::default();
    let mut encoder = Encoder::default();
    let mut block = Vec::new();
    encoder.resize(&mut block, 1 << 20);
    for index in 0..200 {
        let value = format!("{index:01000}");
        encoder.field(
            &mut block,
            b"baggage",
            value.as_bytes(),
            Indexing::Incremental,
            false,
        );
    }
    // An entry that only the peers have room for counts all the same.
    let long = "l".repeat(100_000);
    encoder.field(
        &mut block,
        b"traceparent",
        long.as_bytes(),
        Indexing::Incremental,
        false,
    );
    encoder.field(&mut block, b"baggage", b"new", Indexing::Incremental, false);
    decode(&mut decoder, &block).unwrap();
    assert!(decoder.table.size <= KEPT_TABLE_SIZE);

    let mut block = Vec::new();
    encoder.field(&mut block, b"baggage", b"new", Indexing::Incremental, false);
    encoder.field(
        &mut block,
        b"traceparent",
        long.as_bytes(),
        Indexing::Incremental,
        false,
    );
    encoder.field(
        &mut block,
        b"baggage",
        format!("{:01000}", 199).as_bytes(),
        Indexing::Incremental,
        false,
    );
    let oldest = format!("{:01000}", 0);
    encoder.field(
        &mut block,
        b"baggage",
        oldest.as_bytes(),
        Indexing::Incremental,
        false,
    );
    assert!(block.len() < 10, "indices");
    let baggage = |value: &str| (Name::Baggage, value.to_owned());
    let unknown = || (Name::Unknown, String::new());
    let expected = vec![
        baggage("new"),
        unknown(),
        baggage(&format!("{:01000}", 199)),
        unknown(),
    ];
    assert_eq!(decode(&mut decoder, &block), Ok(expected));
}

#[test]
fn broken_blocks_are_refused_and_empty_the_table() {
    for block in [
        &[0x80][..],                           // index 0
        &[0x40],                               // no name
        &[0x40, 0x05, b'a'],                   // name cut off
        &[0x41],                               // no value
        &[0x40, 0x81, 0x00, 0x00],             // Huffman name that ends in the middle of a symbol
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff], // index too large
    ] {
        let mut decoder = HpackDecoder::default();
        let mut encoder = Encoder::default();
        let mut good = Vec::new();
        encoder.field(&mut good, b":path", b"/a", Indexing::Incremental, true);
        decode(&mut decoder, &good).unwrap();
        assert!(decode(&mut decoder, block).is_err(), "{block:x?}");
        let mut again = Vec::new();
        encoder.field(&mut again, b":path", b"/a", Indexing::Incremental, true);
        let lost = vec![(Name::Unknown, String::new())];
        assert_eq!(decode(&mut decoder, &again), Ok(lost));
    }
}

#[test]
fn a_name_taken_from_a_lost_entry_stays_unknown() {
    let mut decoder = HpackDecoder::default();
    // Name of entry 62, which is not there; the new entry is 62 now.
    let block = [0x7e, 1, b'v', 0xbe];
    let unknown = |value: &str| (Name::Unknown, value.to_owned());
    assert_eq!(
        decode(&mut decoder, &block),
        Ok(vec![unknown("v"), unknown("")])
    );
}

/// A block to write: fields, or another table size before them.
#[derive(Debug, Clone)]
struct Block {
    resize: Option<usize>,
    fields: Vec<(&'static str, String, Indexing, bool)>,
}

fn any_block() -> impl Strategy<Value = Block> {
    let name = proptest::sample::select(vec![
        ":path",
        ":status",
        "content-type",
        "grpc-timeout",
        "grpc-status",
        "traceparent",
        "baggage",
        "user-agent",
        "grpc-message",
        "a-custom-header-with-a-long-name",
        "x",
    ]);
    let value = prop_oneof![
        4 => proptest::sample::select(vec!["200", "/etcdserverpb.KV/Txn", "", "v"]).prop_map(str::to_owned),
        2 => "[ -~]{0,60}",
        1 => "[0-9]{200,300}",
    ];
    let indexing = prop_oneof![
        4 => Just(Indexing::Incremental),
        1 => Just(Indexing::Without),
        1 => Just(Indexing::Never),
    ];
    let fields = proptest::collection::vec((name, value, indexing, any::<bool>()), 1..12);
    let resize = proptest::option::weighted(
        0.2,
        proptest::sample::select(vec![0, 40, 100, 300, 1000, 4096]),
    );
    (resize, fields).prop_map(|(resize, fields)| Block { resize, fields })
}

proptest! {
    /// Whatever way blocks are written: the other decoder and this one read the same from them.
    #[test]
    fn agrees_with_another_decoder(blocks in proptest::collection::vec(any_block(), 1..12)) {
        let mut encoder = Encoder::default();
        let mut ours = HpackDecoder::default();
        let mut theirs = loona_hpack::Decoder::new();
        theirs.set_max_allowed_table_size(4096);
        for Block { resize, fields } in blocks {
            let mut block = Vec::new();
            if let Some(size) = resize {
                encoder.resize(&mut block, size);
            }
            for (name, value, indexing, huffman) in &fields {
                encoder.field(&mut block, name.as_bytes(), value.as_bytes(), *indexing, *huffman);
            }
            let all = theirs.decode(&block).map_err(|error| TestCaseError::fail(format!("{error:?}")))?;
            let written: Vec<(String, String)> =
                fields.iter().map(|(name, value, ..)| ((*name).to_owned(), value.clone())).collect();
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            let read: Vec<(String, String)> =
                all.into_iter().map(|(name, value)| (text(name), text(value))).collect();
            prop_assert_eq!(&read, &written, "the test's own encoder is wrong");
            let of_interest: Vec<(Name, String)> = read
                .into_iter()
                .map(|(name, value)| (Name::of(name.as_bytes()), value))
                .filter(|(name, _)| *name != Name::Other)
                .collect();
            prop_assert_eq!(decode(&mut ours, &block), Ok(of_interest));
        }
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(
        blocks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 1..10)
    ) {
        let mut decoder = HpackDecoder::default();
        for block in blocks {
            let mut scratch = Vec::new();
            let _ = decoder.decode(&block, |field| {
                let _ = field.value.decode(&mut scratch);
            });
            let size: usize = decoder.table.entries.iter().map(|entry| entry.size as usize).sum();
            prop_assert_eq!(size, decoder.table.size);
            prop_assert!(size <= decoder.table.capacity());
        }
    }
}
