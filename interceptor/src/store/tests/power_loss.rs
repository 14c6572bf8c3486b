//! A process that is killed, or a machine that loses power, at any moment: nothing durable is
//! lost, nothing is there twice, and nothing is there that was not written.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use cascade_proto::tables::{Call, Change};
use tempfile::TempDir;
use tokio::sync::watch;

use super::super::files::{Files, Step};
use super::super::{Durable, Recovered, Rows, Store};
use super::support::*;

/// The folder as it was before one step, and what had been promised by then.
struct Moment {
    copy: TempDir,
    step: String,
    durable: Durable,
    /// Per journal: how much of it had been synced.
    synced: HashMap<PathBuf, u64>,
}

/// Copies the folder before every step.
#[derive(Default)]
struct Recorder {
    moments: Vec<Moment>,
    durable: Option<watch::Receiver<Durable>>,
    synced: HashMap<PathBuf, u64>,
    /// Length of the file that was about to be synced by the last step.
    syncing: Option<(PathBuf, u64)>,
}

impl Recorder {
    fn before(&mut self, trace: &Path, step: Step, path: &Path) {
        // The step before this one is done.
        if let Some((path, length)) = self.syncing.take() {
            self.synced.insert(path, length);
        }
        let relative = path.strip_prefix(trace).unwrap_or(path).to_path_buf();
        let copy = folder_in_memory();
        copy_folder(trace, copy.path());
        self.moments.push(Moment {
            copy,
            step: format!("{step:?} {}", relative.display()),
            durable: self
                .durable
                .as_ref()
                .map(|durable| durable.borrow().clone())
                .unwrap_or_default(),
            synced: self.synced.clone(),
        });
        match step {
            Step::SyncFile => self.syncing = Some((relative, path.metadata().unwrap().len())),
            Step::Cut => {
                self.synced.remove(&relative);
            }
            _ => {}
        }
    }
}

/// A recorder and files that it records. The recorder is never freed: steps hold its lock.
fn recorded(trace: &Path) -> (&'static Mutex<Recorder>, Files) {
    let recorder: &'static Mutex<Recorder> = Box::leak(Box::default());
    let trace = trace.to_path_buf();
    let files = Files::with_hook(Arc::new(move |step, path| {
        // Held during the step, so that no copy sees another thread's step half done.
        let mut guard = recorder.lock().unwrap();
        guard.before(&trace, step, path);
        Ok(Box::new(guard))
    }));
    (recorder, files)
}

/// What may become of the bytes of a file that no fsync has covered.
#[derive(Debug, Clone, Copy)]
enum Unsynced {
    /// The process was killed, the machine lives on.
    Kept,
    /// None of them reached the disk.
    Lost,
    /// The length did, the bytes did not.
    Zeros,
    /// The last of them did not.
    Torn,
    /// The length and most of them did, the rest reads as zeros.
    Hole,
}

impl Unsynced {
    const ALL: [Self; 5] = [Self::Kept, Self::Lost, Self::Zeros, Self::Torn, Self::Hole];

    /// Returns whether there were any such bytes.
    fn apply(self, trace: &Path, synced: &HashMap<PathBuf, u64>) -> bool {
        let mut any = false;
        for path in table_files(trace, "") {
            if !has_extension(&path, "journal") {
                continue;
            }
            let synced = synced
                .get(path.strip_prefix(trace).unwrap())
                .copied()
                .unwrap_or(0);
            let length = path.metadata().unwrap().len();
            any |= synced < length;
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            match self {
                Self::Kept => {}
                Self::Lost => file.set_len(synced).unwrap(),
                Self::Zeros => {
                    file.set_len(synced).unwrap();
                    file.set_len(length).unwrap();
                }
                Self::Torn => file.set_len(synced.max(length.saturating_sub(9))).unwrap(),
                Self::Hole => {
                    file.set_len(length - (length - synced) / 8).unwrap();
                    file.set_len(length).unwrap();
                }
            }
        }
        any
    }
}

fn last_revision(durable: &Durable) -> i64 {
    durable.change.as_ref().map_or(0, |change| change.revision)
}

/// Opens a copy as the next process would, lets a ledger go on to `end`, and checks what is there.
async fn check(moment: &Moment, unsynced: Unsynced, end: i64) {
    let trace = folder_in_memory();
    let trace = trace.path();
    copy_folder(moment.copy.path(), trace);
    let any = unsynced.apply(trace, &moment.synced);
    if !any && !matches!(unsynced, Unsynced::Kept) {
        return; // the same as if they were kept
    }
    let what = format!("before {}, unsynced bytes {unsynced:?}", moment.step);

    let (store, recovered) = Store::open(config(trace)).unwrap();
    check_recovered(&recovered, moment, &what);
    let found = recovered.last_change.map_or(1, |last| last.revision);
    if found < end {
        store.append(revisions(found + 1..=end)).await.unwrap();
    }
    store.close().await.unwrap();

    let expected: Vec<Change> = (2..=end).flat_map(|at| revision(0, at)).collect();
    let stored = sealed_rows::<Change>(trace);
    assert!(stored == expected, "{what}: {}", describe(&stored));
    let calls: Vec<i64> = sealed_rows::<Call>(trace)
        .iter()
        .map(|call| call.stream)
        .collect();
    assert!(
        calls.iter().copied().eq(2..2 + calls.len() as i64),
        "{what}: {calls:?}"
    );
    let leftovers: Vec<_> = ["changes", "calls"]
        .iter()
        .flat_map(|table| table_files(trace, table))
        .filter(|path| !has_extension(path, "parquet"))
        .collect();
    assert!(leftovers.is_empty(), "{what}: {leftovers:?}");
}

fn check_recovered(recovered: &Recovered, moment: &Moment, what: &str) {
    let found = recovered
        .last_change
        .as_ref()
        .map_or(0, |last| last.revision);
    let promised = last_revision(&moment.durable);
    assert!(found >= promised, "{what}: {found} of {promised}");
    if let Some(last) = &recovered.last_change {
        assert_eq!(last, revision(0, last.revision).last().unwrap(), "{what}");
    }
    let checkpoint = recovered
        .checkpoint
        .as_ref()
        .map_or(0, |last| last.revision);
    let promised = moment
        .durable
        .checkpoint
        .as_ref()
        .map_or(0, |last| last.revision);
    assert!(checkpoint >= promised, "{what}: {checkpoint} of {promised}");
    assert!(checkpoint <= found, "{what}: a checkpoint before its rows");
}

fn describe(rows: &[Change]) -> String {
    rows.iter()
        .map(|row| format!("{}.{} ", row.revision, row.ordinal))
        .collect()
}

const END: i64 = 16;

/// Two hours of a store that is flushed now and then, recorded step by step.
async fn record(trace: &Path) -> Vec<Moment> {
    let (recorder, files) = recorded(trace);
    let clock = SetClock::at(THREE_O_CLOCK);
    let (store, _) = open_with(config(trace), files, &clock);
    recorder.lock().unwrap().durable = Some(store.durable());
    store.set_identity(identity(0));
    for at in (2..=END).step_by(3) {
        let last = (at + 2).min(END);
        store.append(revisions(at..=last)).await.unwrap();
        for number in at..=last {
            store.try_append(Rows::Calls(vec![call(number)])).unwrap();
        }
        store
            .append(Rows::Checkpoint(checkpoint(last)))
            .await
            .unwrap();
        store.flush().await.unwrap();
        if at == 8 {
            clock.set(THREE_O_CLOCK + 3600 * SECOND);
        }
    }
    store.close().await.unwrap();
    std::mem::take(&mut recorder.lock().unwrap().moments)
}

#[tokio::test]
async fn recovery_is_right_before_every_step() {
    let trace = folder_in_memory();
    let moments = record(trace.path()).await;
    // Both hours were sealed, and every kind of step was seen.
    let renames = moments
        .iter()
        .filter(|moment| moment.step.starts_with("Rename changes"))
        .count();
    assert_eq!(renames, 2);
    assert!(moments.len() > 150, "{} steps", moments.len());
    for moment in &moments {
        for unsynced in Unsynced::ALL {
            check(moment, unsynced, END).await;
        }
    }
}

#[tokio::test]
async fn recovery_itself_may_be_interrupted_at_every_step() {
    let trace = folder_in_memory();
    let moments = record(trace.path()).await;
    // The fullest moment: sealed files, journals, and one of them torn in the middle of a write.
    let torn = moments
        .iter()
        .rfind(|moment| {
            moment.step.starts_with("Write changes") && moment.step.ends_with("journal")
        })
        .unwrap();
    let again = folder_in_memory();
    copy_folder(torn.copy.path(), again.path());
    Unsynced::Torn.apply(again.path(), &torn.synced);

    let (recorder, files) = recorded(again.path());
    let (store, _) = open_with(config(again.path()), files, &SetClock::at(THREE_O_CLOCK));
    store.close().await.unwrap();
    let interrupted = std::mem::take(&mut recorder.lock().unwrap().moments);
    assert!(interrupted.len() > 20, "{} steps", interrupted.len());
    for mut moment in interrupted {
        moment.durable = torn.durable.clone();
        check(&moment, Unsynced::Kept, END).await;
    }
}
