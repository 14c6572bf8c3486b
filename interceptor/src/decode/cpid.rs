//! Change Propagation IDs that objects carry, and what becomes of them.

use cascade_cpid::carriers::{CarriedCpid, Carrier, CarrierError, Place, read_carriers};
use cascade_proto::tables::{CpidTransition, ObjectCpid};

use super::node::Map;

/// What the carriers of an object say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Carried {
    /// What the object carries; `None` if that is not known, because a carrier is malformed.
    pub(super) cpid: Option<ObjectCpid>,
    /// Malformed carriers, as `cpid_carrier` names them.
    pub(super) malformed: Vec<String>,
    /// What is wrong with them.
    pub(super) problem: Option<String>,
}

impl Carried {
    /// An object that carries nothing.
    pub(super) fn nothing() -> Self {
        Self {
            cpid: Some(ObjectCpid::default()),
            malformed: Vec::new(),
            problem: None,
        }
    }
}

/// Reads the carriers of an object. They are read from the object itself, not from the columns
/// `annotations` and `labels`, which leave out long values.
pub(super) fn carried(metadata: Option<&Map<'_>>, carriers: &[Carrier]) -> Carried {
    let map = |name| metadata.and_then(|metadata| metadata.get(name)?.map());
    let (annotations, labels) = (map("annotations"), map("labels"));
    if annotations.is_none() && labels.is_none() {
        return Carried::nothing();
    }
    let found = read_carriers(carriers, |place| match place {
        Place::Annotation(key) => annotations?.get(key)?.any_text(),
        Place::Label(key) => labels?.get(key)?.any_text(),
    });
    let cpid = match found.cpid {
        CarriedCpid::None => Some(ObjectCpid::default()),
        CarriedCpid::Found(carrier, context) => Some(ObjectCpid {
            cpid: Some(context.cpid),
            cpid_ancestors: Some(context.ancestors),
            cpid_carrier: Some(carrier.place.to_string()),
        }),
        CarriedCpid::Unknown => None,
    };
    let names = found.malformed.iter();
    let malformed = names
        .map(|(carrier, _)| carrier.place.to_string())
        .collect();
    Carried {
        cpid,
        malformed,
        problem: problem(&found.malformed),
    }
}

fn problem(malformed: &[(&Carrier, CarrierError)]) -> Option<String> {
    let problems: Vec<String> = malformed
        .iter()
        .map(|(carrier, error)| match &carrier.place {
            Place::Annotation(key) => format!("annotation {key}: {error}"),
            Place::Label(key) => format!("label {key}: {error}"),
        })
        .collect();
    (!problems.is_empty()).then(|| problems.join("; "))
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
    use cascade_cpid::carriers::{Format, Place};
    use cascade_cpid::carriers::{KOC_ANNOTATION, TRACEPARENT_ANNOTATION, default_carriers};

    use super::*;
    use crate::decode::node::Node;

    const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn metadata<'a>(part: &'static str, texts: &[(&'a str, &'a str)]) -> Map<'a> {
        let texts = texts
            .iter()
            .map(|(key, text)| ((*key).into(), Node::Text((*text).into())))
            .collect();
        Map(vec![(part.into(), Node::Map(Map::by_key(texts)))])
    }

    fn carried_by(annotations: &[(&str, &str)]) -> Carried {
        let metadata = metadata("annotations", annotations);
        carried(Some(&metadata), &default_carriers())
    }

    fn known(cpid: &str, ancestors: &[&str], carrier: &str) -> ObjectCpid {
        ObjectCpid {
            cpid: Some(cpid.to_owned()),
            cpid_ancestors: Some(ancestors.iter().map(|id| (*id).to_owned()).collect()),
            cpid_carrier: Some(carrier.to_owned()),
        }
    }

    #[test]
    fn the_cpid_is_named_with_its_carrier() {
        let koc = (KOC_ANNOTATION, r#"{"cpid":"c","ancCpids":["a","b"]}"#);
        let traceparent = (TRACEPARENT_ANNOTATION, TRACEPARENT);
        let found = carried_by(&[traceparent, koc]);
        assert_eq!(found.cpid, Some(known("c", &["a", "b"], koc.0)));
        assert_eq!((found.malformed.len(), found.problem), (0, None));
        assert_eq!(carried_by(&[("other", "x")]), Carried::nothing());
        assert_eq!(carried(None, &default_carriers()), Carried::nothing());
        assert_eq!(carried(Some(&Map::default()), &[]), Carried::nothing());
    }

    #[test]
    fn labels_are_carriers_too() {
        let carriers = [Carrier {
            place: Place::Label("cpid".to_owned()),
            format: Format::Text,
        }];
        let labels = metadata("labels", &[("cpid", "c")]);
        assert_eq!(
            carried(Some(&labels), &carriers).cpid,
            Some(known("c", &[], "label:cpid"))
        );
        let annotations = metadata("annotations", &[("cpid", "c")]);
        assert_eq!(carried(Some(&annotations), &carriers), Carried::nothing());
        assert_eq!(carried(Some(&labels), &[]), Carried::nothing());
    }

    #[test]
    fn malformed_carriers_are_named_and_no_guess_is_made() {
        let found = carried_by(&[(KOC_ANNOTATION, "x"), (TRACEPARENT_ANNOTATION, TRACEPARENT)]);
        assert_eq!(found.cpid, None);
        assert_eq!(found.malformed, [KOC_ANNOTATION]);
        assert_eq!(
            found.problem.as_deref(),
            Some("annotation eppppi.github.io/koc: is not JSON")
        );
        let koc = (KOC_ANNOTATION, r#"{"cpid":"c"}"#);
        let found = carried_by(&[koc, (TRACEPARENT_ANNOTATION, "x")]);
        assert_eq!(found.cpid, Some(known("c", &[], KOC_ANNOTATION)));
        assert_eq!(found.malformed, [TRACEPARENT_ANNOTATION]);
        let carriers = [Carrier {
            place: Place::Label("cpid".to_owned()),
            format: Format::Text,
        }];
        let labels = metadata("labels", &[("cpid", " ")]);
        assert!(matches!(
            carried(Some(&labels), &carriers).problem.as_deref(),
            Some(problem) if problem.starts_with("label cpid: ")
        ));
    }
}
