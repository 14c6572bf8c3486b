//! Turns recorded rows into integers.

use super::change::{ActorSource, Change, Facets, NO_TIME, Op};
use super::changes::{Changes, ProgramWrite, SEPARATOR};
use super::clients::is_client;
use super::hash::FastMap;
use super::intern::{Interner, NONE, hash_of_text};
use super::kinds::KindClass;
use super::names::Names;
use super::reported::Mergelogs;
use super::row::{Row, WriterRow};
use super::ties::{References, Ties, TiesBuilder};
use super::without::Without;
use crate::storage::{List, Runs, Storage};

/// Collects rows into [`Changes`].
#[derive(Debug, Default)]
pub struct Builder {
    rows: List<Change>,
    writer_seconds: List<i64>,
    wanted: List<i64>,
    other_actors: FastMap<u32, u32>,
    writes_of_loops: FastMap<(ProgramWrite, u32), u32>,
    loops: FastMap<ProgramWrite, (u32, u32)>,
    ties: TiesBuilder,
    references: References,
    actors: Interner,
    kinds: Interner,
    objects: Names,
    names: Names,
    reasons: Interner,
    cpids: Interner,
    mergelogs: Mergelogs,
    label_texts: Names,
    label_pairs: Names,
    label_sets: Runs<u32>,
    client_patterns: Vec<String>,
    text: String,
    fetching: Fetching,
    has_calls: bool,
    without: Without,
    storage: Storage,
}

/// Buffers of [`Builder::fetch`].
#[derive(Debug, Default)]
struct Fetching {
    objects: Vec<u32>,
    names: Vec<u32>,
    numbers: Vec<u32>,
}

impl Builder {
    /// An empty collection. Actors whose name begins with one of `clients` start cascades, as well
    /// as those of [`super::clients::CLIENTS`].
    #[must_use]
    pub fn new(clients: &[String], storage: &Storage) -> Self {
        Self {
            rows: List::new(storage),
            writer_seconds: List::new(storage),
            wanted: List::new(storage),
            ties: TiesBuilder::new(storage),
            objects: Names::new(storage),
            names: Names::new(storage),
            label_texts: Names::new(storage),
            label_pairs: Names::new(storage),
            label_sets: Runs::new(storage),
            storage: storage.clone(),
            client_patterns: clients.to_vec(),
            ..Self::default()
        }
    }

    /// Leaves out what some evidence rests on.
    #[must_use]
    pub fn without(mut self, without: Without) -> Self {
        self.without = without;
        self
    }

    /// Makes the objects and names of rows that follow quick to find: key, uid, kind, namespace and name of each.
    pub(crate) fn fetch<'t>(&mut self, rows: impl Iterator<Item = [&'t str; 5]>) {
        let Fetching {
            objects,
            names,
            numbers,
        } = &mut self.fetching;
        objects.clear();
        names.clear();
        for [key, uid, kind, namespace, name] in rows {
            objects.push(hash_of_text(identity(key, uid)));
            let name = compose(&mut self.text, &[kind, namespace, name], SEPARATOR);
            names.push(hash_of_text(name));
        }
        self.objects.fetch(objects, numbers);
        self.names.fetch(names, numbers);
    }

    /// Adds the next row in revision order.
    pub fn push(&mut self, row: &Row<'_>) {
        let mut row = *row;
        if self.without.spans {
            (row.request, row.actor, row.subresource) = (None, None, None);
        }
        if self.without.generation {
            (row.generation, row.observed_generation) = (None, None);
        }
        let newest = row.writers.iter().max_by_key(|writer| writer.second);
        let (actor, actor_source) = match (row.actor, newest) {
            (Some(actor), _) => (self.actors.number(actor), ActorSource::Request),
            (None, Some(writer)) if row.op != Op::Delete => {
                (self.actors.number(writer.manager), ActorSource::Manager)
            }
            _ => (NONE, ActorSource::Unknown),
        };
        self.note_other_actor(&row, actor_source, newest);
        self.writer_seconds
            .push(newest.map_or(i64::MIN, |writer| writer.second));
        let wanted = row.wanted.filter(|_| !self.without.content);
        self.wanted.push(wanted.unwrap_or(0));
        self.has_calls |= row.call.is_some();
        let kind_text = compose(&mut self.text, &[row.kind, row.group], '.');
        let kind = self.kinds.number(kind_text);
        let object = self.objects.number(identity(row.key, row.uid));
        let name_text = compose(
            &mut self.text,
            &[row.kind, row.namespace, row.name],
            SEPARATOR,
        );
        let name = self.names.number(name_text);
        let namespace = if row.namespace.is_empty() {
            NONE
        } else {
            let text = compose(&mut self.text, &["Namespace", "", row.namespace], SEPARATOR);
            self.names.number(text)
        };
        let namesake = row
            .names
            .iter()
            .find(|other| {
                row.kind == "Endpoints"
                    && other.kind == "Service"
                    && other.name == row.name
                    && other.namespace == row.namespace
            })
            .map_or(NONE, |other| {
                let text = compose(
                    &mut self.text,
                    &[other.kind, other.namespace, other.name],
                    SEPARATOR,
                );
                self.names.number(text)
            });
        let node = row
            .node
            .filter(|node| !node.is_empty())
            .map_or(NONE, |node| {
                let text = compose(&mut self.text, &["Node", "", node], SEPARATOR);
                self.names.number(text)
            });
        let facets = row.changed.iter().fold(Facets::default(), |all, entry| {
            all.with(Facets::of_changed(entry))
        });
        let scaled = row.subresource == Some("scale")
            || newest.is_some_and(|writer| writer.subresource == "scale");
        self.collect_references(&row);
        let ties = Ties {
            namespace,
            node,
            namesake,
            labels: self.labels(row.labels),
            selector: self.labels(row.selector),
            reason: row
                .reason
                .map_or(NONE, |reason| self.reasons.number(reason)),
            cpid: row.cpid.map_or(NONE, |cpid| self.cpids.number(cpid)),
        };
        let change = Change {
            revision: row.revision,
            ordinal: row.ordinal,
            commit: row.commit.unwrap_or(NO_TIME),
            request: row.request.unwrap_or(NO_TIME),
            call: row.call.unwrap_or(NO_TIME),
            op: row.op,
            actor_source,
            facets,
            deleting: row.deleting,
            leased: row.leased,
            scaled,
            generation: row.generation.into(),
            observed_generation: row.observed_generation.into(),
            outdated: row.outdated && !self.without.content,
            actor,
            kind,
            object,
            name,
            ties: self.ties.number(object, ties, &self.references),
        };
        if let (ActorSource::Request, Some(writer)) = (actor_source, newest) {
            let program = self.actors.number(writer.manager);
            self.note_loop((program, kind, change.op, facets.is_status_only()), actor);
        }
        self.rows.push(change);
    }

    /// Adds a mergelog: a CPID and those that it was made of.
    pub fn push_mergelog<'t>(&mut self, made: &str, sources: impl Iterator<Item = &'t str>) {
        let sources = sources.map(|source| self.cpids.number(source)).collect();
        self.mergelogs.add(self.cpids.number(made), sources);
    }

    /// Counts a write of a loop whose request is known.
    fn note_loop(&mut self, write: ProgramWrite, actor: u32) {
        let count = self.writes_of_loops.entry((write, actor)).or_default();
        *count = count.saturating_add(1);
        let most = self.loops.entry(write).or_insert((actor, 0));
        if *count > most.1 {
            *most = (actor, *count);
        }
    }

    /// All rows together.
    #[must_use]
    pub fn finish(mut self) -> Changes {
        let scheduler = self.actors.number("kube-scheduler");
        let apiserver = self.actors.number("kube-apiserver");
        let objects = self.objects.len();
        self.names.close();
        let label_pairs = self.label_pairs.len();
        let actors = self.actors.into_texts();
        let clients = actors
            .iter()
            .map(|actor| {
                is_client(actor)
                    || self
                        .client_patterns
                        .iter()
                        .any(|pattern| actor.starts_with(pattern.as_str()))
            })
            .collect();
        let kinds = self.kinds.into_texts();
        Changes {
            rows: self.rows,
            writer_seconds: self.writer_seconds,
            wanted: self.wanted,
            other_actors: self.other_actors,
            loops: self.loops,
            ties: self.ties.finish(),
            label_sets: self.label_sets,
            clients,
            actors,
            kind_classes: kinds.iter().map(KindClass::of).collect(),
            kinds,
            cpids: self.cpids.into_texts(),
            mergelogs: self.mergelogs,
            objects,
            names: self.names.len(),
            names_of_objects: self.names,
            label_pairs,
            has_calls: self.has_calls,
            scheduler,
            apiserver,
            storage: self.storage,
        }
    }

    /// Of several entries of one second only one need have written: the others lost fields to it.
    fn note_other_actor(
        &mut self,
        row: &Row<'_>,
        source: ActorSource,
        newest: Option<&WriterRow<'_>>,
    ) {
        let Some(newest) = newest.filter(|_| source == ActorSource::Manager) else {
            return;
        };
        let other = row
            .writers
            .iter()
            .find(|other| other.second == newest.second && other.manager != newest.manager);
        // Counted with 32 bits, as everywhere.
        if let (Some(other), Ok(index)) = (other, u32::try_from(self.rows.len())) {
            let other = self.actors.number(other.manager);
            self.other_actors.insert(index, other);
        }
    }

    /// The numbers of what a row refers to.
    fn collect_references(&mut self, row: &Row<'_>) {
        self.references.clear();
        for managing in [true, false] {
            for owner in row
                .owners
                .iter()
                .filter(|owner| owner.controller == managing)
            {
                let number = self.objects.number(owner.uid);
                self.references.owners.push(number);
            }
        }
        for uid in row.related {
            let number = self.objects.number(uid);
            self.references.related.push(number);
        }
        for name in row.names {
            let text = compose(
                &mut self.text,
                &[name.kind, name.namespace, name.name],
                SEPARATOR,
            );
            let number = self.names.number(text);
            self.references.names.push(number);
        }
    }

    /// The number of a label set, [`NONE`] for none and for text that is not a JSON object of strings.
    fn labels(&mut self, text: Option<&str>) -> u32 {
        let Some(text) = text.filter(|text| text.len() > 2) else {
            return NONE;
        };
        let known = self.label_texts.len();
        let number = self.label_texts.number(text);
        if number == known {
            let parsed: serde_json::Map<String, serde_json::Value> =
                serde_json::from_str(text).unwrap_or_default();
            let mut pairs: Vec<u32> = Vec::with_capacity(parsed.len());
            for (key, value) in &parsed {
                let value = value.as_str().unwrap_or_default();
                let pair = compose(&mut self.text, &[key, value], '=');
                pairs.push(self.label_pairs.number(pair));
            }
            pairs.sort_unstable();
            self.label_sets.push(&pairs);
        }
        number
    }
}

/// What tells an object from all others: its uid, or its key if it has none.
fn identity<'t>(key: &'t str, uid: &'t str) -> &'t str {
    if uid.is_empty() { key } else { uid }
}

/// Joins parts in a buffer that is used again.
fn compose<'t>(text: &'t mut String, parts: &[&str], separator: char) -> &'t str {
    text.clear();
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            text.push(separator);
        }
        text.push_str(part);
    }
    text
}
