//! Change Propagation IDs that objects carry.

use cascade_proto::tables::{CpidTransition, ObjectCpid};

use super::json;
use super::node::{Map, Node};

/// A place on an object where a CPID can stand.
struct Carrier {
    /// Key of the annotation.
    annotation: &'static str,
    /// Reads the annotation's value: a CPID and its ancestors, nothing, or an error.
    read: fn(&str) -> Result<Option<Cpid>, &'static str>,
}

/// Known carriers, by preference: the first one that an object has is taken.
const CARRIERS: &[Carrier] = &[
    // arXiv:2411.01336's own.
    Carrier {
        annotation: "eppppi.github.io/koc",
        read: read_koc,
    },
    // KEP-5915: the trace id is the cause.
    Carrier {
        annotation: "tracing.k8s.io/traceparent",
        read: read_traceparent,
    },
];

#[derive(Debug, PartialEq, Eq)]
struct Cpid {
    id: String,
    ancestors: Vec<String>,
}

/// What an object carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Carried {
    /// A CPID, or none.
    Known(ObjectCpid),
    /// A carrier that cannot be read, and why: whether there is a CPID is not known.
    Malformed(String),
}

/// The CPID among an object's annotations.
pub(super) fn carried(metadata: Option<&Map<'_>>) -> Carried {
    let annotations = metadata
        .and_then(|metadata| metadata.get("annotations"))
        .and_then(Node::map);
    let Some(annotations) = annotations else {
        return Carried::Known(ObjectCpid::default());
    };
    for carrier in CARRIERS {
        let Some(text) = annotations.text(carrier.annotation) else {
            continue;
        };
        match (carrier.read)(text) {
            Ok(None) => {}
            Ok(Some(Cpid { id, ancestors })) => {
                return Carried::Known(ObjectCpid {
                    cpid: Some(id),
                    cpid_ancestors: Some(ancestors),
                    cpid_carrier: Some(carrier.annotation.to_owned()),
                });
            }
            Err(problem) => {
                return Carried::Malformed(format!("annotation {}: {problem}", carrier.annotation));
            }
        }
    }
    Carried::Known(ObjectCpid::default())
}

/// `{"cpid":"…","ancCpids":["…",…]}`; an empty `cpid` is none.
fn read_koc(text: &str) -> Result<Option<Cpid>, &'static str> {
    let carrier = json::read(text.as_bytes()).map_err(|_| "is not JSON")?;
    let carrier = carrier.map().ok_or("is not a JSON object")?;
    let id = match carrier.get("cpid") {
        None | Some(Node::Null) => return Ok(None),
        Some(Node::Text(id)) if id.is_empty() => return Ok(None),
        Some(Node::Text(id)) => id.clone().into_owned(),
        Some(_) => return Err("has a cpid that is not a text"),
    };
    let ancestors = match carrier.get("ancCpids") {
        None | Some(Node::Null) => Vec::new(),
        Some(Node::List(items)) => {
            let texts = items.iter().map(|item| item.text().map(str::to_owned));
            texts
                .collect::<Option<_>>()
                .ok_or("has an entry in ancCpids that is not a text")?
        }
        Some(_) => return Err("has ancCpids that are not a list"),
    };
    Ok(Some(Cpid { id, ancestors }))
}

/// W3C Trace Context: `00-<trace id>-<parent id>-<flags>`, lowercase hex; the trace id is the CPID.
fn read_traceparent(text: &str) -> Result<Option<Cpid>, &'static str> {
    const PROBLEM: &str = "is not a W3C traceparent";
    let mut parts = text.split('-');
    let mut part = |digits: usize| {
        let part = parts.next().filter(|part| part.len() == digits)?;
        let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        part.bytes().all(hex).then_some(part)
    };
    let (version, trace_id, parent_id, _flags) =
        (|| Some((part(2)?, part(32)?, part(16)?, part(2)?)))().ok_or(PROBLEM)?;
    let is_zero = |id: &str| id.bytes().all(|digit| digit == b'0');
    if version == "ff" || is_zero(trace_id) || is_zero(parent_id) {
        return Err(PROBLEM);
    }
    // Later versions may add parts, version 00 may not.
    if version == "00" && parts.next().is_some() {
        return Err(PROBLEM);
    }
    Ok(Some(Cpid {
        id: trace_id.to_owned(),
        ancestors: Vec::new(),
    }))
}

/// What became of the CPID `previous` of an object that now has `current`.
pub(super) fn transition(current: &ObjectCpid, previous: Option<&str>) -> Option<CpidTransition> {
    match (current.cpid.as_deref(), previous) {
        (None, None) => None,
        (Some(_), None) => Some(CpidTransition::Set),
        (None, Some(_)) => Some(CpidTransition::Drop),
        (Some(now), Some(before)) if now == before => Some(CpidTransition::Carry),
        (Some(_), Some(before)) => {
            let ancestors = current.cpid_ancestors.as_deref().unwrap_or_default();
            Some(if ancestors.iter().any(|ancestor| ancestor == before) {
                CpidTransition::Merge
            } else {
                CpidTransition::Replace
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn carried_by(annotations: &[(&'static str, &'static str)]) -> Carried {
        let annotations = annotations
            .iter()
            .map(|(key, text)| ((*key).into(), Node::Text((*text).into())))
            .collect();
        let metadata = Map(vec![("annotations".into(), Node::Map(Map(annotations)))]);
        carried(Some(&metadata))
    }

    fn known(cpid: &str, ancestors: &[&str], carrier: &str) -> Carried {
        Carried::Known(ObjectCpid {
            cpid: Some(cpid.to_owned()),
            cpid_ancestors: Some(ancestors.iter().map(|id| (*id).to_owned()).collect()),
            cpid_carrier: Some(carrier.to_owned()),
        })
    }

    #[test]
    fn carriers_are_read_by_preference() {
        let koc = (
            "eppppi.github.io/koc",
            r#"{"cpid":"c","ancCpids":["a","b"]}"#,
        );
        let traceparent = ("tracing.k8s.io/traceparent", TRACEPARENT);
        let trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(
            carried_by(&[traceparent, koc]),
            known("c", &["a", "b"], koc.0)
        );
        assert_eq!(
            carried_by(&[traceparent]),
            known(trace_id, &[], traceparent.0)
        );
        assert_eq!(
            carried_by(&[("other", "x")]),
            Carried::Known(ObjectCpid::default())
        );
        assert_eq!(carried(None), Carried::Known(ObjectCpid::default()));
        // No CPID in the first carrier: the next one is looked at.
        let empty = ("eppppi.github.io/koc", r#"{"cpid":"","ancCpids":null}"#);
        assert_eq!(
            carried_by(&[empty, traceparent]),
            known(trace_id, &[], traceparent.0)
        );
    }

    #[test]
    fn malformed_carriers_are_errors_and_no_guess_is_made() {
        for text in [
            "x",
            "[]",
            "null",
            r#"{"cpid":1}"#,
            r#"{"cpid":"c","ancCpids":"a"}"#,
            r#"{"cpid":"c","ancCpids":[1]}"#,
            r#"{"cpid":"c"} x"#,
        ] {
            let koc = ("eppppi.github.io/koc", text);
            let found = carried_by(&[koc, ("tracing.k8s.io/traceparent", TRACEPARENT)]);
            assert!(
                matches!(&found, Carried::Malformed(why) if why.contains("koc")),
                "{found:?}"
            );
        }
        for text in [
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "nonsense",
        ] {
            let found = carried_by(&[("tracing.k8s.io/traceparent", text)]);
            assert!(matches!(found, Carried::Malformed(_)), "{text}: {found:?}");
        }
        let later = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more";
        let found = carried_by(&[("tracing.k8s.io/traceparent", later)]);
        assert!(matches!(found, Carried::Known(_)), "{found:?}");
    }

    #[test]
    fn transitions() {
        let with = |cpid: &str, ancestors: &[&str]| ObjectCpid {
            cpid: Some(cpid.to_owned()),
            cpid_ancestors: Some(ancestors.iter().map(|id| (*id).to_owned()).collect()),
            cpid_carrier: None,
        };
        let none = ObjectCpid::default();
        assert_eq!(transition(&none, None), None);
        assert_eq!(transition(&with("c", &[]), None), Some(CpidTransition::Set));
        assert_eq!(transition(&none, Some("p")), Some(CpidTransition::Drop));
        assert_eq!(
            transition(&with("p", &["p"]), Some("p")),
            Some(CpidTransition::Carry)
        );
        assert_eq!(
            transition(&with("c", &["q", "p"]), Some("p")),
            Some(CpidTransition::Merge)
        );
        assert_eq!(
            transition(&with("c", &["q"]), Some("p")),
            Some(CpidTransition::Replace)
        );
    }
}
