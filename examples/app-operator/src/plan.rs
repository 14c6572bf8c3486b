//! What a reconcile would write, as a function of what it has seen, without writing anything. It exists for the log of
//! writes ([`crate::inputs`]); `reconcile/tests.rs` holds it to what [`crate::reconcile`] does.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use serde::Serialize;
use serde_json::{Value, json};

use crate::desired::{self, MANAGER};
use crate::reconcile::FINALIZER;
use crate::resource::App;
use crate::world::Family;

/// Something that a reconcile writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Finalizer,
    ConfigMap,
    Service,
    Deployment,
    Status,
}

impl Target {
    /// The target of a write by its verb and kind, as the log names them.
    pub(crate) fn of(verb: &str, kind: &str) -> Self {
        match (verb, kind) {
            ("finalizer", _) => Self::Finalizer,
            ("status", _) => Self::Status,
            (_, "ConfigMap") => Self::ConfigMap,
            (_, "Service") => Self::Service,
            _ => Self::Deployment,
        }
    }
}

/// What would be written; `None` if everything is as it is to be.
pub(crate) fn outcome(family: &Family, target: Target) -> Option<Value> {
    let app = family.app.as_deref()?;
    if app.metadata.deletion_timestamp.is_some() {
        return clean_up(app, family, target);
    }
    match target {
        Target::Finalizer => {
            let has_it = app.finalizers().iter().any(|name| name == FINALIZER);
            (!has_it).then(|| json!("add"))
        }
        Target::ConfigMap => to_write(&desired::config_map(app), family.config_map.as_deref()),
        Target::Service => to_write(&desired::service(app), family.service.as_deref()),
        Target::Deployment => deployment(app, family),
        Target::Status => {
            let deployment = deployment_to_be(app, family);
            // The time of a change of the condition is that of the write, whatever led to it.
            let status = desired::status(app, deployment.as_ref(), "now");
            (app.status.as_ref() != Some(&status)).then(|| {
                // When the condition turned is copied from the status before, and no reason to write.
                let mut status = status;
                for condition in &mut status.conditions {
                    condition.last_transition_time.clear();
                }
                json!(status)
            })
        }
    }
}

fn clean_up(app: &App, family: &Family, target: Target) -> Option<Value> {
    fn remains<K: ResourceExt>(object: Option<&K>) -> bool {
        object.is_some_and(|object| object.meta().deletion_timestamp.is_none())
    }
    let is_due = match target {
        Target::Finalizer => {
            !family.owns_anything() && app.finalizers().iter().any(|name| name == FINALIZER)
        }
        Target::ConfigMap => remains(family.config_map.as_deref()),
        Target::Service => remains(family.service.as_deref()),
        Target::Deployment => remains(family.deployment.as_deref()),
        Target::Status => false,
    };
    is_due.then(|| json!("remove"))
}

fn to_write<K: Serialize>(object: &K, known: Option<&K>) -> Option<Value> {
    let desired = desired::to_apply(object).ok()?;
    let is_applied = known
        .and_then(|known| serde_json::to_value(known).ok())
        .is_some_and(|known| desired::is_applied(&desired, &known));
    (!is_applied).then_some(desired)
}

fn deployment(app: &App, family: &Family) -> Option<Value> {
    let config_map = config_map_to_be(app, family);
    to_write(
        &desired::deployment(app, &config_map),
        family.deployment.as_deref(),
    )
}

/// The ConfigMap as kube-apiserver will answer it: what others have added stays, and what the operator had
/// put there and no longer asks for goes.
fn config_map_to_be(app: &App, family: &Family) -> ConfigMap {
    let desired = desired::config_map(app);
    let Some(known) = family.config_map.as_deref() else {
        return desired;
    };
    if to_write(&desired, Some(known)).is_none() {
        return known.clone();
    }
    let ours = entries_of_ours(known);
    let mut data: BTreeMap<String, String> = known.data.clone().unwrap_or_default();
    data.retain(|entry, _| !ours.contains(entry));
    data.extend(desired.data.unwrap_or_default());
    ConfigMap {
        data: Some(data),
        ..known.clone()
    }
}

/// The entries that the operator applied, by the managed fields.
fn entries_of_ours(config_map: &ConfigMap) -> Vec<String> {
    let entries = config_map
        .managed_fields()
        .iter()
        .filter(|fields| fields.manager.as_deref() == Some(MANAGER))
        .filter_map(|fields| fields.fields_v1.as_ref()?.0.get("f:data")?.as_object())
        .flat_map(|data| data.keys());
    entries
        .filter_map(|entry| entry.strip_prefix("f:").map(str::to_owned))
        .collect()
}

/// The Deployment as kube-apiserver will answer it: one that is written has a generation that its status does not know yet.
fn deployment_to_be(app: &App, family: &Family) -> Option<Deployment> {
    let known = family.deployment.as_deref();
    if deployment(app, family).is_none() {
        return known.cloned();
    }
    let mut written = known.cloned().unwrap_or_default();
    written.metadata.generation = Some(written.metadata.generation.unwrap_or(0) + 1);
    Some(written)
}
