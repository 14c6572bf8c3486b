//! The file that says where CPIDs stand on objects.

use std::fs;
use std::path::{Path, PathBuf};

use cascade_cpid::carriers::embedded::JsonPointer;
use cascade_cpid::carriers::{Carrier, Format, Inside, Place};
use serde::Deserialize;
use toml::Spanned;

use super::settings::line_of;

/// Longest name in a key of an annotation or label; the prefix before `/` may be longer.
const MAX_NAME: usize = 63;
/// Longest prefix in a key.
const MAX_PREFIX: usize = 253;

/// Why a file of carriers is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum CarriersError {
    /// It cannot be read.
    #[error("cannot read the file of carriers {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Something in it is not as it should be.
    #[error("{}:{line}: {message}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What, and what to do.
        message: String,
    },
}

/// The file: carriers by preference.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    carrier: Vec<Spanned<Entry>>,
}

/// One carrier.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    annotation: Option<String>,
    label: Option<String>,
    format: FormatName,
    pointer: Option<String>,
    inside: Option<InsideName>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum FormatName {
    Koc,
    Traceparent,
    Json,
    Text,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum InsideName {
    Traceparent,
    Text,
}

/// Reads a file of carriers. One without any carrier is a valid one: no CPID is read then.
///
/// # Errors
/// The file cannot be read, or is not as it should be.
pub(super) fn read(path: &Path) -> Result<Vec<Carrier>, CarriersError> {
    let text = fs::read_to_string(path).map_err(|source| CarriersError::Read {
        path: path.to_owned(),
        source,
    })?;
    parse(&text).map_err(|(offset, message)| CarriersError::Content {
        path: path.to_owned(),
        line: line_of(&text, offset),
        message,
    })
}

/// Carriers in the text of a file, or what is wrong at which byte.
fn parse(text: &str) -> Result<Vec<Carrier>, (usize, String)> {
    let file: File = toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        (start, error.message().to_owned())
    })?;
    let mut carriers: Vec<Carrier> = Vec::new();
    for entry in file.carrier {
        let start = entry.span().start;
        let carrier = carrier(entry.into_inner()).map_err(|message| (start, message))?;
        if carriers.iter().any(|other| other.place == carrier.place) {
            let place = carrier.place;
            return Err((start, format!("{place} is given twice; the first is used")));
        }
        carriers.push(carrier);
    }
    Ok(carriers)
}

fn carrier(entry: Entry) -> Result<Carrier, String> {
    let place = match (entry.annotation, entry.label) {
        (Some(key), None) => Place::Annotation(checked_key(key)?),
        (None, Some(key)) => Place::Label(checked_key(key)?),
        _ => return Err("give either `annotation` or `label`".to_owned()),
    };
    let plain = match entry.format {
        FormatName::Koc => Some(Format::Koc),
        FormatName::Traceparent => Some(Format::Traceparent),
        FormatName::Text => Some(Format::Text),
        FormatName::Json => None,
    };
    let format = match (plain, entry.pointer, entry.inside) {
        (Some(format), None, None) => format,
        (Some(_), _, _) => {
            return Err("`pointer` and `inside` go with format \"json\" only".to_owned());
        }
        (None, Some(pointer), Some(inside)) => Format::Json {
            pointer: pointer
                .parse::<JsonPointer>()
                .map_err(|error| format!("`pointer`: {error}"))?,
            inside: match inside {
                InsideName::Traceparent => Inside::Traceparent,
                InsideName::Text => Inside::Text,
            },
        },
        (None, _, _) => {
            return Err(
                "format \"json\" needs `pointer`, where the text is in the JSON, and `inside`, \
                 what it is: \"traceparent\" or \"text\""
                    .to_owned(),
            );
        }
    };
    Ok(Carrier { place, format })
}

/// A key that Kubernetes allows for annotations and labels: no object has any other.
fn checked_key(key: String) -> Result<String, String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key.as_str()),
    };
    let well_formed = |part: &str, longest: usize, others: &[u8]| {
        let bytes = part.as_bytes();
        let ends = [bytes.first(), bytes.last()];
        part.len() <= longest
            && ends
                .iter()
                .all(|end| end.is_some_and(u8::is_ascii_alphanumeric))
            && bytes
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || others.contains(byte))
    };
    let valid = prefix.is_none_or(|prefix| well_formed(prefix, MAX_PREFIX, b"-."))
        && well_formed(name, MAX_NAME, b"-_.");
    if valid {
        return Ok(key);
    }
    Err(format!(
        "no annotation or label can have the key `{key}`; write it as `example.org/name`"
    ))
}

#[cfg(test)]
mod tests {
    use cascade_cpid::carriers::default_carriers;
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn the_documented_file_is_the_default() {
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/carriers.toml");
        assert_eq!(read(Path::new(example)).unwrap(), default_carriers());
    }

    #[test]
    fn carriers_keep_their_order() {
        let text = r#"
            [[carrier]]
            label = "cpid"
            format = "text"

            [[carrier]]
            annotation = "example.org/Request_id.json"
            format = "json"
            pointer = "/headers/0"
            inside = "text"
        "#;
        let expected = [
            Carrier {
                place: Place::Label("cpid".to_owned()),
                format: Format::Text,
            },
            Carrier {
                place: Place::Annotation("example.org/Request_id.json".to_owned()),
                format: Format::Json {
                    pointer: "/headers/0".parse().unwrap(),
                    inside: Inside::Text,
                },
            },
        ];
        assert_eq!(parse(text).unwrap(), expected);
    }

    #[test]
    fn a_file_without_carriers_switches_them_off() {
        for text in ["", "# none\n", "carrier = []\n"] {
            assert_eq!(parse(text).unwrap(), []);
        }
    }

    #[test]
    fn errors_name_the_line_and_what_to_do() {
        let entry = |lines: &str| format!("# a comment\n[[carrier]]\n{lines}\n");
        for (text, line, part) in [
            ("x = 1".to_owned(), 1, "unknown field `x`"),
            ("carrier = 1".to_owned(), 1, "sequence"),
            ("[[carrier]\n".to_owned(), 1, "]"),
            (entry("annotation = \"a\""), 2, "missing field `format`"),
            (
                entry("annotation = \"a\"\nformat = \"xml\""),
                4,
                "`traceparent`",
            ),
            (
                entry("annotation = \"a\"\nformat = \"text\"\nkey = 1"),
                5,
                "unknown field `key`",
            ),
            (
                entry("format = \"text\""),
                2,
                "either `annotation` or `label`",
            ),
            (
                entry("annotation = \"a\"\nlabel = \"b\"\nformat = \"text\""),
                2,
                "either `annotation` or `label`",
            ),
            (entry("label = \"a b\"\nformat = \"text\""), 2, "key `a b`"),
            (
                entry("annotation = \"a\"\nformat = \"json\""),
                2,
                "needs `pointer`",
            ),
            (
                entry("annotation = \"a\"\nformat = \"koc\"\npointer = \"/a\""),
                2,
                "with format \"json\" only",
            ),
            (
                entry("annotation = \"a\"\nformat = \"json\"\npointer = \"a\"\ninside = \"text\""),
                2,
                "not a JSON pointer",
            ),
            (
                entry(
                    "label = \"a\"\nformat = \"text\"\n[[carrier]]\nlabel = \"a\"\nformat = \"koc\"",
                ),
                5,
                "given twice",
            ),
        ] {
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("carriers.toml");
            fs::write(&path, &text).unwrap();
            let message = read(&path).unwrap_err().to_string();
            let place = format!("{}:{line}: ", path.display());
            assert!(message.starts_with(&place), "{text}: {message}");
            assert!(message.contains(part), "{text}: {message}");
        }
        let message = read(Path::new("/nowhere/carriers.toml"))
            .unwrap_err()
            .to_string();
        assert!(message.contains("/nowhere/carriers.toml: "), "{message}");
    }

    #[test]
    fn keys_are_those_that_kubernetes_allows() {
        let long = |length: usize| "a".repeat(length);
        for key in [
            "a",
            "A.b-c_d",
            "example.org/a",
            &format!("{}/{}", long(253), long(63)),
        ] {
            assert!(checked_key(key.to_owned()).is_ok(), "{key}");
        }
        for key in [
            "",
            "/a",
            "a/",
            "a/b/c",
            "-a",
            "a_",
            "a b",
            "é",
            "a:b/c",
            &long(64),
        ] {
            assert!(checked_key(key.to_owned()).is_err(), "{key}");
        }
    }
}
