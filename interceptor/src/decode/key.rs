//! What an etcd key says about the object stored under it.

/// Resources whose key prefix is not their API plural (kube-apiserver's special default prefixes).
const SPECIAL_PREFIXES: &[(&[&str], &str)] = &[
    (&["minions"], "nodes"),
    (&["services", "specs"], "services"),
    (&["services", "endpoints"], "endpoints"),
    (&["controllers"], "replicationcontrollers"),
    (&["ingress"], "ingresses"),
];

/// A key of kube-apiserver, taken apart: `/<prefix>/[<group>/]<resource>/[<namespace>/]<name>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoredKey<'a> {
    /// The group in the key: of custom resources and of aggregated API servers. Built-in
    /// resources have none there.
    pub group: Option<&'a str>,
    /// The resource as the API names it: a lowercase plural.
    pub resource: &'a str,
    /// All that follows the resource: `namespace/name` or `name`.
    pub rest: &'a str,
}

impl<'a> StoredKey<'a> {
    /// Takes a key apart. `prefix` is kube-apiserver's `--etcd-prefix`; a key outside it is read
    /// as if its first segment were the prefix. `value_group` is the API group found in the value:
    /// it tells a group without a dot from a resource.
    ///
    /// `None` for keys that kube-apiserver does not make for objects, such as `compact_rev_key`.
    #[must_use]
    pub fn parse(key: &'a [u8], prefix: &str, value_group: Option<&str>) -> Option<Self> {
        let path = without_prefix(std::str::from_utf8(key).ok()?, prefix)?;
        let (group, resource_path) = match path.split_once('/') {
            Some((first, rest))
                if first.contains('.') || value_group.is_some_and(|group| group == first) =>
            {
                (Some(first), rest)
            }
            _ => (None, path),
        };
        if group.is_none() {
            for (segments, resource) in SPECIAL_PREFIXES {
                if let Some(rest) = strip_segments(resource_path, segments) {
                    return Some(Self {
                        group,
                        resource,
                        rest,
                    });
                }
            }
        }
        let (resource, rest) = resource_path.split_once('/')?;
        if resource.is_empty() || rest.is_empty() {
            return None;
        }
        Some(Self {
            group,
            resource,
            rest,
        })
    }

    /// Namespace and name by the number of segments alone; for values that cannot be read.
    #[must_use]
    pub fn namespace_and_name(&self) -> (Option<&'a str>, &'a str) {
        match self.rest.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, self.rest),
        }
    }
}

/// The part of `key` after `/<prefix>/`.
fn without_prefix<'a>(key: &'a str, prefix: &str) -> Option<&'a str> {
    let path = key.strip_prefix('/')?;
    let prefix = prefix.trim_matches('/');
    if let Some(rest) = path.strip_prefix(prefix)
        && let Some(rest) = rest.strip_prefix('/')
    {
        return Some(rest);
    }
    path.split_once('/').map(|(_, rest)| rest)
}

/// What follows `segments` in `path`, if anything does.
fn strip_segments<'a>(path: &'a str, segments: &[&str]) -> Option<&'a str> {
    let mut rest = path;
    for segment in segments {
        rest = rest.strip_prefix(segment)?.strip_prefix('/')?;
    }
    (!rest.is_empty()).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(key: &str) -> Option<(Option<&str>, &str, Option<&str>, &str)> {
        let key = StoredKey::parse(key.as_bytes(), "/registry", None)?;
        let (namespace, name) = key.namespace_and_name();
        Some((key.group, key.resource, namespace, name))
    }

    #[test]
    fn keys_of_every_layout() {
        let pods = Some((None, "pods", Some("default"), "web"));
        assert_eq!(parsed("/registry/pods/default/web"), pods);
        let namespaces = Some((None, "namespaces", None, "default"));
        assert_eq!(parsed("/registry/namespaces/default"), namespaces);
        assert_eq!(
            parsed("/registry/minions/node-1"),
            Some((None, "nodes", None, "node-1"))
        );
        assert_eq!(
            parsed("/registry/services/specs/default/web"),
            Some((None, "services", Some("default"), "web"))
        );
        assert_eq!(
            parsed("/registry/services/endpoints/default/web"),
            Some((None, "endpoints", Some("default"), "web"))
        );
        assert_eq!(
            parsed("/registry/controllers/default/web"),
            Some((None, "replicationcontrollers", Some("default"), "web"))
        );
        assert_eq!(
            parsed("/registry/ingress/default/web"),
            Some((None, "ingresses", Some("default"), "web"))
        );
        assert_eq!(
            parsed("/registry/apiextensions.k8s.io/customresourcedefinitions/widgets.example.org"),
            Some((
                Some("apiextensions.k8s.io"),
                "customresourcedefinitions",
                None,
                "widgets.example.org"
            ))
        );
        assert_eq!(
            parsed("/registry/example.org/widgets/default/w"),
            Some((Some("example.org"), "widgets", Some("default"), "w"))
        );
        assert_eq!(
            parsed("/registry/masterleases/10.0.0.1"),
            Some((None, "masterleases", None, "10.0.0.1"))
        );
        assert_eq!(
            parsed("/registry/ranges/serviceips"),
            Some((None, "ranges", None, "serviceips"))
        );
    }

    #[test]
    fn other_prefixes() {
        let pods = Some((None, "pods", Some("default"), "web"));
        assert_eq!(parsed("/kubernetes.io/pods/default/web"), pods);
        let key = b"/clusters/one/pods/default/web";
        let deep = StoredKey::parse(key, "clusters/one/", None).unwrap();
        assert_eq!((deep.resource, deep.rest), ("pods", "default/web"));
        // Only a whole segment is a prefix.
        assert_eq!(parsed("/registry2/pods/default/web"), pods);
    }

    #[test]
    fn a_group_without_a_dot_is_known_from_the_value() {
        let key = b"/registry/shop/carts/default/c";
        let found = StoredKey::parse(key, "/registry", Some("shop")).unwrap();
        assert_eq!((found.group, found.resource), (Some("shop"), "carts"));
        let found = StoredKey::parse(key, "/registry", Some("")).unwrap();
        assert_eq!((found.group, found.resource), (None, "shop"));
    }

    #[test]
    fn keys_that_are_not_objects() {
        for key in [
            "",
            "/",
            "compact_rev_key",
            "/registry",
            "/registry/",
            "/registry/pods",
            "/registry/pods/",
            "/registry/health",
            "/registry//x",
            "foo/bar/baz",
        ] {
            assert_eq!(parsed(key), None, "{key}");
        }
        assert_eq!(
            StoredKey::parse(b"/registry/pods/\xff", "/registry", None),
            None
        );
    }
}
