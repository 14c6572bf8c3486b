//! What the fuzzer runs: everything that parses bytes from outside, with what must hold of any input.
//!
//! A target takes any bytes and panics when something is wrong. The same functions run in two ways:
//! by libFuzzer for as long as one likes (`scripts/fuzz`, programs in `fuzz/`), and by `cargo test`
//! on seeds, on inputs that once failed (`fuzz/regressions/TARGET/`) and on small changes of both.
//! Seeds are made from `testdata/`, so none are committed.

mod carriers;
mod collectors;
mod connection;
mod etcd_calls;
mod hpack;
mod http2;
mod journal;
mod objects;
mod seeds;

use std::path::Path;

pub use seeds::{Seed, write_seeds};

/// Something to be fuzzed.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name: of the program in `fuzz/`, and of the folders of its inputs.
    pub name: &'static str,
    /// Runs it on one input.
    ///
    /// # Panics
    /// When what must hold of any input does not.
    pub run: fn(&[u8]),
    /// Inputs to begin with, from the folder `testdata/`.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub seeds: fn(&Path) -> anyhow::Result<Vec<Seed>>,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "connection",
        run: connection::run,
        seeds: seeds::connections,
    },
    Target {
        name: "hpack",
        run: hpack::run,
        seeds: seeds::header_blocks,
    },
    Target {
        name: "grpc",
        run: etcd_calls::run_reassembly,
        seeds: seeds::grpc_messages,
    },
    Target {
        name: "etcd_messages",
        run: etcd_calls::run_messages,
        seeds: seeds::etcd_messages,
    },
    Target {
        name: "protobuf_objects",
        run: objects::run_protobuf,
        seeds: seeds::protobuf_objects,
    },
    Target {
        name: "json_objects",
        run: objects::run_json,
        seeds: seeds::json_objects,
    },
    Target {
        name: "cbor_objects",
        run: objects::run_cbor,
        seeds: seeds::cbor_objects,
    },
    Target {
        name: "carriers",
        run: carriers::run,
        seeds: seeds::carriers,
    },
    Target {
        name: "audit",
        run: collectors::run_audit,
        seeds: seeds::audit_events,
    },
    Target {
        name: "otlp",
        run: collectors::run_otlp,
        seeds: seeds::spans,
    },
    Target {
        name: "journal",
        run: journal::run,
        seeds: seeds::journals,
    },
];

/// Runs the target `name`; for the fuzzer's programs.
///
/// # Panics
/// When there is no such target, or what must hold of any input does not.
pub fn run(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    assert!(target.is_some(), "there is no target {name}");
    if let Some(target) = target {
        (target.run)(input);
    }
}

/// Takes the first byte of an input; 0 when there is none.
fn take_byte(input: &mut &[u8]) -> u8 {
    let Some((first, rest)) = input.split_first() else {
        return 0;
    };
    *input = rest;
    *first
}

/// Takes a piece with its length before it, two bytes; what is missing of it is left out.
fn take_piece<'i>(input: &mut &'i [u8]) -> &'i [u8] {
    let length = usize::from(u16::from_be_bytes([take_byte(input), take_byte(input)]));
    let (piece, rest) = input.split_at(length.min(input.len()));
    *input = rest;
    piece
}

/// Writes a piece as [`take_piece`] reads it; what is longer than its length can say is cut.
fn put_piece(out: &mut Vec<u8>, piece: &[u8]) {
    let length = u16::try_from(piece.len()).unwrap_or(u16::MAX);
    out.extend(length.to_be_bytes());
    out.extend(piece.iter().take(usize::from(length)));
}
