//! Which carriers an object may have, and which one counts.

use std::fmt;

use super::embedded::{self, JsonPointer, TRACEPARENT_POINTER};
use super::{
    AGENT_SANDBOX_ANNOTATION, CarrierError, KOC_ANNOTATION, TEKTON_PIPELINE_RUN_ANNOTATION,
    TEKTON_TASK_RUN_ANNOTATION, TRACEPARENT_ANNOTATION, koc, text, traceparent,
};
use crate::context::ChangeContext;

/// A place on an object where a CPID can stand.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// An annotation, by its key.
    Annotation(String),
    /// A label, by its key.
    Label(String),
}

impl fmt::Display for Place {
    /// The key of an annotation; for a label `label:` and its key.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Annotation(key) => formatter.write_str(key),
            Self::Label(key) => write!(formatter, "label:{key}"),
        }
    }
}

/// How a CPID is written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Format {
    /// [`koc`].
    Koc,
    /// [`traceparent`].
    Traceparent,
    /// [`text`].
    Text,
    /// [`embedded`]: inside JSON, a text of another format.
    Json {
        /// Where the text is.
        pointer: JsonPointer,
        /// How the CPID is written in it.
        inside: Inside,
    },
}

/// How a CPID is written in a text inside JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Inside {
    /// [`traceparent`].
    Traceparent,
    /// [`text`].
    Text,
}

impl Format {
    /// Reads a carrier's text; `None` is one that says that there is no CPID.
    ///
    /// # Errors
    /// The text is malformed.
    pub fn read(&self, text: &str) -> Result<Option<ChangeContext>, CarrierError> {
        match self {
            Self::Koc => koc::read(text),
            Self::Traceparent => traceparent::read(text),
            Self::Text => text::read(text),
            Self::Json { pointer, inside } => match embedded::read(text, pointer)? {
                None => Ok(None),
                Some(found) => match inside {
                    Inside::Traceparent => traceparent::read(&found),
                    Inside::Text => text::read(&found),
                },
            },
        }
    }
}

/// A place and how a CPID is written there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Carrier {
    /// Where.
    pub place: Place,
    /// How.
    pub format: Format,
}

/// Carriers that are in use somewhere, by preference: that of arXiv:2411.01336, which is made for
/// this; that of KEP-5915; Tekton's, the nearer one first; agent-sandbox's.
#[must_use]
pub fn default_carriers() -> Vec<Carrier> {
    let annotation = |key: &str, format| Carrier {
        place: Place::Annotation(key.to_owned()),
        format,
    };
    let headers = TRACEPARENT_POINTER.parse().map(|pointer| Format::Json {
        pointer,
        inside: Inside::Traceparent,
    });
    let mut carriers = vec![
        annotation(KOC_ANNOTATION, Format::Koc),
        annotation(TRACEPARENT_ANNOTATION, Format::Traceparent),
    ];
    if let Ok(headers) = headers {
        carriers.extend(
            [
                TEKTON_TASK_RUN_ANNOTATION,
                TEKTON_PIPELINE_RUN_ANNOTATION,
                AGENT_SANDBOX_ANNOTATION,
            ]
            .map(|key| annotation(key, headers.clone())),
        );
    }
    carriers
}

/// What the carriers of one object say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried<'a> {
    /// What the object carries.
    pub cpid: CarriedCpid<'a>,
    /// All malformed carriers, by preference.
    pub malformed: Vec<(&'a Carrier, CarrierError)>,
}

/// The CPID that an object carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CarriedCpid<'a> {
    /// None of the carriers holds one.
    None,
    /// This one, found in this carrier.
    Found(&'a Carrier, ChangeContext),
    /// Not known: the first carrier by preference that is not empty is malformed.
    Unknown,
}

/// Reads what an object carries. `text` gives the annotation or label at a place.
///
/// Where several carriers hold a CPID, the first in the order of `carriers` counts, whether or not
/// the others agree: a `traceparent` beside another carrier differs by nature. A malformed carrier
/// is never passed over for one that is less preferred, for what it was to say may be something
/// else.
pub fn read_carriers<'a, 't>(
    carriers: &'a [Carrier],
    text: impl Fn(&Place) -> Option<&'t str>,
) -> Carried<'a> {
    let mut carried = Carried {
        cpid: CarriedCpid::None,
        malformed: Vec::new(),
    };
    for carrier in carriers {
        let Some(text) = text(&carrier.place) else {
            continue;
        };
        let is_first = carried.cpid == CarriedCpid::None;
        match carrier.format.read(text) {
            Ok(None) => {}
            Ok(Some(context)) if is_first => carried.cpid = CarriedCpid::Found(carrier, context),
            Ok(Some(_)) => {}
            Err(error) => {
                carried.malformed.push((carrier, error));
                if is_first {
                    carried.cpid = CarriedCpid::Unknown;
                }
            }
        }
    }
    carried
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const HEADERS: &str =
        r#"{"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}"#;

    /// What the default carriers say: the CPID with its place, or why it is not known.
    fn read(annotations: &[(&str, &str)]) -> (Result<Option<(String, String)>, ()>, usize) {
        let carriers = default_carriers();
        let carried = read_carriers(&carriers, |place| match place {
            Place::Annotation(key) => annotations
                .iter()
                .find_map(|(name, text)| (name == key).then_some(*text)),
            Place::Label(_) => None,
        });
        let cpid = match carried.cpid {
            CarriedCpid::None => Ok(None),
            CarriedCpid::Found(carrier, context) => {
                Ok(Some((carrier.place.to_string(), context.cpid)))
            }
            CarriedCpid::Unknown => Err(()),
        };
        (cpid, carried.malformed.len())
    }

    fn found(place: &str, cpid: &str) -> Result<Option<(String, String)>, ()> {
        Ok(Some((place.to_owned(), cpid.to_owned())))
    }

    #[test]
    fn every_default_carrier_is_read() {
        assert_eq!(default_carriers().len(), 5);
        let koc = (KOC_ANNOTATION, r#"{"cpid":"c","ancCpids":["a"]}"#);
        assert_eq!(read(&[koc]), (found(koc.0, "c"), 0));
        for (place, text) in [
            ("tracing.k8s.io/traceparent", TRACEPARENT),
            ("tekton.dev/taskrunSpanContext", HEADERS),
            ("tekton.dev/pipelinerunSpanContext", HEADERS),
            ("opentelemetry.io/trace-context", HEADERS),
        ] {
            assert_eq!(read(&[(place, text)]), (found(place, TRACE_ID), 0));
            // The first by preference counts, whatever the order on the object.
            assert_eq!(read(&[(place, text), koc]), (found(koc.0, "c"), 0));
        }
        assert_eq!(read(&[("other", "c")]), (Ok(None), 0));
        assert_eq!(read(&[]), (Ok(None), 0));
    }

    #[test]
    fn a_carrier_without_a_cpid_is_passed_over() {
        let empty = (KOC_ANNOTATION, r#"{"cpid":"","ancCpids":null}"#);
        let untraced = (TEKTON_TASK_RUN_ANNOTATION, "{}");
        let traceparent = (TRACEPARENT_ANNOTATION, TRACEPARENT);
        assert_eq!(
            read(&[empty, untraced, traceparent]),
            (found(TRACEPARENT_ANNOTATION, TRACE_ID), 0)
        );
        assert_eq!(read(&[empty, untraced]), (Ok(None), 0));
    }

    #[test]
    fn a_malformed_carrier_is_not_passed_over() {
        let malformed = (KOC_ANNOTATION, "x");
        let traceparent = (TRACEPARENT_ANNOTATION, TRACEPARENT);
        assert_eq!(read(&[malformed, traceparent]), (Err(()), 1));
        // Nor does a less preferred one spoil what is known.
        let koc = (KOC_ANNOTATION, r#"{"cpid":"c"}"#);
        let less = (TRACEPARENT_ANNOTATION, "x");
        let least = (AGENT_SANDBOX_ANNOTATION, r#"{"traceparent":"x"}"#);
        assert_eq!(read(&[koc, less, least]), (found(KOC_ANNOTATION, "c"), 2));
    }

    #[test]
    fn labels_and_texts_inside_json() {
        let carriers = [
            Carrier {
                place: Place::Label("cpid".to_owned()),
                format: Format::Text,
            },
            Carrier {
                place: Place::Annotation("json".to_owned()),
                format: Format::Json {
                    pointer: "/cpid".parse().unwrap(),
                    inside: Inside::Text,
                },
            },
        ];
        let carried = read_carriers(&carriers, |place| match place {
            Place::Label(_) => Some(""),
            Place::Annotation(_) => Some(r#"{"cpid":"c"}"#),
        });
        assert!(matches!(
            carried.cpid,
            CarriedCpid::Found(carrier, context) if carrier == &carriers[1] && context.cpid == "c"
        ));
        let carried = read_carriers(&carriers, |_| Some("a"));
        assert!(matches!(
            &carried.cpid,
            CarriedCpid::Found(carrier, _) if carrier.place.to_string() == "label:cpid"
        ));
        assert_eq!(carried.malformed, [(&carriers[1], CarrierError::NotJson)]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in prop_oneof![".*", "\\{\"[a-z]*\":\".*\"\\}"]) {
            let carriers = default_carriers();
            let carried = read_carriers(&carriers, |_| Some(text.as_str()));
            if let CarriedCpid::Found(_, context) = carried.cpid {
                prop_assert_eq!(context.validate(), Ok(()));
            }
        }
    }
}
