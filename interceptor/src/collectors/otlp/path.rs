//! What the path of a request to kube-apiserver says, by the rules of its own `RequestInfo`
//! (k8s.io/apiserver/pkg/endpoints/request).

use super::span::bounded;

/// A resource, as a path names it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ResourcePath {
    /// API group; the core group is the empty text.
    pub(super) api_group: String,
    /// API version.
    pub(super) api_version: String,
    /// Resource, in the plural.
    pub(super) resource: String,
    /// Subresource, such as `status` or `binding`.
    pub(super) subresource: Option<String>,
    /// Namespace that the resource is in. That of a Namespace itself is `None`, as in `changes`.
    pub(super) namespace: Option<String>,
    /// Name of the object; `None` for a whole collection.
    pub(super) name: Option<String>,
}

/// What can follow the name of a namespace without being a resource in it.
const SUBRESOURCES_OF_NAMESPACES: [&str; 2] = ["status", "finalize"];
/// Old forms, where a verb stands before the resource.
const VERBS: [&str; 2] = ["watch", "proxy"];

/// Reads a request target: a path, possibly with a query. `None` when it names no resource.
pub(super) fn read(target: &str) -> Option<ResourcePath> {
    let path = target.split(['?', '#']).next()?;
    let mut parts = path.split('/').filter(|part| !part.is_empty()).map(decode);
    let api_group = match parts.next()?.as_str() {
        "api" => String::new(),
        "apis" => parts.next()?,
        _ => return None,
    };
    let api_version = parts.next()?;
    let mut first = parts.next()?;
    if VERBS.contains(&first.as_str()) {
        first = parts.next()?;
    }
    let mut found = ResourcePath {
        api_group,
        api_version,
        ..ResourcePath::default()
    };
    if first != "namespaces" {
        found.resource = first;
        found.name = parts.next();
        found.subresource = parts.next();
        return Some(found);
    }
    let namespace = parts.next();
    match parts.next() {
        Some(resource) if !SUBRESOURCES_OF_NAMESPACES.contains(&resource.as_str()) => {
            found.namespace = namespace;
            found.resource = resource;
            found.name = parts.next();
            found.subresource = parts.next();
        }
        subresource => {
            found.resource = first;
            found.name = namespace;
            found.subresource = subresource;
        }
    }
    Some(found)
}

/// Decodes percent-encoding. What is not right stays as it is: the row should say what was asked.
fn decode(part: &str) -> String {
    if !part.contains('%') {
        return bounded(part);
    }
    let mut decoded = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = (byte == b'%')
            .then(|| after.split_at_checked(2))
            .flatten()
            .and_then(|(digits, after)| Some((hex_byte(digits)?, after)));
        match escaped {
            Some((value, after_escape)) => {
                decoded.push(value);
                rest = after_escape;
            }
            None => {
                decoded.push(byte);
                rest = after;
            }
        }
    }
    match String::from_utf8(decoded) {
        Ok(decoded) => bounded(&decoded),
        Err(_) => bounded(part),
    }
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let [high, low] = digits else { return None };
    let value = |digit: u8| char::from(digit).to_digit(16);
    u8::try_from(value(*high)? * 16 + value(*low)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `group/version resource/name/subresource in namespace`, with `-` for what is not there.
    fn told(target: &str) -> String {
        let Some(path) = read(target) else {
            return "no resource".to_owned();
        };
        let text = |part: Option<String>| part.unwrap_or_else(|| "-".to_owned());
        format!(
            "{}/{} {}/{}/{} in {}",
            path.api_group,
            path.api_version,
            path.resource,
            text(path.name),
            text(path.subresource),
            text(path.namespace),
        )
    }

    #[test]
    fn paths_name_resources() {
        for (target, expected) in [
            (
                "/api/v1/namespaces/default/pods/web-1/binding",
                "/v1 pods/web-1/binding in default",
            ),
            (
                "/apis/apps/v1/namespaces/a/deployments/web/scale?timeout=10s",
                "apps/v1 deployments/web/scale in a",
            ),
            (
                "/apis/apps/v1/namespaces/a/deployments?limit=500",
                "apps/v1 deployments/-/- in a",
            ),
            ("/apis/apps/v1/deployments", "apps/v1 deployments/-/- in -"),
            (
                "/api/v1/nodes/node-1/status",
                "/v1 nodes/node-1/status in -",
            ),
            ("/api/v1/namespaces", "/v1 namespaces/-/- in -"),
            ("/api/v1/namespaces/a", "/v1 namespaces/a/- in -"),
            (
                "/api/v1/namespaces/a/finalize",
                "/v1 namespaces/a/finalize in -",
            ),
            (
                "/api/v1/namespaces/a/status",
                "/v1 namespaces/a/status in -",
            ),
            ("/api/v1/watch/namespaces/a/pods/web", "/v1 pods/web/- in a"),
            (
                "/api/v1/namespaces/a/services/https:web:443/proxy/deep/path",
                "/v1 services/https:web:443/proxy in a",
            ),
            (
                "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
                "rbac.authorization.k8s.io/v1 clusterroles/system:node/- in -",
            ),
            ("/api/v1/nodes/50%25%", "/v1 nodes/50%%/- in -"),
            ("/api/v1/nodes/%ff", "/v1 nodes/%ff/- in -"),
            ("/", "no resource"),
            ("", "no resource"),
            ("/healthz", "no resource"),
            ("/api", "no resource"),
            ("/api/v1", "no resource"),
            ("/apis/apps", "no resource"),
            ("/apis/apps/v1", "no resource"),
            ("/openapi/v2", "no resource"),
        ] {
            assert_eq!(told(target), expected, "{target}");
        }
    }

    proptest! {
        #[test]
        fn no_target_is_too_much(target in ".*") {
            let _ = read(&target);
        }

        #[test]
        fn what_was_put_together_is_taken_apart(
            group in "[a-z.]{1,20}", version in "v[1-9]", namespace in "[a-z-]{1,20}",
            resource in "[a-z]{1,20}", name in "[^/?#%\u{0}-\u{1f}]{1,40}", sub in "[a-z]{1,10}",
        ) {
            prop_assume!(!SUBRESOURCES_OF_NAMESPACES.contains(&resource.as_str()));
            let encoded: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let target =
                format!("/apis/{group}/{version}/namespaces/{namespace}/{resource}/{encoded}/{sub}");
            let path = read(&target).unwrap();
            prop_assert_eq!(path, ResourcePath {
                api_group: group,
                api_version: version,
                resource,
                subresource: Some(sub),
                namespace: Some(namespace),
                name: Some(name),
            });
        }
    }
}
