//! What the operator knows of each `App`, and the contexts of the changes that it has not yet
//! reacted to.
//!
//! A reconcile has to know the contexts of the watch events that set it off. Two things stand in
//! the way:
//!
//! - `kube`'s controller hands on the name of the object and nothing else, and merges the requests
//!   for one name that come together. So the contexts wait here, under the same name ("carried with
//!   the work-queue key", in the words of the paper's authors), until a reconcile takes them.
//! - A reconcile acts on what it *sees* in the cache. If the cache and the contexts were two things,
//!   it could act on an object whose event's context it did not get, or take the context and not
//!   see the object. So both are kept here, under one lock: [`World::begin`] takes a picture of the
//!   objects together with exactly the contexts of the events that led to it.
//!
//! Contexts are never lost: a reconcile that ends any other way than by [`Work::finish`] (an error,
//! a conflict, a cancelled future) gives them back, and the next one has them again. The same holds for
//! the versions that the events brought ([`Inputs`]), which only the log of writes needs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cascade_cpid::{ChangeContext, Merged, merge};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};

use crate::carrier::context_of;
use crate::inputs::Inputs;
use crate::resource::App;

/// Namespace and name of an `App`, which are also those of all it owns.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Key {
    pub(crate) fn of(object: &impl ResourceExt) -> Self {
        Self {
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// The newest version seen of an `App` and of what it owns.
#[derive(Debug, Clone, Default)]
pub(crate) struct Family {
    pub(crate) app: Option<Arc<App>>,
    pub(crate) config_map: Option<Arc<ConfigMap>>,
    pub(crate) service: Option<Arc<Service>>,
    pub(crate) deployment: Option<Arc<Deployment>>,
}

impl Family {
    fn is_empty(&self) -> bool {
        self.app.is_none() && !self.owns_anything()
    }

    /// The versions of its objects, each at a place of its own.
    pub(crate) fn revisions(&self) -> [Option<&String>; 4] {
        fn revision<K: Resource>(object: &Option<Arc<K>>) -> Option<&String> {
            object.as_ref()?.meta().resource_version.as_ref()
        }
        [
            revision(&self.app),
            revision(&self.config_map),
            revision(&self.service),
            revision(&self.deployment),
        ]
    }

    /// Whether anything that the `App` owns still exists.
    pub(crate) fn owns_anything(&self) -> bool {
        self.config_map.is_some() || self.service.is_some() || self.deployment.is_some()
    }
}

/// A kind that the operator watches.
pub(crate) trait Watched: Resource<DynamicType = ()> + Clone + Sized {
    /// Where an object of this kind is kept.
    fn slot(family: &mut Family) -> &mut Option<Arc<Self>>;
}

impl Watched for App {
    fn slot(family: &mut Family) -> &mut Option<Arc<Self>> {
        &mut family.app
    }
}

impl Watched for ConfigMap {
    fn slot(family: &mut Family) -> &mut Option<Arc<Self>> {
        &mut family.config_map
    }
}

impl Watched for Service {
    fn slot(family: &mut Family) -> &mut Option<Arc<Self>> {
        &mut family.service
    }
}

impl Watched for Deployment {
    fn slot(family: &mut Family) -> &mut Option<Arc<Self>> {
        &mut family.deployment
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct World(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<Key, Entry>,
    /// By kind, while a list is being received: what it has named so far.
    listing: BTreeMap<String, BTreeSet<Key>>,
}

#[derive(Debug, Default)]
struct Entry {
    family: Family,
    /// A set, so that an `App` whose reconciles keep failing holds as many contexts as there were
    /// different ones, not as many as there were events.
    pending: BTreeSet<ChangeContext>,
    unfinished: Option<Unfinished>,
    inputs: Inputs,
}

/// The CPID that a failed reconcile had made. It has a mergelog, and may be on objects already, so
/// the next attempt goes on with it instead of making another one of the same sources.
#[derive(Debug, Clone)]
struct Unfinished {
    context: ChangeContext,
    /// What it was made of. Its ancestors do not tell: they may be cut.
    covers: BTreeSet<ChangeContext>,
}

impl World {
    /// Takes in an event of a watch and returns the `App`s that are to be reconciled because of it.
    ///
    /// The contexts of both the old and the new version of the object wait for their reconcile; of
    /// a deletion, the last context of the deleted object does too.
    pub(crate) fn record<K: Watched>(&self, event: &Event<K>) -> Vec<Key> {
        let mut state = self.lock();
        let kind = K::kind(&()).into_owned();
        match event {
            Event::Init => {
                state.listing.insert(kind, BTreeSet::new());
                Vec::new()
            }
            Event::InitApply(object) => {
                let named = state.listing.entry(kind).or_default();
                named.insert(Key::of(object));
                state.applied(object)
            }
            Event::InitDone => {
                let named = state.listing.remove(&kind).unwrap_or_default();
                state.missing_from_list::<K>(&named)
            }
            Event::Apply(object) => state.applied(object),
            Event::Delete(object) => {
                let key = Key::of(object);
                state.removed::<K>(&key, context_of(object), object.resource_version());
                vec![key]
            }
        }
    }

    /// Begins a reconcile: what is known of the `App`, and the sources of everything that will be
    /// written. `None` if there is no such `App` any more.
    pub(crate) fn begin(self: &Arc<Self>, key: &Key) -> Option<Work> {
        let mut state = self.lock();
        let entry = state.entries.get_mut(key)?;
        let app = Arc::clone(entry.family.app.as_ref()?);
        let family = entry.family.clone();
        let mut sources = std::mem::take(&mut entry.pending);
        let unfinished = entry.unfinished.take();
        let inputs = entry.inputs.take(&family);
        drop(state);
        // The controller's own object is a source of every reconcile, whatever set it off.
        sources.extend(context_of(&*app));
        if let Some(unfinished) = &unfinished {
            sources.retain(|source| !unfinished.covers.contains(source));
            sources.insert(unfinished.context.clone());
        }
        Some(Work {
            world: Arc::clone(self),
            key: key.clone(),
            app,
            family,
            sources,
            unfinished,
            inputs,
            merged: None,
            finished: false,
        })
    }

    fn give_back(
        &self,
        key: &Key,
        sources: BTreeSet<ChangeContext>,
        unfinished: Option<Unfinished>,
        inputs: Inputs,
    ) {
        // No entry: the App and all it owned are gone, and nothing will react to anything.
        if let Some(entry) = self.lock().entries.get_mut(key) {
            entry.pending.extend(sources);
            entry.unfinished = unfinished;
            entry.inputs.give_back(inputs);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the state is complete before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn applied<K: Watched>(&mut self, object: &K) -> Vec<Key> {
        let key = Key::of(object);
        let entry = self.entries.entry(key.clone()).or_default();
        let slot = K::slot(&mut entry.family);
        if let Some(old) = slot {
            // A list after an interrupted watch repeats what is known: nothing has changed.
            if old.resource_version() == object.resource_version() {
                return Vec::new();
            }
            entry.pending.extend(context_of(&**old));
        }
        *slot = Some(Arc::new(object.clone()));
        entry.pending.extend(context_of(object));
        entry
            .inputs
            .push(object.resource_version(), entry.family.clone());
        vec![key]
    }

    /// `revision` is that of the deletion, where an event tells it.
    fn removed<K: Watched>(
        &mut self,
        key: &Key,
        last: Option<ChangeContext>,
        revision: Option<String>,
    ) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        if let Some(old) = K::slot(&mut entry.family).take() {
            entry.pending.extend(context_of(&*old));
        }
        entry.pending.extend(last);
        entry.inputs.push(revision, entry.family.clone());
        if entry.family.is_empty() {
            self.entries.remove(key);
        }
    }

    /// Objects that were deleted while no watch was open: a new list does not name them.
    fn missing_from_list<K: Watched>(&mut self, named: &BTreeSet<Key>) -> Vec<Key> {
        let mut missing = Vec::new();
        for (key, entry) in &mut self.entries {
            if K::slot(&mut entry.family).is_some() && !named.contains(key) {
                missing.push(key.clone());
            }
        }
        for key in &missing {
            self.removed::<K>(key, None, None);
        }
        missing
    }
}

/// One reconcile of an `App`.
#[derive(Debug)]
pub(crate) struct Work {
    world: Arc<World>,
    key: Key,
    /// The `App` as it was last seen.
    pub(crate) app: Arc<App>,
    /// What is known of it and of what it owns.
    pub(crate) family: Family,
    sources: BTreeSet<ChangeContext>,
    unfinished: Option<Unfinished>,
    /// What the events since the last reconcile have brought.
    pub(crate) inputs: Inputs,
    merged: Option<Merged>,
    finished: bool,
}

impl Work {
    /// The sources of this reconcile.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &ChangeContext> {
        self.sources.iter()
    }

    /// What everything that this reconcile writes is to carry. They are merged when they are first
    /// asked for, that is before the first write, and once for all writes: a reconcile that writes
    /// nothing makes no CPID. `first` is called with the result that time.
    pub(crate) fn context(
        &mut self,
        keep_ancestors: usize,
        first: impl FnOnce(&Merged),
    ) -> Option<ChangeContext> {
        let merged = self.merged.get_or_insert_with(|| {
            let merged = merge(self.sources.iter().cloned(), keep_ancestors);
            first(&merged);
            merged
        });
        merged.context().cloned()
    }

    /// Whether anything was to be written.
    pub(crate) fn has_merged(&self) -> bool {
        self.merged.is_some()
    }

    /// Everything that the sources ask for is done.
    pub(crate) fn finish(mut self) {
        self.finished = true;
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let mut sources = std::mem::take(&mut self.sources);
        let mut unfinished = self.unfinished.take();
        if let Some(Merged::New { context, .. }) = self.merged.take() {
            // It stands for all the sources, and for what an earlier attempt had stood for.
            let covered = unfinished.map(|earlier| earlier.covers).unwrap_or_default();
            sources.extend(covered);
            unfinished = Some(Unfinished {
                context,
                covers: std::mem::take(&mut sources),
            });
        }
        let inputs = std::mem::take(&mut self.inputs);
        self.world.give_back(&self.key, sources, unfinished, inputs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cascade_cpid::carriers::{KOC_ANNOTATION, koc};
    use serde_json::json;

    const KEEP: usize = 10;

    fn context(cpid: &str, ancestors: &[&str]) -> ChangeContext {
        ChangeContext {
            cpid: cpid.to_owned(),
            ancestors: ancestors.iter().map(|text| (*text).to_owned()).collect(),
        }
    }

    fn metadata(revision: u32, context: Option<&ChangeContext>) -> serde_json::Value {
        let annotations =
            context.map(|context| json!({KOC_ANNOTATION: koc::write(context).unwrap()}));
        json!({"namespace": "n", "name": "a", "resourceVersion": revision.to_string(), "annotations": annotations})
    }

    fn app(revision: u32, context: Option<&ChangeContext>) -> App {
        let spec = json!({"image": "i", "port": 80});
        serde_json::from_value(
            json!({"metadata": metadata(revision, context), "spec": spec,
            "apiVersion": "example.cascade.dev/v1", "kind": "App"}),
        )
        .unwrap()
    }

    fn config_map(revision: u32, context: Option<&ChangeContext>) -> ConfigMap {
        serde_json::from_value(json!({"metadata": metadata(revision, context)})).unwrap()
    }

    fn key() -> Key {
        Key {
            namespace: "n".to_owned(),
            name: "a".to_owned(),
        }
    }

    fn cpids(work: &Work) -> Vec<&str> {
        work.sources().map(|source| source.cpid.as_str()).collect()
    }

    /// A world in which the App `a` carries `x` and nothing waits.
    fn settled() -> Arc<World> {
        let world = Arc::new(World::default());
        assert_eq!(
            world.record(&Event::Apply(app(1, Some(&context("x", &[]))))),
            [key()]
        );
        world.begin(&key()).unwrap().finish();
        world
    }

    #[test]
    fn the_old_and_the_new_version_and_the_app_itself_are_sources() {
        let world = settled();
        world.record(&Event::Apply(config_map(2, Some(&context("c1", &[])))));
        world.record(&Event::Apply(config_map(3, Some(&context("c2", &[])))));
        let work = world.begin(&key()).unwrap();
        assert_eq!(cpids(&work), ["c1", "c2", "x"]);
        assert_eq!(
            work.family
                .config_map
                .as_ref()
                .unwrap()
                .resource_version()
                .unwrap(),
            "3"
        );
        work.finish();
        assert_eq!(cpids(&world.begin(&key()).unwrap()), ["x"], "taken once");
    }

    #[test]
    fn a_context_that_was_removed_from_an_object_is_still_a_source() {
        let world = settled();
        world.record(&Event::Apply(config_map(2, Some(&context("c1", &[])))));
        world.begin(&key()).unwrap().finish();
        world.record(&Event::Apply(config_map(3, None)));
        assert_eq!(cpids(&world.begin(&key()).unwrap()), ["c1", "x"]);
    }

    #[test]
    fn a_deletion_contributes_the_last_context() {
        let world = settled();
        world.record(&Event::Apply(config_map(2, Some(&context("c1", &[])))));
        world.begin(&key()).unwrap().finish();
        let event = Event::Delete(config_map(4, Some(&context("c2", &["c1"]))));
        assert_eq!(world.record(&event), [key()]);
        let work = world.begin(&key()).unwrap();
        assert_eq!(cpids(&work), ["c1", "c2", "x"]);
        assert!(work.family.config_map.is_none());
    }

    #[test]
    fn so_does_one_that_only_the_next_list_shows() {
        let world = settled();
        world.record(&Event::Apply(config_map(2, Some(&context("c1", &[])))));
        world.begin(&key()).unwrap().finish();
        assert_eq!(world.record::<ConfigMap>(&Event::Init), []);
        assert_eq!(world.record::<ConfigMap>(&Event::InitDone), [key()]);
        assert_eq!(cpids(&world.begin(&key()).unwrap()), ["c1", "x"]);
    }

    #[test]
    fn a_list_that_repeats_what_is_known_asks_for_nothing() {
        let world = settled();
        world.record::<App>(&Event::Init);
        assert_eq!(
            world.record(&Event::InitApply(app(1, Some(&context("x", &[]))))),
            []
        );
        assert_eq!(world.record::<App>(&Event::InitDone), []);
        assert_eq!(world.record(&Event::Apply(app(2, None))), [key()]);
    }

    #[test]
    fn a_failed_reconcile_gives_its_sources_back() {
        let world = settled();
        world.record(&Event::Apply(config_map(2, Some(&context("c1", &[])))));
        drop(world.begin(&key()).unwrap());
        world.record(&Event::Apply(config_map(3, Some(&context("c2", &[])))));
        assert_eq!(cpids(&world.begin(&key()).unwrap()), ["c1", "c2", "x"]);
    }

    #[test]
    fn sources_are_merged_once_for_all_writes() {
        let world = settled();
        world.record(&Event::Apply(config_map(2, Some(&context("c1", &[])))));
        let mut work = world.begin(&key()).unwrap();
        assert!(!work.has_merged());
        let mut calls = 0;
        let first = work.context(KEEP, |_| calls += 1).unwrap();
        assert_eq!(work.context(KEEP, |_| calls += 1).unwrap(), first);
        assert_eq!(
            (calls, first.ancestors),
            (1, vec!["c1".to_owned(), "x".to_owned()])
        );
    }

    /// Whatever number of ancestors is kept, a retry makes no second CPID of the same sources.
    #[test]
    fn a_retry_goes_on_with_the_cpid_that_was_made() {
        let world = settled();
        world.record(&Event::Apply(config_map(2, Some(&context("c1", &[])))));
        let mut failed = world.begin(&key()).unwrap();
        let made = failed.context(0, |_| ()).unwrap();
        drop(failed);
        for _ in 0..2 {
            let mut retry = world.begin(&key()).unwrap();
            assert_eq!(
                cpids(&retry),
                [made.cpid.as_str()],
                "it stands for all of them"
            );
            assert_eq!(retry.context(0, |_| ()).as_ref(), Some(&made));
        }
        world.record(&Event::Apply(config_map(3, Some(&context("c2", &[])))));
        let mut retry = world.begin(&key()).unwrap();
        assert_eq!(
            retry.sources().count(),
            2,
            "the made one, which covers c1, and c2"
        );
        let second = retry.context(0, |_| ()).unwrap();
        drop(retry);
        assert_eq!(cpids(&world.begin(&key()).unwrap()), [second.cpid.as_str()]);
    }

    #[test]
    fn events_during_a_reconcile_are_for_the_next_one() {
        let world = settled();
        let work = world.begin(&key()).unwrap();
        world.record(&Event::Apply(config_map(2, Some(&context("c1", &[])))));
        work.finish();
        assert_eq!(cpids(&world.begin(&key()).unwrap()), ["c1", "x"]);
    }

    #[test]
    fn nothing_is_kept_of_an_app_that_is_gone_with_all_it_owned() {
        let world = settled();
        world.record(&Event::Apply(config_map(2, None)));
        world.record(&Event::Delete(app(3, None)));
        assert!(world.begin(&key()).is_none());
        world.record(&Event::Delete(config_map(4, None)));
        assert!(world.lock().entries.is_empty());
    }
}
