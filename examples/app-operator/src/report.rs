//! Posts mergelogs and spans to the trace server, without making anyone wait for it.
//!
//! Records go through a bounded queue to a task that posts them in batches and repeats until they
//! are accepted, so a trace server that is away for a while loses nothing. A record that does get
//! lost (the queue is full, the server refuses it, the time to leave is over) is logged as an error
//! with its content, and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use cascade_cpid::ChangeContext;
use cascade_proto::wire::mergelog::mergelog_service_client::MergelogServiceClient;
use cascade_proto::wire::mergelog::{
    CauseType, Cpid, Mergelog, MergelogRequest, PostSpansRequest, Span,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// How many records may wait for the trace server.
const QUEUE: usize = 10_000;
/// How many records are posted at once: far below the 4 MiB that a gRPC message may have.
const BATCH: usize = 256;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const POST_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to the trace server, opened when it is first needed.
pub(crate) type TraceServer = MergelogServiceClient<Channel>;

/// Connects to `http://HOST:PORT`.
///
/// # Errors
/// The text is no URL.
pub(crate) fn trace_server(url: &str) -> Result<TraceServer, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(url.to_owned())?.timeout(POST_TIMEOUT);
    Ok(MergelogServiceClient::new(endpoint.connect_lazy()))
}

/// The record that `by` made a CPID of others.
pub(crate) fn merge_record(
    by: &str,
    context: &ChangeContext,
    source_cpids: &[String],
    message: &str,
) -> Mergelog {
    Mergelog {
        source_cpids: source_cpids.iter().map(|cpid| wire(cpid)).collect(),
        cause_type: CauseType::Merge.into(),
        ..root_record(by, context, message)
    }
}

/// The record that `by` made a CPID for a change that nothing in the cluster has caused.
pub(crate) fn root_record(by: &str, context: &ChangeContext, message: &str) -> Mergelog {
    Mergelog {
        new_cpid: Some(wire(&context.cpid)),
        source_cpids: Vec::new(),
        time: Some(SystemTime::now().into()),
        cause_type: CauseType::NewChange.into(),
        cause_message: message.to_owned(),
        by: by.to_owned(),
    }
}

/// A CPID as a message.
pub(crate) fn wire(cpid: &str) -> Cpid {
    Cpid {
        cpid: cpid.to_owned(),
    }
}

enum Record {
    Mergelog(Mergelog),
    Span(Span),
}

/// Takes records. See the module.
#[derive(Clone)]
pub(crate) struct Reporter {
    queue: Option<mpsc::Sender<Record>>,
    lost: Arc<AtomicU64>,
}

/// Delivers records until [`Delivery::finish`].
pub(crate) struct Delivery {
    task: Option<JoinHandle<()>>,
    leave_at: watch::Sender<Option<Instant>>,
    lost: Arc<AtomicU64>,
}

/// Starts to deliver to `server`; without one, records go nowhere.
pub(crate) fn start(server: Option<TraceServer>) -> (Reporter, Delivery) {
    let lost = Arc::new(AtomicU64::new(0));
    let (leave_at, leaving) = watch::channel(None);
    let (queue, task) = match server {
        Some(server) => {
            let (queue, records) = mpsc::channel(QUEUE);
            let poster = Poster {
                server,
                leaving,
                lost: Arc::clone(&lost),
            };
            (Some(queue), Some(tokio::spawn(poster.run(records))))
        }
        None => (None, None),
    };
    let reporter = Reporter {
        queue,
        lost: Arc::clone(&lost),
    };
    (
        reporter,
        Delivery {
            task,
            leave_at,
            lost,
        },
    )
}

impl Reporter {
    pub(crate) fn mergelog(&self, record: Mergelog) {
        self.send(Record::Mergelog(record));
    }

    pub(crate) fn span(&self, record: Span) {
        self.send(Record::Span(record));
    }

    fn send(&self, record: Record) {
        let Some(queue) = &self.queue else { return };
        // Never wait: a trace server that is down must not stop the operator.
        if let Err(error) = queue.try_send(record) {
            let (mpsc::error::TrySendError::Full(record)
            | mpsc::error::TrySendError::Closed(record)) = error;
            record.lose(&self.lost, "too many records wait for the trace server");
        }
    }
}

impl Delivery {
    /// Delivers what waits, for at most `within`, and returns how many records were lost since the
    /// start. Every [`Reporter`] has to be dropped before.
    pub(crate) async fn finish(self, within: Duration) -> u64 {
        self.leave_at.send_replace(Some(Instant::now() + within));
        if let Some(task) = self.task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the delivery of records has failed");
        }
        self.lost.load(Ordering::Relaxed)
    }
}

impl Record {
    fn lose(self, lost: &AtomicU64, reason: &str) {
        lost.fetch_add(1, Ordering::Relaxed);
        match self {
            Self::Mergelog(record) => tracing::error!(?record, reason, "lost a mergelog"),
            Self::Span(record) => tracing::error!(?record, reason, "lost a span"),
        }
    }
}

struct Poster {
    server: TraceServer,
    leaving: watch::Receiver<Option<Instant>>,
    lost: Arc<AtomicU64>,
}

impl Poster {
    async fn run(mut self, mut records: mpsc::Receiver<Record>) {
        let mut batch = Vec::new();
        while records.recv_many(&mut batch, BATCH).await > 0 {
            let (mut mergelogs, mut spans) = (Vec::new(), Vec::new());
            for record in batch.drain(..) {
                match record {
                    Record::Mergelog(record) => mergelogs.push(record),
                    Record::Span(record) => spans.push(record),
                }
            }
            self.deliver(
                mergelogs,
                Record::Mergelog,
                |mut server, mergelogs| async move {
                    server
                        .post_mergelogs(MergelogRequest { mergelogs })
                        .await
                        .map(drop)
                },
            )
            .await;
            self.deliver(spans, Record::Span, |mut server, spans| async move {
                server
                    .post_spans(PostSpansRequest { spans })
                    .await
                    .map(drop)
            })
            .await;
        }
    }

    /// Posts until the server has accepted, the server refuses for good, or it is time to leave.
    async fn deliver<T, F>(
        &mut self,
        records: Vec<T>,
        lose: fn(T) -> Record,
        post: impl Fn(TraceServer, Vec<T>) -> F,
    ) where
        T: Clone,
        F: Future<Output = Result<(), Status>>,
    {
        if records.is_empty() {
            return;
        }
        let mut pause = FIRST_PAUSE;
        let reason = loop {
            // The server keeps one of records that are posted twice.
            match self
                .unless_leaving(post(self.server.clone(), records.clone()))
                .await
            {
                Some(Ok(())) => return,
                Some(Err(status)) if is_final(&status) => break status.to_string(),
                Some(Err(status)) => {
                    tracing::warn!(%status, ?pause, "the trace server is not there; trying again")
                }
                None => break "the trace server did not answer before the end".to_owned(),
            }
            if self
                .unless_leaving(tokio::time::sleep(pause))
                .await
                .is_none()
            {
                break "the trace server was not there before the end".to_owned();
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        };
        for record in records {
            lose(record).lose(&self.lost, &reason);
        }
    }

    /// The result of `work`, or `None` when it is time to leave before.
    async fn unless_leaving<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let time_to_leave = async {
            loop {
                let until = *self.leaving.borrow_and_update();
                if let Some(until) = until {
                    return tokio::time::sleep_until(until).await;
                }
                if self.leaving.changed().await.is_err() {
                    // Nobody will ask to leave any more.
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::select! {
            result = work => Some(result),
            () = time_to_leave => None,
        }
    }
}

/// Whether the same request would be refused again.
fn is_final(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::InvalidArgument
            | Code::Unimplemented
            | Code::OutOfRange
            | Code::Unauthenticated
            | Code::PermissionDenied
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing listens there: what is posted waits, and is counted as lost when it is time to go.
    #[tokio::test]
    async fn what_cannot_be_delivered_is_counted() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let (reporter, delivery) = start(Some(trace_server(&url).unwrap()));
        let context = ChangeContext::new_root();
        reporter.mergelog(root_record("test", &context, "test"));
        reporter.mergelog(root_record("test", &ChangeContext::new_root(), "test"));
        drop(reporter);
        assert_eq!(delivery.finish(Duration::from_millis(300)).await, 2);
    }

    #[tokio::test]
    async fn without_a_server_nothing_is_lost() {
        let (reporter, delivery) = start(None);
        reporter.mergelog(root_record("test", &ChangeContext::new_root(), "test"));
        drop(reporter);
        assert_eq!(delivery.finish(Duration::ZERO).await, 0);
    }
}
