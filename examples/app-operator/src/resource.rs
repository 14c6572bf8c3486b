//! The custom resource `App`.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A service of some replicas that listen on one port, with its configuration.
#[derive(CustomResource, Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "example.cascade.dev",
    version = "v1",
    kind = "App",
    namespaced,
    status = "AppStatus",
    doc = "A service of some replicas that listen on one port, with its configuration",
    printcolumn = r#"{"name":"Image", "type":"string", "jsonPath":".spec.image"}"#,
    printcolumn = r#"{"name":"Replicas", "type":"integer", "jsonPath":".spec.replicas"}"#,
    printcolumn = r#"{"name":"Ready", "type":"integer", "jsonPath":".status.readyReplicas"}"#,
    printcolumn = r#"{"name":"URL", "type":"string", "jsonPath":".status.url"}"#
)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AppSpec {
    /// The container image.
    pub(crate) image: String,
    /// How many pods are to run.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 1000))]
    pub(crate) replicas: i32,
    /// The port that the container listens on and the Service offers.
    #[schemars(range(min = 1, max = 65535))]
    pub(crate) port: i32,
    /// Entries of the ConfigMap that the container gets as environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) config: BTreeMap<String, String>,
    /// Annotations of the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) pod_annotations: BTreeMap<String, String>,
}

fn one() -> i32 {
    1
}

/// What the operator has seen of an `App`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AppStatus {
    /// `metadata.generation` of the App that this status is about.
    pub(crate) observed_generation: Option<i64>,
    /// Ready pods, as the Deployment counts them.
    #[serde(default)]
    pub(crate) ready_replicas: i32,
    /// `Available`: whether all replicas are ready at this generation.
    #[serde(default)]
    pub(crate) conditions: Vec<AppCondition>,
    /// Where the Service is reached inside the cluster.
    pub(crate) url: Option<String>,
}

/// A condition, with the fields that Kubernetes' API conventions ask for.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AppCondition {
    /// `Available`.
    pub(crate) r#type: String,
    /// `True`, `False` or `Unknown`.
    pub(crate) status: String,
    /// Why, in one word.
    pub(crate) reason: String,
    /// Why, for a person.
    pub(crate) message: String,
    /// When `status` changed last, RFC 3339.
    pub(crate) last_transition_time: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::CustomResourceExt;

    #[test]
    fn the_definition_has_a_status_subresource_and_the_names_of_the_manifests() {
        let crd = serde_json::to_value(App::crd()).unwrap();
        assert_eq!(crd["metadata"]["name"], "apps.example.cascade.dev");
        let version = &crd["spec"]["versions"][0];
        // Without it a status write would raise metadata.generation, and the operator would react
        // to its own status for ever.
        assert!(version["subresources"]["status"].is_object());
        let spec = &version["schema"]["openAPIV3Schema"]["properties"]["spec"];
        assert_eq!(spec["required"], serde_json::json!(["image", "port"]));
        assert!(spec["properties"]["podAnnotations"].is_object());
    }

    #[test]
    fn a_manifest_needs_only_image_and_port() {
        let spec: AppSpec =
            serde_json::from_value(serde_json::json!({"image": "web:1", "port": 80})).unwrap();
        assert_eq!((spec.replicas, spec.config.len()), (1, 0));
    }
}
