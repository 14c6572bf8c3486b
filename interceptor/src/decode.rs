//! Turns stored values into the columns of a trace.
//!
//! Everything here is pure: bytes in, columns out, no I/O, and no input makes it panic.

mod hash;
mod key;

use std::collections::HashSet;

use cascade_proto::tables::{CpidTransition, Object, ObjectCpid};

pub use hash::{HashKey, HashKeyError, MIN_KEY_FILE_BYTES, SharedHashKey};
pub use key::{StoredKey, key_text};

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
}

impl DecodeOptions {
    /// Options for a cluster, with kube-apiserver's defaults and nothing excluded.
    #[must_use]
    pub fn new(hash_key: HashKey) -> Self {
        Self {
            hash_key,
            hash_secrets: false,
            excluded: ExcludedResources::default(),
            key_prefix: "/registry".to_owned(),
        }
    }
}

impl Default for DecodeOptions {
    /// Options of a cluster whose id is 0, for values without a cluster.
    fn default() -> Self {
        Self::new(HashKey::from_cluster_id(0))
    }
}

/// What one stored value says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Decoded {
    /// Columns of the object; `writers` holds every managedFields entry.
    pub object: Object,
    /// The CPID stored on the object.
    pub cpid: ObjectCpid,
}

/// What one change of a key says: the columns of a `changes` row that come from values.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ChangeColumns {
    /// Columns of the object; for a delete those of the deleted value. `writers` holds only the
    /// managedFields entries that are new or changed.
    pub object: Object,
    /// What differs from the previous value; `None` when there is nothing to compare.
    pub changed: Option<Vec<String>>,
    /// The CPID stored on the object; nothing for a delete, which stores no object.
    pub cpid: ObjectCpid,
    /// The CPID of the previous value.
    pub prev_cpid: Option<String>,
    /// What became of the CPID.
    pub cpid_transition: Option<CpidTransition>,
}

/// Decodes stored values. Cheap to clone, usable from any thread.
#[derive(Debug, Clone, Default)]
pub struct Decoder {
    options: DecodeOptions,
}

impl Decoder {
    /// A decoder with these options.
    #[must_use]
    pub fn new(options: DecodeOptions) -> Self {
        Self { options }
    }

    /// Decodes one stored value. What cannot be decoded is told in `decode_error`.
    #[must_use]
    pub fn decode(&self, key: &[u8], value: &[u8]) -> Decoded {
        let mut object = Object {
            value_bytes: Some(i32::try_from(value.len()).unwrap_or(i32::MAX)),
            ..Object::default()
        };
        self.identify_by_key(key, &mut object);
        if object.resource.as_deref() != Some("secrets") || self.options.hash_secrets {
            object.value_hash = Some(self.options.hash_key.hash(value));
        }
        Decoded {
            object,
            cpid: ObjectCpid::default(),
        }
    }

    /// Decodes a change of `key` from `previous` to `value`. `value` is `None` for a delete,
    /// `previous` for a create and where the previous value is not available.
    #[must_use]
    pub fn change(
        &self,
        key: &[u8],
        value: Option<&[u8]>,
        previous: Option<&[u8]>,
    ) -> ChangeColumns {
        let Some(shown) = value.or(previous) else {
            let mut object = Object::default();
            self.identify_by_key(key, &mut object);
            return ChangeColumns {
                object,
                ..ChangeColumns::default()
            };
        };
        ChangeColumns {
            object: self.decode(key, shown).object,
            ..ChangeColumns::default()
        }
    }

    fn identify_by_key(&self, key: &[u8], object: &mut Object) {
        let Some(stored) = StoredKey::parse(key, &self.options.key_prefix, None) else {
            return;
        };
        let (namespace, name) = stored.namespace_and_name();
        object.resource = Some(stored.resource.to_owned());
        object.namespace = namespace.map(str::to_owned);
        object.name = Some(name.to_owned());
    }
}
