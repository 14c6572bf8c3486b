//! Makes the cluster be as an `App` says, carrying the CPIDs of the changes that led to it.
//!
//! One reconcile merges its sources once, before its first write, and everything that it writes
//! carries the result: as an annotation where the request can set one, and always as baggage.
//!
//! **An object is written only if what it says changes; a CPID alone is never written.** The paper's
//! prototype also writes when only the CPID differs. But such a write is itself a change, with its
//! own watch event, which starts a reconcile with the CPID it carries: operators that own each
//! other's objects would go round for ever, each with good reason. The price: an object that a change
//! leaves as it is keeps the CPID of the last change that did something to it, which is also what
//! one would expect to read there.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cascade_cpid::carriers::{CarrierError, KOC_ANNOTATION, koc};
use cascade_cpid::{ChangeContext, Merged};
use cascade_proto::wire::mergelog::Span;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::runtime::controller::Action;
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use uuid::Uuid;

use crate::baggage::with_cpid;
use crate::carrier::context_of;
use crate::client::{annotate, is_conflict, is_missing};
use crate::desired::{self, MANAGER};
use crate::plan::Target;
use crate::report::{Reporter, merge_record, wire};
use crate::resource::App;
use crate::world::{Key, Work, World};
use crate::write_log::{WriteLog, Written};

/// Keeps a deleted `App` until the operator has deleted what it owned, so that these deletions too
/// are made by someone who knows what caused them. The garbage collector knows no CPIDs.
pub(crate) const FINALIZER: &str = "example.cascade.dev/owned-objects";

/// How often an `App` is looked at without any event.
const RESYNC: Duration = Duration::from_secs(600);

/// What all reconciles share.
pub(crate) struct Operator {
    pub(crate) client: Client,
    pub(crate) world: Arc<World>,
    pub(crate) log: WriteLog,
    pub(crate) reporter: Reporter,
    pub(crate) keep_ancestors: usize,
}

/// Why a reconcile did not reach its end. Its contexts wait for the next attempt.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReconcileError {
    #[error("{0}")]
    Kube(#[from] kube::Error),
    #[error("{kind} {key} exists already and does not belong to this App; delete one of the two")]
    NotOurs { kind: String, key: Key },
    #[error("{0}")]
    Carrier(#[from] CarrierError),
    #[error("{0}")]
    Json(#[from] serde_json::Error),
}

/// Reconciles one `App`. kube hands on its newest version, but what counts is what [`World`] says:
/// see there.
pub(crate) async fn reconcile(
    app: Arc<App>,
    operator: Arc<Operator>,
) -> Result<Action, ReconcileError> {
    let key = Key::of(&*app);
    let Some(work) = operator.world.begin(&key) else {
        return Ok(Action::await_change());
    };
    let mut reconcile = Reconcile {
        operator: &operator,
        key,
        work,
        span_id: Uuid::new_v4().to_string(),
        begun: SystemTime::now(),
    };
    let result = if reconcile.work.app.metadata.deletion_timestamp.is_some() {
        reconcile.clean_up().await
    } else {
        reconcile.converge().await
    };
    reconcile.report_span();
    result?;
    reconcile.work.finish();
    Ok(Action::requeue(RESYNC))
}

/// When to try again: soon if the cache was only a little behind.
pub(crate) fn retry(_: Arc<App>, error: &ReconcileError, _: Arc<Operator>) -> Action {
    match error {
        ReconcileError::Kube(error) if is_conflict(error) => {
            Action::requeue(Duration::from_millis(100))
        }
        _ => Action::requeue(Duration::from_secs(5)),
    }
}

struct Reconcile<'a> {
    operator: &'a Operator,
    key: Key,
    work: Work,
    span_id: String,
    begun: SystemTime,
}

impl Reconcile<'_> {
    async fn converge(&mut self) -> Result<(), ReconcileError> {
        self.add_finalizer().await?;
        let app = Arc::clone(&self.work.app);
        let family = self.work.family.clone();
        let config_map = self
            .apply(&desired::config_map(&app), family.config_map)
            .await?;
        self.apply(&desired::service(&app), family.service).await?;
        let deployment = desired::deployment(&app, &config_map);
        let deployment = self.apply(&deployment, family.deployment).await?;

        let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
        let status = desired::status(&app, Some(&deployment), &now.to_string());
        if app.status.as_ref() != Some(&status) {
            // The annotation cannot go along: in the status request of a custom resource
            // kube-apiserver ignores all metadata. The baggage does.
            let patch = Patch::Merge(json!({"status": status}));
            let api = self.api::<App>();
            let parameters = PatchParams {
                field_manager: Some(MANAGER.to_owned()),
                ..PatchParams::default()
            };
            let context = self.context();
            let request = async { api.patch_status(&self.key.name, &parameters, &patch).await };
            self.write("status", context.as_ref(), Some(&*app), request)
                .await?;
        }
        Ok(())
    }

    /// Deletes what the `App` owns; when nothing is left, lets the `App` go. Each event of a
    /// deletion brings us back here, with the last context of the deleted object.
    async fn clean_up(&mut self) -> Result<(), ReconcileError> {
        let family = self.work.family.clone();
        self.delete(family.deployment).await?;
        self.delete(family.service).await?;
        self.delete(family.config_map).await?;
        if self.work.family.owns_anything() {
            return Ok(());
        }
        let others = self
            .work
            .app
            .finalizers()
            .iter()
            .filter(|name| *name != FINALIZER);
        let others: Vec<String> = others.cloned().collect();
        self.set_finalizers(others).await
    }

    async fn add_finalizer(&mut self) -> Result<(), ReconcileError> {
        let mut finalizers = self.work.app.finalizers().to_vec();
        if finalizers.iter().any(|name| name == FINALIZER) {
            return Ok(());
        }
        finalizers.push(FINALIZER.to_owned());
        self.set_finalizers(finalizers).await
    }

    async fn set_finalizers(&mut self, finalizers: Vec<String>) -> Result<(), ReconcileError> {
        let app = Arc::clone(&self.work.app);
        if app.finalizers() == finalizers {
            return Ok(());
        }
        let context = self.context();
        let mut patch = json!({"metadata": {
            "finalizers": finalizers,
            // The list is replaced as a whole: it must be the one that we have seen.
            "resourceVersion": app.resource_version(),
        }});
        if let Some(context) = &context {
            annotate(&mut patch, context)?;
        }
        let api = self.api::<App>();
        let parameters = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let request = async {
            api.patch(&self.key.name, &parameters, &Patch::Merge(patch))
                .await
        };
        self.write("finalizer", context.as_ref(), Some(&*app), request)
            .await?;
        Ok(())
    }

    /// Applies an owned object, if it is not yet as it is to be, and returns what is stored then.
    async fn apply<K: Owned>(
        &mut self,
        object: &K,
        known: Option<Arc<K>>,
    ) -> Result<Arc<K>, ReconcileError> {
        let mut desired = desired::to_apply(object)?;
        let api = self.api::<K>();
        let known = match known {
            Some(known) => Some(known),
            // Not in the cache: it is new, or the cache is behind, or it is somebody else's.
            None => api.get_opt(&self.key.name).await?.map(Arc::new),
        };
        if let Some(known) = &known {
            self.check_ours(&**known)?;
            if desired::is_applied(&desired, &serde_json::to_value(&**known)?) {
                return Ok(Arc::clone(known));
            }
            // Applying by force overwrites; this makes it a conflict if we have not seen what.
            desired["metadata"]["resourceVersion"] = json!(known.resource_version());
        }
        let context = self.context();
        if let Some(context) = &context {
            annotate(&mut desired, context)?;
        } else if let Some(inherited) = known.as_deref().and_then(context_of) {
            // Nothing traced led here. Leaving the annotation out would remove it.
            desired["metadata"]["annotations"][KOC_ANNOTATION] = json!(koc::write(&inherited)?);
        }
        let parameters = PatchParams::apply(MANAGER).force();
        let request = async {
            api.patch(&self.key.name, &parameters, &Patch::Apply(&desired))
                .await
        };
        let stored = self
            .write("apply", context.as_ref(), known.as_deref(), request)
            .await?;
        Ok(Arc::new(stored))
    }

    /// Two Apps, or an App and a person, may want the same name.
    fn check_ours<K: Owned>(&self, object: &K) -> Result<(), ReconcileError> {
        let owner = object
            .owner_references()
            .iter()
            .find(|owner| owner.controller == Some(true));
        if owner.is_some() && owner.map(|owner| &owner.uid) == self.work.app.metadata.uid.as_ref() {
            return Ok(());
        }
        Err(ReconcileError::NotOurs {
            kind: K::kind(&()).into_owned(),
            key: self.key.clone(),
        })
    }

    async fn delete<K: Owned>(&mut self, object: Option<Arc<K>>) -> Result<(), ReconcileError> {
        let Some(object) = object else { return Ok(()) };
        if object.meta().deletion_timestamp.is_some() {
            return Ok(());
        }
        let context = self.context();
        let same = Preconditions {
            uid: object.uid(),
            ..Preconditions::default()
        };
        let parameters = DeleteParams::background().preconditions(same);
        let api = self.api::<K>();
        let begun = SystemTime::now();
        let result = with_cpid(context.as_ref(), api.delete(&self.key.name, &parameters)).await;
        self.report_write_span(context.as_ref(), "delete", &K::kind(&()), begun);
        let before = context_of(&*object);
        let kind = K::kind(&());
        let written = self.written("delete", &kind, before.as_ref(), context.as_ref());
        match result {
            Ok(_) => self.operator.log.deleted(&written, object.uid().as_deref()),
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(self.refused(&written, error)),
        }
        Ok(())
    }

    /// Sends a write, with the CPID as baggage, and logs how it ended.
    async fn write<K>(
        &self,
        verb: &'static str,
        context: Option<&ChangeContext>,
        known: Option<&K>,
        request: impl Future<Output = Result<K, kube::Error>>,
    ) -> Result<K, ReconcileError>
    where
        K: Resource<DynamicType = ()>,
    {
        let kind = K::kind(&());
        let mut before = known.and_then(context_of);
        let begun = SystemTime::now();
        let result = with_cpid(context, request).await;
        if verb == "status"
            && let Ok(stored) = &result
        {
            // Nothing but the status can have changed, whatever the cache knew.
            before = context_of(stored);
        }
        self.report_write_span(context, verb, &kind, begun);
        let written = self.written(verb, &kind, before.as_ref(), context);
        match result {
            Ok(stored) => {
                if stored.meta().deletion_timestamp.is_some() && stored.finalizers().is_empty() {
                    // Removing the last finalizer deletes; the answer is the object as it was.
                    self.operator.log.deleted(&written, stored.uid().as_deref());
                    return Ok(stored);
                }
                let known_revision = known.and_then(ResourceExt::resource_version);
                let unchanged = stored.resource_version() == known_revision;
                self.operator.log.written(&written, &stored, unchanged);
                Ok(stored)
            }
            Err(error) => Err(self.refused(&written, error)),
        }
    }

    fn refused(&self, written: &Written<'_>, error: kube::Error) -> ReconcileError {
        if is_conflict(&error) {
            self.operator.log.conflict(written);
        }
        error.into()
    }

    fn written<'b>(
        &'b self,
        verb: &'static str,
        kind: &'b str,
        before: Option<&'b ChangeContext>,
        sent: Option<&'b ChangeContext>,
    ) -> Written<'b> {
        Written {
            verb,
            kind,
            namespace: &self.key.namespace,
            name: &self.key.name,
            before,
            sent,
            sources: self
                .work
                .sources()
                .map(|source| source.cpid.as_str())
                .collect(),
            inputs: self.work.inputs.revisions(),
            triggers: self.work.inputs.triggers(Target::of(verb, kind)),
        }
    }

    /// What everything that this reconcile writes carries. The first call may make a new CPID; its
    /// mergelog is on its way before the first write that carries it.
    fn context(&mut self) -> Option<ChangeContext> {
        let Operator {
            log,
            reporter,
            keep_ancestors,
            ..
        } = self.operator;
        let key = &self.key;
        self.work.context(*keep_ancestors, |merged| {
            if let Merged::New {
                context,
                source_cpids,
            } = merged
            {
                log.merged(context, source_cpids);
                reporter.mergelog(merge_record(
                    MANAGER,
                    context,
                    source_cpids,
                    &format!("reconcile of App {key}"),
                ));
            }
        })
    }

    /// Reports the whole reconcile as a span, if it had anything to write and a CPID for it:
    /// reconciles that only look would fill the trace server with nothing.
    fn report_span(&mut self) {
        if self.work.has_merged()
            && let Some(context) = self.context()
        {
            self.operator.reporter.span(Span {
                span_id: self.span_id.clone(),
                ..self.span(&context, "reconcile", "App", self.begun)
            });
        }
    }

    fn report_write_span(
        &self,
        context: Option<&ChangeContext>,
        verb: &str,
        kind: &str,
        begun: SystemTime,
    ) {
        if let Some(context) = context {
            self.operator.reporter.span(Span {
                span_id: Uuid::new_v4().to_string(),
                parent_id: self.span_id.clone(),
                ..self.span(context, verb, kind, begun)
            });
        }
    }

    fn span(&self, context: &ChangeContext, message: &str, kind: &str, begun: SystemTime) -> Span {
        Span {
            cpid: Some(wire(&context.cpid)),
            start_time: Some(begun.into()),
            end_time: Some(SystemTime::now().into()),
            service: MANAGER.to_owned(),
            object_kind: kind.to_owned(),
            object_name: self.key.to_string(),
            message: message.to_owned(),
            ..Span::default()
        }
    }

    fn api<K: Owned>(&self) -> Api<K> {
        Api::namespaced(self.operator.client.clone(), &self.key.namespace)
    }
}

/// A kind that is read and written in the `App`'s namespace.
trait Owned:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
{
}

impl<K> Owned for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
{
}

#[cfg(test)]
mod tests;
