//! Any order of appends, flushes, failures and crashes.

use std::collections::BTreeSet;

use cascade_proto::tables::{Call, Change};
use proptest::prelude::*;

use super::super::files::Step;
use super::super::{Rows, Store, StoreConfig};
use super::support::*;

/// Something that happens to a store.
#[derive(Debug, Clone)]
enum Event {
    /// The ledger hands in this many revisions, beginning this many before the first new one.
    Changes(i64, i64),
    /// The observer hands in a call.
    Call,
    Checkpoint,
    Flush,
    /// Minutes pass.
    Time(i64),
    /// The disk begins to refuse a kind of step.
    Refuse(Step),
    /// The disk begins to refuse everything after some steps.
    RefuseAfter(usize),
    /// The disk is well again.
    Recover,
    /// The process is killed, and started again.
    Kill,
    /// The process is stopped in order, and started again.
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    let step = prop_oneof![
        Just(Step::CreateFolder),
        Just(Step::CreateFile),
        Just(Step::Write),
        Just(Step::Cut),
        Just(Step::SyncFile),
        Just(Step::SyncFolder),
        Just(Step::Rename),
        Just(Step::Remove),
    ];
    prop_oneof![
        6 => (1..5_i64, 0..3_i64).prop_map(|(count, early)| Event::Changes(count, early)),
        4 => Just(Event::Call),
        2 => Just(Event::Checkpoint),
        4 => Just(Event::Flush),
        1 => (1..50_i64).prop_map(Event::Time),
        1 => step.prop_map(Event::Refuse),
        1 => (0..12_usize).prop_map(Event::RefuseAfter),
        2 => Just(Event::Recover),
        1 => Just(Event::Kill),
        1 => Just(Event::Restart),
    ]
}

/// A store, those who use it, and what they know.
struct World {
    trace: tempfile::TempDir,
    clock: SetClock,
    disk: BadDisk,
    store: Store,
    /// Last revision that the store accepted.
    accepted: i64,
    next_call: i64,
    /// Calls that were ever accepted.
    accepted_calls: BTreeSet<i64>,
    /// Those accepted since the process was started: the next flush covers them.
    fresh_calls: BTreeSet<i64>,
    /// Those that a successful flush covered.
    durable_calls: BTreeSet<i64>,
}

impl World {
    fn new() -> Self {
        let trace = folder_in_memory();
        let clock = SetClock::at(THREE_O_CLOCK);
        let disk = BadDisk::default();
        let (store, _) = open_with(Self::config(&trace), disk.files(), &clock);
        Self {
            trace,
            clock,
            disk,
            store,
            accepted: 1,
            next_call: 1,
            accepted_calls: BTreeSet::new(),
            fresh_calls: BTreeSet::new(),
            durable_calls: BTreeSet::new(),
        }
    }

    fn config(trace: &tempfile::TempDir) -> StoreConfig {
        StoreConfig {
            max_batch_rows: 6,
            max_segment_rows: 20,
            ..config(trace.path())
        }
    }

    async fn happen(mut self, event: Event, minutes: &mut i64) -> Self {
        match event {
            Event::Changes(count, early) => {
                let from = (self.accepted + 1 - early).max(2);
                let to = self.accepted + count;
                if self.store.append(revisions(from..=to)).await.is_ok() {
                    self.accepted = to;
                }
            }
            Event::Call => {
                let number = self.next_call;
                self.next_call += 1;
                if self
                    .store
                    .try_append(Rows::Calls(vec![call(number)]))
                    .is_ok()
                {
                    self.accepted_calls.insert(number);
                    self.fresh_calls.insert(number);
                }
            }
            Event::Checkpoint => {
                let checkpoint = checkpoint(self.accepted);
                // A ledger whose append fails tries again with the next one.
                let _ = self.store.append(Rows::Checkpoint(checkpoint)).await;
            }
            Event::Flush => {
                if self.store.flush().await.is_ok() {
                    self.durable_calls.append(&mut self.fresh_calls);
                    let durable = self.store.durable();
                    let revision = durable.borrow().change.as_ref().map_or(1, |at| at.revision);
                    assert_eq!(revision, self.accepted);
                }
            }
            Event::Time(passed) => {
                *minutes += passed;
                self.clock.set(THREE_O_CLOCK + *minutes * 60 * SECOND);
            }
            Event::Refuse(step) => self.disk.refuse(step),
            Event::RefuseAfter(steps) => self.disk.refuse_after(steps),
            Event::Recover => self.disk.recover(),
            Event::Kill => {
                // From here on nothing reaches the disk.
                self.disk.refuse_after(0);
                let mut durable = self.store.durable();
                let promised = durable.borrow().clone();
                drop(self.store);
                while durable.changed().await.is_ok() {}
                return Self::reopen(self.trace, self.clock, self.accepted, promised, |world| {
                    world.next_call = self.next_call;
                    world.accepted_calls = self.accepted_calls;
                    world.durable_calls = self.durable_calls;
                });
            }
            Event::Restart => {
                self.disk.recover();
                let durable = self.store.durable();
                self.store.close().await.unwrap();
                let promised = durable.borrow().clone();
                let expected = self.accepted;
                let world =
                    Self::reopen(self.trace, self.clock, self.accepted, promised, |world| {
                        world.next_call = self.next_call;
                        world.accepted_calls = self.accepted_calls;
                        world.durable_calls = self.durable_calls;
                        world.durable_calls.append(&mut self.fresh_calls);
                    });
                assert_eq!(world.accepted, expected, "a close loses nothing");
                return world;
            }
        }
        self
    }

    fn reopen(
        trace: tempfile::TempDir,
        clock: SetClock,
        accepted: i64,
        promised: super::super::Durable,
        keep: impl FnOnce(&mut Self),
    ) -> Self {
        let disk = BadDisk::default();
        let (store, recovered) = open_with(Self::config(&trace), disk.files(), &clock);
        let found = recovered.last_change.map_or(1, |last| last.revision);
        assert!(found <= accepted);
        assert!(found >= promised.change.map_or(1, |change| change.revision));
        let checkpoint = recovered.checkpoint.map_or(0, |last| last.revision);
        assert!(checkpoint <= found);
        assert!(checkpoint >= promised.checkpoint.map_or(0, |last| last.revision));
        let mut world = Self {
            trace,
            clock,
            disk,
            store,
            accepted: found,
            next_call: 1,
            accepted_calls: BTreeSet::new(),
            fresh_calls: BTreeSet::new(),
            durable_calls: BTreeSet::new(),
        };
        keep(&mut world);
        world
    }

    /// Ends in order, and compares what is there with what was promised.
    async fn end(mut self) {
        self.disk.recover();
        self.store.close().await.unwrap();
        self.durable_calls.append(&mut self.fresh_calls);
        let expected: Vec<Change> = (2..=self.accepted).flat_map(|at| revision(0, at)).collect();
        assert_eq!(sealed_rows::<Change>(self.trace.path()), expected);
        let mut calls: Vec<i64> = sealed_rows::<Call>(self.trace.path())
            .iter()
            .map(|call| call.stream)
            .collect();
        calls.sort_unstable();
        let distinct: BTreeSet<i64> = calls.iter().copied().collect();
        assert_eq!(calls.len(), distinct.len(), "twice: {calls:?}");
        assert!(distinct.is_subset(&self.accepted_calls));
        assert!(distinct.is_superset(&self.durable_calls));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_revision_is_stored_once_whatever_happens(
        events in proptest::collection::vec(event(), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            let mut minutes = 0;
            for event in events {
                world = world.happen(event, &mut minutes).await;
            }
            world.end().await;
        });
    }
}
