//! What an `App` asks for: its ConfigMap, Service, Deployment and status, as pure functions.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec};
use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapEnvSource, Container, ContainerPort, EnvFromSource, PodSpec,
    PodTemplateSpec, Service, ServicePort, ServiceSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::{Resource, ResourceExt};
use serde_json::Value;

use crate::resource::{App, AppCondition, AppStatus};

/// The field manager of everything that the operator writes, and the value of the label
/// `app.kubernetes.io/managed-by` on what it owns.
pub(crate) const MANAGER: &str = "app-operator";

/// Selects what the operator owns.
pub(crate) const OWNED_SELECTOR: &str = "app.kubernetes.io/managed-by=app-operator";

/// Says what was asked for when the object was last applied, so that a field that is no longer
/// asked for is noticed: it is in the stored object, but in nothing to compare it with.
pub(crate) const DESIRED_HASH: &str = "example.cascade.dev/desired-hash";

/// On the pods: the hash of the ConfigMap that they were started with.
pub(crate) const CONFIG_HASH: &str = "example.cascade.dev/config-hash";

/// The ConfigMap of an `App`. Others may add entries to it; the pods get these as well.
pub(crate) fn config_map(app: &App) -> ConfigMap {
    ConfigMap {
        metadata: metadata(app),
        data: Some(app.spec.config.clone()),
        ..ConfigMap::default()
    }
}

/// The Service of an `App`.
pub(crate) fn service(app: &App) -> Service {
    Service {
        metadata: metadata(app),
        spec: Some(ServiceSpec {
            selector: Some(selector(app)),
            ports: Some(vec![ServicePort {
                name: Some("http".to_owned()),
                port: app.spec.port,
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// The Deployment of an `App`, whose pods are to run with the stored ConfigMap `config`: another
/// content makes other pods.
pub(crate) fn deployment(app: &App, config: &ConfigMap) -> Deployment {
    let content: Vec<_> = config.data.iter().flatten().collect();
    let mut pod_annotations = app.spec.pod_annotations.clone();
    pod_annotations.insert(CONFIG_HASH.to_owned(), hash(&format!("{content:?}")));
    let container = Container {
        name: "app".to_owned(),
        image: Some(app.spec.image.clone()),
        ports: Some(vec![ContainerPort {
            name: Some("http".to_owned()),
            container_port: app.spec.port,
            ..ContainerPort::default()
        }]),
        env_from: Some(vec![EnvFromSource {
            config_map_ref: Some(ConfigMapEnvSource {
                name: app.name_any(),
                ..ConfigMapEnvSource::default()
            }),
            ..EnvFromSource::default()
        }]),
        ..Container::default()
    };
    Deployment {
        metadata: metadata(app),
        spec: Some(DeploymentSpec {
            replicas: Some(app.spec.replicas),
            selector: LabelSelector {
                match_labels: Some(selector(app)),
                ..LabelSelector::default()
            },
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(selector(app)),
                    annotations: Some(pod_annotations),
                    ..ObjectMeta::default()
                }),
                spec: Some(PodSpec {
                    containers: vec![container],
                    ..PodSpec::default()
                }),
            },
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

/// The status of an `App` whose Deployment is `deployment`; `now` (RFC 3339) is used only if the
/// condition changes.
pub(crate) fn status(app: &App, deployment: Option<&Deployment>, now: &str) -> AppStatus {
    let seen = deployment.and_then(|deployment| deployment.status.clone());
    let seen = seen.unwrap_or_default();
    let ready_replicas = seen.ready_replicas.unwrap_or(0);
    let generation = deployment.and_then(|deployment| deployment.metadata.generation);
    let rolled_out = generation.is_some()
        && seen.observed_generation == generation
        && seen.updated_replicas.unwrap_or(0) == app.spec.replicas
        && seen.replicas.unwrap_or(0) == app.spec.replicas
        && ready_replicas == app.spec.replicas;
    let mut available = AppCondition {
        r#type: "Available".to_owned(),
        status: if rolled_out { "True" } else { "False" }.to_owned(),
        reason: if rolled_out {
            "RolledOut"
        } else {
            "RollingOut"
        }
        .to_owned(),
        message: format!(
            "{ready_replicas} of {} replicas are ready",
            app.spec.replicas
        ),
        last_transition_time: now.to_owned(),
    };
    let before = app.status.iter().flat_map(|status| &status.conditions);
    if let Some(before) = before
        .filter(|condition| condition.r#type == available.r#type)
        .find(|condition| condition.status == available.status)
    {
        available
            .last_transition_time
            .clone_from(&before.last_transition_time);
    }
    AppStatus {
        observed_generation: app.metadata.generation,
        ready_replicas,
        conditions: vec![available],
        url: Some(format!(
            "http://{}.{}.svc:{}",
            app.name_any(),
            app.namespace().unwrap_or_default(),
            app.spec.port
        )),
    }
}

/// An owned object as it is to be applied: with the hash of what is asked for, but without a CPID.
///
/// # Errors
/// The object cannot be written as JSON, which no object of this module causes.
pub(crate) fn to_apply(object: &impl serde::Serialize) -> Result<Value, serde_json::Error> {
    let mut value = serde_json::to_value(object)?;
    let hash = hash(&value.to_string());
    value["metadata"]["annotations"][DESIRED_HASH] = Value::String(hash);
    Ok(value)
}

/// Whether a stored object is as it is to be applied: all that is asked for is there, and nothing
/// is there only because an earlier apply asked for it. Defaults that kube-apiserver has filled in
/// and what others have added do not count, and neither does the CPID.
pub(crate) fn is_applied(desired: &Value, stored: &Value) -> bool {
    match (desired, stored) {
        (Value::Object(desired), Value::Object(stored)) => desired.iter().all(|(key, value)| {
            value.is_null() || is_applied(value, stored.get(key).unwrap_or(&Value::Null))
        }),
        (Value::Array(desired), Value::Array(stored)) => {
            desired.len() == stored.len()
                && desired
                    .iter()
                    .zip(stored)
                    .all(|(desired, stored)| is_applied(desired, stored))
        }
        // An empty map is not stored.
        (Value::Object(desired), Value::Null) => desired.is_empty(),
        (desired, stored) => desired == stored,
    }
}

/// Name, labels and owner of everything that belongs to an `App`. All have the App's name.
fn metadata(app: &App) -> ObjectMeta {
    let mut labels = selector(app);
    labels.insert(
        "app.kubernetes.io/managed-by".to_owned(),
        MANAGER.to_owned(),
    );
    ObjectMeta {
        name: app.metadata.name.clone(),
        namespace: app.metadata.namespace.clone(),
        labels: Some(labels),
        // The last resort if an App goes without its finalizer: then the garbage collector deletes.
        owner_references: app.controller_owner_ref(&()).map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}

fn selector(app: &App) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("app.kubernetes.io/name".to_owned(), "app".to_owned()),
        ("app.kubernetes.io/instance".to_owned(), app.name_any()),
    ])
}

/// FNV-1a of 64 bits, in hex: the same in every version of this program, unlike Rust's own hasher.
fn hash(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn app() -> App {
        serde_json::from_value(json!({
            "apiVersion": "example.cascade.dev/v1", "kind": "App",
            "metadata": {"name": "shop", "namespace": "demo", "uid": "u-1", "generation": 3},
            "spec": {"image": "shop:1", "replicas": 2, "port": 8080, "config": {"COLOUR": "red"}},
        }))
        .unwrap()
    }

    #[test]
    fn everything_has_the_apps_name_and_is_controlled_by_it() {
        let app = app();
        let config = config_map(&app);
        let objects = [
            serde_json::to_value(&config).unwrap(),
            serde_json::to_value(service(&app)).unwrap(),
            serde_json::to_value(deployment(&app, &config)).unwrap(),
        ];
        for object in objects {
            let metadata = &object["metadata"];
            assert_eq!(
                (&metadata["name"], &metadata["namespace"]),
                (&json!("shop"), &json!("demo"))
            );
            let owner = &metadata["ownerReferences"][0];
            assert_eq!(
                (&owner["uid"], &owner["controller"]),
                (&json!("u-1"), &json!(true))
            );
            let (label, value) = OWNED_SELECTOR.split_once('=').unwrap();
            assert_eq!(metadata["labels"][label], value);
        }
    }

    #[test]
    fn the_service_finds_the_pods() {
        let app = app();
        let deployment = deployment(&app, &config_map(&app)).spec.unwrap();
        let pods = deployment.template.metadata.unwrap().labels;
        assert_eq!(service(&app).spec.unwrap().selector, pods);
        assert_eq!(deployment.selector.match_labels, pods);
    }

    #[test]
    fn another_stored_configuration_makes_other_pods() {
        let app = app();
        let mut config = config_map(&app);
        let before = deployment(&app, &config);
        config
            .data
            .as_mut()
            .unwrap()
            .insert("ADDED".to_owned(), "by somebody".to_owned());
        assert_ne!(deployment(&app, &config), before);
        config.metadata.resource_version = Some("another revision alone does not".to_owned());
        config.data.as_mut().unwrap().remove("ADDED");
        assert_eq!(deployment(&app, &config), before);
    }

    /// What kube-apiserver stores of what was applied: more.
    fn stored(applied: &Value) -> Value {
        let mut stored = applied.clone();
        stored["metadata"]["uid"] = json!("u-2");
        stored["metadata"]["annotations"]["eppppi.github.io/koc"] = json!("{}");
        stored["spec"]["strategy"] = json!({"type": "RollingUpdate"});
        stored["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = json!("Always");
        stored["status"] = json!({"replicas": 2});
        stored
    }

    #[test]
    fn defaults_and_the_cpid_are_no_difference() {
        let app = app();
        let desired = to_apply(&deployment(&app, &config_map(&app))).unwrap();
        assert!(is_applied(&desired, &stored(&desired)));
    }

    /// Else an App without configuration would be applied, and a CPID made for it, again and again.
    #[test]
    fn an_empty_map_is_not_stored() {
        let mut app = app();
        app.spec.config.clear();
        let desired = to_apply(&config_map(&app)).unwrap();
        let mut stored = desired.clone();
        stored.as_object_mut().unwrap().remove("data");
        assert!(is_applied(&desired, &stored));
        assert!(!is_applied(
            &to_apply(&config_map(&self::app())).unwrap(),
            &stored
        ));
    }

    #[test]
    fn what_is_asked_for_or_no_longer_asked_for_is_a_difference() {
        let mut app = app();
        let before = to_apply(&deployment(&app, &config_map(&app))).unwrap();
        let stored = stored(&before);
        let mut drifted = stored.clone();
        drifted["spec"]["replicas"] = json!(7);
        assert!(!is_applied(&before, &drifted), "somebody scaled it");

        app.spec
            .pod_annotations
            .insert("a".to_owned(), "b".to_owned());
        let more = to_apply(&deployment(&app, &config_map(&app))).unwrap();
        assert!(!is_applied(&more, &stored));
        assert!(
            !is_applied(&before, &self::stored(&more)),
            "an annotation is to go"
        );
    }

    #[test]
    fn the_status_is_available_only_when_this_generation_is_rolled_out() {
        let app = app();
        let seen = |observed: i64, updated: i32, ready: i32| -> Deployment {
            serde_json::from_value(json!({
                "metadata": {"generation": 5}, "spec": {"selector": {}, "template": {}},
                "status": {"observedGeneration": observed, "replicas": 2, "updatedReplicas": updated, "readyReplicas": ready},
            }))
            .unwrap()
        };
        let available = |deployment: &Deployment| {
            let status = status(&app, Some(deployment), "now");
            status.conditions[0].status.clone()
        };
        assert_eq!(available(&seen(5, 2, 2)), "True");
        assert_eq!(
            available(&seen(4, 2, 2)),
            "False",
            "counts of an older generation"
        );
        assert_eq!(
            available(&seen(5, 1, 2)),
            "False",
            "an old pod is among the ready ones"
        );
        assert_eq!(available(&seen(5, 2, 1)), "False");
        assert_eq!(status(&app, None, "now").ready_replicas, 0);
    }

    #[test]
    fn a_status_that_says_the_same_is_equal_at_any_time() {
        let mut app = app();
        app.status = Some(status(&app, None, "first"));
        assert_eq!(status(&app, None, "later"), app.status.clone().unwrap());
        assert_eq!(
            app.status.unwrap().url.unwrap(),
            "http://shop.demo.svc:8080"
        );
    }
}
