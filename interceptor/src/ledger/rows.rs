//! From etcd's events and values to rows.

use bytes::Bytes;
use cascade_proto::tables::{Change, ChangeSource, Moment, Op, State};
use cascade_proto::wire::etcd::event::EventType;
use cascade_proto::wire::etcd::{Event, KeyValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use thiserror::Error;

use super::assemble::WholeRevision;
use super::metrics::CarrierLabel;
use crate::decode::{Decoder, key_text};
use crate::store::Identity;

/// An event that etcd's protocol does not allow.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum InvalidEvent {
    /// Without a key there is nothing to record.
    #[error("an event without a key")]
    NoKey,
    /// Neither a put nor a delete.
    #[error("an event of the unknown type {0}")]
    UnknownType(i32),
}

/// Makes the rows of one history.
#[derive(Debug, Clone)]
pub(super) struct RowMaker {
    decoder: Decoder,
    identity: Identity,
    instance: String,
    carrier_errors: Family<CarrierLabel, Counter>,
}

/// A change whose place in its revision is not known yet.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct UnplacedChange {
    /// The key as etcd has it; the row has it as text.
    pub(super) key: Bytes,
    row: Change,
}

impl UnplacedChange {
    /// Revision of the change.
    #[must_use]
    pub(super) fn revision(&self) -> i64 {
        self.row.revision
    }
}

impl RowMaker {
    /// Rows of this history and instance, decoded by `decoder`. Malformed carriers of CPIDs are
    /// counted in `carrier_errors`.
    #[must_use]
    pub(super) fn new(
        decoder: Decoder,
        identity: Identity,
        instance: String,
        carrier_errors: Family<CarrierLabel, Counter>,
    ) -> Self {
        Self {
            decoder,
            identity,
            instance,
            carrier_errors,
        }
    }

    fn count_malformed(&self, carriers: Vec<String>) {
        for carrier in carriers {
            let label = CarrierLabel { carrier };
            self.carrier_errors.get_or_create(&label).inc();
        }
    }

    /// The row of one event that arrived at `seen`.
    ///
    /// Where etcd no longer has the previous value of an update or delete, everything that needs it
    /// is NULL: `prev_revision`, `changed`, `writers`, `prev_cpid`, `cpid_transition`, and for a
    /// delete what was in the deleted value.
    ///
    /// # Errors
    /// [`InvalidEvent`].
    pub(super) fn change(
        &self,
        event: Event,
        seen: Moment,
    ) -> Result<UnplacedChange, InvalidEvent> {
        let kind = EventType::try_from(event.r#type)
            .map_err(|_| InvalidEvent::UnknownType(event.r#type))?;
        let kv = event.kv.filter(|kv| !kv.key.is_empty());
        let kv = kv.ok_or(InvalidEvent::NoKey)?;
        let previous = event.prev_kv;
        let op = match kind {
            EventType::Delete => Op::Delete,
            EventType::Put if kv.create_revision == kv.mod_revision => Op::Create,
            EventType::Put => Op::Update,
        };
        let value = (op != Op::Delete).then_some(&kv.value[..]);
        let previous_value = previous.as_ref().map(|previous| &previous.value[..]);
        let columns = if op != Op::Create && previous.is_none() {
            self.decoder.change_without_previous(&kv.key, value)
        } else {
            self.decoder.change(&kv.key, value, previous_value)
        };
        self.count_malformed(columns.malformed_carriers);
        // A delete event carries the key and its own revision only.
        let described = if op == Op::Delete {
            previous.as_ref()
        } else {
            Some(&kv)
        };
        let row = Change {
            cluster_id: self.identity.cluster_id.clone(),
            epoch: self.identity.epoch,
            revision: kv.mod_revision,
            ordinal: 0,
            revision_size: 0,
            key: key_text(&kv.key),
            op,
            source: ChangeSource::Watch,
            prev_revision: previous.as_ref().map(|previous| previous.mod_revision),
            create_revision: described.map(|kv| kv.create_revision),
            version: described.map(|kv| kv.version),
            lease_id: described.map(|kv| kv.lease),
            seen: Some(seen),
            object: columns.object,
            changed: columns.changed,
            cpid: columns.cpid,
            prev_cpid: columns.prev_cpid,
            cpid_transition: columns.cpid_transition,
            instance: self.instance.clone(),
        };
        Ok(UnplacedChange { key: kv.key, row })
    }

    /// The row of a key that existed at `snapshot_revision`, in a page read at `seen`.
    #[must_use]
    pub(super) fn state(&self, kv: &KeyValue, snapshot_revision: i64, seen: Moment) -> State {
        let decoded = self.decoder.decode(&kv.key, &kv.value);
        self.count_malformed(decoded.malformed_carriers);
        State {
            cluster_id: self.identity.cluster_id.clone(),
            epoch: self.identity.epoch,
            snapshot_revision,
            revision: kv.mod_revision,
            key: key_text(&kv.key),
            create_revision: kv.create_revision,
            version: kv.version,
            lease_id: kv.lease,
            seen: Some(seen),
            object: decoded.object,
            cpid: decoded.cpid,
            instance: self.instance.clone(),
        }
    }
}

/// Numbers the changes of a revision and adds them to `rows`; returns the key of the last one.
pub(super) fn place(
    revision: WholeRevision<UnplacedChange>,
    rows: &mut Vec<Change>,
) -> Option<Bytes> {
    // A revision with more keys than an i32 counts does not fit into etcd, let alone memory.
    let revision_size = i32::try_from(revision.items.len()).unwrap_or(i32::MAX);
    let mut last_key = None;
    for (ordinal, unplaced) in (0_i32..).zip(revision.items) {
        rows.push(Change {
            ordinal,
            revision_size,
            ..unplaced.row
        });
        last_key = Some(unplaced.key);
    }
    last_key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::metrics::LedgerMetrics;

    const SEEN: Moment = Moment { unix_nano: 7 };

    fn maker() -> RowMaker {
        let identity = Identity {
            cluster_id: "ab".to_owned(),
            epoch: 2,
        };
        let metrics = LedgerMetrics::default();
        let carrier_errors = metrics.carrier_errors;
        RowMaker::new(
            Decoder::default(),
            identity,
            "one".to_owned(),
            carrier_errors,
        )
    }

    fn kv(create_revision: i64, mod_revision: i64, version: i64, value: &str) -> KeyValue {
        KeyValue {
            key: Bytes::from_static(b"/registry/pods/a/b"),
            create_revision,
            mod_revision,
            version,
            value: Bytes::copy_from_slice(value.as_bytes()),
            lease: 9,
        }
    }

    fn tombstone(mod_revision: i64) -> KeyValue {
        KeyValue {
            lease: 0,
            ..kv(0, mod_revision, 0, "")
        }
    }

    fn row(kind: EventType, kv: KeyValue, prev_kv: Option<KeyValue>) -> Change {
        let event = Event {
            r#type: kind.into(),
            kv: Some(kv),
            prev_kv,
        };
        maker().change(event, SEEN).unwrap().row
    }

    #[test]
    fn a_put_at_its_creation_revision_is_a_create() {
        let row = row(EventType::Put, kv(5, 5, 1, "v"), None);
        assert_eq!((row.op, row.revision), (Op::Create, 5));
        assert_eq!(row.prev_revision, None);
        assert_eq!(
            (row.create_revision, row.version, row.lease_id),
            (Some(5), Some(1), Some(9))
        );
        assert_eq!(row.seen, Some(SEEN));
        assert_eq!((row.cluster_id.as_str(), row.epoch), ("ab", 2));
        assert_eq!(
            (row.instance.as_str(), row.source),
            ("one", ChangeSource::Watch)
        );
    }

    #[test]
    fn an_update_names_the_revision_it_replaced() {
        let row = row(EventType::Put, kv(5, 8, 2, "v"), Some(kv(5, 5, 1, "u")));
        assert_eq!((row.op, row.prev_revision), (Op::Update, Some(5)));
        assert_eq!(row.version, Some(2));
    }

    #[test]
    fn a_delete_describes_the_deleted_value() {
        let row = row(EventType::Delete, tombstone(9), Some(kv(5, 8, 2, "four")));
        assert_eq!((row.op, row.revision), (Op::Delete, 9));
        assert_eq!(row.prev_revision, Some(8));
        assert_eq!(
            (row.create_revision, row.version, row.lease_id),
            (Some(5), Some(2), Some(9))
        );
        assert_eq!(row.object.value_bytes, Some(4));
    }

    #[test]
    fn a_missing_previous_value_leaves_null_and_never_a_guess() {
        let row = row(EventType::Delete, tombstone(9), None);
        assert_eq!(row.op, Op::Delete);
        assert_eq!(row.prev_revision, None);
        assert_eq!(
            (row.create_revision, row.version, row.lease_id),
            (None, None, None)
        );
        assert_eq!(row.object.value_bytes, None);
        assert_eq!(row.object.name.as_deref(), Some("b"));

        let json = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"b","namespace":"a",
            "annotations":{"eppppi.github.io/koc":"{\"cpid\":\"0192\"}"},
            "managedFields":[{"manager":"m","operation":"Update"}]}}"#;
        let row = self::row(EventType::Put, kv(5, 8, 2, json), None);
        assert_eq!(row.op, Op::Update);
        assert_eq!((row.prev_revision, row.version), (None, Some(2)));
        assert_eq!((row.changed, row.object.writers), (None, None));
        assert_eq!((row.prev_cpid, row.cpid_transition), (None, None));
    }

    #[test]
    fn malformed_carriers_are_counted_once_per_row() {
        let maker = maker();
        let counted = |carrier: &str| {
            let label = CarrierLabel {
                carrier: carrier.to_owned(),
            };
            maker.carrier_errors.get_or_create(&label).get()
        };
        let json = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"b","annotations":
            {"eppppi.github.io/koc":"x","tracing.k8s.io/traceparent":"y"}}}"#;
        let event = |kind: EventType, kv: KeyValue, prev_kv: Option<KeyValue>| Event {
            r#type: kind.into(),
            kv: Some(kv),
            prev_kv,
        };
        let bad = |revision| kv(5, revision, 1, json);
        let create = event(EventType::Put, bad(5), None);
        let update = event(EventType::Put, bad(6), Some(bad(5)));
        let mend = event(EventType::Put, kv(5, 7, 3, "{}"), Some(bad(6)));
        for event in [create, update, mend] {
            maker.change(event, SEEN).unwrap();
        }
        for carrier in ["eppppi.github.io/koc", "tracing.k8s.io/traceparent"] {
            assert_eq!(counted(carrier), 2);
        }
        let state = maker.state(&bad(5), 9, SEEN);
        assert_eq!(counted("eppppi.github.io/koc"), 3);
        assert!(state.object.decode_error.is_some());
    }

    #[test]
    fn malformed_events_are_refused() {
        let event = Event {
            r#type: 0,
            kv: None,
            prev_kv: None,
        };
        assert_eq!(maker().change(event, SEEN), Err(InvalidEvent::NoKey));
        let event = Event {
            r#type: 2,
            kv: Some(kv(5, 5, 1, "v")),
            prev_kv: None,
        };
        assert_eq!(
            maker().change(event, SEEN),
            Err(InvalidEvent::UnknownType(2))
        );
    }

    #[test]
    fn rows_of_a_revision_are_numbered() {
        let unplaced = |key: &'static [u8]| {
            let event = Event {
                r#type: 0,
                kv: Some(KeyValue {
                    key: Bytes::from_static(key),
                    ..kv(5, 5, 1, "v")
                }),
                prev_kv: None,
            };
            maker().change(event, SEEN).unwrap()
        };
        let revision = WholeRevision {
            revision: 5,
            items: vec![unplaced(b"a"), unplaced(b"\xffb")],
        };
        let mut rows = Vec::new();
        assert_eq!(place(revision, &mut rows).as_deref(), Some(&b"\xffb"[..]));
        let places: Vec<_> = rows
            .iter()
            .map(|row| (row.ordinal, row.revision_size))
            .collect();
        assert_eq!(places, [(0, 2), (1, 2)]);
        assert_eq!(rows[1].key, "\\xffb");
    }
}
