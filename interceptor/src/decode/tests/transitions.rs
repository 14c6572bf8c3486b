//! What becomes of a CPID, for every pair of what a key holds before and after.

use cascade_cpid::carriers::{KOC_ANNOTATION, TRACEPARENT_ANNOTATION};
use cascade_proto::tables::CpidTransition::{self, Carry, Drop, End, Merge, Replace, Set};
use serde_json::{Value, json};

use super::super::{ChangeColumns, DecodeOptions, Decoder};
use super::{OTHER_UID, change, decode_pod, decoder, pod, with};

const KEY: &[u8] = b"/registry/pods/shop/web";
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn annotated(annotations: Value) -> Value {
    with(pod(), json!({"metadata": {"annotations": annotations}}))
}

fn koc(cpid: &str, ancestors: &[&str]) -> String {
    json!({"cpid": cpid, "ancCpids": ancestors}).to_string()
}

fn carrying(cpid: &str, ancestors: &[&str]) -> Value {
    annotated(json!({ KOC_ANNOTATION: koc(cpid, ancestors) }))
}

/// What a key holds.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Held {
    /// No value.
    Gone,
    /// A value that etcd no longer has: the previous one of an update or delete, compacted.
    Compacted,
    /// A value that cannot be read.
    Encrypted,
    /// An object without a CPID.
    Plain,
    /// An object with `p`.
    P,
    /// An object with `c`.
    C,
    /// An object with `c`, which came of `q` and `p`.
    CFromP,
    /// An object with `p` and another uid.
    OtherP,
    /// An object with a carrier that is malformed.
    Malformed,
}

impl Held {
    fn value(self) -> Option<Vec<u8>> {
        let object = match self {
            Self::Gone | Self::Compacted => return None,
            Self::Encrypted => return Some(b"k8s:enc:aescbc:v1:k:x".to_vec()),
            Self::Plain => pod(),
            Self::P => carrying("p", &[]),
            Self::C => carrying("c", &[]),
            Self::CFromP => carrying("c", &["q", "p"]),
            Self::OtherP => with(carrying("p", &[]), json!({"metadata": {"uid": OTHER_UID}})),
            Self::Malformed => annotated(json!({ KOC_ANNOTATION: "{" })),
        };
        Some(object.to_string().into_bytes())
    }

    fn cpid(self) -> Option<&'static str> {
        match self {
            Self::P | Self::OtherP => Some("p"),
            Self::C | Self::CFromP => Some("c"),
            _ => None,
        }
    }
}

fn columns(now: Held, before: Held) -> ChangeColumns {
    let (value, previous) = (now.value(), before.value());
    match before {
        Held::Compacted => decoder().change_without_previous(KEY, value.as_deref()),
        _ => decoder().change(KEY, value.as_deref(), previous.as_deref()),
    }
}

#[test]
fn every_pair_has_its_transition() {
    use Held::{C, CFromP, Compacted, Encrypted, Gone, Malformed, OtherP, P, Plain};
    let befores = [
        Gone, Plain, P, C, CFromP, OtherP, Malformed, Encrypted, Compacted,
    ];
    const NULL: Option<CpidTransition> = None;
    #[rustfmt::skip]
    let table: [(Held, [Option<CpidTransition>; 9]); 8] = [
        // before:    Gone       Plain      P              C              CFromP         OtherP     Malformed, Encrypted, Compacted
        (Gone,      [NULL,      NULL,      Some(End),     Some(End),     Some(End),     Some(End), NULL, NULL, NULL]),
        (Plain,     [NULL,      NULL,      Some(Drop),    Some(Drop),    Some(Drop),    NULL,      NULL, NULL, NULL]),
        (P,         [Some(Set), Some(Set), Some(Carry),   Some(Replace), Some(Replace), Some(Set), NULL, NULL, NULL]),
        (C,         [Some(Set), Some(Set), Some(Replace), Some(Carry),   Some(Carry),   Some(Set), NULL, NULL, NULL]),
        (CFromP,    [Some(Set), Some(Set), Some(Merge),   Some(Carry),   Some(Carry),   Some(Set), NULL, NULL, NULL]),
        (OtherP,    [Some(Set), Some(Set), Some(Set),     Some(Set),     Some(Set),     Some(Carry), Some(Set), NULL, NULL]),
        // What these hold is not known, so neither is what became of it.
        (Malformed, [NULL; 9]),
        (Encrypted, [NULL; 9]),
    ];
    for (now, transitions) in table {
        for (before, transition) in befores.into_iter().zip(transitions) {
            let text = format!("{now:?} after {before:?}");
            // A key that holds another object than before has nothing to do with the old CPID;
            // a delete is always of the object that was there.
            let both = now.value().is_some() && before.value().is_some();
            let readable = now != Encrypted && before != Encrypted;
            let same = !both || !readable || (now == OtherP) == (before == OtherP);
            let found = columns(now, before);
            assert_eq!(found.cpid_transition, transition, "{text}");
            assert_eq!(found.cpid.cpid.as_deref(), now.cpid(), "{text}");
            let previous = before.cpid().filter(|_| same);
            assert_eq!(found.prev_cpid.as_deref(), previous, "{text}");
            assert_eq!(
                found.cpid.cpid_carrier.is_some(),
                now.cpid().is_some(),
                "{text}"
            );
            // A malformed carrier is told once, on the value that has it.
            let shown = if now == Gone { before } else { now };
            let malformed = usize::from(shown == Malformed);
            assert_eq!(found.malformed_carriers.len(), malformed, "{text}");
            let error = found.object.decode_error.is_some();
            assert_eq!(error, matches!(shown, Malformed | Encrypted), "{text}");
        }
    }
}

#[test]
fn the_carrier_does_not_matter_for_the_transition() {
    let trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let koc_of_trace = carrying(trace_id, &[]);
    let traceparent = annotated(json!({ TRACEPARENT_ANNOTATION: TRACEPARENT }));
    let columns = change(Some(&traceparent), Some(&koc_of_trace));
    assert_eq!(columns.cpid_transition, Some(Carry));
    assert_eq!(
        columns.cpid.cpid_carrier.as_deref(),
        Some(TRACEPARENT_ANNOTATION)
    );

    // The preferred carrier comes, and goes again.
    let both = annotated(
        json!({ KOC_ANNOTATION: koc("c", &[trace_id]), TRACEPARENT_ANNOTATION: TRACEPARENT }),
    );
    let columns = change(Some(&both), Some(&traceparent));
    assert_eq!(columns.cpid_transition, Some(Merge));
    assert_eq!(columns.prev_cpid.as_deref(), Some(trace_id));
    let columns = change(Some(&traceparent), Some(&both));
    assert_eq!(columns.cpid_transition, Some(Replace));

    // It is there, but says that there is no CPID.
    let emptied = annotated(json!({ KOC_ANNOTATION: koc("", &[]) }));
    let columns = change(Some(&emptied), Some(&both));
    assert_eq!(columns.cpid_transition, Some(Drop));
}

#[test]
fn a_less_preferred_carrier_that_is_malformed_is_told_and_spoils_nothing() {
    let mixed = annotated(json!({ KOC_ANNOTATION: koc("c", &[]), TRACEPARENT_ANNOTATION: "x" }));
    let columns = change(Some(&mixed), Some(&carrying("p", &[])));
    assert_eq!(columns.cpid_transition, Some(Replace));
    assert_eq!(columns.malformed_carriers, [TRACEPARENT_ANNOTATION]);
    assert_eq!(
        columns.object.decode_error.as_deref(),
        Some("annotation tracing.k8s.io/traceparent: is not a W3C traceparent")
    );
    let columns = change(Some(&carrying("c", &[])), Some(&mixed));
    assert_eq!(columns.cpid_transition, Some(Carry));
    assert_eq!(columns.object.decode_error, None);
}

#[test]
fn the_rest_of_an_object_with_a_malformed_carrier_is_decoded() {
    let decoded = decode_pod(json!({"metadata": {"annotations": {KOC_ANNOTATION: "{"}}}));
    assert_eq!(
        decoded.object.decode_error.as_deref(),
        Some("annotation eppppi.github.io/koc: is not JSON")
    );
    assert_eq!(decoded.malformed_carriers, [KOC_ANNOTATION]);
    assert_eq!(decoded.object.phase.as_deref(), Some("Running"));
}

/// The column `annotations` leaves out values of more than 256 bytes.
#[test]
fn carriers_are_read_however_long() {
    let ancestors: Vec<String> = (0..10).map(|number| format!("{number:036}")).collect();
    let ancestors: Vec<&str> = ancestors.iter().map(String::as_str).collect();
    let object = annotated(json!({ KOC_ANNOTATION: koc("c", &ancestors) }));
    let columns = change(Some(&object), Some(&carrying(ancestors[9], &[])));
    assert_eq!(columns.object.annotations.as_deref(), Some("{}"));
    assert_eq!(columns.cpid.cpid_ancestors.as_ref().map(Vec::len), Some(10));
    assert_eq!(columns.cpid_transition, Some(Merge));
}

#[test]
fn without_carriers_nothing_is_read() {
    let decoder = Decoder::new(DecodeOptions {
        carriers: [].into(),
        ..DecodeOptions::default()
    });
    for held in [Held::C, Held::Malformed] {
        let decoded = decoder.decode(KEY, &held.value().unwrap());
        assert_eq!(decoded.cpid.cpid, None);
        assert_eq!(decoded.malformed_carriers, [""; 0]);
        assert_eq!(decoded.object.decode_error, None);
    }
}
