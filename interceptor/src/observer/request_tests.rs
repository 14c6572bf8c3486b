use cascade_proto::wire::etcd::{
    CompactionRequest, DeleteRangeRequest, LeaseGrantRequest, LeaseRevokeRequest, PutRequest,
    compare::{CompareResult, CompareTarget, TargetUnion},
};
use proptest::prelude::*;
use prost::Message;

use super::super::testing::messages::*;
use super::*;

fn read(method: Method, message: &impl Message) -> Operation {
    decode(method, &message.encode_to_vec(), &ValueHasher::default()).unwrap()
}

fn write(method: Method, message: &impl Message) -> Write {
    match read(method, message) {
        Operation::Write(write) => write,
        other => panic!("{other:?}"),
    }
}

/// The writes of a Txn, success branch first.
fn writes(message: &impl Message) -> Vec<Write> {
    let mut writes = Vec::new();
    read(Method::Txn, message).into_writes(&mut writes);
    writes
}

/// A condition on the key "k".
fn condition(
    result: CompareResult,
    target: CompareTarget,
    union: TargetUnion,
) -> cascade_proto::wire::etcd::Compare {
    cascade_proto::wire::etcd::Compare {
        result: result.into(),
        target: target.into(),
        key: "k".into(),
        target_union: Some(union),
        ..Default::default()
    }
}

#[test]
fn puts_deletes_and_leases() {
    let request = PutRequest {
        lease: 77,
        ..put("k", "v")
    };
    let expected = Write {
        key: Some("k".to_owned()),
        lease_id: Some(77),
        ..Write::of_shape(CallShape::Update)
    };
    assert_eq!(write(Method::Put, &request), expected);

    let expected = Write {
        key: Some("k".to_owned()),
        ..Write::of_shape(CallShape::Delete)
    };
    assert_eq!(write(Method::DeleteRange, &delete("k")), expected);

    let range = DeleteRangeRequest {
        range_end: vec![b'l', 0xff].into(),
        ..delete("k")
    };
    let expected = Write {
        key: Some("k".to_owned()),
        range_end: Some("l\\xff".to_owned()),
        ..Write::of_shape(CallShape::DeleteRange)
    };
    assert_eq!(write(Method::DeleteRange, &range), expected);

    let compaction = write(
        Method::Compact,
        &CompactionRequest {
            revision: 9,
            physical: true,
        },
    );
    assert_eq!(
        (compaction.shape, compaction.compare_revision),
        (CallShape::Compact, Some(9))
    );

    let grant = write(Method::LeaseGrant, &LeaseGrantRequest { ttl: 3660, id: 0 });
    assert_eq!(
        (grant.shape, grant.lease_ttl, grant.lease_id),
        (CallShape::LeaseGrant, Some(3660), None)
    );

    let revoke = write(Method::LeaseRevoke, &LeaseRevokeRequest { id: 5 });
    assert_eq!(
        (revoke.shape, revoke.lease_id),
        (CallShape::LeaseRevoke, Some(5))
    );
}

#[test]
fn locks_and_elections() {
    let unlock = [&[0x0a, 1][..], b"k"].concat();
    let proclaim = [
        &[0x0a, 6, 0x0a, 1, b'n', 0x12, 1][..],
        b"k",
        &[0x12, 1, b'v'],
    ]
    .concat();
    let lock = [0x0a, 1, b'n', 0x10, 7];
    for (method, message, key, lease_id) in [
        (Method::Unlock, &unlock[..], Some("k"), None),
        (Method::Proclaim, &proclaim, Some("k"), None),
        (Method::Resign, &proclaim, Some("k"), None),
        (Method::Lock, &lock, None, Some(7)),
        (Method::Campaign, &lock, None, Some(7)),
    ] {
        let Ok(Operation::Write(write)) = decode(method, message, &ValueHasher::default()) else {
            panic!("{method:?}");
        };
        assert_eq!(write.shape, CallShape::Other);
        assert_eq!(
            (write.key.as_deref(), write.lease_id),
            (key, lease_id),
            "{method:?}"
        );
    }
}

#[test]
fn what_kube_apiserver_sends() {
    let shape_and_revision = |txn| {
        let writes = writes(&txn);
        assert_eq!(writes.len(), 1);
        (writes[0].shape, writes[0].compare_revision)
    };
    // Create.
    let create = txn(vec![mod_equal("k", 0)], vec![op_put("k", "v")], vec![]);
    assert_eq!(shape_and_revision(create), (CallShape::Create, Some(0)));
    // GuaranteedUpdate, also of an object that need not exist.
    for (revision, shape) in [(7, CallShape::Update), (0, CallShape::Create)] {
        let update = txn(
            vec![mod_equal("k", revision)],
            vec![op_put("k", "v")],
            vec![op_range("k")],
        );
        assert_eq!(shape_and_revision(update), (shape, Some(revision)));
    }
    // Delete.
    let delete = txn(
        vec![mod_equal("k", 7)],
        vec![op_delete("k")],
        vec![op_range("k")],
    );
    assert_eq!(shape_and_revision(delete), (CallShape::Delete, Some(7)));
    // Compaction: the key's version is compared.
    for (version, expected) in [
        (0, (CallShape::Create, Some(0))),
        (3, (CallShape::Update, None)),
    ] {
        let compare = condition(
            CompareResult::Equal,
            CompareTarget::Version,
            TargetUnion::Version(version),
        );
        let compaction = txn(vec![compare], vec![op_put("k", "9")], vec![op_range("k")]);
        assert_eq!(shape_and_revision(compaction), expected);
    }
}

#[test]
fn other_conditions() {
    use CompareResult::{Equal, Greater, Less, NotEqual};
    use CompareTarget::{Create, Mod, Value, Version};
    use TargetUnion::{CreateRevision, ModRevision, Value as ValueUnion, Version as VersionUnion};
    let create = (CallShape::Create, Some(0));
    let update = (CallShape::Update, None);
    for (compare, in_success, in_failure) in [
        (condition(Equal, Mod, ModRevision(0)), create, update),
        (
            condition(Equal, Mod, ModRevision(4)),
            (CallShape::Update, Some(4)),
            update,
        ),
        (condition(Equal, Create, CreateRevision(0)), create, update),
        (condition(Equal, Create, CreateRevision(4)), update, update),
        (
            condition(Greater, Create, CreateRevision(0)),
            update,
            create,
        ),
        (condition(NotEqual, Mod, ModRevision(0)), update, create),
        (condition(NotEqual, Mod, ModRevision(3)), update, update),
        (condition(Less, Mod, ModRevision(3)), update, update),
        (condition(Equal, Version, VersionUnion(0)), create, update),
        (
            condition(Equal, Value, ValueUnion("v".into())),
            update,
            update,
        ),
        // An operand of another kind than the target counts as 0 for etcd.
        (condition(Equal, Mod, VersionUnion(4)), create, update),
        (
            condition(Equal, Mod, ValueUnion("v".into())),
            create,
            update,
        ),
    ] {
        let text = format!("{compare:?}");
        let writes = writes(&txn(
            vec![compare],
            vec![op_put("k", "v")],
            vec![op_put("k", "v")],
        ));
        let seen: Vec<_> = writes
            .iter()
            .map(|write| (write.shape, write.compare_revision))
            .collect();
        assert_eq!(seen, [in_success, in_failure], "{text}");
    }
    // About a range of keys, or about another key: nothing is said about this one.
    let mut range = mod_equal("k", 0);
    range.range_end = "l".into();
    for compare in [range, mod_equal("other", 0)] {
        let writes = writes(&txn(vec![compare], vec![op_put("k", "v")], vec![]));
        assert_eq!((writes[0].shape, writes[0].compare_revision), update);
    }
}

#[test]
fn conditions_of_the_outer_transaction_hold_in_the_inner_one() {
    let inner = txn(
        vec![mod_equal("b", 5)],
        vec![op_put("a", "v"), op_put("b", "v")],
        vec![op_put("b", "v")],
    );
    let outer = txn(
        vec![mod_equal("a", 0), mod_equal("b", 6)],
        vec![op_txn(inner)],
        vec![],
    );
    let writes = writes(&outer);
    let seen: Vec<_> = writes
        .iter()
        .map(|write| (write.key.as_deref(), write.compare_revision))
        .collect();
    assert_eq!(
        seen,
        [
            (Some("a"), Some(0)),
            (Some("b"), Some(5)),
            (Some("b"), Some(6))
        ]
    );
}

#[test]
fn only_transactions_that_hold_a_write_may_write() {
    let reads = || vec![op_range("k")];
    let nested = |operations| vec![op_txn(txn(vec![], operations, vec![]))];
    for (transaction, may_write) in [
        (txn(vec![], reads(), reads()), false),
        (txn(vec![], vec![], vec![]), false),
        (txn(vec![], nested(reads()), reads()), false),
        (txn(vec![], reads(), vec![op_put("k", "v")]), true),
        (txn(vec![], nested(vec![op_delete("k")]), vec![]), true),
    ] {
        assert_eq!(
            read(Method::Txn, &transaction).may_write(),
            may_write,
            "{transaction:?}"
        );
    }
}

#[test]
fn values_are_hashed_but_not_those_of_secrets() {
    let hash_key = HashKey::from_cluster_id(1);
    let hash = |secrets: bool, message: &PutRequest| {
        let hasher = ValueHasher {
            key: Some(hash_key.clone()),
            secrets,
        };
        let Ok(Operation::Write(write)) = decode(Method::Put, &message.encode_to_vec(), &hasher)
        else {
            panic!();
        };
        write.value_hash
    };
    let expected = Some(hash_key.hash(b"v"));
    assert_eq!(
        hash(false, &put("/registry/pods/default/web", "v")),
        expected
    );
    assert_eq!(
        hash(false, &put("/registry/secrets/default/token", "v")),
        None
    );
    assert_eq!(hash(false, &put("/a/b/secrets/default/token", "v")), None);
    assert_eq!(
        hash(true, &put("/registry/secrets/default/token", "v")),
        expected
    );
    let keeps_value = PutRequest {
        ignore_value: true,
        ..put("k", "")
    };
    assert_eq!(hash(true, &keeps_value), None);
}

#[test]
fn deep_and_long_transactions_are_refused() {
    let nest = |depth| {
        let mut transaction = txn(vec![], vec![op_put("k", "v")], vec![]);
        for _ in 0..depth {
            transaction = txn(vec![], vec![op_txn(transaction)], vec![]);
        }
        decode(
            Method::Txn,
            &transaction.encode_to_vec(),
            &ValueHasher::default(),
        )
    };
    assert!(nest(MAX_DEPTH).is_ok());
    assert_eq!(nest(MAX_DEPTH + 1), Err(Malformed));

    let long = |length| {
        let transaction = txn(vec![], vec![op_put("k", "v"); length], vec![]);
        decode(
            Method::Txn,
            &transaction.encode_to_vec(),
            &ValueHasher::default(),
        )
    };
    assert!(long(MAX_OPERATIONS).is_ok());
    assert_eq!(long(MAX_OPERATIONS + 1), Err(Malformed));
}

/// Writes without conditions, as the generated types read them.
fn puts_and_deletes() -> impl Strategy<Value = Vec<cascade_proto::wire::etcd::RequestOp>> {
    let key = "[a-d]{0,3}";
    let operation = prop_oneof![
        (key, "[a-z]{0,5}").prop_map(|(key, value)| op_put(&key, &value)),
        key.prop_map(|key| op_delete(&key)),
        key.prop_map(|key| op_range(&key)),
    ];
    proptest::collection::vec(operation, 0..5)
}

proptest! {
    #[test]
    fn keys_are_those_that_the_generated_types_read(success in puts_and_deletes(), failure in puts_and_deletes()) {
        use cascade_proto::wire::etcd::request_op::Request;
        let keys: Vec<String> = success
            .iter()
            .chain(&failure)
            .filter_map(|operation| match operation.request.as_ref()? {
                Request::RequestPut(put) => Some(key_text(&put.key)),
                Request::RequestDeleteRange(delete) => Some(key_text(&delete.key)),
                _ => None,
            })
            .collect();
        let seen: Vec<String> =
            writes(&txn(vec![], success, failure)).into_iter().filter_map(|write| write.key).collect();
        prop_assert_eq!(seen, keys);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        for method in [Method::Put, Method::DeleteRange, Method::Txn, Method::Compact, Method::LeaseGrant, Method::Resign] {
            let _ = decode(method, &bytes, &ValueHasher::default());
        }
    }
}
