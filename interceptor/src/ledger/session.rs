//! One session: survey, plan, watch.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cascade_proto::tables::{Gap, GapKind, Moment};
use tracing::{info, warn};

use super::assemble::Hole;
use super::connection::{Connection, Header};
use super::context::Context;
use super::error::Interruption;
use super::follow::Follower;
use super::history::{Known, Survey};
use super::metrics::LedgerStatus;
use super::outage::Outage;
use super::plan::{Plan, Unavailable, plan};
use super::previous::PreviousValues;
use super::recovered::known_from;
use super::rows::RowMaker;
use super::snapshot::SnapshotProgress;
use super::watch::{KeyspaceWatch, WatchEnd};
use crate::decode::{DecodeOptions, Decoder, HashKey, SharedHashKey};
use crate::store::{Identity, Recovered};

/// How long the last checkpoint may take on shutdown.
const FAREWELL: Duration = Duration::from_secs(1);

/// A watch that was open for this long worked: what ends it is a new outage.
const STABLE: Duration = Duration::from_secs(10);

/// Hashed to tell whether two runs used the same hash key.
const HASH_KEY_PROBE: &[u8] = b"cascade hash key";

/// The ledger between sessions.
pub(super) struct Ledger {
    context: Context,
    decode: DecodeOptions,
    hash_key: SharedHashKey,
    /// The hash key that the user gave; otherwise it is made from the cluster id.
    given_hash_key: Option<HashKey>,
    known: Option<Known>,
    snapshot: Option<SnapshotProgress>,
    /// When the previous process ended, until that is recorded.
    stopped: Option<Option<Moment>>,
    /// What the last watch could not deliver.
    unavailable: Option<Unavailable>,
    last_hole: Option<Hole>,
    /// Index of the endpoint to use.
    endpoint: usize,
    /// When the present watch was opened.
    followed_since: Option<Instant>,
}

/// An open watch with all that following it takes.
struct Opened {
    watch: KeyspaceWatch,
    connection: Connection,
    header: Header,
    rows: Arc<RowMaker>,
    known: Known,
}

impl Ledger {
    pub(super) fn new(
        mut context: Context,
        decode: DecodeOptions,
        hash_key: SharedHashKey,
        recovered: Recovered,
    ) -> Self {
        if let Some(checkpoint) = &recovered.checkpoint {
            context.epochs.clone_from(&checkpoint.epochs);
            context.hash_key_id = checkpoint.hash_key_id;
        }
        let known = known_from(&recovered);
        if let Some(known) = &known {
            context.note_epoch(&known.identity);
        }
        let last_seen = recovered.last_change.and_then(|change| change.seen);
        Self {
            context,
            decode,
            given_hash_key: hash_key.get(),
            hash_key,
            stopped: known
                .is_some()
                .then_some(recovered.last_alive.or(last_seen)),
            known,
            snapshot: None,
            unavailable: None,
            last_hole: None,
            endpoint: 0,
            followed_since: None,
        }
    }

    /// The endpoint in use.
    pub(super) fn endpoint(&self) -> &str {
        let endpoints = &self.context.config.endpoints;
        let index = self.endpoint.checked_rem(endpoints.len()).unwrap_or(0);
        endpoints.get(index).map_or("", String::as_str)
    }

    /// Runs sessions until the end. The only interruptions returned are those that end the ledger.
    pub(super) async fn run(&mut self) -> Interruption {
        let mut outage = Outage::default();
        loop {
            let before = self.achieved();
            let interruption = self.session(&mut outage).await;
            self.context.metrics.set_status(LedgerStatus::Connecting);
            if interruption.is_final() {
                return interruption;
            }
            self.context
                .metrics
                .count_interruption(interruption.label());
            let followed = self.followed_since.take();
            if self.achieved() != before || followed.is_some_and(|since| since.elapsed() >= STABLE)
            {
                outage = Outage::default();
            }
            let reason = interruption.to_string();
            if outage.failed(Instant::now(), &reason) {
                warn!(
                    endpoint = self.endpoint(),
                    attempts = outage.attempts(),
                    "ledger interrupted, it will try again: {reason}"
                );
            }
            self.learn_from(&interruption);
            if let Err(end) = self.pause(&interruption, outage.delay()).await {
                return end;
            }
            // What etcd answers from now on may be of another history. Not before the pause, which is longer than
            // answers take from the relay to the store, and shorter than any etcd takes to start.
            self.context.store.doubt_identity();
        }
    }

    /// Writes down how far the ledger has come, if the store takes it soon.
    pub(super) async fn finish(&self) {
        if let Some(known) = &self.known {
            let writing = self.context.append_checkpoint(known);
            // The changes themselves tell it too.
            let _ = tokio::time::timeout(FAREWELL, writing).await;
        }
    }

    /// What a session can achieve; it is different afterwards.
    fn achieved(&self) -> Option<(Identity, i64, u64)> {
        let known = self.known.as_ref()?;
        let keys = self.snapshot.as_ref().map_or(0, SnapshotProgress::keys);
        Some((known.identity.clone(), known.revision, keys))
    }

    /// Runs one session to its end.
    async fn session(&mut self, outage: &mut Outage) -> Interruption {
        let shutdown = self.context.shutdown.clone();
        let opened = tokio::select! {
            () = shutdown.cancelled() => return Interruption::Shutdown,
            opened = self.open() => opened,
        };
        let mut opened = match opened {
            Ok(opened) => opened,
            Err(interruption) => return interruption,
        };
        if let Some(lasted) = outage.recovered(Instant::now()) {
            info!(
                endpoint = self.endpoint(),
                after_revision = opened.known.revision,
                seconds = lasted.as_secs_f64(),
                "ledger has its watch again"
            );
        }
        self.followed_since = Some(Instant::now());
        let follower = Follower {
            known: &mut opened.known,
            snapshot: &mut self.snapshot,
            context: &self.context,
            rows: opened.rows,
            connection: opened.connection,
            session: opened.header,
            checkpointed: Instant::now(),
            previous: PreviousValues::new(self.context.config.previous_values_bytes),
        };
        let interruption = follower.follow(opened.watch).await;
        self.known = Some(opened.known);
        interruption
    }

    /// Connects, finds out where to go on, and opens the watch there.
    async fn open(&mut self) -> Result<Opened, Interruption> {
        let mut connection =
            Connection::open(self.endpoint(), &self.context.config.connect).await?;
        let witness = self.known.as_ref().and_then(|known| known.witness.as_ref());
        let (header, survey) = connection
            .survey(witness, self.given_hash_key.as_ref())
            .await?;
        let hash_key = self.hash_key_of(header);
        self.forget_incomparable_hash(&hash_key);
        let plan = plan(
            self.known.as_ref(),
            &self.context.epochs,
            &survey,
            self.unavailable,
            self.context.config.max_catchup_revisions,
        );
        let rows = self.identify(hash_key, &plan.identity);
        let known = self.adopt(&survey, plan).await?;
        let watch = connection.watch(known.revision.saturating_add(1)).await?;
        Ok(Opened {
            watch,
            connection,
            header,
            rows,
            known,
        })
    }

    fn hash_key_of(&self, header: Header) -> HashKey {
        self.given_hash_key
            .clone()
            .unwrap_or_else(|| HashKey::from_cluster_id(header.cluster_id))
    }

    /// A hash that an earlier process made with another key says nothing.
    fn forget_incomparable_hash(&mut self, hash_key: &HashKey) {
        let hash_key_id = Some(hash_key.hash(HASH_KEY_PROBE));
        if self.context.hash_key_id == hash_key_id {
            return;
        }
        let witness = self.known.as_mut().and_then(|known| known.witness.as_mut());
        if let Some(witness) = witness {
            witness.value.value_hash = None;
        }
        self.context.hash_key_id = hash_key_id;
    }

    /// Tells everybody which history is recorded from now on.
    fn identify(&self, hash_key: HashKey, identity: &Identity) -> Arc<RowMaker> {
        self.context.store.set_identity(identity.clone());
        if self.given_hash_key.is_none() {
            self.hash_key.set(hash_key.clone());
        }
        let decoder = Decoder::new(DecodeOptions {
            hash_key,
            ..self.decode.clone()
        });
        let instance = self.context.config.instance.clone();
        let carrier_errors = self.context.metrics.carrier_errors.clone();
        let rows = RowMaker::new(decoder, identity.clone(), instance, carrier_errors);
        Arc::new(rows)
    }

    /// Records what the plan gives up, and makes its position the ledger's own.
    async fn adopt(&mut self, survey: &Survey, plan: Plan) -> Result<Known, Interruption> {
        let previous = self.known.as_ref();
        let same = previous.filter(|previous| previous.identity == plan.identity);
        let goes_on = same.is_some() && plan.loss.is_none();

        let gaps = self.gaps(survey, &plan, same, goes_on);
        if !gaps.is_empty() {
            self.context.append_gaps(gaps).await?;
        }
        if let Some(loss) = &plan.loss {
            warn!(
                kind = loss.kind.as_str(),
                from_revision = loss.from_revision,
                to_revision = loss.to_revision,
                epoch = plan.identity.epoch,
                "not everything is recorded: {}",
                loss.detail
            );
        }
        // From here on the gaps must not be recorded again, whatever happens, and the epoch is
        // used; before, another attempt must come to the same one.
        self.context.note_epoch(&plan.identity);
        self.stopped = None;
        self.unavailable = None;
        if !goes_on {
            self.snapshot = None;
        }
        if let Some(revision) = plan.snapshot_at {
            let page_bytes = self.context.config.snapshot_page_bytes;
            self.snapshot
                .get_or_insert_with(|| SnapshotProgress::begin(revision, page_bytes));
        }
        let known = Known {
            revision: plan.watch_after,
            raft_term: survey
                .raft_term
                .max(same.map_or(0, |known| known.raft_term)),
            snapshot_revision: match plan.snapshot_at {
                Some(_) => None,
                None => same.and_then(|known| known.snapshot_revision),
            },
            snapshot_under_way: self.snapshot.as_ref().map(SnapshotProgress::revision),
            witness: same.and_then(|known| known.witness.clone()),
            identity: plan.identity,
        };
        let changed = previous != Some(&known);
        self.known = Some(known.clone());
        self.context
            .metrics
            .history_begins(survey.revision, known.revision);
        if changed {
            self.context.append_checkpoint(&known).await?;
            if known.snapshot_under_way.is_some() {
                // Before a row of the snapshot can be: a process that is killed in the middle of it would leave a part
                // that nothing says is one.
                self.context.store.flush().await?;
            }
        }
        Ok(known)
    }

    /// The rows of `gaps` that a plan calls for.
    fn gaps(&self, survey: &Survey, plan: &Plan, same: Option<&Known>, goes_on: bool) -> Vec<Gap> {
        let mut gaps = Vec::new();
        let make = self.context.gap_maker(&plan.identity);
        if let Some(stopped) = self.stopped {
            let meanwhile = same
                .filter(|known| known.revision < survey.revision)
                .map(|known| (known.revision.saturating_add(1), survey.revision));
            gaps.push(make.restart(stopped, meanwhile));
        }
        gaps.extend(plan.loss.as_ref().map(|loss| make.loss(loss)));
        if let Some(previous) = &self.known
            && let Some(revision) = previous.snapshot_under_way
            && !(goes_on && self.snapshot.is_some())
        {
            let kind = plan
                .loss
                .as_ref()
                .map_or(GapKind::Restart, |loss| loss.kind);
            let make = self.context.gap_maker(&previous.identity);
            gaps.push(make.abandoned_snapshot(kind, revision));
        }
        gaps
    }

    /// What the next session should do differently.
    fn learn_from(&mut self, interruption: &Interruption) {
        match interruption {
            Interruption::Watch(WatchEnd::Compacted { compact_revision }) => {
                self.unavailable = Some(Unavailable::Compacted {
                    compact_revision: *compact_revision,
                });
            }
            // etcd may do better when it is asked again; if not, it never will.
            Interruption::Hole(hole) if self.last_hole == Some(*hole) => {
                self.last_hole = None;
                self.unavailable = Some(Unavailable::LeftOut {
                    last: hole.found.saturating_sub(1),
                });
            }
            Interruption::Hole(hole) => self.last_hole = Some(*hole),
            Interruption::Call(_) | Interruption::Watch(_) | Interruption::Stalled { .. } => {
                self.endpoint = self.endpoint.wrapping_add(1);
            }
            _ => {}
        }
    }

    /// Waits until another attempt makes sense.
    async fn pause(
        &self,
        interruption: &Interruption,
        delay: Duration,
    ) -> Result<(), Interruption> {
        let over = async {
            if matches!(interruption, Interruption::StoreFailing(_)) {
                self.context.store.writable().await?;
            }
            tokio::time::sleep(delay).await;
            Ok(())
        };
        tokio::select! {
            () = self.context.shutdown.cancelled() => Err(Interruption::Shutdown),
            waited = over => waited,
        }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::ledger::config::LedgerConfig;
    use crate::ledger::history::Past;
    use crate::ledger::metrics::LedgerMetrics;
    use crate::store::{Store, StoreConfig};

    fn ledger(folder: &TempDir) -> Ledger {
        let (store, recovered) = Store::open(StoreConfig::new(folder.path())).unwrap();
        let config = LedgerConfig::new("one", vec!["http://a:1".into(), "http://b:1".into()]);
        let (metrics, shutdown) = (LedgerMetrics::default(), CancellationToken::new());
        let context = Context::new(config, store, metrics, shutdown);
        let options = DecodeOptions::default();
        Ledger::new(context, options, SharedHashKey::default(), recovered)
    }

    fn hole(expected: i64, found: i64) -> Interruption {
        Interruption::Hole(Hole { expected, found })
    }

    #[test]
    fn revisions_count_as_left_out_when_they_are_left_out_again() {
        let folder = TempDir::new().unwrap();
        let mut ledger = ledger(&folder);
        ledger.learn_from(&hole(5, 7));
        assert_eq!(ledger.unavailable, None);
        ledger.learn_from(&hole(7, 9));
        assert_eq!(ledger.unavailable, None);
        ledger.learn_from(&hole(7, 9));
        assert_eq!(ledger.unavailable, Some(Unavailable::LeftOut { last: 8 }));
    }

    #[test]
    fn members_take_turns_when_one_fails() {
        let folder = TempDir::new().unwrap();
        let mut ledger = ledger(&folder);
        let broken = || WatchEnd::Broken {
            reason: "reset".to_owned(),
        };
        let mut endpoints = Vec::new();
        for _ in 0..3 {
            endpoints.push(ledger.endpoint().to_owned());
            ledger.learn_from(&Interruption::Watch(broken()));
        }
        assert_eq!(endpoints, ["http://a:1", "http://b:1", "http://a:1"]);
    }

    #[tokio::test]
    async fn an_epoch_is_used_up_only_once_it_is_recorded() {
        let folder = TempDir::new().unwrap();
        let mut ledger = ledger(&folder);
        let survey = Survey {
            cluster_id: "ab".to_owned(),
            revision: 9,
            raft_term: 2,
            now: Past::Unavailable,
            then: Past::Unavailable,
            before: Past::Unavailable,
        };
        let next = |ledger: &Ledger| {
            let epochs = &ledger.context.epochs;
            plan(ledger.known.as_ref(), epochs, &survey, None, 10)
        };
        let first = next(&ledger);
        assert_eq!(first.identity.epoch, 0);
        ledger.identify(HashKey::from_cluster_id(1), &first.identity);
        assert_eq!(next(&ledger), first);
        ledger.adopt(&survey, first).await.unwrap();
        assert_eq!(ledger.context.epochs.get("ab"), Some(&0));
        assert_eq!(next(&ledger).loss, None);
    }
}
