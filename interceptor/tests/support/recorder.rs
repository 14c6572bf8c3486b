//! A ledger that records an etcd into a trace folder, in this process or in one that can be killed.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use cascade_interceptor::decode::{DecodeOptions, SharedHashKey};
use cascade_interceptor::ledger::{self, LedgerConfig, LedgerError, LedgerMetrics, LedgerStatus};
use cascade_interceptor::store::{Store, StoreConfig};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{PATIENCE, end_of, within_patience};

/// A ledger in this process.
pub(crate) struct Recorder {
    pub(crate) metrics: LedgerMetrics,
    pub(crate) hash_key: SharedHashKey,
    pub(crate) store: Store,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), LedgerError>>,
}

impl Recorder {
    /// Starts recording `endpoint` into `trace`.
    pub(crate) fn start(endpoint: &str, trace: &Path) -> Self {
        Self::start_with(config(endpoint), StoreConfig::new(trace))
    }

    /// Starts recording with other settings than usual.
    pub(crate) fn start_with(config: LedgerConfig, store: StoreConfig) -> Self {
        let (store, recovered) = Store::open(store).expect("the trace folder opens");
        let metrics = LedgerMetrics::default();
        let hash_key = SharedHashKey::default();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(ledger::run(
            config,
            DecodeOptions::default(),
            store.clone(),
            recovered,
            hash_key.clone(),
            metrics.clone(),
            shutdown.clone(),
        ));
        Self {
            metrics,
            hash_key,
            store,
            shutdown,
            task,
        }
    }

    /// Waits until it has a complete snapshot and follows.
    pub(crate) async fn following(&self) {
        self.status("follows", |status| {
            matches!(status, LedgerStatus::Following { .. })
        })
        .await;
    }

    /// Waits until it has noticed that etcd begins anew.
    pub(crate) async fn sees_an_empty_etcd(&self) {
        self.status("has noticed", |_| self.metrics.etcd_revision.get() == 1)
            .await;
    }

    /// Waits until `revision` was handed to the store, on top of a complete snapshot.
    pub(crate) async fn recorded(&self, revision: i64) {
        self.status(&format!("records revision {revision}"), |status| {
            matches!(status, LedgerStatus::Following { revision: reached } if reached >= revision)
        })
        .await;
    }

    /// Waits for a status.
    pub(crate) async fn status(&self, what: &str, wanted: impl Fn(LedgerStatus) -> bool) {
        let mut status = self.metrics.status();
        let reached = status.wait_for(|status| wanted(*status));
        let what = format!("the ledger {what}");
        within_patience(&what, reached).await.expect("a ledger");
    }

    /// Ends it in order and seals the trace.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        let ended = within_patience("the end of the ledger", self.task).await;
        ended.expect("no panic").expect("no error");
        let closed = within_patience("a sealed trace", self.store.close()).await;
        closed.expect("a sealed trace");
    }
}

/// The usual settings of a ledger in tests.
pub(crate) fn config(endpoint: &str) -> LedgerConfig {
    LedgerConfig::new("test", vec![endpoint.to_owned()])
}

/// Environment variables that tell a child process what to record.
const ENDPOINT: &str = "CASCADE_TEST_RECORDER_ENDPOINT";
const TRACE: &str = "CASCADE_TEST_RECORDER_TRACE";

/// A ledger in a process of its own, to be killed without warning.
pub(crate) struct RecorderProcess {
    child: Child,
}

impl RecorderProcess {
    /// Starts this test program again, so that it does nothing but run its test `entry`. That test
    /// must call [`RecorderProcess::entry`].
    pub(crate) fn start(entry: &str, endpoint: &str, trace: &Path) -> Self {
        let program = std::env::current_exe().expect("the path of this program");
        let child = Command::new(program)
            .args(["--exact", entry, "--nocapture"])
            .env(ENDPOINT, endpoint)
            .env(TRACE, trace)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts again");
        Self { child }
    }

    /// Waits until it has recorded `revision`.
    pub(crate) fn recorded(&mut self, revision: i64) {
        let stdout = self.child.stdout.as_mut().expect("standard output");
        for line in BufReader::new(stdout).lines() {
            let line = line.expect("a line of output");
            let reached = line
                .strip_prefix("recorded ")
                .and_then(|text| text.parse::<i64>().ok());
            if reached.is_some_and(|reached| reached >= revision) {
                return;
            }
        }
        panic!("the process ended before it had recorded revision {revision}");
    }

    /// Kills it (SIGKILL).
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("the process can be killed");
        end_of(&mut self.child, "the killed recorder");
    }

    /// What the test named as `entry` does: nothing in an ordinary run; in a child process it
    /// records until it is killed, and prints how far it has come.
    pub(crate) async fn entry() {
        let (Ok(endpoint), Some(trace)) = (std::env::var(ENDPOINT), std::env::var_os(TRACE)) else {
            return;
        };
        let mut store = StoreConfig::new(PathBuf::from(trace));
        store.flush_interval = std::time::Duration::from_millis(20);
        let recorder = Recorder::start_with(config(&endpoint), store);
        let mut durable = recorder.store.durable();
        // Ends by itself should nobody kill it.
        let _ = tokio::time::timeout(PATIENCE, async {
            while durable.changed().await.is_ok() {
                if let Some(change) = &durable.borrow_and_update().change {
                    println!("recorded {}", change.revision);
                }
            }
        })
        .await;
    }
}

impl Drop for RecorderProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
