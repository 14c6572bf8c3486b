//! How values are decoded.

use std::collections::HashSet;
use std::sync::Arc;

use cascade_cpid::carriers::{Carrier, default_carriers};

use super::hash::HashKey;

/// kube-apiserver's default `--etcd-prefix`.
pub const DEFAULT_KEY_PREFIX: &str = "/registry";

/// Resources of which only identity and sizes are recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExcludedResources(HashSet<String>);

impl ExcludedResources {
    /// Whether objects of this resource are excluded: by its plural, or by `plural.group`.
    #[must_use]
    pub fn contains(&self, resource: &str, group: Option<&str>) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let qualified = |group: &str| self.0.contains(&format!("{resource}.{group}"));
        self.0.contains(resource) || group.is_some_and(qualified)
    }
}

impl<T: Into<String>> FromIterator<T> for ExcludedResources {
    fn from_iter<I: IntoIterator<Item = T>>(resources: I) -> Self {
        Self(resources.into_iter().map(Into::into).collect())
    }
}

/// How values are decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Key of all hashes.
    pub hash_key: HashKey,
    /// Whether Secrets are hashed too: only with a key that is itself a secret.
    pub hash_secrets: bool,
    /// Resources of which only identity and sizes are recorded.
    pub excluded: ExcludedResources,
    /// kube-apiserver's `--etcd-prefix`.
    pub key_prefix: String,
    /// Where a CPID can stand on an object, by preference.
    pub carriers: Arc<[Carrier]>,
}

impl DecodeOptions {
    /// Options for a cluster, with kube-apiserver's defaults and nothing excluded.
    #[must_use]
    pub fn new(hash_key: HashKey) -> Self {
        Self {
            hash_key,
            hash_secrets: false,
            excluded: ExcludedResources::default(),
            key_prefix: DEFAULT_KEY_PREFIX.to_owned(),
            carriers: default_carriers().into(),
        }
    }
}

impl Default for DecodeOptions {
    /// Options of a cluster whose id is 0, for values without a cluster.
    fn default() -> Self {
        Self::new(HashKey::from_cluster_id(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_excluded_by_plural_or_with_their_group() {
        let excluded: ExcludedResources = ["events", "widgets.example.org"].into_iter().collect();
        assert!(excluded.contains("events", Some("")));
        assert!(excluded.contains("events", None));
        assert!(excluded.contains("widgets", Some("example.org")));
        assert!(!excluded.contains("widgets", Some("example.com")));
        assert!(!excluded.contains("widgets", None));
        assert!(!excluded.contains("pods", Some("")));
        assert!(!ExcludedResources::default().contains("events", Some("")));
    }
}
