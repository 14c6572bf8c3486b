//! Objects as people name them: `kind/namespace/name`, or `kind/name` where there is no namespace.

use crate::report::scope::literal;

/// An object as it was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ObjectName<'a> {
    /// Kind or plural, lowercase, without the group.
    kind: String,
    group: Option<String>,
    namespace: Option<&'a str>,
    name: &'a str,
}

impl<'a> ObjectName<'a> {
    /// Reads a name; `None` for what is not written like one.
    pub(super) fn parse(given: &'a str) -> Option<Self> {
        let parts: Vec<&str> = given.split('/').collect();
        let (kind, namespace, name) = match parts.as_slice() {
            [kind, name] => (*kind, None, *name),
            [kind, namespace, name] => (*kind, Some(*namespace), *name),
            _ => return None,
        };
        if kind.is_empty() || name.is_empty() || namespace.is_some_and(str::is_empty) {
            return None;
        }
        let kind = kind.to_lowercase();
        let (kind, group) = match kind.split_once('.') {
            Some((kind, group)) => (kind.to_owned(), Some(group.to_owned())),
            None => (kind, None),
        };
        Some(Self {
            kind,
            group,
            namespace,
            name,
        })
    }

    /// The SQL condition for changes of this very object.
    pub(super) fn condition(&self) -> String {
        let namespace = self.namespace.map_or_else(
            || "namespace IS NULL".to_owned(),
            |namespace| format!("namespace = {}", literal(namespace)),
        );
        format!(
            "{} AND {namespace} AND name = {}",
            self.kind_condition(),
            literal(self.name)
        )
    }

    /// The SQL condition for changes of objects of this kind.
    pub(super) fn kind_condition(&self) -> String {
        let kind = literal(&self.kind);
        let group = self.group.as_ref().map_or_else(String::new, |group| {
            format!(" AND lower(api_group) = {}", literal(group))
        });
        format!("(lower(kind) = {kind} OR lower(resource) = {kind}){group}")
    }

    /// The name alone.
    pub(super) fn name(&self) -> &str {
        self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_may_have_a_group_and_any_case() {
        let name = ObjectName::parse("Deployments.Apps/shop/web").expect("an object");
        assert_eq!(
            name.condition(),
            "(lower(kind) = 'deployments' OR lower(resource) = 'deployments') \
             AND lower(api_group) = 'apps' AND namespace = 'shop' AND name = 'web'"
        );
        let name = ObjectName::parse("node/a'b").expect("an object");
        assert!(
            name.condition()
                .ends_with("namespace IS NULL AND name = 'a''b'")
        );
    }

    #[test]
    fn what_lacks_a_part_is_no_object() {
        for given in ["", "web", "/web", "pod/", "pod//web", "pod/a/b/c"] {
            assert_eq!(ObjectName::parse(given), None, "{given}");
        }
    }
}
