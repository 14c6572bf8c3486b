//! What an object says about others: uids, and references by name.

use cascade_proto::tables::{NameRef, Object};

use super::node::{Map, Node};
use super::value::Value;

/// Length of a uid: 8-4-4-4-12 hexadecimal digits.
const UID_LENGTH: usize = 36;
const UID_HYPHENS: [usize; 4] = [8, 13, 18, 23];

/// Kinds without a namespace; others live in the namespace of the object that names them, unless
/// the reference states one.
const CLUSTER_SCOPED: &[&str] = &[
    "APIService",
    "CSIDriver",
    "ClusterRole",
    "ClusterTrustBundle",
    "CustomResourceDefinition",
    "DeviceClass",
    "IngressClass",
    "MutatingAdmissionPolicy",
    "Namespace",
    "Node",
    "PersistentVolume",
    "PriorityClass",
    "PriorityLevelConfiguration",
    "RuntimeClass",
    "StorageClass",
    "ValidatingAdmissionPolicy",
    "VolumeAttributesClass",
];

/// Fields that hold the name of an object, in Kubernetes' own kinds and, by convention or because
/// they embed Kubernetes' types, in custom resources.
const NAME_FIELDS: &[(&str, &str)] = &[
    ("claimName", "PersistentVolumeClaim"),
    ("configMapName", "ConfigMap"),
    ("deviceClassName", "DeviceClass"),
    ("ingressClassName", "IngressClass"),
    ("persistentVolumeName", "PersistentVolume"),
    ("priorityClassName", "PriorityClass"),
    ("resourceClaimName", "ResourceClaim"),
    ("resourceClaimTemplateName", "ResourceClaimTemplate"),
    ("runtimeClassName", "RuntimeClass"),
    ("secretName", "Secret"),
    ("serviceAccountName", "ServiceAccount"),
    ("storageClassName", "StorageClass"),
    ("volumeAttributesClassName", "VolumeAttributesClass"),
];

/// Such fields whose name says too little outside of Kubernetes' own kinds.
const BUILT_IN_NAME_FIELDS: &[(&str, &str)] = &[
    ("podName", "Pod"),
    ("serviceName", "Service"),
    ("volumeName", "PersistentVolume"),
];

/// Fields that hold a map, or a list of maps, with the `name` of an object whose kind the field's
/// name tells.
const MAP_FIELDS: &[(&str, &str)] = &[
    ("configMap", "ConfigMap"),
    ("configMapKeyRef", "ConfigMap"),
    ("configMapRef", "ConfigMap"),
    ("imagePullSecrets", "Secret"),
    ("secret", "Secret"),
    ("secretKeyRef", "Secret"),
    ("secretRef", "Secret"),
];

/// Such fields in Kubernetes' own kinds only.
const BUILT_IN_MAP_FIELDS: &[(&str, &str)] = &[
    ("priorityLevelConfiguration", "PriorityLevelConfiguration"),
    ("secrets", "Secret"),
    ("service", "Service"),
];

/// Names in labels and annotations: kind of the object that has it, its key, kind named.
const LABEL_NAMES: &[(&str, &str, &str)] =
    &[("EndpointSlice", "kubernetes.io/service-name", "Service")];
const ANNOTATION_NAMES: &[(&str, &str, &str)] = &[
    (
        "PersistentVolumeClaim",
        "volume.kubernetes.io/selected-node",
        "Node",
    ),
    (
        "Secret",
        "kubernetes.io/service-account.name",
        "ServiceAccount",
    ),
];

/// Fills in `related_uids` and `name_refs`; identity and owners must be there already.
pub(super) fn fill(value: &Value<'_>, object: &mut Object) {
    let mut collector = Collector::new(value, object);
    for (name, node) in value.object.iter() {
        if !collector.is_content(name) {
            collector.walk(name, node);
        }
    }
    if let Some(metadata) = value.metadata() {
        collector.walk_metadata(metadata);
    }
    let Collector {
        mut uids,
        mut names,
        ..
    } = collector;

    let owners = object.owners.as_deref().unwrap_or_default();
    uids.retain(|uid| {
        object.uid.as_deref() != Some(uid) && owners.iter().all(|owner| owner.uid != *uid)
    });
    uids.sort_unstable();
    uids.dedup();
    names.sort_unstable();
    names.dedup();
    object.related_uids = Some(uids);
    object.name_refs = Some(names);
}

struct Collector<'o> {
    kind: &'o str,
    name: Option<&'o str>,
    namespace: Option<&'o str>,
    built_in: bool,
    uids: Vec<String>,
    names: Vec<NameRef>,
}

impl<'o> Collector<'o> {
    fn new(value: &'o Value<'_>, object: &'o Object) -> Self {
        let group = value.group().unwrap_or_default();
        let kind = value.kind.as_deref().unwrap_or_default();
        let metadata = value.metadata();
        Self {
            kind,
            name: metadata.and_then(|metadata| metadata.text("name")),
            namespace: object.namespace.as_deref(),
            built_in: value.known_kind.is_some() || group.ends_with(".k8s.io"),
            uids: Vec::new(),
            names: Vec::new(),
        }
    }

    /// Top-level fields that are not looked into: identity, and what users store in objects.
    fn is_content(&self, field: &str) -> bool {
        match field {
            "apiVersion" | "kind" | "metadata" => true,
            "data" | "binaryData" | "stringData" => {
                matches!(self.kind, "ConfigMap" | "ControllerRevision" | "Secret")
            }
            _ => false,
        }
    }

    fn walk(&mut self, field: &str, node: &Node<'_>) {
        match node {
            Node::Text(text) => {
                if holds_uid(field) {
                    self.add_uid(text);
                } else if let Some(kind) =
                    self.kind_of_field(field, NAME_FIELDS, BUILT_IN_NAME_FIELDS)
                {
                    self.add_name(kind, None, text);
                } else if field == "policyName" && self.built_in {
                    // A …PolicyBinding names its …Policy.
                    let kind = self.kind.trim_end_matches("Binding");
                    self.add_name(kind, None, text);
                }
            }
            Node::List(items) => {
                for item in items {
                    self.walk(field, item);
                }
            }
            // Schemas describe fields, they do not refer to anything.
            Node::Map(_) if field == "openAPIV3Schema" => {}
            // status.uncountedTerminatedPods of a Job: lists of Pods' uids.
            Node::Map(lists) if field == "uncountedTerminatedPods" => {
                let items = lists.iter().flat_map(|(_, list)| list.items());
                for uid in items.filter_map(Node::text) {
                    self.add_uid(uid);
                }
            }
            Node::Map(map) => {
                self.add_reference(field, map);
                for (name, inner) in map.iter() {
                    self.walk(name, inner);
                }
            }
            _ => {}
        }
    }

    fn walk_metadata(&mut self, metadata: &Map<'_>) {
        let fields = [("labels", LABEL_NAMES), ("annotations", ANNOTATION_NAMES)];
        for (field, names) in fields {
            let Some(texts) = metadata.get(field).and_then(Node::map) else {
                continue;
            };
            for (key, text) in texts
                .iter()
                .filter_map(|(key, text)| Some((key, text.text()?)))
            {
                if holds_uid(key) {
                    self.add_uid(text);
                }
                for (of, named_by, kind) in names {
                    if *named_by == key && *of == self.kind {
                        self.add_name(kind, None, text);
                    }
                }
            }
        }
        // Endpoints belong to the Service of the same name, and nothing in them says so.
        if self.kind == "Endpoints"
            && self.built_in
            && let Some(name) = self.name
        {
            self.add_name("Service", None, name);
        }
    }

    /// A map that names an object. One with a uid too is no reference by name only.
    fn add_reference(&mut self, field: &str, map: &Map<'_>) {
        let Some(name) = map.text("name") else {
            return;
        };
        if map.text("uid").is_some_and(is_uid) {
            return;
        }
        let stated = map.text("kind").filter(|kind| is_object_kind(kind));
        let kind = match stated {
            Some(kind) => kind,
            None => match self.kind_of_field(field, MAP_FIELDS, BUILT_IN_MAP_FIELDS) {
                Some(kind) => kind,
                None if field.ends_with("SecretRef") => "Secret",
                // IPAddress refers to its Service by resource.
                None if field == "parentRef" && map.text("resource") == Some("services") => {
                    "Service"
                }
                None => return,
            },
        };
        self.add_name(kind, map.text("namespace"), name);
    }

    fn kind_of_field(
        &self,
        field: &str,
        everywhere: &[(&str, &'static str)],
        built_in: &[(&str, &'static str)],
    ) -> Option<&'static str> {
        let built_in = if self.built_in { built_in } else { &[] };
        let mut rules = everywhere.iter().chain(built_in);
        rules.find_map(|(name, kind)| (*name == field).then_some(*kind))
    }

    fn add_uid(&mut self, text: &str) {
        if is_uid(text) {
            self.uids.push(text.to_owned());
        }
    }

    fn add_name(&mut self, kind: &str, stated_namespace: Option<&str>, name: &str) {
        if name.is_empty() {
            return;
        }
        let namespace = if CLUSTER_SCOPED.contains(&kind) {
            None
        } else {
            stated_namespace.or(self.namespace)
        };
        self.names.push(NameRef {
            kind: kind.to_owned(),
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        });
    }
}

/// Whether a field or label of this name holds a uid: `uid`, `fooUid`, `fooUID`, `foo-uid`,
/// `foo.uid`, and their plurals; not `fooUUID`, such as a machine's.
fn holds_uid(field: &str) -> bool {
    let singular = field.strip_suffix('s').unwrap_or(field);
    let Some(before) = ["uid", "Uid", "UID"]
        .iter()
        .find_map(|suffix| singular.strip_suffix(suffix))
    else {
        return false;
    };
    match before.chars().next_back() {
        None => true,
        // camelCase: `podUID`, not `systemUUID`; lowercase only after a separator: `fluid` is none.
        Some(last) if singular.ends_with("uid") => !last.is_alphanumeric(),
        Some(last) => last != 'U',
    }
}

/// Whether a text has the form of an object's uid.
fn is_uid(text: &str) -> bool {
    text.len() == UID_LENGTH
        && text.bytes().enumerate().all(|(index, byte)| {
            if UID_HYPHENS.contains(&index) {
                byte == b'-'
            } else {
                byte.is_ascii_hexdigit()
            }
        })
}

/// Kinds begin with an upper-case letter; users and groups are names, not objects.
fn is_object_kind(kind: &str) -> bool {
    kind.starts_with(|first: char| first.is_ascii_uppercase()) && kind != "User" && kind != "Group"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_hold_uids() {
        for field in [
            "uid",
            "uids",
            "podUID",
            "serviceAccountUID",
            "ownerUid",
            "batch.kubernetes.io/controller-uid",
            "kubernetes.io/service-account.uid",
            "UID",
        ] {
            assert!(holds_uid(field), "{field}");
        }
        for field in [
            "systemUUID",
            "fluid",
            "guid",
            "uuid",
            "bootID",
            "",
            "s",
            "uidRange",
        ] {
            assert!(!holds_uid(field), "{field}");
        }
    }

    #[test]
    fn uids_have_one_form() {
        assert!(is_uid("0a1b2c3d-1234-5678-9abc-def012345678"));
        assert!(!is_uid("0a1b2c3d-1234-5678-9abc-def01234567"));
        assert!(!is_uid("0a1b2c3d+1234-5678-9abc-def012345678"));
        assert!(!is_uid("0a1b2c3g-1234-5678-9abc-def012345678"));
        assert!(!is_uid(""));
    }
}
