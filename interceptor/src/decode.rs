//! Turns stored values into the columns of a trace.
//!
//! A value goes through three steps: it is read into one tree, whatever its format (`value`, with
//! `protobuf`, `json` and `cbor`); the columns are filled from the tree (`metadata`, `status`,
//! `references`, `facts`, `cpid`); and a change is compared with the value before (`compare`).
//! Everything is pure: bytes in, columns out, no I/O, and no input makes it panic. What cannot be
//! decoded is told in `decode_error`, and the row holds what is known all the same.

mod cbor;
mod compare;
mod cpid;
mod facts;
mod hash;
mod json;
mod key;
mod metadata;
mod node;
mod options;
mod output;
mod protobuf;
mod references;
mod status;
#[cfg(test)]
mod tests;
mod time;
mod value;

use cascade_proto::tables::{CpidTransition, Object, ObjectCpid, ValueFormat};

use cpid::Carried;
use value::Value;

pub use cascade_proto::keys::key_text;
pub use hash::{HashKey, HashKeyError, MIN_KEY_FILE_BYTES, SharedHashKey};
pub use key::StoredKey;
pub use options::{DEFAULT_KEY_PREFIX, DecodeOptions, ExcludedResources};
pub use output::to_json;

/// Whose content never leaves the decoder: neither shown nor, without a key file, hashed.
const SECRETS: &str = "secrets";

/// What one stored value says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Decoded {
    /// Columns of the object; `writers` holds every managedFields entry.
    pub object: Object,
    /// The CPID stored on the object.
    pub cpid: ObjectCpid,
    /// Carriers on the object whose text is malformed, as `cpid_carrier` would name them. What is
    /// wrong with them is in `decode_error`.
    pub malformed_carriers: Vec<String>,
}

/// What one change of a key says: the columns of a `changes` row that come from values.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ChangeColumns {
    /// Columns of the object; for a delete those of the deleted value. `writers` holds only the
    /// managedFields entries that are new or changed: none for a delete.
    pub object: Object,
    /// What differs from the previous value; `None` when there is nothing to compare. The names:
    /// `metadata.labels`, `metadata.annotations`, `metadata.finalizers`,
    /// `metadata.ownerReferences`, `metadata.deletionTimestamp`,
    /// `metadata.deletionGracePeriodSeconds`, `metadata.generation`, `metadata.managedFields`,
    /// `spec`, `status`, `data`, `conditions.<type>`, and `apiVersion`.
    pub changed: Option<Vec<String>>,
    /// The CPID stored on the object; nothing for a delete, which stores no object.
    pub cpid: ObjectCpid,
    /// The CPID of the previous value, if that is of the same object: one with another uid is not.
    pub prev_cpid: Option<String>,
    /// What became of the CPID; `None` also when a carrier is malformed or the previous value is
    /// not available, for then it is not known.
    pub cpid_transition: Option<CpidTransition>,
    /// Carriers on the object whose text is malformed, as `cpid_carrier` would name them; for a
    /// delete those of the deleted value.
    pub malformed_carriers: Vec<String>,
}

/// Decodes stored values. Cheap to clone, usable from any thread.
#[derive(Debug, Clone, Default)]
pub struct Decoder {
    options: DecodeOptions,
}

/// A value read, with the columns that it fills by itself.
struct Read<'a> {
    value: Value<'a>,
    object: Object,
    carried: Carried,
    excluded: bool,
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
        let Read {
            object, carried, ..
        } = self.read(key, value);
        Decoded {
            object,
            cpid: carried.cpid.unwrap_or_default(),
            malformed_carriers: carried.malformed,
        }
    }

    /// Decodes a change of `key`: from `previous`, `None` for a create, to `value`, `None` for a
    /// delete. For a change whose previous value exists but is not available there is
    /// [`change_without_previous`](Self::change_without_previous).
    #[must_use]
    pub fn change(
        &self,
        key: &[u8],
        value: Option<&[u8]>,
        previous: Option<&[u8]>,
    ) -> ChangeColumns {
        match (value, previous) {
            (Some(value), None) => self.create(key, value),
            (Some(value), Some(previous)) => self.update(key, value, previous),
            (None, Some(previous)) => self.delete(key, previous),
            (None, None) => self.change_without_previous(key, None),
        }
    }

    /// Decodes an update, or with `value` `None` a delete, whose previous value is not available
    /// (compacted before it could be read): nothing is said about what changed.
    #[must_use]
    pub fn change_without_previous(&self, key: &[u8], value: Option<&[u8]>) -> ChangeColumns {
        let Some(value) = value else {
            let mut object = Object::default();
            self.identify(key, None, &mut object);
            return ChangeColumns {
                object,
                ..ChangeColumns::default()
            };
        };
        let Decoded {
            mut object,
            cpid,
            malformed_carriers,
        } = self.decode(key, value);
        object.writers = None;
        ChangeColumns {
            object,
            cpid,
            malformed_carriers,
            ..ChangeColumns::default()
        }
    }

    fn create(&self, key: &[u8], value: &[u8]) -> ChangeColumns {
        let Decoded {
            object,
            cpid,
            malformed_carriers,
        } = self.decode(key, value);
        ChangeColumns {
            object,
            cpid_transition: cpid::transition(&cpid, None),
            cpid,
            malformed_carriers,
            ..ChangeColumns::default()
        }
    }

    fn update(&self, key: &[u8], value: &[u8], previous: &[u8]) -> ChangeColumns {
        let now = self.read(key, value);
        let before = Value::read(previous, &self.options.hash_key);
        let mut object = now.object;
        if now.excluded {
            return ChangeColumns {
                object,
                ..ChangeColumns::default()
            };
        }
        object.writers = compare::new_writers(&now.value, &before);
        let mut columns = ChangeColumns {
            object,
            changed: compare::changed(&now.value, &before),
            ..ChangeColumns::default()
        };
        let previous = if is_same_object(&now.value, &before) {
            self.readable_cpid(&before).map(|cpid| cpid.cpid)
        } else {
            Some(None)
        };
        let Carried {
            cpid: current,
            malformed,
            ..
        } = now.carried;
        if let (Some(current), Some(previous)) = (&current, &previous)
            && now.value.is_readable()
        {
            columns.cpid_transition = cpid::transition(current, previous.as_deref());
        }
        columns.cpid = current.unwrap_or_default();
        columns.prev_cpid = previous.flatten();
        columns.malformed_carriers = malformed;
        columns
    }

    fn delete(&self, key: &[u8], previous: &[u8]) -> ChangeColumns {
        let Decoded {
            mut object,
            cpid,
            malformed_carriers,
        } = self.decode(key, previous);
        if object.writers.is_some() {
            object.writers = Some(Vec::new());
        }
        ChangeColumns {
            object,
            cpid_transition: cpid.cpid.is_some().then_some(CpidTransition::End),
            prev_cpid: cpid.cpid,
            malformed_carriers,
            ..ChangeColumns::default()
        }
    }

    fn read<'a>(&self, key: &[u8], bytes: &'a [u8]) -> Read<'a> {
        let value = Value::read(bytes, &self.options.hash_key);
        let mut object = Object {
            value_bytes: Some(i32::try_from(bytes.len()).unwrap_or(i32::MAX)),
            value_format: Some(value.format),
            ..Object::default()
        };
        self.identify(key, Some(&value), &mut object);
        let excluded = object.resource.as_deref().is_some_and(|resource| {
            let group = object.api_group.as_deref();
            self.options.excluded.contains(resource, group)
        });

        let mut carried = Carried::nothing();
        if !excluded {
            self.fill_hashes(bytes, &value, &mut object);
            if value.is_readable() {
                fill_columns(&value, &mut object);
                carried = cpid::carried(value.metadata(), &self.options.carriers);
            }
        }
        object.decode_error = match (&value.failure, &carried.problem) {
            (Some(failure), _) => Some(failure.clone()),
            (None, Some(problem)) => Some(problem.clone()),
            // Keys that are not Kubernetes' may hold anything.
            (None, _) if value.format == ValueFormat::Other && object.resource.is_some() => {
                Some("neither protobuf, JSON, CBOR nor encrypted".to_owned())
            }
            _ => None,
        };
        Read {
            value,
            object,
            carried,
            excluded,
        }
    }

    /// Identity: from inside the value where it says it, else from the key.
    fn identify(&self, key: &[u8], value: Option<&Value<'_>>, object: &mut Object) {
        if let Some(value) = value {
            object.kind.clone_from(&value.kind);
            if let Some((group, version)) = &value.api_version {
                object.api_group = Some(group.clone());
                object.api_version = Some(version.clone());
            }
        }
        let group = object.api_group.as_deref();
        let stored = StoredKey::parse(key, &self.options.key_prefix, group);
        object.resource = stored.map(|stored| stored.resource.to_owned());

        let metadata = value.and_then(Value::metadata);
        object.uid = metadata
            .and_then(|metadata| metadata.text("uid"))
            .map(str::to_owned);
        if let Some(metadata) = metadata
            && let Some(name) = metadata.text("name")
        {
            object.name = Some(name.to_owned());
            object.namespace = metadata.text("namespace").map(str::to_owned);
        } else if let Some(stored) = stored {
            let (namespace, name) = stored.namespace_and_name();
            object.name = Some(name.to_owned());
            object.namespace = namespace.map(str::to_owned);
        }
    }

    /// The CPID of a value, if it can be known.
    fn readable_cpid(&self, value: &Value<'_>) -> Option<ObjectCpid> {
        if !value.is_readable() {
            return None;
        }
        cpid::carried(value.metadata(), &self.options.carriers).cpid
    }

    fn fill_hashes(&self, bytes: &[u8], value: &Value<'_>, object: &mut Object) {
        let is_secret = value.is("", "Secret") || object.resource.as_deref() == Some(SECRETS);
        if is_secret && !self.options.hash_secrets {
            return;
        }
        object.value_hash = Some(self.options.hash_key.hash(bytes));
        if value.failure.is_none() {
            object.spec_hash = value.parts.spec;
            object.status_hash = value.parts.status;
            object.data_hash = value.parts.data;
        }
    }
}

fn fill_columns(value: &Value<'_>, object: &mut Object) {
    if let Some(metadata) = value.metadata() {
        metadata::fill(metadata, object);
    }
    status::fill(value, object);
    references::fill(value, object);
    object.facts = facts::facts(value);
}

/// False if a key holds another object than before, as it can only by a write that does not come
/// from Kubernetes, which deletes an object before it creates another one.
fn is_same_object(now: &Value<'_>, before: &Value<'_>) -> bool {
    fn uid<'v>(value: &'v Value<'_>) -> Option<&'v str> {
        value.metadata()?.text("uid")
    }
    match (uid(now), uid(before)) {
        (Some(now), Some(before)) => now == before,
        _ => true,
    }
}
