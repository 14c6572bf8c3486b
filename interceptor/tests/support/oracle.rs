//! What etcd itself says, to compare a trace with.

use std::collections::BTreeMap;

use cascade_proto::tables::{Change, Op, State};
use etcd_client::{Client, EventType, GetOptions, WatchOptions};

use super::within_patience;

/// A change as etcd tells it: revision, key, operation, and of the value create_revision, version
/// and lease; for a delete those of the deleted value; then the mod_revision of the previous value.
pub(crate) type Told = (i64, String, Op, Option<(i64, i64, i64)>, Option<i64>);

/// A key as etcd tells it: mod_revision, create_revision, version, lease.
pub(crate) type ToldState = (i64, i64, i64, i64);

/// Watches the whole keyspace from revision `first` until `last`, without fragments.
pub(crate) async fn watched(client: &mut Client, first: i64, last: i64) -> Vec<Told> {
    let options = WatchOptions::new()
        .with_all_keys()
        .with_start_revision(first)
        .with_prev_key();
    let mut watch = client
        .watch_client()
        .max_decoding_message_size(1 << 30)
        .watch("", Some(options))
        .await
        .expect("the oracle's watch");
    let mut told: Vec<Told> = Vec::new();
    while told.last().is_none_or(|(revision, ..)| *revision < last) {
        let message = within_patience("the oracle's watch", watch.message()).await;
        let response = message.expect("a response").expect("an open watch");
        assert!(!response.canceled(), "{}", response.cancel_reason());
        for event in response.events() {
            let kv = event.kv().expect("a key");
            let previous = event.prev_kv();
            let deleted = event.event_type() == EventType::Delete;
            let op = match kv.version() {
                _ if deleted => Op::Delete,
                1 => Op::Create,
                _ => Op::Update,
            };
            let described = if deleted { previous } else { Some(kv) };
            told.push((
                kv.mod_revision(),
                kv.key_str().expect("a UTF-8 key").to_owned(),
                op,
                described.map(|kv| (kv.create_revision(), kv.version(), kv.lease())),
                previous.map(etcd_client::KeyValue::mod_revision),
            ));
        }
    }
    told.retain(|(revision, ..)| *revision <= last);
    told
}

/// The same of recorded changes.
pub(crate) fn recorded(changes: &[Change]) -> Vec<Told> {
    changes
        .iter()
        .map(|change| {
            let described = change
                .create_revision
                .zip(change.version)
                .zip(change.lease_id)
                .map(|((create_revision, version), lease)| (create_revision, version, lease));
            (
                change.revision,
                change.key.clone(),
                change.op,
                described,
                change.prev_revision,
            )
        })
        .collect()
}

/// Everything that exists at `revision` according to etcd.
pub(crate) async fn existing(client: &mut Client, revision: i64) -> BTreeMap<String, ToldState> {
    let options = GetOptions::new().with_all_keys().with_revision(revision);
    let answer = client
        .kv_client()
        .max_decoding_message_size(1 << 30)
        .get("", Some(options))
        .await
        .expect("everything at a revision");
    let kvs = answer.kvs().iter().map(|kv| {
        (
            kv.key_str().expect("a UTF-8 key").to_owned(),
            (
                kv.mod_revision(),
                kv.create_revision(),
                kv.version(),
                kv.lease(),
            ),
        )
    });
    kvs.collect()
}

/// Everything that existed at `revision` according to the trace: a snapshot, and the changes after
/// it.
pub(crate) fn replayed(
    states: &[State],
    changes: &[Change],
    revision: i64,
) -> BTreeMap<String, ToldState> {
    let snapshot = states.iter().map(|state| state.snapshot_revision).max();
    let mut existing = states_as_told(states);
    let applicable = changes
        .iter()
        .filter(|change| change.revision > snapshot.unwrap_or(0) && change.revision <= revision);
    for change in applicable {
        if change.op == Op::Delete {
            existing.remove(&change.key);
            continue;
        }
        let told = (
            change.revision,
            change.create_revision.expect("create_revision"),
            change.version.expect("version"),
            change.lease_id.expect("lease_id"),
        );
        existing.insert(change.key.clone(), told);
    }
    existing
}

/// A snapshot as etcd tells it.
pub(crate) fn states_as_told(states: &[State]) -> BTreeMap<String, ToldState> {
    let told = states.iter().map(|state| {
        (
            state.key.clone(),
            (
                state.revision,
                state.create_revision,
                state.version,
                state.lease_id,
            ),
        )
    });
    told.collect()
}

/// That every revision from `first` to `last` is there once: each with all of its rows, numbered,
/// and no key twice.
pub(crate) fn assert_complete(changes: &[Change], first: i64, last: i64) {
    let mut rest = changes;
    for revision in first..=last {
        let size = rest
            .iter()
            .take_while(|change| change.revision == revision)
            .count();
        assert!(size > 0, "revision {revision} is missing or out of order");
        let (rows, others) = rest.split_at(size);
        rest = others;
        let mut keys: Vec<&str> = rows.iter().map(|change| change.key.as_str()).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), size, "a key twice in revision {revision}");
        for (ordinal, change) in (0_i32..).zip(rows) {
            assert_eq!(change.ordinal, ordinal, "in revision {revision}");
            assert_eq!(usize::try_from(change.revision_size).unwrap(), size);
        }
    }
    assert_eq!(rest.first().map(|change| change.revision), None);
}
