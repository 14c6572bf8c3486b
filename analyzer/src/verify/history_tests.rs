use super::*;

fn row(revision: i64, key: &str, op: Op) -> ChangeRow {
    ChangeRow {
        revision,
        ordinal: 0,
        revision_size: 1,
        key: key.to_owned(),
        op,
        is_import: false,
        prev_revision: None,
        create_revision: Some(revision),
        version: Some(1),
        lease_id: Some(0),
        value_hash: None,
        instance: "a".to_owned(),
    }
}

/// The next change of the same key.
fn next(previous: &ChangeRow, revision: i64, op: Op) -> ChangeRow {
    ChangeRow {
        prev_revision: Some(previous.revision),
        create_revision: previous.create_revision,
        version: previous
            .version
            .map(|version| version + i64::from(op == Op::Update)),
        ..row(revision, &previous.key, op)
    }
}

fn state_of(row: &ChangeRow) -> KeyState {
    KeyState {
        revision: row.revision,
        create_revision: row.create_revision.unwrap(),
        version: row.version.unwrap(),
    }
}

/// Follows rows, one revision each, from an empty etcd.
fn follow(rows: &[ChangeRow], gaps: Vec<(i64, i64)>) -> History {
    let mut history = History::new(2, true, Ranges::of(gaps));
    for row in rows {
        history.revision(row.revision, std::slice::from_ref(row));
    }
    history
}

/// A short life of two keys.
fn life() -> Vec<ChangeRow> {
    let a = row(2, "a", Op::Create);
    let b = row(3, "b", Op::Create);
    let a_updated = next(&a, 4, Op::Update);
    let b_deleted = next(&b, 5, Op::Delete);
    let a_updated_again = next(&a_updated, 6, Op::Update);
    vec![a, b, a_updated, b_deleted, a_updated_again]
}

#[test]
fn a_whole_history_has_no_loss() {
    let history = follow(&life(), Vec::new());
    assert!(!history.found.has_loss(), "{:?}", history.found);
    assert_eq!(history.found.changes, 5);
    assert_eq!(
        (history.found.first_revision, history.found.last_revision),
        (Some(2), Some(6))
    );
    assert!(history.is_whole());
    assert_eq!(history.keys.len(), 1);
    assert_eq!(history.keys["a"], state_of(&life()[4]));
}

#[test]
fn any_revision_left_out_is_noticed() {
    for left_out in 0..4 {
        let mut rows = life();
        let revision = rows.remove(left_out).revision;
        let history = follow(&rows, Vec::new());
        assert!(history.found.has_loss());
        assert_eq!(
            history.found.missing,
            Ranges::of(vec![(revision, revision)])
        );
        assert!(!history.is_whole());
        // The same, admitted.
        let history = follow(&rows, vec![(revision, revision)]);
        assert!(!history.found.has_loss(), "{:?}", history.found);
        assert_eq!(history.found.known_missing.count(), 1);
    }
}

#[test]
fn a_row_twice_is_a_duplicate_unless_another_instance_wrote_it() {
    let row = row(2, "a", Op::Create);
    let mut other = ChangeRow {
        instance: "b".to_owned(),
        ..row.clone()
    };
    let found = |rows: &[ChangeRow]| {
        let mut history = History::new(2, true, Ranges::default());
        history.revision(2, rows);
        history.found
    };
    let twice = found(&[row.clone(), row.clone()]);
    assert_eq!((twice.duplicates.count, twice.has_loss()), (1, true));
    let by_both = found(&[row.clone(), other.clone()]);
    assert_eq!((by_both.recorded_again, by_both.has_loss()), (1, false));
    other.key = "b".to_owned();
    let contradicting = found(&[row, other]);
    assert_eq!(
        (contradicting.conflicts.count, contradicting.has_loss()),
        (1, true)
    );
}

#[test]
fn a_revision_of_several_keys_must_have_them_all() {
    let of_three = |ordinal: i32| ChangeRow {
        ordinal,
        revision_size: 3,
        ..row(2, &format!("key {ordinal}"), Op::Create)
    };
    let found = |ordinals: &[i32]| {
        let rows: Vec<ChangeRow> = ordinals.iter().map(|ordinal| of_three(*ordinal)).collect();
        let mut history = History::new(2, true, Ranges::default());
        history.revision(2, &rows);
        history.found.incomplete.count
    };
    assert_eq!(found(&[0, 1, 2]), 0);
    for incomplete in [&[0, 1][..], &[1, 2], &[0, 2], &[2]] {
        assert_eq!(found(incomplete), 1, "{incomplete:?}");
    }
}

#[test]
fn what_does_not_follow_from_the_past_is_noticed() {
    let a = row(2, "a", Op::Create);
    let update = next(&a, 3, Op::Update);
    let broken = |change: &dyn Fn(&mut ChangeRow)| {
        let mut update = update.clone();
        change(&mut update);
        follow(&[a.clone(), update], Vec::new())
            .found
            .broken_chain
            .count
    };
    assert_eq!(broken(&|_| {}), 0);
    assert_eq!(broken(&|row| row.prev_revision = Some(1)), 1);
    assert_eq!(broken(&|row| row.version = Some(3)), 1);
    assert_eq!(broken(&|row| row.create_revision = Some(3)), 1);
    assert_eq!(broken(&|row| row.key = "b".to_owned()), 1);
    assert_eq!(broken(&|row| row.op = Op::Create), 1);
    assert_eq!(
        broken(&|row| row.op = Op::Delete),
        1,
        "a delete keeps the version"
    );
    // A previous value that was not available is no contradiction.
    assert_eq!(broken(&|row| row.prev_revision = None), 0);
}

#[test]
fn a_snapshot_must_agree_with_the_changes_before_it() {
    let rows = life();
    let right: HashMap<Box<str>, KeyState> = [("a".into(), state_of(&rows[4]))].into();
    let mismatches = |keys: &HashMap<Box<str>, KeyState>| {
        let mut history = follow(&rows, Vec::new());
        history.snapshot(6, keys.clone());
        history.found.snapshot_mismatches.count
    };
    assert_eq!(mismatches(&right), 0);
    assert_eq!(mismatches(&HashMap::new()), 1);
    let older: HashMap<_, _> = [("a".into(), state_of(&rows[2]))].into();
    assert_eq!(mismatches(&older), 1);
    let mut more = right.clone();
    more.insert("b".into(), state_of(&rows[1]));
    assert_eq!(mismatches(&more), 1);
}

#[test]
fn after_a_gap_only_the_snapshot_counts() {
    let rows = life();
    let mut history = follow(&rows[..2], vec![(4, 9)]);
    let a = KeyState {
        revision: 8,
        create_revision: 2,
        version: 4,
    };
    history.snapshot(9, [("a".into(), a)].into());
    let update = ChangeRow {
        prev_revision: Some(8),
        create_revision: Some(2),
        version: Some(5),
        ..row(10, "a", Op::Update)
    };
    history.revision(10, std::slice::from_ref(&update));
    assert!(!history.found.has_loss(), "{:?}", history.found);
    assert_eq!(history.found.known_missing.count(), 6);
    assert!(history.is_whole());
}

#[test]
fn a_history_may_start_with_a_snapshot() {
    let mut history = History::new(8, false, Ranges::default());
    let a = KeyState {
        revision: 5,
        create_revision: 5,
        version: 1,
    };
    history.snapshot(7, [("a".into(), a)].into());
    let create = row(8, "b", Op::Create);
    history.revision(8, std::slice::from_ref(&create));
    assert!(!history.found.has_loss(), "{:?}", history.found);
    assert!(history.is_whole());
}

#[test]
fn rows_in_the_wrong_order_are_noticed() {
    let rows = life();
    let history = follow(
        &[rows[0].clone(), rows[1].clone(), rows[0].clone()],
        Vec::new(),
    );
    assert_eq!(history.found.out_of_order.count, 1);
}
