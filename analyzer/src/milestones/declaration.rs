//! Which milestones there are: those built in, and those of a file.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::error::Error;

/// The declarations that are built in.
const BUILT_IN: &str = include_str!("milestones.toml");
/// The entry that says when an object is as its spec wants it.
pub(super) const CONVERGED: &str = "converged";

/// The milestones of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Declaration {
    /// Kind with its group; core kinds have none.
    pub(super) kind: String,
    /// Names and conditions.
    pub(super) milestones: Vec<(String, String)>,
    /// Condition for being as the spec wants it.
    pub(super) converged: Option<String>,
}

/// The milestones of all kinds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Declarations {
    pub(super) kinds: Vec<Declaration>,
    /// The text of the user's file: what is derived depends on it.
    pub(crate) given: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
struct File(BTreeMap<String, BTreeMap<String, String>>);

impl Declarations {
    /// Those that are built in, and those of a file, whose kinds replace built-in ones.
    ///
    /// # Errors
    /// When the file cannot be read, or is not written as it should be.
    pub(crate) fn load(path: Option<&Path>) -> Result<Self, Error> {
        let mut kinds = parse(BUILT_IN)
            .map_err(|error| Error::Internal(format!("the built-in milestones: {error}")))?;
        let Some(path) = path else {
            return Ok(Self { kinds, given: None });
        };
        let name = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|source| Error::io(format!("cannot read --milestones {name}"), source))?;
        let given =
            parse(&text).map_err(|error| Error::Usage(format!("--milestones {name}: {error}")))?;
        kinds.retain(|known| given.iter().all(|other| other.kind != known.kind));
        kinds.extend(given);
        Ok(Self {
            kinds,
            given: Some(text),
        })
    }
}

impl Declaration {
    /// The kind without its group, and the group; empty for core kinds.
    pub(super) fn name_and_group(&self) -> (&str, &str) {
        self.kind.split_once('.').unwrap_or((&self.kind, ""))
    }
}

fn parse(text: &str) -> Result<Vec<Declaration>, String> {
    let File(kinds) = toml::from_str(text).map_err(|error| {
        format!("{error}; write a table per kind, as in [Pod], with name = \"SQL condition\"")
    })?;
    let mut declarations = Vec::new();
    for (kind, mut milestones) in kinds {
        let converged = milestones.remove(CONVERGED);
        if let Some(taken) = milestones
            .keys()
            .find(|name| ["created", "deletion_requested", "deleted"].contains(&name.as_str()))
        {
            return Err(format!(
                "[{kind}] {taken}: every kind has this milestone already"
            ));
        }
        declarations.push(Declaration {
            kind,
            milestones: milestones.into_iter().collect(),
            converged,
        });
    }
    Ok(declarations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_ones_are_of_the_kinds_that_people_wait_for() {
        let declarations = Declarations::load(None).unwrap();
        let kinds: Vec<&str> = declarations
            .kinds
            .iter()
            .map(|kind| kind.kind.as_str())
            .collect();
        for kind in [
            "Pod",
            "Deployment.apps",
            "ReplicaSet.apps",
            "StatefulSet.apps",
            "DaemonSet.apps",
            "Job.batch",
            "Service",
            "EndpointSlice.discovery.k8s.io",
            "PersistentVolumeClaim",
            "Node",
        ] {
            assert!(kinds.contains(&kind), "{kind}");
        }
    }

    #[test]
    fn a_file_adds_kinds_and_replaces_built_in_ones() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text =
            "[Pod]\nhere = \"true\"\n[\"Widget.example.org\"]\nconverged = \"phase = 'Done'\"";
        std::fs::write(file.path(), text).unwrap();
        let declarations = Declarations::load(Some(file.path())).unwrap();
        let of = |kind: &str| {
            let mut found = declarations.kinds.iter().filter(|known| known.kind == kind);
            (found.next().cloned().unwrap(), found.count())
        };
        let (pod, others) = of("Pod");
        assert_eq!(others, 0);
        assert_eq!(pod.milestones, [("here".to_owned(), "true".to_owned())]);
        assert_eq!(pod.converged, None);
        let (widget, _) = of("Widget.example.org");
        assert_eq!(widget.name_and_group(), ("Widget", "example.org"));
        assert_eq!(pod.name_and_group(), ("Pod", ""));
    }

    #[test]
    fn what_is_no_table_of_texts_is_an_error() {
        for text in [
            "x = 1",
            "[Pod]\nready = true",
            "[Pod]\ncreated = \"true\"",
            "[",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
