//! A trace is of one etcd cluster: members of others are told apart at the start.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;

use super::{Config, RunError};
use crate::ledger::{self, ConnectSettings};
use crate::transport::Upstream;

/// Longest wait for a member's answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Refuses to record members of several clusters. A member that does not answer is let pass: it may
/// be down, and etcd does without it.
///
/// # Errors
/// [`RunError::SeveralClusters`].
pub(super) async fn check(config: &Config) -> Result<(), RunError> {
    let Some(recording) = &config.recording else {
        return Ok(());
    };
    let relayed = config.routes.iter().map(|route| &route.etcd);
    let watched = recording.ledger.iter().flat_map(|ledger| &ledger.members);
    let mut members: Vec<&Upstream> = Vec::new();
    for member in relayed.chain(watched) {
        if !members.contains(&member) {
            members.push(member);
        }
    }
    if members.len() < 2 {
        return Ok(());
    }
    let ledger = recording.ledger.as_ref();
    let settings = ConnectSettings {
        call_timeout: PATIENCE,
        tls: config.tls.etcd.clone(),
        user: ledger.and_then(|ledger| ledger.connect.user.clone()),
        ..ConnectSettings::default()
    };
    let asking = members.into_iter().map(async |member| {
        let url = member.url();
        let answer = ledger::cluster_id(&url, &settings).await;
        (url, answer)
    });
    let mut clusters: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (url, answer) in join_all(asking).await {
        match answer {
            Ok(cluster_id) => clusters.entry(cluster_id).or_default().push(url),
            Err(error) => {
                tracing::warn!(
                    etcd = url,
                    error,
                    "a member does not say which cluster it is of"
                );
            }
        }
    }
    if clusters.len() < 2 {
        return Ok(());
    }
    let described = clusters
        .into_iter()
        .map(|(cluster_id, members)| format!("{cluster_id} ({})", members.join(", ")));
    let described: Vec<_> = described.collect();
    Err(RunError::SeveralClusters(described.join(" and ")))
}
