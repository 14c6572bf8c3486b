//! `decode`: one stored value to JSON.

use std::io::{self, Read};

use super::arguments::DecodeArguments;
use super::{Failure, configuration, print};
use crate::decode::{DecodeOptions, Decoded, Decoder, HashKey, to_json};

/// Reads a value from standard input and prints what a row of `changes` would hold.
pub(super) fn decode(arguments: &DecodeArguments) -> Result<(), Failure> {
    let secret_key = arguments
        .hash_key_file
        .as_deref()
        .map(configuration::hash_key)
        .transpose()?;
    let cluster_key = arguments.cluster_id.map(HashKey::from_cluster_id);
    let hash_secrets = secret_key.is_some();
    let hash_key = secret_key.or(cluster_key);
    let mut value = Vec::new();
    io::stdin()
        .lock()
        .read_to_end(&mut value)
        .map_err(|error| Failure::internal(format!("cannot read standard input: {error}")))?;

    let has_key = hash_key.is_some();
    let decoder = Decoder::new(DecodeOptions {
        hash_secrets,
        carriers: configuration::carriers(arguments.carriers.as_deref())?.into(),
        ..hash_key.map_or_else(DecodeOptions::default, DecodeOptions::new)
    });
    let key = arguments.key.as_bytes();
    let Decoded {
        mut object, cpid, ..
    } = decoder.decode(key, &value);
    if !has_key {
        // Hashes with the key of no cluster at all would look like something to compare.
        object.spec_hash = None;
        object.status_hash = None;
        object.data_hash = None;
        object.value_hash = None;
    }
    let columns = to_json(key, &object, &cpid);
    let mut text = serde_json::to_string_pretty(&columns)
        .map_err(|error| Failure::internal(format!("cannot write JSON: {error}")))?;
    text.push('\n');
    print(text.as_bytes())
}

/// Reads an etcd cluster id as traces have it.
pub(super) fn cluster_id(text: &str) -> Result<u64, String> {
    u64::from_str_radix(text, 16)
        .map_err(|_| "write it in hexadecimal, as the column cluster_id has it".to_owned())
}
