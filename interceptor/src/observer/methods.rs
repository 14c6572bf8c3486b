//! Which gRPC methods change the keyspace.

use std::sync::LazyLock;

use super::hpack::Text;
use super::huffman;

macro_rules! methods {
    ($($(#[$doc:meta])* $variant:ident = $path:literal,)*) => {
        /// A method of etcd that can change the keyspace or its leases.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(super) enum Method {
            $($(#[$doc])* $variant,)*
        }

        impl Method {
            const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// `/package.Service/Method`, as in the header field `:path`.
            pub(super) fn path(self) -> &'static str {
                match self {
                    $(Self::$variant => $path,)*
                }
            }
        }
    };
}

methods! {
    /// Writes a key.
    Put = "/etcdserverpb.KV/Put",
    /// Deletes a key or a range of keys.
    DeleteRange = "/etcdserverpb.KV/DeleteRange",
    /// Compares, then runs one of two lists of operations: a mutation only if one of them holds a
    /// put or delete.
    Txn = "/etcdserverpb.KV/Txn",
    /// Drops old revisions.
    Compact = "/etcdserverpb.KV/Compact",
    /// Makes a lease.
    LeaseGrant = "/etcdserverpb.Lease/LeaseGrant",
    /// Ends a lease and deletes the keys attached to it.
    LeaseRevoke = "/etcdserverpb.Lease/LeaseRevoke",
    /// Writes a key of its own below a name and waits to be first.
    Lock = "/v3lockpb.Lock/Lock",
    /// Deletes a lock's key.
    Unlock = "/v3lockpb.Lock/Unlock",
    /// Writes a key of its own below a name and waits to be first.
    Campaign = "/v3electionpb.Election/Campaign",
    /// Writes a leader's key anew.
    Proclaim = "/v3electionpb.Election/Proclaim",
    /// Deletes a leader's key.
    Resign = "/v3electionpb.Election/Resign",
}

/// The methods' paths in Huffman coding, which is unique: as nearly every client sends them.
static CODED: LazyLock<Vec<(Vec<u8>, Method)>> = LazyLock::new(|| {
    let coded = |method: &Method| (huffman::encode(method.path().as_bytes()), *method);
    Method::ALL.iter().map(coded).collect()
});

impl Method {
    /// The method that `path` names, `None` if it is of no interest.
    pub(super) fn of_path(path: Text<'_>) -> Option<Self> {
        if path.huffman {
            let found = CODED.iter().find(|(coded, _)| coded == path.raw)?;
            return Some(found.1);
        }
        Self::ALL
            .iter()
            .copied()
            .find(|method| method.path().as_bytes() == path.raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_recognised_in_both_codings_and_nothing_else_is() {
        for method in Method::ALL {
            let plain = method.path().as_bytes();
            let coded = huffman::encode(plain);
            assert_eq!(
                Method::of_path(Text {
                    raw: plain,
                    huffman: false
                }),
                Some(*method)
            );
            assert_eq!(
                Method::of_path(Text {
                    raw: &coded,
                    huffman: true
                }),
                Some(*method)
            );
            assert_eq!(
                Method::of_path(Text {
                    raw: plain,
                    huffman: true
                }),
                None
            );
            assert_eq!(
                Method::of_path(Text {
                    raw: &coded,
                    huffman: false
                }),
                None
            );
        }
        for path in [
            "/etcdserverpb.KV/Range",
            "/etcdserverpb.Watch/Watch",
            "/etcdserverpb.KV/Puts",
            "",
        ] {
            let coded = huffman::encode(path.as_bytes());
            assert_eq!(
                Method::of_path(Text {
                    raw: &coded,
                    huffman: true
                }),
                None,
                "{path}"
            );
        }
    }
}
