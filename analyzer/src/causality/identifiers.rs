//! Identifiers of what is derived: the same trace gives the same ones.

use uuid::Uuid;

/// Namespace of all derived identifiers: UUIDv5 of `cascade-derived` among names of no standard kind.
const NAMESPACE: Uuid = Uuid::from_u128(0x7b1c_5d0e_41a6_5f2b_9c3d_8e52_6a0f_71c4);

/// The CPID of a change that starts a cascade.
pub(crate) fn root(cluster_id: &str, epoch: i32, revision: i64, ordinal: i32) -> Uuid {
    let name = format!("{cluster_id}/{epoch}/{revision}/{ordinal}");
    Uuid::new_v5(&NAMESPACE, name.as_bytes())
}

/// The CPID of what several changes came together in. The sources are in ascending order.
pub(crate) fn merge(sources: &[Uuid]) -> Uuid {
    let sources: Vec<String> = sources.iter().map(Uuid::to_string).collect();
    Uuid::new_v5(&NAMESPACE, sources.join("+").as_bytes())
}

/// A number for a path's signature.
pub(crate) fn path(signature: &str) -> i64 {
    let id = Uuid::new_v5(&NAMESPACE, signature.as_bytes());
    let (high, _) = id.as_u64_pair();
    // Any 64 bits make an id.
    i64::from_ne_bytes(high.to_ne_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_origins_give_equal_identifiers() {
        assert_eq!(root("c", 0, 7, 0), root("c", 0, 7, 0));
        assert_ne!(root("c", 0, 7, 0), root("c", 0, 7, 1));
        let sources = [root("c", 0, 1, 0), root("c", 0, 2, 0)];
        assert_eq!(merge(&sources), merge(&sources));
        assert_ne!(merge(&sources), root("c", 0, 1, 0));
    }
}
