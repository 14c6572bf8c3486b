//! Compares a trace with what etcd holds now.

use std::collections::{BTreeMap, HashMap};

use cascade_proto::keys::key_text;
use etcd_client::{Client, ConnectOptions, GetOptions};
use serde::Serialize;

use super::findings::Findings;
use super::history::{History, KeyState};
use super::report::HistoryReport;
use crate::error::Error;

/// Keys per page when reading the keyspace.
const PAGE_KEYS: i64 = 10_000;
/// How long to wait for a connection and for each answer.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);
/// etcd's message when a revision has been compacted (v3rpc/rpctypes, ErrCompacted).
const COMPACTED: &str = "required revision has been compacted";

/// What a trace says exists at its last revision.
#[derive(Debug)]
pub(super) struct LiveKeys {
    keys: HashMap<Box<str>, KeyState>,
    is_whole: bool,
}

impl LiveKeys {
    /// Takes the keys out of a history that was read to its end.
    pub(super) fn of(history: &mut History) -> Self {
        Self {
            is_whole: history.is_whole(),
            keys: history.take_keys(),
        }
    }
}

/// How a trace and an etcd compare.
#[derive(Debug, Clone, Serialize)]
pub(super) struct EtcdFindings {
    pub(super) url: String,
    pub(super) cluster_id: String,
    /// etcd's revision when asked.
    pub(super) revision: i64,
    /// Last revision of the trace, at which both are compared.
    pub(super) compared_revision: i64,
    /// How many revisions etcd has that the trace does not have yet.
    pub(super) behind: i64,
    /// Keys that exist at that revision.
    pub(super) keys: u64,
    /// Keys that differ, or that only one of both has.
    pub(super) mismatches: Findings,
}

/// Compares the newest history of etcd's cluster with etcd, at the trace's last revision.
pub(super) async fn compare(
    url: &str,
    histories: &[HistoryReport],
    live_keys: &[LiveKeys],
) -> Result<EtcdFindings, Error> {
    if url.starts_with("https:") {
        return Err(Error::Etcd(format!(
            "--etcd {url}: TLS is not built in; give an endpoint without it"
        )));
    }
    let failed =
        |error: etcd_client::Error| Error::Etcd(format!("--etcd {url}: {}", root_cause(&error)));
    let options = ConnectOptions::new()
        .with_connect_timeout(TIMEOUT)
        .with_timeout(TIMEOUT);
    let mut client = Client::connect([url], Some(options))
        .await
        .map_err(failed)?;
    let status = client.status().await.map_err(failed)?;
    let header = status
        .header()
        .ok_or_else(|| Error::Etcd(format!("--etcd {url}: an answer without a header")))?;
    let cluster_id = format!("{:x}", header.cluster_id());
    let current = header.revision();

    let newest = histories
        .iter()
        .zip(live_keys)
        .rfind(|(history, _)| history.id.cluster_id == cluster_id);
    let Some((history, live)) = newest else {
        let known: Vec<&str> = histories
            .iter()
            .map(|known| known.id.cluster_id.as_str())
            .collect();
        return Err(Error::Etcd(format!(
            "--etcd {url}: its cluster id is {cluster_id}, the trace is of {}; give the etcd that was \
             traced",
            known.join(", ")
        )));
    };
    let last = history.last_known_revision();
    if last > current {
        return Err(Error::Etcd(format!(
            "--etcd {url}: it is at revision {current}, the trace goes up to {last}: etcd was restored \
             from a backup, or is another member that lags behind"
        )));
    }

    let mut findings = EtcdFindings {
        url: url.to_owned(),
        cluster_id,
        revision: current,
        compared_revision: last,
        behind: current - last,
        keys: 0,
        mismatches: Findings::default(),
    };
    let mut missing: BTreeMap<&str, KeyState> = live
        .keys
        .iter()
        .map(|(key, state)| (key.as_ref(), *state))
        .collect();
    let mut start: Vec<u8> = vec![0];
    loop {
        let page = GetOptions::new()
            .with_from_key()
            .with_keys_only()
            .with_limit(PAGE_KEYS)
            .with_revision(last);
        let answer = client
            .get(start.clone(), Some(page))
            .await
            .map_err(|error| explain_compaction(url, last, error))?;
        for entry in answer.kvs() {
            findings.keys += 1;
            let key = key_text(entry.key());
            let stored = KeyState {
                revision: entry.mod_revision(),
                create_revision: entry.create_revision(),
                version: entry.version(),
            };
            match missing.remove(key.as_str()) {
                Some(known) if known == stored => {}
                Some(known) => findings
                    .mismatches
                    .add(|| format!("{key}: etcd has {stored:?}, the trace {known:?}")),
                None if live.is_whole => findings
                    .mismatches
                    .add(|| format!("{key}: only in etcd, {stored:?}")),
                None => {}
            }
        }
        match answer.kvs().last() {
            Some(entry) if answer.more() => {
                // The smallest key after this one.
                start = entry.key().to_vec();
                start.push(0);
            }
            _ => break,
        }
    }
    for (key, known) in missing {
        findings
            .mismatches
            .add(|| format!("{key}: only in the trace, {known:?}"));
    }
    Ok(findings)
}

/// The innermost error: the outer ones only say that a request failed.
fn root_cause(error: &etcd_client::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    if let etcd_client::Error::GRpcStatus(status) = error {
        // Its text repeats everything in a form for programmers.
        match std::error::Error::source(status) {
            Some(source) => cause = source,
            None => return status.message().to_owned(),
        }
    }
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn explain_compaction(url: &str, revision: i64, error: etcd_client::Error) -> Error {
    let text = root_cause(&error);
    if text.contains(COMPACTED) {
        return Error::Etcd(format!(
            "--etcd {url}: it has compacted revision {revision}, the trace's last one, so they cannot be \
             compared; verify while the interceptor runs or soon after"
        ));
    }
    Error::Etcd(format!("--etcd {url}: {text}"))
}
