//! A made-up history, followed wherever its lists are.

use super::follower::{Called, Follower, Step};
use super::*;
use crate::causality::kernel::{NONE, hash_of_text};
use crate::support::Random;

const OBJECTS: u64 = 700;

/// Follows objects that come, change, are left out for a while, and go; of some the key does not end with the name, some
/// have no uid or namespace.
fn follow(storage: &Storage, changes: i64) -> Timelines {
    let mut follower = Follower::new(&[], storage).unwrap();
    let mut random = Random::new(11);
    let mut versions = vec![0_i64; OBJECTS as usize];
    for revision in 0..changes {
        if revision == 0 || revision == changes / 4 {
            follower.enter("cluster", i32::from(revision > 0));
        }
        let object = random.below(OBJECTS);
        let version = &mut versions[object as usize];
        let is_gone = *version > 0 && random.below(8) == 0;
        let is_seen = random.below(20) > 0;
        let is_created = *version == 0;
        *version += i64::from(!is_gone);
        let step = Step {
            revision,
            ordinal: 0,
            generation: (!object.is_multiple_of(5)).then_some(*version / 4).into(),
            version: Some(*version),
            is_created,
            is_gone,
            is_converged: is_gone || random.below(3) == 0,
            can_converge: random.below(4) == 0,
        };
        if is_gone {
            *version = 0;
        }
        let held = (0..4).filter(|_| random.below(3) == 0);
        follower.held = held.collect();
        if !is_seen {
            continue;
        }
        let (key, name) = (
            format!("/registry/pods/default/pod-{object}"),
            match object % 3 {
                0 => format!("pod:{object}"),
                _ => format!("pod-{object}"),
            },
        );
        let uid = format!("uid-{object}-{revision}");
        follower.follow(&key, hash_of_text(&key), &step, || Called {
            api_group: None,
            kind: Some("Pod"),
            namespace: object.is_multiple_of(2).then_some("default"),
            name: (!object.is_multiple_of(11)).then_some(&name),
            uid: (!object.is_multiple_of(7)).then_some(&uid),
        });
    }
    follower.finish()
}

/// Everything that is known of a history, as text.
fn told(timelines: &Timelines, history: &History) -> Vec<String> {
    let mut told = vec![format!("{} {}", history.cluster_id, history.epoch)];
    told.extend(history.objects.iter().map(|object| {
        let texts = [
            history.key(&object),
            history.uid(&object),
            history.name(&object),
        ];
        let namespace = timelines.text(object.namespace);
        format!("{texts:?} {namespace:?} {object:?}")
    }));
    told.extend(history.changes.iter().map(|change| format!("{change:?}")));
    told.extend(history.states.iter().map(|state| format!("{state:?}")));
    let occurrences = history.occurrences.iter();
    told.extend(occurrences.map(|occurrence| format!("{occurrence:?}")));
    let places = || (0..6_000).step_by(2).map(|revision| (revision, 0));
    let (positions, numbers) = (
        history.positions(places()),
        history.places_of_occurrences(places()),
    );
    told.push(format!("{:?}", positions.iter().collect::<Vec<_>>()));
    told.push(format!("{:?}", numbers.iter().collect::<Vec<_>>()));
    told
}

#[test]
fn what_becomes_of_objects_is_the_same_wherever_it_is_kept() {
    let file = Storage::in_file(&std::env::temp_dir(), 40_000).unwrap();
    let [in_memory, in_file] =
        [Storage::default(), file.clone()].map(|storage| follow(&storage, 8_000));
    assert_eq!(in_memory.histories.len(), 2);
    for (one, other) in in_memory.histories.iter().zip(&in_file.histories) {
        let (one, other) = (told(&in_memory, one), told(&in_file, other));
        assert!(one.len() > 3_000, "{}", one.len());
        for (one, other) in one.iter().zip(&other) {
            assert_eq!(one, other);
        }
        assert_eq!(one.len(), other.len());
    }
    file.check().unwrap();
}

#[test]
fn states_and_occurrences_of_an_object_are_linked() {
    let timelines = follow(&Storage::default(), 8_000);
    for history in &timelines.histories {
        let objects = history.objects.len();
        let mut last: Vec<Option<u32>> = vec![None; objects];
        for (number, state) in (0_u32..).zip(history.states.iter()) {
            let before = last[state.object as usize].replace(number);
            if let Some(before) = before.and_then(|before| history.states.get(before as usize)) {
                assert_eq!(before.next, number);
                assert!(!before.is_gone && before.change < state.change);
            }
            let (of_change, _) = history.state_after(state.change).unwrap();
            assert_eq!(of_change, number);
        }
        for last in last.iter().flatten() {
            assert_eq!(history.states.get(*last as usize).unwrap().next, NONE);
        }
        for occurrence in history.occurrences.iter() {
            let generation = |change: u32| {
                history
                    .state_after(change)
                    .map(|(_, state)| state.generation)
            };
            let mut next = occurrence.before;
            while let Some(before) = history.occurrences.get(next as usize) {
                assert_eq!(before.object, occurrence.object);
                assert_ne!(before.milestone, occurrence.milestone);
                assert!(before.change <= occurrence.change);
                assert_eq!(generation(before.change), generation(occurrence.change));
                next = before.before;
            }
        }
    }
}

#[test]
fn texts_of_an_object_are_those_it_was_created_with() {
    let timelines = follow(&Storage::default(), 2_000);
    for history in &timelines.histories {
        for object in history.objects.iter() {
            let key = history.key(&object).unwrap();
            let number: u64 = key.rsplit('-').next().unwrap().parse().unwrap();
            let separator = if number.is_multiple_of(3) { ':' } else { '-' };
            let name = format!("pod{separator}{number}");
            let expected = (!number.is_multiple_of(11)).then_some(name);
            assert_eq!(history.name(&object).as_deref(), expected.as_deref());
            match history.uid(&object) {
                Some(uid) => assert!(uid.starts_with(&format!("uid-{number}-")), "{uid}"),
                None => assert_eq!(number % 7, 0),
            }
            assert_eq!(timelines.text(object.kind), Some("Pod"));
            assert_eq!(timelines.text(object.api_group), None);
        }
    }
}
