//! The receiver of spans and the reader of the audit log, each on a thread of its own: what they do
//! takes time that connections waiting to be accepted would feel.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use cascade_proto::tables::{Gap, GapKind, Moment};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::ListenAddress;
use super::recorder::gap;
use crate::clock::wall_clock;
use crate::collectors::audit::{self, Follower, MAX_LINE_BYTES};
use crate::collectors::otlp::{self, Assembled, Assembler, Limits, OtlpMetrics};
use crate::collectors::rate::RateLimit;
use crate::complaints::Complaints;
use crate::store::{Rows, Store};

/// How often rows that are ready are handed to the store.
const HAND_OVER_INTERVAL: Duration = Duration::from_millis(100);
/// How often the audit log is looked at.
const AUDIT_INTERVAL: Duration = Duration::from_millis(100);
/// How long in all a request waits for its audit event.
const AUDIT_WAIT: Duration = Duration::from_secs(5);
/// How long an end waits for exporters to finish what they are sending.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// Where spans are received, and what else is known about requests.
#[derive(Debug, Clone)]
pub struct OtlpSettings {
    /// Where to listen.
    pub listen: ListenAddress,
    /// Larger messages are refused.
    pub max_message_bytes: usize,
    /// What is more in a second is refused.
    pub max_requests_per_second: u32,
    /// kube-apiserver's audit log.
    pub audit_log: Option<PathBuf>,
}

/// A running receiver.
pub(super) struct Otlp {
    stop: CancellationToken,
    /// Ready when everything is handed to the store; an error when the thread panicked.
    ended: oneshot::Receiver<()>,
}

impl Otlp {
    /// Starts receiving on `listener`.
    ///
    /// # Errors
    /// The system refuses a thread or a runtime.
    pub(super) fn start(
        listener: TcpListener,
        settings: &OtlpSettings,
        memory: usize,
        store: Store,
        registry: &mut Registry,
    ) -> std::io::Result<Self> {
        let metrics = OtlpMetrics::default();
        metrics.register(registry);
        let limits = Limits {
            audit: settings.audit_log.as_ref().map(|_| AUDIT_WAIT),
            ..Limits::within(memory)
        };
        let assembler = Assembler::new(store.instance(), &limits, metrics.clone());
        let assembler = Arc::new(Mutex::new(assembler));
        let stop = CancellationToken::new();
        let audit = settings.audit_log.clone();
        let audit = audit
            .map(|path| follow_audit_log(path, &assembler, &metrics, stop.clone()))
            .transpose()?;
        tracing::info!(address = %listener.local_addr()?, "receiving spans");
        // The listener belongs to the runtime it was made on.
        let listener = listener.into_std()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let receiver = Receiver {
            assembler,
            store,
            metrics,
            lost: None,
        };
        let rate = RateLimit::new(
            settings.max_requests_per_second,
            "--otlp-max-requests-per-second",
            receiver.metrics.limited_requests.clone(),
        );
        let max_message_bytes = settings.max_message_bytes;
        let (sender, ended) = oneshot::channel();
        let stopped = stop.clone();
        thread::Builder::new()
            .name("otlp".to_owned())
            .spawn(move || {
                runtime.block_on(receiver.run(listener, max_message_bytes, rate, audit, stopped));
                // Nobody waits for it any more when the start has failed meanwhile.
                let _ = sender.send(());
            })?;
        Ok(Self { stop, ended })
    }

    /// Stops receiving, and hands everything to the store.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        if self.ended.await.is_err() {
            tracing::error!("the receiver of spans has panicked; please report this, with the log");
        }
    }
}

/// Rows that were lost.
#[derive(Debug, Clone, Copy)]
struct Lost {
    rows: u64,
    from: Moment,
}

/// The receiver's thread.
struct Receiver {
    assembler: Arc<Mutex<Assembler>>,
    store: Store,
    metrics: OtlpMetrics,
    lost: Option<Lost>,
}

impl Receiver {
    async fn run(
        mut self,
        listener: std::net::TcpListener,
        max_message_bytes: usize,
        rate: RateLimit,
        audit: Option<thread::JoinHandle<()>>,
        stop: CancellationToken,
    ) {
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "spans are not received"),
        };
        let assembler = Arc::clone(&self.assembler);
        let mut server = tokio::spawn(otlp::serve(
            listener,
            assembler,
            max_message_bytes,
            rate,
            stop.clone(),
        ));
        let mut interval = tokio::time::interval(HAND_OVER_INTERVAL);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = interval.tick() => self.hand_over(Assembler::take_ready, Instant::now()),
                ended = &mut server => {
                    tracing::error!(?ended, "spans are not received any more; please report this");
                    stop.cancelled().await;
                    break;
                }
            }
        }
        if !server.is_finished() && tokio::time::timeout(DRAIN_TIME, &mut server).await.is_err() {
            server.abort();
        }
        // It reads on for as long as anything was written before the end.
        if let Some(audit) = audit
            && audit.join().is_err()
        {
            tracing::error!("the reader of the audit log has panicked");
        }
        self.hand_over(|assembler, _| assembler.finish(), Instant::now());
    }

    fn hand_over(&mut self, take: impl FnOnce(&mut Assembler, Instant) -> Assembled, now: Instant) {
        let assembled = {
            let mut assembler = self
                .assembler
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            take(&mut assembler, now)
        };
        self.lose(assembled.dropped);
        let (requests, calls) = (assembled.requests, assembled.calls);
        for rows in [Rows::Requests(requests), Rows::RequestCalls(calls)] {
            let number = rows.len() as u64;
            if let Err(refused) = self.store.try_append(rows) {
                tracing::debug!(%refused, "requests were not recorded");
                self.metrics.rejected_rows.inc_by(number);
                self.lose(number);
            }
        }
        self.tell_of_losses();
    }

    fn lose(&mut self, rows: u64) {
        if rows == 0 {
            return;
        }
        let lost = self.lost.get_or_insert_with(|| Lost {
            rows: 0,
            from: wall_clock(),
        });
        lost.rows += rows;
    }

    /// Writes a gap about what was lost; if that is not possible either, the next time.
    fn tell_of_losses(&mut self) {
        let Some(lost) = self.lost else { return };
        let row = Gap {
            count: Some(i64::try_from(lost.rows).unwrap_or(i64::MAX)),
            from: Some(lost.from),
            to: Some(wall_clock()),
            detail: Some(
                "rows of requests or request_calls: there was no room for them".to_owned(),
            ),
            ..gap(&self.store, GapKind::OtlpOverflow)
        };
        if self.store.try_append(Rows::Gaps(vec![row])).is_ok() {
            tracing::warn!(rows = lost.rows, "requests were not recorded: no room");
            self.lost = None;
        }
    }
}

/// Reads the audit log on a thread of its own until `stop` is cancelled.
fn follow_audit_log(
    path: PathBuf,
    assembler: &Arc<Mutex<Assembler>>,
    metrics: &OtlpMetrics,
    stop: CancellationToken,
) -> std::io::Result<thread::JoinHandle<()>> {
    tracing::info!(path = %path.display(), "following the audit log");
    let (assembler, metrics) = (Arc::clone(assembler), metrics.clone());
    let mut follower = Follower::new(&path, MAX_LINE_BYTES);
    // Only finds the end of what is there, now: what is written from here on is read.
    let complaints = Complaints::default();
    if let Err(error) = follower.poll(|_| {}) {
        complain(&path, &error, &complaints);
    }
    thread::Builder::new()
        .name("audit-log".to_owned())
        .spawn(move || {
            let mut end: Option<Instant> = None;
            loop {
                // Looked at before reading: what is there by then is read, unless it never ends.
                if stop.is_cancelled() {
                    end.get_or_insert_with(|| Instant::now() + DRAIN_TIME);
                }
                let more =
                    read_audit_log(&mut follower, &assembler, &metrics).unwrap_or_else(|error| {
                        complain(&path, &error, &complaints);
                        false
                    });
                match end {
                    Some(end) if !more || Instant::now() >= end => return,
                    _ if !more => thread::sleep(AUDIT_INTERVAL),
                    _ => {}
                }
            }
        })
}

/// Reads some of the audit log; true if there may be more.
fn read_audit_log(
    follower: &mut Follower,
    assembler: &Mutex<Assembler>,
    metrics: &OtlpMetrics,
) -> std::io::Result<bool> {
    let mut events = Vec::new();
    let progress = follower.poll(|line| match audit::read(line) {
        Ok(event) => events.extend(event),
        Err(error) => {
            tracing::debug!(%error, "a line of the audit log is of no use");
            metrics.malformed_events.inc();
        }
    })?;
    metrics.malformed_events.inc_by(progress.skipped);
    metrics.audit_events.inc_by(events.len() as u64);
    if !events.is_empty() {
        let now = Instant::now();
        let mut assembler = assembler.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            assembler.take_event(event, now);
        }
    }
    Ok(progress.more)
}

fn complain(path: &Path, error: &std::io::Error, complaints: &Complaints) {
    if complaints.due("audit_log", Instant::now()).is_some() {
        tracing::warn!(path = %path.display(), %error, "cannot read the audit log");
    }
}
