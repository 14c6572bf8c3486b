//! For tests: a trace written down change by change.

use super::builder::Builder;
use super::change::Op;
use super::evidence::{Evidence, Relation};
use super::output::{Graph, RootClass};
use super::row::{NameRow, OwnerRow, Row, WriterRow};
use super::{Changes, find_causes};
use crate::storage::Storage;

/// A change of a story. Everything that is not said is as in a plain update of a core object.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) at: i64,
    /// Milliseconds from the API request to the commit.
    pub(crate) took: i64,
    pub(crate) op: Op,
    pub(crate) kind: &'static str,
    pub(crate) group: &'static str,
    pub(crate) name: String,
    /// Instead of the name.
    pub(crate) uid: Option<&'static str>,
    pub(crate) actor: Option<&'static str>,
    pub(crate) manager: Option<&'static str>,
    /// Another manager whose entry is new or changed.
    pub(crate) other_manager: Option<&'static str>,
    pub(crate) owner: Option<String>,
    pub(crate) related: Vec<String>,
    pub(crate) names: Vec<(&'static str, String)>,
    pub(crate) labels: Option<String>,
    pub(crate) selector: Option<String>,
    pub(crate) changed: Vec<&'static str>,
    pub(crate) node: Option<String>,
    pub(crate) deleting: bool,
    pub(crate) leased: bool,
    pub(crate) called: bool,
    pub(crate) generation: Option<i64>,
    pub(crate) observed: Option<i64>,
    pub(crate) outdated: bool,
    pub(crate) wanted: Option<i64>,
    pub(crate) reason: Option<&'static str>,
    pub(crate) cpid: Option<&'static str>,
}

/// A change at `at` milliseconds by a loop or program that its API request names.
pub(crate) fn line(at: i64, actor: &'static str, op: Op, kind: &'static str, name: &str) -> Line {
    Line {
        at,
        took: 3,
        op,
        kind,
        group: "",
        name: name.to_owned(),
        uid: None,
        actor: Some(actor),
        manager: None,
        other_manager: None,
        owner: None,
        related: Vec::new(),
        names: Vec::new(),
        labels: None,
        selector: None,
        changed: Vec::new(),
        node: None,
        deleting: false,
        leased: false,
        called: true,
        generation: None,
        observed: None,
        outdated: false,
        wanted: None,
        reason: None,
        cpid: None,
    }
}

impl Line {
    pub(crate) fn changed(mut self, changed: &[&'static str]) -> Self {
        self.changed = changed.to_vec();
        self
    }

    /// Without a request span: a field manager tells who wrote it, or nothing does.
    pub(crate) fn by_manager(mut self, manager: Option<&'static str>) -> Self {
        self.actor = None;
        self.manager = manager;
        self
    }

    pub(crate) fn labels(mut self, labels: &str) -> Self {
        self.labels = Some(labels.to_owned());
        self
    }

    pub(crate) fn selector(mut self, selector: &str) -> Self {
        self.selector = Some(selector.to_owned());
        self
    }

    pub(crate) fn on(mut self, node: &str) -> Self {
        self.node = Some(node.to_owned());
        self
    }

    pub(crate) fn going(mut self) -> Self {
        self.deleting = true;
        self
    }

    pub(crate) fn owner(mut self, name: &str) -> Self {
        self.owner = Some(name.to_owned());
        self
    }
}

/// The causes that were found in a story.
pub(crate) struct Told {
    pub(crate) changes: Changes,
    pub(crate) graph: Graph,
}

/// Finds the causes. Names serve as uids; all objects are in one namespace, which has a Namespace object
/// only if the story tells of it.
pub(crate) fn tell(lines: &[Line]) -> Told {
    tell_without("", lines)
}

/// Finds the causes without some of the evidence.
pub(crate) fn tell_without(without: &str, lines: &[Line]) -> Told {
    tell_all(without, &[], lines)
}

/// Finds the causes where mergelogs say which CPIDs were made of which.
pub(crate) fn tell_merged(mergelogs: &[(&str, &[&str])], lines: &[Line]) -> Told {
    tell_all("", mergelogs, lines)
}

fn tell_all(without: &str, mergelogs: &[(&str, &[&str])], lines: &[Line]) -> Told {
    let without = without.parse().unwrap();
    let mut builder = Builder::new(&[], &Storage::default()).without(without);
    for (made, sources) in mergelogs {
        builder.push_mergelog(made, sources.iter().copied());
    }
    for (index, line) in (0_i64..).zip(lines) {
        let commit = line.at * 1_000_000;
        let owner = line.owner.as_deref().map(|uid| OwnerRow {
            uid,
            controller: true,
        });
        let related: Vec<&str> = line.related.iter().map(String::as_str).collect();
        let names: Vec<NameRow<'_>> = line
            .names
            .iter()
            .map(|(kind, name)| NameRow {
                kind,
                namespace: "shop",
                name,
            })
            .collect();
        let writers: Vec<WriterRow<'_>> = line
            .manager
            .into_iter()
            .chain(line.other_manager)
            .map(|manager| WriterRow {
                manager,
                subresource: "",
                second: commit / 1_000_000_000,
            })
            .collect();
        let is_namespaced = !matches!(line.kind, "Namespace" | "Node" | "ClusterRole");
        // Endpoints have the name of their Service, but a uid of their own.
        let uid = match line.kind {
            _ if line.uid.is_some() => line.uid.unwrap_or_default().to_owned(),
            "Endpoints" => format!("endpoints {}", line.name),
            _ => line.name.clone(),
        };
        builder.push(&Row {
            revision: index + 1,
            ordinal: 0,
            key: &uid,
            op: line.op,
            commit: Some(commit),
            request: line.actor.map(|_| commit - line.took * 1_000_000),
            call: line.called.then_some(commit - 1_000_000),
            actor: line.actor,
            subresource: None,
            group: line.group,
            kind: line.kind,
            namespace: if is_namespaced { "shop" } else { "" },
            name: &line.name,
            uid: &uid,
            deleting: line.deleting,
            leased: line.leased,
            generation: line.generation,
            observed_generation: line.observed,
            outdated: line.outdated,
            wanted: line.wanted,
            owners: owner.as_slice(),
            related: &related,
            names: &names,
            labels: line.labels.as_deref(),
            selector: line.selector.as_deref(),
            writers: &writers,
            node: line.node.as_deref(),
            changed: &line.changed,
            reason: line.reason,
            cpid: line.cpid,
        });
    }
    let (changes, graph) = find_causes(builder.finish(), without);
    Told { changes, graph }
}

impl Told {
    /// The causes of a change, by the position in the story.
    pub(crate) fn causes(&self, effect: u32) -> Vec<u32> {
        let mut causes: Vec<u32> = self.graph.chosen(effect).map(|edge| edge.cause).collect();
        causes.sort_unstable();
        causes
    }

    /// The strongest evidence for the first cause.
    pub(crate) fn evidence(&self, effect: u32) -> Option<Relation> {
        let edge = self.graph.chosen(effect).next()?;
        Evidence::relations(edge.evidence).next()
    }

    pub(crate) fn class(&self, change: u32) -> Option<RootClass> {
        self.graph.root_class(change)
    }
}
