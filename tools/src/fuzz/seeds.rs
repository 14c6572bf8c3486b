//! Inputs that the fuzzer begins with, made from `testdata/`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use cascade_proto::wire::etcd::{
    PutRequest, PutResponse, ResponseHeader, ResponseOp, TxnResponse, response_op,
};
use prost::Message;

use super::etcd_calls::{METHODS, prefixed};
use super::http2::{END_HEADERS, HEADERS, Turn};
use super::{TARGETS, connection, journal, put_piece};
use crate::recording::{Chunk, ChunkKind, RecordedCall, RecordingReader};

/// Longest seed made of recorded traffic, bytes: long inputs make a fuzzer slow.
const MAX_RECORDED: usize = 12 << 10;
/// Longest seed of header blocks, bytes: enough for the table to be full.
const MAX_HEADERS: usize = 4 << 10;
/// Recorded calls of which one is taken.
const CALLS_PER_SEED: usize = 25;
/// Length of what a client sends first (RFC 9113, section 3.4).
const PREFACE_BYTES: usize = 24;
const FRAME_HEADER_BYTES: usize = 9;

/// An input to begin with.
#[derive(Debug, Clone)]
pub struct Seed {
    /// Name of its file.
    pub name: String,
    /// The input.
    pub bytes: Vec<u8>,
}

impl Seed {
    fn new(name: impl Into<String>, bytes: Vec<u8>) -> Self {
        Self {
            name: name.into(),
            bytes,
        }
    }
}

/// Writes the seeds of all targets, one folder below `output` each. Returns how many.
///
/// # Errors
/// When a file cannot be read or written.
pub fn write_seeds(testdata: &Path, output: &Path) -> anyhow::Result<usize> {
    let mut written = 0;
    for target in TARGETS {
        let folder = output.join(target.name);
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        for seed in (target.seeds)(testdata)? {
            let path = folder.join(seed.name);
            fs::write(&path, seed.bytes).with_context(|| path.display().to_string())?;
            written += 1;
        }
    }
    Ok(written)
}

/// The recorded connections, by number.
fn recorded(testdata: &Path) -> anyhow::Result<BTreeMap<i64, Vec<Turn>>> {
    let mut connections = BTreeMap::<i64, Vec<Turn>>::new();
    let path = testdata.join("recordings/rollout/connections.zst");
    for chunk in RecordingReader::<Chunk>::open(&path)? {
        let chunk = chunk?;
        let from_client = match chunk.kind() {
            ChunkKind::Request => true,
            ChunkKind::Response => false,
            _ => continue,
        };
        let turns = connections.entry(chunk.connection).or_default();
        match turns.last_mut() {
            Some(last) if last.from_client == from_client => last.bytes.extend(&chunk.bytes),
            _ => turns.push(Turn {
                from_client,
                bytes: chunk.bytes.to_vec(),
            }),
        }
    }
    Ok(connections)
}

/// The begin of each recorded connection.
pub(super) fn connections(testdata: &Path) -> anyhow::Result<Vec<Seed>> {
    let mut seeds = Vec::new();
    for (number, mut turns) in recorded(testdata)? {
        let mut room = MAX_RECORDED;
        for turn in &mut turns {
            turn.bytes.truncate(room);
            room -= turn.bytes.len();
        }
        turns.retain(|turn| !turn.bytes.is_empty());
        seeds.push(Seed::new(
            format!("connection-{number}"),
            connection::input([7, 100, 1], &turns),
        ));
    }
    Ok(seeds)
}

/// Header blocks of both directions of each recorded connection.
pub(super) fn header_blocks(testdata: &Path) -> anyhow::Result<Vec<Seed>> {
    let mut seeds = Vec::new();
    for (number, turns) in recorded(testdata)? {
        for (client, name) in [(true, "client"), (false, "server")] {
            let bytes: Vec<u8> = turns
                .iter()
                .filter(|turn| turn.from_client == client)
                .flat_map(|turn| turn.bytes.iter().copied())
                .collect();
            let start = if client { PREFACE_BYTES } else { 0 };
            let mut input = Vec::new();
            for block in blocks(bytes.get(start..).unwrap_or_default()) {
                put_piece(&mut input, block);
                if input.len() > MAX_HEADERS {
                    break;
                }
            }
            if !input.is_empty() {
                seeds.push(Seed::new(format!("{name}-{number}"), input));
            }
        }
    }
    Ok(seeds)
}

/// Header blocks that stand whole and alone in a frame.
fn blocks(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut blocks = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(FRAME_HEADER_BYTES) {
        let [l0, l1, l2, kind, flags, ..] = *head else {
            break;
        };
        let length = u32::from_be_bytes([0, l0, l1, l2]) as usize;
        let Some((payload, rest)) = rest.split_at_checked(length) else {
            break;
        };
        if kind == HEADERS && flags & !1 == END_HEADERS {
            blocks.push(payload);
        }
        bytes = rest;
    }
    blocks
}

fn header(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader {
        cluster_id: 1,
        member_id: 2,
        revision,
        raft_term: 3,
    })
}

/// Puts of stored values.
pub(super) fn grpc_messages(testdata: &Path) -> anyhow::Result<Vec<Seed>> {
    let answer = PutResponse { header: header(7) };
    let seed = |stored: Stored| {
        let put = PutRequest {
            key: stored.key.into(),
            value: stored.value.into(),
            ..PutRequest::default()
        };
        let mut input = vec![5, 100, 255];
        put_piece(&mut input, &prefixed(&answer.encode_to_vec()));
        input.extend(prefixed(&put.encode_to_vec()));
        Seed::new(stored.name, input)
    };
    Ok(stored(testdata)?.into_iter().map(seed).collect())
}

/// Recorded calls, with answers of their kind.
pub(super) fn etcd_messages(testdata: &Path) -> anyhow::Result<Vec<Seed>> {
    let path = testdata.join("recordings/rollout/calls.zst");
    let mut seeds = Vec::new();
    for (index, call) in RecordingReader::<RecordedCall>::open(&path)?.enumerate() {
        let call = call?;
        let Some(method) = METHODS.iter().position(|method| *method == call.method) else {
            continue;
        };
        let is_txn = call.method.ends_with("/Txn");
        if is_txn && index % CALLS_PER_SEED != 0 {
            continue;
        }
        let answer = if is_txn {
            let put = ResponseOp {
                response: Some(response_op::Response::ResponsePut(PutResponse::default())),
            };
            let answer = TxnResponse {
                header: header(call.revision),
                succeeded: call.committed,
                responses: vec![put],
            };
            answer.encode_to_vec()
        } else {
            let answer = PutResponse {
                header: header(call.revision),
            };
            answer.encode_to_vec()
        };
        let mut input = vec![u8::try_from(method).unwrap_or_default()];
        put_piece(&mut input, &answer);
        input.extend(&call.request);
        seeds.push(Seed::new(format!("call-{index}"), input));
    }
    // Methods that kube-apiserver does not use: with the name or key in field 1.
    for method in 0..METHODS.len() {
        let named = PutRequest {
            key: "name".to_owned().into(),
            ..PutRequest::default()
        };
        let mut input = vec![u8::try_from(method).unwrap_or_default()];
        put_piece(
            &mut input,
            &PutResponse { header: header(5) }.encode_to_vec(),
        );
        input.extend(named.encode_to_vec());
        seeds.push(Seed::new(format!("method-{method}"), input));
    }
    Ok(seeds)
}

/// A value that kube-apiserver stored.
struct Stored {
    name: String,
    key: Vec<u8>,
    value: Vec<u8>,
}

/// Stored values of every kind and format.
fn stored(testdata: &Path) -> anyhow::Result<Vec<Stored>> {
    let mut values = Vec::new();
    for folder in ["values", "formats"] {
        for path in files(&testdata.join(folder), "bin")? {
            let key = path.with_extension("key");
            let name = path.file_stem().unwrap_or_default();
            values.push(Stored {
                name: name.to_string_lossy().into_owned(),
                key: read(&key)?.trim_ascii_end().to_vec(),
                value: read(&path)?,
            });
        }
    }
    Ok(values)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| path.display().to_string())
}

/// The files of a folder with this extension, sorted.
fn files(folder: &Path, extension: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == extension) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Seeds of those values that begin with `magic`, which the target puts there itself.
fn objects(testdata: &Path, magic: &[u8]) -> anyhow::Result<Vec<Seed>> {
    let seed = |stored: Stored| {
        let mut input = Vec::new();
        put_piece(&mut input, &stored.key);
        input.extend(stored.value.strip_prefix(magic)?);
        Some(Seed::new(stored.name, input))
    };
    Ok(stored(testdata)?.into_iter().filter_map(seed).collect())
}

/// Values in protobuf.
pub(super) fn protobuf_objects(testdata: &Path) -> anyhow::Result<Vec<Seed>> {
    objects(testdata, super::objects::PROTOBUF)
}

/// Values in JSON, and whatever else is neither protobuf nor CBOR.
pub(super) fn json_objects(testdata: &Path) -> anyhow::Result<Vec<Seed>> {
    let mut seeds = Vec::new();
    for stored in stored(testdata)? {
        if stored.value.starts_with(b"{") {
            let mut input = Vec::new();
            put_piece(&mut input, &stored.key);
            input.extend(stored.value);
            seeds.push(Seed::new(stored.name, input));
        }
    }
    Ok(seeds)
}

/// Values in CBOR, and those in JSON written as CBOR.
pub(super) fn cbor_objects(testdata: &Path) -> anyhow::Result<Vec<Seed>> {
    let mut seeds = objects(testdata, super::objects::CBOR)?;
    for stored in stored(testdata)? {
        if let Ok(json) = serde_json::from_slice::<serde_json::Value>(&stored.value) {
            let mut input = Vec::new();
            put_piece(&mut input, &stored.key);
            ciborium::into_writer(&json, &mut input)
                .with_context(|| format!("{} as CBOR", stored.name))?;
            seeds.push(Seed::new(format!("{}-from-json", stored.name), input));
        }
    }
    Ok(seeds)
}

/// Carriers of each kind.
pub(super) fn carriers(_: &Path) -> anyhow::Result<Vec<Seed>> {
    const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let texts = [
        (
            "koc",
            "",
            "cpid=c%20d;p=1,team=web",
            r#"{"cpid":"c","ancCpids":["a","b"]}"#,
        ),
        ("traceparent", "/traceparent", "cpid=%C3%A9", TRACEPARENT),
        (
            "embedded",
            "/traceparent",
            "a=1; p;q = %20 , cpid=old, b = 2",
            r#"{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}"#,
        ),
        (
            "nested",
            "/a~1b/0/~0",
            "cpid=a,cpid=a",
            r#"{"a/b":[{"~":"text"}]}"#,
        ),
        (
            "text",
            "",
            "garbage,a=1,b=\",c=1;,=1,d=%,e=%zz,f=é",
            "any text",
        ),
    ];
    let seed = |(name, pointer, header, carrier): (&str, &str, &str, &str)| {
        let mut input = Vec::new();
        put_piece(&mut input, pointer.as_bytes());
        put_piece(&mut input, header.as_bytes());
        input.extend(carrier.as_bytes());
        Seed::new(name, input)
    };
    Ok(texts.into_iter().map(seed).collect())
}

/// Lines of a recorded audit log.
pub(super) fn audit_events(testdata: &Path) -> anyhow::Result<Vec<Seed>> {
    let log = read(&testdata.join("otlp/audit.log"))?;
    let lines = log
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    Ok(lines
        .enumerate()
        .map(|(index, line)| Seed::new(format!("line-{index}"), line.to_vec()))
        .collect())
}

/// Recorded messages of spans, each alone, and the short ones together.
pub(super) fn spans(testdata: &Path) -> anyhow::Result<Vec<Seed>> {
    let mut seeds = Vec::new();
    let (mut short, mut count) = (Vec::new(), 0);
    for path in files(&testdata.join("otlp"), "bin")? {
        let message = read(&path)?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if message.len() < MAX_RECORDED / 2 {
            put_piece(&mut short, &message);
            count += 1;
        }
        seeds.push(Seed::new(name, [&[0], message.as_slice()].concat()));
    }
    short.insert(0, count);
    seeds.push(Seed::new("together", short));
    Ok(seeds)
}

/// A whole journal, and damages of it.
pub(super) fn journals(_: &Path) -> anyhow::Result<Vec<Seed>> {
    let whole = [&[1], journal::JOURNAL.as_slice()].concat();
    Ok(vec![
        Seed::new("whole", whole),
        Seed::new("undamaged", vec![0]),
        Seed::new("cut", vec![2, 5, 0, 0, 0]),
        Seed::new("zeros", vec![0, 6, 0, 0, 3, 0, 0, 0]),
    ])
}
