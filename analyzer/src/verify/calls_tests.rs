use super::*;

fn change(revision: i64, key: &str, op: Op) -> ChangeRow {
    ChangeRow {
        revision,
        ordinal: 0,
        revision_size: 1,
        key: key.to_owned(),
        op,
        is_import: false,
        prev_revision: (op != Op::Create).then_some(revision - 1),
        create_revision: Some(1),
        version: Some(1),
        lease_id: Some(0),
        value_hash: Some(7),
        instance: "a".to_owned(),
    }
}

fn call(revision: i64, key: &str, shape: CallShape) -> CallRow {
    CallRow {
        revision,
        shape,
        key: Some(key.to_owned()),
        range_end: None,
        deleted: None,
        call_id: "c".to_owned(),
    }
}

fn found(rows: &[ChangeRow], committed: &[CallRow], open: Vec<OpenCall>) -> CallFindings {
    let mut calls = Calls::new(true, open);
    calls.revision(rows, committed);
    calls.found
}

#[test]
fn a_change_joins_the_call_of_its_revision_and_key() {
    let row = change(5, "a", Op::Update);
    let joined = found(
        std::slice::from_ref(&row),
        &[call(5, "a", CallShape::Update)],
        Vec::new(),
    );
    assert_eq!((joined.joined, joined.join_rate()), (1, Some(1.0)));

    let alone = found(&[row], &[], Vec::new());
    assert_eq!(
        (alone.without_call.count, alone.join_rate()),
        (1, Some(0.0))
    );
}

#[test]
fn a_committed_call_without_its_change_is_a_loss() {
    let rows = [change(5, "a", Op::Update)];
    let calls = [
        call(5, "a", CallShape::Update),
        call(5, "b", CallShape::Update),
    ];
    assert_eq!(found(&rows, &calls, Vec::new()).without_change.count, 1);

    // Nothing was there to be deleted, or it is no key that was written.
    let mut nothing_deleted = call(5, "b", CallShape::Delete);
    nothing_deleted.deleted = Some(0);
    let harmless = [
        calls[0].clone(),
        nothing_deleted,
        call(5, "", CallShape::Compact),
    ];
    assert_eq!(found(&rows, &harmless, Vec::new()).without_change.count, 0);
}

#[test]
fn lease_expiries_are_counted_apart() {
    let mut expired = change(5, "a", Op::Delete);
    expired.lease_id = Some(42);
    let alone = found(&[expired.clone()], &[], Vec::new());
    assert_eq!((alone.lease_expiries, alone.join_rate()), (1, None));

    let mut calls = Calls::new(true, Vec::new()).revoked([42].into());
    let mut of_another = expired.clone();
    of_another.lease_id = Some(43);
    let mut updated = expired.clone();
    updated.op = Op::Update;
    for row in [expired, of_another, updated] {
        calls.revision(&[row], &[]);
    }
    let found_of = (calls.found.joined_by_revision, calls.found.lease_expiries);
    assert_eq!(found_of, (1, 1));
    assert_eq!(calls.found.without_call.count, 1);

    let without_lease = found(&[change(5, "a", Op::Delete)], &[], Vec::new());
    assert_eq!(without_lease.without_call.count, 1);
}

#[test]
fn a_range_delete_reaches_the_keys_in_its_range() {
    let reaches = |key: &str, start: &str, end: &str| {
        let mut range = call(5, start, CallShape::DeleteRange);
        range.range_end = Some(end.to_owned());
        found(&[change(5, key, Op::Delete)], &[range], Vec::new()).joined_by_revision == 1
    };
    assert!(reaches("b", "a", "c"));
    assert!(reaches("b", "b", "c"));
    assert!(!reaches("c", "a", "c"));
    assert!(!reaches("a", "b", "c"));
    assert!(reaches("z", "a", "\0"), "to the end of the keyspace");
    assert!(reaches("b", "a", "\\xff"), "to a byte that is not text");
    assert!(!reaches("\\xff", "a", "z"), "a byte that is not text");
}

#[test]
fn calls_without_an_answer_are_settled_by_the_changes() {
    let open = |shape, compared, hash| OpenCall {
        shape,
        key: "a".to_owned(),
        compare_revision: Some(compared),
        value_hash: hash,
    };
    let row = change(5, "a", Op::Update);
    let settled = |call: OpenCall| {
        let found = found(std::slice::from_ref(&row), &[], vec![call]);
        (
            found.unknown_committed,
            found.unknown_not_committed,
            found.without_call.count,
        )
    };
    assert_eq!(settled(open(CallShape::Update, 4, Some(7))), (1, 0, 0));
    assert_eq!(settled(open(CallShape::Update, 4, None)), (1, 0, 0));
    assert_eq!(
        settled(open(CallShape::Update, 4, Some(8))),
        (0, 1, 1),
        "another value"
    );
    assert_eq!(
        settled(open(CallShape::Update, 3, Some(7))),
        (0, 1, 1),
        "another revision"
    );
    assert_eq!(
        settled(open(CallShape::Delete, 4, None)),
        (0, 1, 1),
        "another operation"
    );

    // A call with an answer made the change, so the open one did not.
    let both = found(
        std::slice::from_ref(&row),
        &[call(5, "a", CallShape::Update)],
        vec![open(CallShape::Update, 4, Some(7))],
    );
    assert_eq!((both.joined, both.unknown_committed), (1, 0));
}

#[test]
fn without_an_observer_no_call_is_expected() {
    let mut calls = Calls::new(false, Vec::new());
    calls.revision(&[change(5, "a", Op::Update)], &[]);
    assert_eq!(
        (calls.found.not_observed, calls.found.join_rate()),
        (1, None)
    );
}
