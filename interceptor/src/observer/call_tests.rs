use std::time::Instant;

use cascade_proto::wire::etcd::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse,
    LeaseGrantRequest, LeaseGrantResponse, LeaseRevokeRequest, LeaseRevokeResponse, TxnRequest,
    TxnResponse,
};
use prost::Message;

use super::super::testing::grpc;
use super::super::testing::messages::*;
use super::*;
use crate::observer::ObserverMetrics;

fn now() -> Reading {
    Reading {
        moment: Moment { unix_nano: 1 },
        instant: Instant::now(),
    }
}

/// The rows of a call that was answered with a message and status 0.
fn rows(method: Method, request: &impl Message, answer: &impl Message) -> Vec<Call> {
    let mut budget = Budget::new(ObserverMetrics::default());
    let mut call = OpenCall::open(method, Metadata::default(), now(), &mut budget).unwrap();
    let request = grpc(&request.encode_to_vec());
    let progress = call.request_piece(&request, now(), ValueHasher::default, &mut budget);
    assert_eq!(progress, Progress::Continue);
    call.response_headers(Some(200), None);
    call.response_piece(&grpc(&answer.encode_to_vec()), now(), &mut budget);
    call.response_headers(None, Some(0));
    end(call, End::Answered, budget)
}

fn end(mut call: OpenCall, end: End, mut budget: Budget) -> Vec<Call> {
    call.release(&mut budget);
    assert_eq!(budget.used(), 0);
    let place = Place {
        call_id: "id",
        instance: &Arc::from("test"),
        connection: 1,
        stream: 1,
    };
    call.into_rows(end, now(), place)
}

fn txn_rows(request: TxnRequest, answer: TxnResponse) -> Vec<Call> {
    rows(Method::Txn, &request, &answer)
}

/// What of a row is about one operation.
type Summary<'a> = (
    i32,
    CallShape,
    Option<Branch>,
    Option<&'a str>,
    CallOutcome,
    Option<i64>,
    Option<i64>,
);

fn summary(rows: &[Call]) -> Vec<Summary<'_>> {
    rows.iter()
        .map(|row| {
            let key = row.key.as_deref();
            (
                row.op_index,
                row.shape,
                row.branch,
                key,
                row.outcome,
                row.revision,
                row.deleted,
            )
        })
        .collect()
}

use Branch::{Failure, Success};
use CallOutcome::{Committed, Conflict, Unknown};
use CallShape::{Create, Delete, DeleteRange, Update};

#[test]
fn a_create_and_a_create_that_came_too_late() {
    let request = || txn(vec![mod_equal("k", 0)], vec![op_put("k", "v")], vec![]);
    let created = txn_rows(request(), txn_answer(5, true, vec![did_put()]));
    assert_eq!(
        summary(&created),
        [(
            0,
            Create,
            Some(Success),
            Some("k"),
            Committed,
            Some(5),
            None
        )]
    );
    assert_eq!(created[0].grpc_status, Some(0));
    let late = txn_rows(request(), txn_answer(6, false, vec![]));
    assert_eq!(
        summary(&late),
        [(0, Create, Some(Failure), Some("k"), Conflict, None, None)]
    );
    assert_eq!(late[0].compare_revision, Some(0));
}

#[test]
fn an_update_and_a_delete_as_kube_apiserver_sends_them() {
    let update = || {
        txn(
            vec![mod_equal("k", 4)],
            vec![op_put("k", "v")],
            vec![op_range("k")],
        )
    };
    let done = txn_rows(update(), txn_answer(5, true, vec![did_put()]));
    assert_eq!(
        summary(&done),
        [(
            0,
            Update,
            Some(Success),
            Some("k"),
            Committed,
            Some(5),
            None
        )]
    );
    let conflict = txn_rows(update(), txn_answer(5, false, vec![did_range()]));
    assert_eq!(
        summary(&conflict),
        [(0, Update, Some(Failure), Some("k"), Conflict, None, None)]
    );
    assert_eq!(conflict[0].compare_revision, Some(4));

    let delete = || {
        txn(
            vec![mod_equal("k", 4)],
            vec![op_delete("k")],
            vec![op_range("k")],
        )
    };
    let done = txn_rows(delete(), txn_answer(5, true, vec![did_delete(1)]));
    assert_eq!(
        summary(&done),
        [(
            0,
            Delete,
            Some(Success),
            Some("k"),
            Committed,
            Some(5),
            Some(1)
        )]
    );
    let conflict = txn_rows(delete(), txn_answer(5, false, vec![did_range()]));
    assert_eq!(
        summary(&conflict),
        [(0, Delete, Some(Failure), Some("k"), Conflict, None, None)]
    );
}

#[test]
fn operations_that_ran_are_rows_and_reads_among_them_are_not() {
    let request = txn(
        vec![],
        vec![
            op_range("r"),
            op_put("a", "v"),
            op_delete("b"),
            op_delete("none"),
        ],
        vec![op_put("other", "v")],
    );
    let answers = vec![did_range(), did_put(), did_delete(1), did_delete(0)];
    assert_eq!(
        summary(&txn_rows(request, txn_answer(8, true, answers))),
        [
            (
                0,
                Update,
                Some(Success),
                Some("a"),
                Committed,
                Some(8),
                None
            ),
            (
                1,
                Delete,
                Some(Success),
                Some("b"),
                Committed,
                Some(8),
                Some(1)
            ),
            // Deleting what is not there makes no revision.
            (
                2,
                Delete,
                Some(Success),
                Some("none"),
                Committed,
                None,
                Some(0)
            ),
        ]
    );
}

#[test]
fn a_failure_branch_that_writes_is_what_ran() {
    let request = txn(
        vec![mod_equal("k", 0)],
        vec![op_put("k", "new")],
        vec![op_delete("k")],
    );
    assert_eq!(
        summary(&txn_rows(
            request,
            txn_answer(8, false, vec![did_delete(1)])
        )),
        [(
            0,
            Delete,
            Some(Failure),
            Some("k"),
            Committed,
            Some(8),
            Some(1)
        )]
    );
}

#[test]
fn a_write_that_was_not_needed_is_a_conflict() {
    // "Get it, or else create it": it was there.
    let request = txn(
        vec![mod_equal("k", 3)],
        vec![op_range("k")],
        vec![op_put("k", "v")],
    );
    assert_eq!(
        summary(&txn_rows(request, txn_answer(8, true, vec![did_range()]))),
        [(0, Update, Some(Success), Some("k"), Conflict, None, None)]
    );
}

#[test]
fn nested_transactions_have_an_outcome_for_each_operation() {
    let inner = txn(
        vec![mod_equal("b", 1)],
        vec![op_put("b", "v")],
        vec![op_range("b")],
    );
    let other = txn(vec![], vec![op_put("c", "v")], vec![]);
    let request = txn(
        vec![],
        vec![op_put("a", "v"), op_txn(inner), op_txn(other)],
        vec![],
    );
    let answers = vec![
        did_put(),
        did_txn(false, vec![did_range()]),
        did_txn(true, vec![did_put()]),
    ];
    assert_eq!(
        summary(&txn_rows(request, txn_answer(8, true, answers))),
        [
            (
                0,
                Update,
                Some(Success),
                Some("a"),
                Committed,
                Some(8),
                None
            ),
            (1, Update, Some(Failure), Some("b"), Conflict, None, None),
            (
                2,
                Update,
                Some(Success),
                Some("c"),
                Committed,
                Some(8),
                None
            ),
        ]
    );
}

#[test]
fn an_answer_to_something_else_leaves_the_operation_unknown() {
    let request = || txn(vec![], vec![op_put("a", "v"), op_put("b", "v")], vec![]);
    assert_eq!(
        summary(&txn_rows(
            request(),
            txn_answer(8, true, vec![did_delete(1)])
        )),
        [
            (0, Update, Some(Success), Some("a"), Unknown, None, None),
            (1, Update, Some(Success), Some("b"), Unknown, None, None),
        ]
    );
}

#[test]
fn without_an_answer_all_writes_are_rows_of_no_branch() {
    let mut budget = Budget::new(ObserverMetrics::default());
    let mut call = OpenCall::open(Method::Txn, Metadata::default(), now(), &mut budget).unwrap();
    let request = txn(
        vec![mod_equal("k", 0)],
        vec![op_put("k", "v")],
        vec![op_delete("k")],
    );
    let request = grpc(&request.encode_to_vec());
    call.request_piece(&request, now(), ValueHasher::default, &mut budget);
    assert_eq!(
        summary(&end(call, End::Lost, budget)),
        [
            (0, Create, None, Some("k"), Unknown, None, None),
            (1, Delete, None, Some("k"), Unknown, None, None)
        ]
    );
}

#[test]
fn range_deletes() {
    let request = DeleteRangeRequest {
        range_end: "l".into(),
        ..delete("k")
    };
    let answer = |deleted| DeleteRangeResponse {
        header: header(8),
        deleted,
    };
    for (deleted, revision) in [(3, Some(8)), (0, None)] {
        let rows = rows(Method::DeleteRange, &request, &answer(deleted));
        assert_eq!(
            summary(&rows),
            [(
                0,
                DeleteRange,
                None,
                Some("k"),
                Committed,
                revision,
                Some(deleted)
            )]
        );
        assert_eq!(rows[0].range_end.as_deref(), Some("l"));
    }
}

#[test]
fn leases_and_compaction_make_no_revision_of_their_own() {
    let grant = LeaseGrantRequest { ttl: 15, id: 0 };
    let granted = LeaseGrantResponse {
        header: header(8),
        id: 99,
        ttl: 16,
        error: String::new(),
    };
    let row = &rows(Method::LeaseGrant, &grant, &granted)[0];
    assert_eq!((row.outcome, row.revision), (Committed, None));
    assert_eq!((row.lease_id, row.lease_ttl), (Some(99), Some(16)));
    assert_eq!(row.cluster_id.as_deref(), Some("cdf8181e32272efa"));

    let failed = LeaseGrantResponse {
        error: "no".to_owned(),
        ..granted
    };
    assert_eq!(
        rows(Method::LeaseGrant, &grant, &failed)[0].outcome,
        CallOutcome::Error
    );

    let revoked = LeaseRevokeResponse { header: header(8) };
    let row = &rows(
        Method::LeaseRevoke,
        &LeaseRevokeRequest { id: 99 },
        &revoked,
    )[0];
    assert_eq!(
        (row.shape, row.outcome, row.revision),
        (CallShape::LeaseRevoke, Committed, None)
    );
    assert_eq!(row.lease_id, Some(99));

    let request = CompactionRequest {
        revision: 7,
        physical: false,
    };
    let compacted = CompactionResponse { header: header(8) };
    let row = &rows(Method::Compact, &request, &compacted)[0];
    assert_eq!(
        (row.shape, row.outcome, row.revision),
        (CallShape::Compact, Committed, None)
    );
    assert_eq!(row.compare_revision, Some(7));
}
