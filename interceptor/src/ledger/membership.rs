//! What a member says about itself, and a first look at what it holds.

use std::time::Duration;

use etcd_client::{GetOptions, KvClient};

use super::cluster_id_text;
use super::config::ConnectSettings;
use super::connection::{client, reason};

/// What a member says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its cluster, as tables have it.
    pub cluster_id: String,
    /// Its version, such as `3.6.16`.
    pub version: String,
    /// Whether it knows of a leader.
    pub has_leader: bool,
    /// What it complains of, such as alarms.
    pub errors: Vec<String>,
}

/// Asks the member at a URL for its cluster, as tables have it. Needs no leader, but a user where
/// etcd's authentication is on.
///
/// # Errors
/// What went wrong, as text: the member does not answer in time, or not at all.
pub async fn cluster_id(endpoint: &str, settings: &ConnectSettings) -> Result<String, String> {
    Ok(member_status(endpoint, settings).await?.cluster_id)
}

/// Asks the member at a URL about itself. Needs no leader, but a user where etcd's authentication is
/// on.
///
/// # Errors
/// What went wrong, as text: the member does not answer in time, or not at all.
pub async fn member_status(
    endpoint: &str,
    settings: &ConnectSettings,
) -> Result<MemberStatus, String> {
    let asking = async {
        let client = client(endpoint, settings).await;
        let mut client = client.map_err(|error| error.to_string())?;
        let status = client.status().await.map_err(|error| reason(&error))?;
        let header = status.header().ok_or("the answer has no header")?;
        Ok(MemberStatus {
            cluster_id: cluster_id_text(header.cluster_id()),
            version: status.version().to_owned(),
            has_leader: status.leader() != 0,
            errors: status.errors().to_vec(),
        })
    };
    in_time(settings.call_timeout, asking).await
}

/// A first look at the keyspace of a member, as the ledger's user.
pub struct Keyspace {
    client: KvClient,
    call_timeout: Duration,
}

impl Keyspace {
    /// Prepares a client.
    ///
    /// # Errors
    /// What went wrong, as text.
    pub async fn open(endpoint: &str, settings: &ConnectSettings) -> Result<Self, String> {
        let client = client(endpoint, settings).await;
        let client = client.map_err(|error| error.to_string())?;
        Ok(Self {
            client: client.kv_client(),
            call_timeout: settings.call_timeout,
        })
    }

    /// The value of the first key with a prefix; all keys have an empty one. `None` if there is no
    /// such key.
    ///
    /// # Errors
    /// What went wrong, as text.
    pub async fn first_value(&mut self, prefix: &str) -> Result<Option<Vec<u8>>, String> {
        let options = GetOptions::new().with_prefix().with_limit(1);
        let call = self.client.get(prefix, Some(options));
        let asking = async { call.await.map_err(|error| reason(&error)) };
        let answer = in_time(self.call_timeout, asking).await?;
        Ok(answer.kvs().first().map(|kv| kv.value().to_vec()))
    }
}

async fn in_time<T>(
    limit: Duration,
    asking: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let answered = tokio::time::timeout(limit, asking).await;
    answered.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
}
