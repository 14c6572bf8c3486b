//! Calls to one etcd member.

use std::error::Error as _;
use std::future::Future;
use std::time::Duration;

use cascade_proto::wire::etcd::KeyValue;
use etcd_client::proto::{PbKeyValue, PbResponseHeader};
use etcd_client::{Client, GetOptions, GetResponse, KvClient, WatchClient, WatchOptions};
use thiserror::Error;

use super::cluster_id_text;
use super::config::ConnectSettings;
use super::history::{Fingerprint, Found, Past, Survey, Witness};
use super::pages::PageRequest;
use super::watch::KeyspaceWatch;
use crate::decode::HashKey;

/// Longest message taken, the limit that etcd's own client has: answers are bounded by what is
/// asked for, and a single value may be as large as the cluster's administrator allows.
const MAX_MESSAGE_BYTES: usize = i32::MAX as usize;

/// First key, and as the end of a range: no end.
const WHOLE_KEYSPACE: [u8; 1] = [0];

/// A call that failed.
#[derive(Debug, Error)]
pub(super) enum CallError {
    /// etcd, or the way to it, answered with an error.
    #[error("cannot {what}: {reason}")]
    Failed {
        /// What was tried.
        what: &'static str,
        /// What was answered.
        reason: String,
    },
    /// No answer in time.
    #[error("cannot {what}: no answer within {after:?}")]
    Timeout {
        /// What was tried.
        what: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// The revision asked for is gone from etcd's history.
    #[error("cannot {what}: the revision has been compacted")]
    Compacted {
        /// What was tried.
        what: &'static str,
    },
}

/// The header of an answer: who answered, at which point of the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// etcd cluster id.
    pub(super) cluster_id: u64,
    /// Member that answered.
    pub(super) member_id: u64,
    /// Current revision.
    pub(super) revision: i64,
    /// Current raft term of that member.
    pub(super) raft_term: u64,
}

impl From<PbResponseHeader> for Header {
    fn from(header: PbResponseHeader) -> Self {
        Self {
            cluster_id: header.cluster_id,
            member_id: header.member_id,
            revision: header.revision,
            raft_term: header.raft_term,
        }
    }
}

/// A page of a range.
#[derive(Debug)]
pub(super) struct Page {
    /// Header of the answer.
    pub(super) header: Header,
    /// Keys and values in key order.
    pub(super) values: Vec<KeyValue>,
    /// Whether the range has more keys.
    pub(super) more: bool,
}

/// A client of one member. Cloning it shares the connection.
#[derive(Clone)]
pub(super) struct Connection {
    kv: KvClient,
    watch: WatchClient,
    call_timeout: Duration,
}

impl Connection {
    /// Prepares a client. Without a user, the network is not used before the first call.
    ///
    /// # Errors
    /// [`CallError`] when the endpoint is no URL, or the user is refused.
    pub(super) async fn open(
        endpoint: &str,
        settings: &ConnectSettings,
    ) -> Result<Self, CallError> {
        let client = client(endpoint, settings).await?;
        Ok(Self {
            kv: client
                .kv_client()
                .max_decoding_message_size(MAX_MESSAGE_BYTES),
            watch: client
                .watch_client()
                .max_decoding_message_size(MAX_MESSAGE_BYTES),
            call_timeout: settings.call_timeout,
        })
    }

    /// Asks for the current state of the cluster, linearizably.
    ///
    /// # Errors
    /// [`CallError`].
    pub(super) async fn header(&mut self) -> Result<Header, CallError> {
        let options = GetOptions::new().with_limit(1).with_keys_only();
        let answer = self
            .get("read etcd's revision", &WHOLE_KEYSPACE, options)
            .await?;
        Ok(answer.header)
    }

    /// Asks for what tells whether this is the history of `witness`, linearizably. Values are
    /// hashed with `hash_key`, or the key of the cluster that answers.
    ///
    /// # Errors
    /// [`CallError`].
    pub(super) async fn survey(
        &mut self,
        witness: Option<&Witness>,
        hash_key: Option<&HashKey>,
    ) -> Result<(Header, Survey), CallError> {
        let header = self.header().await?;
        let mut survey = Survey {
            cluster_id: cluster_id_text(header.cluster_id),
            revision: header.revision,
            raft_term: header.raft_term,
            now: Past::Unavailable,
            then: Past::Unavailable,
            before: Past::Unavailable,
        };
        let Some(witness) = witness else {
            return Ok((header, survey));
        };
        if witness.revision > header.revision {
            return Ok((header, survey)); // etcd refuses to read at a later revision
        }
        let derived = HashKey::from_cluster_id(header.cluster_id);
        let hash_key = hash_key.unwrap_or(&derived);
        survey.now = self.value_at(&witness.key, 0, hash_key).await?;
        survey.then = self
            .value_at(&witness.key, witness.revision, hash_key)
            .await?;
        // Revision 0 would mean the current one.
        if witness.deleted && witness.revision > 1 {
            survey.before = self
                .value_at(&witness.key, witness.revision - 1, hash_key)
                .await?;
        }
        Ok((header, survey))
    }

    /// Reads a page of the keyspace as it was at `revision`.
    ///
    /// # Errors
    /// [`CallError`].
    pub(super) async fn page(
        &mut self,
        page: &PageRequest,
        revision: i64,
    ) -> Result<Page, CallError> {
        let options = GetOptions::new()
            .with_range(page.range_end.clone())
            .with_limit(page.limit)
            .with_revision(revision);
        self.get("read a page of the snapshot", &page.key, options)
            .await
    }

    /// Watches the whole keyspace from `start_revision` on.
    ///
    /// # Errors
    /// [`CallError`] when the stream cannot be opened; what etcd says about the watch itself comes
    /// as its first response.
    pub(super) async fn watch(&mut self, start_revision: i64) -> Result<KeyspaceWatch, CallError> {
        let options = WatchOptions::new()
            .with_range(WHOLE_KEYSPACE)
            .with_start_revision(start_revision)
            .with_progress_notify()
            .with_fragment();
        let opening = self.watch.watch(WHOLE_KEYSPACE, Some(options));
        let stream = in_time("open a watch", self.call_timeout, opening).await?;
        Ok(KeyspaceWatch::new(stream))
    }

    /// The value that `key` had before `revision`, if etcd still has that. The member must have delivered `revision`
    /// already, so it need not ask the others.
    ///
    /// # Errors
    /// [`CallError`].
    pub(super) async fn value_before(
        &mut self,
        key: &[u8],
        revision: i64,
    ) -> Result<Option<KeyValue>, CallError> {
        if revision <= 1 {
            return Ok(None); // revision 0 would mean the current one
        }
        let options = GetOptions::new()
            .with_revision(revision - 1)
            .with_serializable();
        match self.get("read a replaced value", key, options).await {
            Ok(page) => Ok(page.values.into_iter().next()),
            Err(CallError::Compacted { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn value_at(
        &mut self,
        key: &[u8],
        revision: i64,
        hash_key: &HashKey,
    ) -> Result<Past, CallError> {
        let options = GetOptions::new().with_revision(revision);
        match self.get("look for a recorded change", key, options).await {
            Ok(page) => Ok(page
                .values
                .first()
                .map_or(Past::Absent, |value| Past::Present(found(value, hash_key)))),
            Err(CallError::Compacted { .. }) => Ok(Past::Unavailable),
            Err(error) => Err(error),
        }
    }

    async fn get(
        &mut self,
        what: &'static str,
        key: &[u8],
        options: GetOptions,
    ) -> Result<Page, CallError> {
        let call = self.kv.get(key, Some(options));
        let GetResponse(answer) = in_time(what, self.call_timeout, call).await?;
        let header = answer.header.ok_or_else(|| CallError::Failed {
            what,
            reason: "the answer has no header".to_owned(),
        })?;
        Ok(Page {
            header: header.into(),
            values: answer.kvs.into_iter().map(key_value).collect(),
            more: answer.more,
        })
    }
}

/// A client of the member at a URL, as the user in `settings`. Without one, the network is not used
/// before the first call.
///
/// # Errors
/// [`CallError`] when the endpoint is no URL, or the user is refused.
pub(super) async fn client(
    endpoint: &str,
    settings: &ConnectSettings,
) -> Result<Client, CallError> {
    let failed = |reason: String| CallError::Failed {
        what: "connect to etcd",
        reason,
    };
    let channel = settings.channel(endpoint);
    let channel = channel.map_err(|error| failed(error.to_string()))?;
    let mut options = settings.options();
    if let Some(user) = &settings.user {
        let password = user.password().map_err(|error| failed(error.to_string()))?;
        // The client gets a new token whenever etcd says that the old one is not valid any more.
        options = options.with_user(user.name.clone(), password);
    }
    let connecting = Client::from_channel(etcd_client::Channel::Tonic(channel), Some(options));
    in_time("connect to etcd", settings.call_timeout, connecting).await
}

async fn in_time<T>(
    what: &'static str,
    limit: Duration,
    call: impl Future<Output = Result<T, etcd_client::Error>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(limit, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) if is_compacted(&error) => Err(CallError::Compacted { what }),
        Ok(Err(error)) => Err(CallError::Failed {
            what,
            reason: reason(&error),
        }),
        Err(_) => Err(CallError::Timeout { what, after: limit }),
    }
}

/// etcd's clients tell errors apart by this text (rpctypes.ErrGRPCCompacted).
fn is_compacted(error: &etcd_client::Error) -> bool {
    matches!(error, etcd_client::Error::GRpcStatus(status)
        if status.message().contains("required revision has been compacted"))
}

/// An error of etcd-client with its causes, which its own text leaves out.
pub(super) fn reason(error: &etcd_client::Error) -> String {
    let etcd_client::Error::GRpcStatus(status) = error else {
        return error.to_string();
    };
    let mut text = format!("{:?}: {}", status.code(), status.message());
    let mut cause = status.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// The value in this project's own type, without copying it.
pub(super) fn key_value(kv: PbKeyValue) -> KeyValue {
    KeyValue {
        key: kv.key.into(),
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        value: kv.value.into(),
        lease: kv.lease,
    }
}

fn found(kv: &KeyValue, hash_key: &HashKey) -> Found {
    Found {
        mod_revision: kv.mod_revision,
        value: Fingerprint {
            create_revision: Some(kv.create_revision),
            version: Some(kv.version),
            lease_id: Some(kv.lease),
            value_bytes: Some(i32::try_from(kv.value.len()).unwrap_or(i32::MAX)),
            value_hash: Some(hash_key.hash(&kv.value)),
        },
    }
}
