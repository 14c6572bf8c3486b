//! Hands the copies to the interceptor's store.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use cascade_interceptor::store::{Checkpoint, Rows, Store, StoreConfig, StoreMetrics};
use cascade_proto::tables::{Call, Change, Op, Request, RequestCall};
use tracing::info;

use super::Generated;
use super::renaming::moved;
use super::schedule::Due;
use super::template::Template;

/// Rows that are handed over at once.
const BATCH_ROWS: usize = 4096;
/// Journals that may wait to be turned into Parquet: they take several times the room.
const MAX_UNSEALED: i64 = 4;
/// etcd's own first revision; a new etcd's first change is the next one.
const FIRST_REVISION: i64 = 2;
/// Time between messages about the progress.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// The trace that is being written.
pub(super) struct Writing<'a> {
    templates: &'a [Template],
    store: Store,
    metrics: StoreMetrics,
    cluster_id: String,
    revision: i64,
    /// Hash of a key → its newest revision, the one that created it, and how many it had.
    keys: HashMap<u64, (i64, i64, i64)>,
    changes: Vec<Change>,
    calls: Vec<Call>,
    requests: Vec<Request>,
    links: Vec<RequestCall>,
    made: Generated,
    newest: i64,
    reported: Instant,
}

impl<'a> Writing<'a> {
    pub(super) fn open(templates: &'a [Template], output: &Path) -> anyhow::Result<Self> {
        let first = templates
            .first()
            .and_then(|template| template.steps.first())
            .context("the recording is empty")?;
        let metrics = StoreMetrics::default();
        let (store, _) = Store::open(StoreConfig {
            instance: Some("generated".to_owned()),
            producer: concat!("cascade-tools ", env!("CARGO_PKG_VERSION")).to_owned(),
            // A crash costs nothing here.
            flush_interval: Duration::from_secs(10),
            metrics: metrics.clone(),
            ..StoreConfig::new(output)
        })?;
        Ok(Self {
            templates,
            store,
            metrics,
            cluster_id: first.change.cluster_id.clone(),
            revision: FIRST_REVISION,
            keys: HashMap::new(),
            changes: Vec::with_capacity(BATCH_ROWS),
            calls: Vec::new(),
            requests: Vec::new(),
            links: Vec::new(),
            made: Generated::default(),
            newest: 0,
            reported: Instant::now(),
        })
    }

    /// Changes so far.
    pub(super) const fn changes(&self) -> u64 {
        self.made.changes
    }

    /// Takes the copy of a step in.
    pub(super) async fn write(&mut self, due: &Due) -> anyhow::Result<()> {
        let template = self.templates.get(due.template);
        let began = self.templates.first().map_or(0, |first| first.began);
        let Some((template, step)) =
            template.and_then(|template| Some((template, template.steps.get(due.step)?)))
        else {
            return Ok(());
        };
        // All recordings are moved to the time of the first.
        let shift = due.shift + began - template.began;
        let mut change = step.change.clone();
        due.tag.change(&mut change, shift);
        change.cluster_id.clone_from(&self.cluster_id);
        change.epoch = 0;
        "generated".clone_into(&mut change.instance);
        change.seen = change.seen.map(|seen| moved(seen, shift));
        self.number(&mut change);
        self.newest = due.at;
        if let Some(call) = &step.call {
            let mut call = call.clone();
            due.tag.call(&mut call, &change, shift);
            call.cluster_id = Some(self.cluster_id.clone());
            call.epoch = Some(0);
            "generated".clone_into(&mut call.instance);
            call.revision = Some(change.revision);
            call.compare_revision = match change.op {
                Op::Create => Some(0),
                _ => change.prev_revision,
            };
            let head = call.call_id.rsplit_once('-').map_or("", |(head, _)| head);
            call.call_id = format!("{head}-{}", self.made.calls);
            self.made.calls += 1;
            self.calls.push(call);
        }
        if let Some((request, link)) = &step.request {
            let (mut request, mut link) = (request.clone(), link.clone());
            due.tag.request(&mut request, &mut link, shift);
            for cluster_id in [&mut request.cluster_id, &mut link.cluster_id] {
                *cluster_id = Some(self.cluster_id.clone());
            }
            for instance in [&mut request.instance, &mut link.instance] {
                "generated".clone_into(instance);
            }
            self.made.requests += 1;
            self.requests.push(request);
            self.links.push(link);
        }
        self.changes.push(change);
        self.made.changes += 1;
        if self.changes.len() >= BATCH_ROWS {
            self.hand_over().await?;
        }
        Ok(())
    }

    /// Gives a change its revision, and those of its key before it.
    fn number(&mut self, change: &mut Change) {
        change.revision = self.revision;
        self.revision += 1;
        let mut hasher = DefaultHasher::new();
        change.key.hash(&mut hasher);
        let key = hasher.finish();
        // The recording may have begun after the object did, and copies of single updates have no creation.
        let known = self.keys.get(&key).copied();
        match (change.op, known) {
            (_, None) => {
                if change.op != Op::Delete {
                    change.op = Op::Create;
                }
                change.prev_revision = None;
                change.create_revision = Some(change.revision);
                change.version = Some(1);
            }
            (op, Some((newest, created, version))) => {
                if op == Op::Create {
                    change.op = Op::Update;
                }
                change.prev_revision = Some(newest);
                change.create_revision = Some(created);
                change.version = Some(if op == Op::Delete {
                    version
                } else {
                    version + 1
                });
            }
        }
        if change.op == Op::Delete {
            self.keys.remove(&key);
            return;
        }
        let created = change.create_revision.unwrap_or(change.revision);
        let version = change.version.unwrap_or(1);
        self.keys.insert(key, (change.revision, created, version));
    }

    async fn hand_over(&mut self) -> anyhow::Result<()> {
        while self.metrics.unsealed_segments.get() >= MAX_UNSEALED {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let empty = || Vec::with_capacity(BATCH_ROWS);
        let changes = std::mem::replace(&mut self.changes, empty());
        for rows in [
            Rows::Changes(changes),
            Rows::Calls(std::mem::take(&mut self.calls)),
            Rows::Requests(std::mem::take(&mut self.requests)),
            Rows::RequestCalls(std::mem::take(&mut self.links)),
        ] {
            self.store.append(rows).await?;
        }
        if self.reported.elapsed() >= REPORT_EVERY {
            self.reported = Instant::now();
            info!(changes = self.made.changes, "generating");
        }
        Ok(())
    }

    /// Ends the trace as a stopping interceptor does.
    pub(super) async fn close(mut self) -> anyhow::Result<Generated> {
        self.hand_over().await?;
        let checkpoint = Checkpoint {
            cluster_id: self.cluster_id.clone(),
            revision: self.revision - 1,
            // An empty etcd was there before.
            snapshot_revision: Some(FIRST_REVISION - 1),
            ..Checkpoint::default()
        };
        self.store.append(Rows::Checkpoint(checkpoint)).await?;
        self.store.close().await?;
        self.made.trace_seconds = self.newest as f64 / 1e9;
        Ok(self.made)
    }
}
