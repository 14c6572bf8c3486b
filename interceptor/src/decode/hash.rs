//! Keyed hashes: equal content can be recognised, content cannot be guessed without the key.

use std::fmt;
use std::hash::Hasher as _;
use std::sync::{Arc, PoisonError, RwLock};

use siphasher::sip::SipHasher24;
use siphasher::sip128;

use super::node::Node;

/// Separates this use of SipHash from any other use of the same cluster id or key file.
const DERIVATION_KEY: (u64, u64) = (0x6361_7363_6164_6521, 0x6861_7368_2d6b_6579);

/// Fewest bytes a key file may hold: a SipHash key.
pub const MIN_KEY_FILE_BYTES: usize = 16;

/// A hash key file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HashKeyError {
    /// Fewer bytes than a key has.
    #[error(
        "the hash key holds {found} bytes, at least {MIN_KEY_FILE_BYTES} are needed; \
         make one with `openssl rand -hex 32`"
    )]
    TooShort {
        /// Bytes found.
        found: usize,
    },
}

/// Key of the hashes in a trace (SipHash-2-4).
#[derive(Clone, PartialEq, Eq)]
pub struct HashKey([u8; 16]);

impl HashKey {
    /// The key of a cluster without a key file: all interceptors and imports of one cluster agree.
    ///
    /// It is no secret: whoever knows the cluster id can test a guess at the hashed content.
    #[must_use]
    pub fn from_cluster_id(cluster_id: u64) -> Self {
        Self::derive(&cluster_id.to_be_bytes())
    }

    /// The key in a key file: all of the file's bytes count, a final newline too.
    ///
    /// # Errors
    /// [`HashKeyError::TooShort`] for fewer than [`MIN_KEY_FILE_BYTES`] bytes.
    pub fn from_bytes(content: &[u8]) -> Result<Self, HashKeyError> {
        if content.len() < MIN_KEY_FILE_BYTES {
            return Err(HashKeyError::TooShort {
                found: content.len(),
            });
        }
        Ok(Self::derive(content))
    }

    fn derive(material: &[u8]) -> Self {
        let (key0, key1) = DERIVATION_KEY;
        let hash = sip128::SipHasher24::new_with_keys(key0, key1).hash(material);
        Self(hash.as_bytes())
    }

    /// Hash of `bytes`: SipHash-2-4, its 64 bits as a signed integer.
    #[must_use]
    pub fn hash(&self, bytes: &[u8]) -> i64 {
        SipHasher24::new_with_key(&self.0).hash(bytes).cast_signed()
    }

    /// Hash of a tree.
    pub(super) fn hash_node(&self, node: &Node<'_>) -> i64 {
        let mut hasher = self.hasher();
        node.hash_into(&mut hasher);
        hasher.finish()
    }

    /// A hash that is fed piece by piece.
    pub(super) fn hasher(&self) -> PieceHasher {
        PieceHasher(SipHasher24::new_with_key(&self.0))
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("HashKey(..)") // keys do not belong in logs
    }
}

/// A hash in the making. The hash of the pieces is that of their concatenation.
pub(super) struct PieceHasher(SipHasher24);

impl PieceHasher {
    /// Adds a piece as it is.
    pub(super) fn write(&mut self, piece: &[u8]) {
        self.0.write(piece);
    }

    /// Adds a piece after its length, so that it cannot run into the next one.
    pub(super) fn write_sized(&mut self, piece: &[u8]) {
        let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        self.0.write(&length.to_le_bytes());
        self.0.write(piece);
    }

    /// The hash of all pieces.
    pub(super) fn finish(&self) -> i64 {
        self.0.finish().cast_signed()
    }
}

/// The hash key of a running interceptor: unset until the cluster is known or a key file was read.
#[derive(Clone, Default)]
pub struct SharedHashKey(Arc<RwLock<Option<HashKey>>>);

impl SharedHashKey {
    /// The key, once there is one.
    #[must_use]
    pub fn get(&self) -> Option<HashKey> {
        // A poisoned lock still holds a whole key: it is only ever replaced.
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Sets or replaces the key.
    pub fn set(&self, key: HashKey) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(key);
    }
}

impl fmt::Debug for SharedHashKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("SharedHashKey")
            .field(&self.get())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_siphash_2_4() {
        // Test vector of the SipHash paper: key 00..0f, message 00..0e.
        let key = HashKey(std::array::from_fn(|index| u8::try_from(index).unwrap()));
        let message: Vec<u8> = (0..15).collect();
        assert_eq!(key.hash(&message), 0xa129_ca61_49be_45e5_u64.cast_signed());
        let mut pieces = key.hasher();
        pieces.write(&message[..7]);
        pieces.write(&message[7..]);
        assert_eq!(pieces.finish(), key.hash(&message));
    }

    #[test]
    fn clusters_differ_and_agree_with_themselves() {
        assert_eq!(HashKey::from_cluster_id(1), HashKey::from_cluster_id(1));
        assert_ne!(HashKey::from_cluster_id(1), HashKey::from_cluster_id(2));
        // A trace written before must stay comparable: the derivation never changes.
        assert_eq!(
            HashKey::from_cluster_id(0x1234).hash(b"value"),
            -4_074_711_611_165_074_840
        );
    }

    #[test]
    fn short_key_files_are_refused() {
        assert_eq!(
            HashKey::from_bytes(b"short"),
            Err(HashKeyError::TooShort { found: 5 })
        );
        assert!(HashKey::from_bytes(&[7; 16]).is_ok());
    }

    #[test]
    fn shared_key_appears_once_set() {
        let shared = SharedHashKey::default();
        assert_eq!(shared.get(), None);
        let other = shared.clone();
        shared.set(HashKey::from_cluster_id(1));
        assert_eq!(other.get(), Some(HashKey::from_cluster_id(1)));
        assert!(!format!("{other:?}").contains("0x"));
    }
}
