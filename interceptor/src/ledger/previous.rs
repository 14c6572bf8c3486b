//! The values that changes replace.
//!
//! etcd's watch can send them along (`prev_kv`), but reads each from its store for that, which costs etcd more than the
//! watch itself. Most keys that change have changed a moment ago, so the ledger remembers what it has seen, and asks
//! etcd only for what it has not, or not any more. Nothing is guessed: the watch has every change of every key in
//! order, and what is remembered counts only if it is the version right before.

use std::collections::HashMap;

use bytes::Bytes;
use cascade_proto::wire::etcd::event::EventType;
use cascade_proto::wire::etcd::{Event, KeyValue};

/// Memory that an entry takes beside its key and value, bytes.
const ENTRY: usize = 256;

/// What an event replaces.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Replaced {
    /// The key was not there.
    Nothing,
    /// A value that is remembered.
    Value(KeyValue),
    /// A value that is not remembered.
    Unknown,
}

/// The newest values of the keys that changed last.
///
/// Values of two ages: when the young ones take half of the room they become the old ones, and what was old and has not
/// been needed since is forgotten. That is close to forgetting what was not used for longest, without a list to keep in order.
#[derive(Debug)]
pub(super) struct PreviousValues {
    young: HashMap<Bytes, KeyValue>,
    old: HashMap<Bytes, KeyValue>,
    young_bytes: usize,
    old_bytes: usize,
    max_bytes: usize,
}

impl PreviousValues {
    /// Remembers values of at most `max_bytes` bytes.
    #[must_use]
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            young_bytes: 0,
            old_bytes: 0,
            max_bytes,
        }
    }

    /// Memory that the values take, bytes.
    #[must_use]
    pub(super) fn bytes(&self) -> usize {
        self.young_bytes + self.old_bytes
    }

    /// What the next event of the watch replaces. Its own value is remembered.
    pub(super) fn replaced_by(&mut self, event: &Event) -> Replaced {
        let Some(kv) = &event.kv else {
            return Replaced::Nothing; // not an event that etcd's protocol allows
        };
        let remembered = self.forget(&kv.key);
        if event.r#type == i32::from(EventType::Delete) {
            return remembered
                .filter(|value| value.mod_revision < kv.mod_revision)
                .map_or(Replaced::Unknown, Replaced::Value);
        }
        self.remember(kv);
        if kv.create_revision == kv.mod_revision {
            return Replaced::Nothing;
        }
        remembered
            .filter(|value| {
                value.create_revision == kv.create_revision
                    && value.version.checked_add(1) == Some(kv.version)
            })
            .map_or(Replaced::Unknown, Replaced::Value)
    }

    fn forget(&mut self, key: &Bytes) -> Option<KeyValue> {
        if let Some(value) = self.young.remove(key) {
            self.young_bytes = self.young_bytes.saturating_sub(size(&value));
            return Some(value);
        }
        let value = self.old.remove(key)?;
        self.old_bytes = self.old_bytes.saturating_sub(size(&value));
        Some(value)
    }

    fn remember(&mut self, kv: &KeyValue) {
        let bytes = size(kv);
        let room = self.max_bytes / 2;
        if bytes > room {
            return;
        }
        if self.young_bytes + bytes > room {
            self.old = std::mem::take(&mut self.young);
            self.old_bytes = std::mem::take(&mut self.young_bytes);
        }
        self.young_bytes += bytes;
        self.young.insert(kv.key.clone(), kv.clone());
    }
}

fn size(kv: &KeyValue) -> usize {
    kv.key.len() + kv.value.len() + ENTRY
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kv(key: &str, create_revision: i64, mod_revision: i64, version: i64) -> KeyValue {
        KeyValue {
            key: key.to_owned().into(),
            create_revision,
            mod_revision,
            version,
            value: format!("{key}@{mod_revision}").into(),
            lease: 0,
        }
    }

    fn put(kv: &KeyValue) -> Event {
        Event {
            r#type: EventType::Put.into(),
            kv: Some(kv.clone()),
            prev_kv: None,
        }
    }

    fn delete(key: &str, mod_revision: i64) -> Event {
        Event {
            r#type: EventType::Delete.into(),
            kv: Some(kv(key, 0, mod_revision, 0)),
            prev_kv: None,
        }
    }

    #[test]
    fn the_life_of_a_key_is_known_from_its_creation_on() {
        let mut values = PreviousValues::new(1 << 20);
        let (first, second) = (kv("a", 5, 5, 1), kv("a", 5, 7, 2));
        assert_eq!(values.replaced_by(&put(&first)), Replaced::Nothing);
        assert_eq!(
            values.replaced_by(&put(&kv("b", 6, 6, 1))),
            Replaced::Nothing
        );
        assert_eq!(values.replaced_by(&put(&second)), Replaced::Value(first));
        assert_eq!(values.replaced_by(&delete("a", 8)), Replaced::Value(second));
        // It is another key now.
        let again = kv("a", 9, 9, 1);
        assert_eq!(values.replaced_by(&put(&again)), Replaced::Nothing);
        assert_eq!(values.replaced_by(&delete("a", 10)), Replaced::Value(again));
        assert_eq!(values.replaced_by(&delete("a", 11)), Replaced::Unknown);
    }

    #[test]
    fn what_is_not_the_version_before_does_not_count() {
        let mut values = PreviousValues::new(1 << 20);
        let update = |version| put(&kv("a", 5, 5 + version, version));
        assert_eq!(values.replaced_by(&update(4)), Replaced::Unknown);
        assert_eq!(values.replaced_by(&update(6)), Replaced::Unknown);
        // From here on it is known again.
        assert_eq!(
            values.replaced_by(&update(7)),
            Replaced::Value(kv("a", 5, 11, 6))
        );
        let other_life = put(&kv("a", 20, 22, 8));
        assert_eq!(values.replaced_by(&other_life), Replaced::Unknown);
    }

    #[test]
    fn what_was_not_needed_for_long_is_forgotten() {
        let entry = size(&kv("0", 10, 10, 1));
        let mut values = PreviousValues::new(4 * entry);
        let create = |key: i64| put(&kv(&key.to_string(), 10 + key, 10 + key, 1));
        for key in 0..4 {
            values.replaced_by(&create(key));
        }
        assert_eq!(values.bytes(), 4 * entry);
        // Needed: it stays, as a young value.
        let used = put(&kv("0", 10, 20, 2));
        assert_eq!(
            values.replaced_by(&used),
            Replaced::Value(kv("0", 10, 10, 1))
        );
        assert!(values.bytes() <= 4 * entry);
        for key in 4..6 {
            values.replaced_by(&create(key));
        }
        assert_eq!(values.replaced_by(&delete("1", 30)), Replaced::Unknown);
        assert_eq!(
            values.replaced_by(&delete("0", 31)),
            Replaced::Value(kv("0", 10, 20, 2))
        );
        assert!(values.bytes() <= 4 * entry);
    }

    #[test]
    fn what_takes_all_the_room_is_not_kept() {
        let mut values = PreviousValues::new(64);
        assert_eq!(
            values.replaced_by(&put(&kv("a", 5, 5, 1))),
            Replaced::Nothing
        );
        assert_eq!(values.bytes(), 0);
        assert_eq!(values.replaced_by(&delete("a", 6)), Replaced::Unknown);
        assert_eq!(values.bytes(), 0);
    }
}
