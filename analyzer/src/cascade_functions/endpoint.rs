//! Where paths begin and end: `KIND[.GROUP][/OP[FACET]][@ACTOR][:MILESTONE]`, parts as in signatures.

use std::fmt;

/// What is said of a change in a signature.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct StepWords {
    /// The whole step, as in signatures.
    pub(super) step: String,
    pub(super) kind: String,
    pub(super) op: String,
    pub(super) facet: Option<String>,
    pub(super) actor: Option<String>,
}

/// The changes that a path may begin or end with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// Lowercase; with the group if one was given.
    kind: String,
    op: Option<String>,
    facet: Option<String>,
    actor: Option<String>,
    /// A milestone of `stages`.
    pub(super) milestone: Option<String>,
}

/// Text that names no end of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NoEndpoint(String);

impl fmt::Display for NoEndpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:?} names no end of a path; write it like Deployment/update, Pod:ready or \
            ReplicaSet.apps/update[spec]@deployment-controller; operations are create, update and delete",
            self.0
        )
    }
}

/// Splits off what follows the last `separator`.
fn split_off(text: &str, separator: char) -> (&str, Option<&str>) {
    match text.rsplit_once(separator) {
        Some((head, tail)) => (head, Some(tail)),
        None => (text, None),
    }
}

impl Endpoint {
    /// Reads an end of a path.
    ///
    /// # Errors
    /// When a part is missing or unknown.
    pub(super) fn parse(given: &str) -> Result<Self, NoEndpoint> {
        let wrong = || NoEndpoint(given.to_owned());
        // Names of actors may have colons, those of milestones have no @.
        let (rest, milestone) = match given.rsplit_once(':') {
            Some((rest, milestone)) if !milestone.contains('@') => (rest, Some(milestone)),
            _ => (given, None),
        };
        let (rest, actor) = match rest.split_once('@') {
            Some((rest, actor)) => (rest, Some(actor)),
            None => (rest, None),
        };
        let (kind, op) = split_off(rest, '/');
        let (op, facet) = match op.map(|op| (op, op.split_once('['))) {
            None => (None, None),
            Some((op, None)) => (Some(op), None),
            Some((_, Some((op, facet)))) => {
                (Some(op), Some(facet.strip_suffix(']').ok_or_else(wrong)?))
            }
        };
        let parts = [Some(kind), actor, milestone, facet];
        if parts.into_iter().flatten().any(str::is_empty)
            || op.is_some_and(|op| !matches!(op, "create" | "update" | "delete"))
        {
            return Err(wrong());
        }
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Ok(Self {
            kind: kind.to_lowercase(),
            op: owned(op),
            facet: owned(facet),
            actor: owned(actor),
            milestone: owned(milestone),
        })
    }

    /// Whether a change is one, its milestone aside.
    pub(super) fn fits(&self, words: &StepWords) -> bool {
        let fits = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        self.fits_kind(&words.kind)
            && fits(&self.op, Some(&words.op))
            && fits(&self.facet, words.facet.as_deref())
            && fits(&self.actor, words.actor.as_deref())
    }

    fn fits_kind(&self, kind: &str) -> bool {
        let kind = kind.to_lowercase();
        let kind = kind.trim_end_matches('.');
        if self.kind.contains('.') {
            return self.kind.trim_end_matches('.') == kind;
        }
        kind.split('.').next() == Some(self.kind.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(kind: &str, op: &str, facet: Option<&str>, actor: &str) -> StepWords {
        StepWords {
            step: String::new(),
            kind: kind.to_owned(),
            op: op.to_owned(),
            facet: facet.map(str::to_owned),
            actor: Some(actor.to_owned()),
        }
    }

    #[test]
    fn every_part_narrows() {
        let change = words("Deployment.apps", "update", Some("spec"), "kubectl-set");
        for given in [
            "Deployment",
            "deployment.apps",
            "Deployment/update",
            "Deployment.apps/update[spec]",
            "Deployment.apps/update[spec]@kubectl-set",
            "Deployment@kubectl-set",
        ] {
            assert!(Endpoint::parse(given).unwrap().fits(&change), "{given}");
        }
        for given in [
            "Deploy",
            "Deployment.extensions",
            "Deployment/create",
            "Deployment/update[status]",
            "Deployment@helm",
        ] {
            assert!(!Endpoint::parse(given).unwrap().fits(&change), "{given}");
        }
        let core = words("Pod.", "create", None, "replicaset-controller");
        assert!(Endpoint::parse("pod/create").unwrap().fits(&core));
    }

    #[test]
    fn milestones_are_told_apart_from_actors() {
        let ready = Endpoint::parse("Pod:ready").unwrap();
        assert_eq!(ready.milestone.as_deref(), Some("ready"));
        let actor = Endpoint::parse("Pod@system:node:a@b").unwrap();
        assert_eq!(actor.milestone, None);
        assert_eq!(actor.actor.as_deref(), Some("system:node:a@b"));
        let both = Endpoint::parse("Pod/update@kubelet:condition.Ready").unwrap();
        assert_eq!(both.milestone.as_deref(), Some("condition.Ready"));
        assert_eq!(both.actor.as_deref(), Some("kubelet"));
    }

    #[test]
    fn what_lacks_a_part_is_an_error() {
        for given in [
            "",
            "/update",
            "Pod/",
            "Pod/patch",
            "Pod:",
            "Pod@",
            "Pod/update[spec",
        ] {
            assert!(Endpoint::parse(given).is_err(), "{given}");
        }
    }
}
