use cascade_proto::wire::etcd::{DeleteRangeResponse, LeaseGrantResponse};
use proptest::prelude::*;
use prost::Message;

use super::super::testing::messages::{
    CLUSTER, did_delete, did_put, did_range, did_txn, header, put_answer, txn_answer,
};
use super::*;

fn read(method: Method, message: &impl Message) -> Answer {
    decode(method, &message.encode_to_vec()).unwrap()
}

#[test]
fn header_and_effect_of_each_kind() {
    let answer = |effect| Answer {
        cluster_id: Some(CLUSTER),
        revision: Some(9),
        effect,
    };
    assert_eq!(read(Method::Put, &put_answer(9)), answer(Effect::Put));
    let deleted = DeleteRangeResponse {
        header: header(9),
        deleted: 4,
    };
    assert_eq!(
        read(Method::DeleteRange, &deleted),
        answer(Effect::Delete { deleted: 4 })
    );
    let lease = LeaseGrantResponse {
        header: header(9),
        id: 5,
        ttl: 60,
        error: String::new(),
    };
    let effect = Effect::Lease {
        id: Some(5),
        ttl: Some(60),
        failed: false,
    };
    assert_eq!(read(Method::LeaseGrant, &lease), answer(effect));
    assert_eq!(read(Method::Compact, &put_answer(9)), answer(Effect::Done));
}

#[test]
fn transactions_within_transactions() {
    let message = txn_answer(
        9,
        true,
        vec![
            did_put(),
            did_txn(false, vec![did_delete(2), did_range()]),
            did_range(),
        ],
    );
    let inner = Effect::Transaction {
        succeeded: false,
        results: vec![Effect::Delete { deleted: 2 }, Effect::Read],
    };
    let results = vec![Effect::Put, inner, Effect::Read];
    assert_eq!(
        read(Method::Txn, &message).effect,
        Effect::Transaction {
            succeeded: true,
            results
        }
    );
}

#[test]
fn what_a_transaction_wrote() {
    for (results, wrote) in [
        (vec![], false),
        (vec![did_range()], false),
        (vec![did_delete(0)], false),
        (vec![did_delete(1)], true),
        (vec![did_txn(true, vec![did_put()])], true),
    ] {
        assert_eq!(
            read(Method::Txn, &txn_answer(9, true, results))
                .effect
                .wrote(),
            wrote
        );
    }
}

#[test]
fn an_answer_without_a_header_names_nothing() {
    let answer = decode(Method::Put, &[]).unwrap();
    assert_eq!(
        answer,
        Answer {
            cluster_id: None,
            revision: None,
            effect: Effect::Put
        }
    );
}

#[test]
fn keys_that_etcd_made() {
    let lock = [0x0a, 0, 0x12, 1, b'k'];
    let campaign = [0x12, 6, 0x0a, 1, b'n', 0x12, 1, b'k'];
    for (method, message, key) in [
        (Method::Lock, &lock[..], Some("k")),
        (Method::Campaign, &campaign, Some("k")),
        (Method::Unlock, &[], None),
    ] {
        let answer = decode(method, message).unwrap();
        assert_eq!(
            answer.effect,
            Effect::Key(key.map(str::to_owned)),
            "{method:?}"
        );
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        for method in [Method::Put, Method::DeleteRange, Method::Txn, Method::LeaseGrant, Method::Campaign] {
            let _ = decode(method, &bytes);
        }
    }
}
