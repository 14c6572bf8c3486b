//! The ground truth: a snapshot and a watch of the whole keyspace.
//!
//! The ledger has its own connection to etcd and sees every revision, whoever wrote it: any
//! apiserver, an expired lease, etcdctl. It hands whole revisions to the store in order, each once.
//!
//! One *session* is one connection. It begins with a *survey* (linearizable reads: is this the
//! history that was recorded?), from which follows a *plan*: go on after the last recorded
//! revision, or give revisions up, or begin a new epoch; what is lost becomes rows of `gaps`. Then
//! the watch is opened, and only after it the snapshot that the plan may ask for is read, so that
//! nothing falls between the two. Whatever interrupts a session, the next one goes on from there.
//!
//! Only the watch of the ledger itself ever waits: when the store is slow nothing is read, and a
//! watch that is not read for long is cancelled.
//!
//! | module | duty |
//! |---|---|
//! | `channel`, `connection`, `watch` | calls to etcd |
//! | `history`, `plan` | is it the same history, and how to go on (pure) |
//! | `assemble`, `rows`, `pages` | responses to revisions, events to rows, which pages to read (pure) |
//! | `previous` | the values that changes replace (pure) |
//! | `membership` | what a member says about itself, a first look at its keys |
//! | `session` | one session from survey to interruption |
//! | `follow`, `replaced`, `snapshot` | reading watch, replaced values and snapshot into the store |

mod assemble;
mod channel;
mod config;
mod connection;
mod context;
mod error;
mod follow;
mod gaps;
mod history;
mod membership;
mod metrics;
mod outage;
mod pages;
mod plan;
mod previous;
mod recovered;
mod replaced;
mod rows;
mod session;
mod snapshot;
mod watch;
mod work;

use tokio_util::sync::CancellationToken;

pub use config::{
    ConnectSettings, DEFAULT_MAX_CATCHUP_REVISIONS, EtcdUser, LedgerConfig, PasswordError,
};
pub use error::LedgerError;
pub use membership::{Keyspace, MemberStatus, cluster_id, member_status};
pub use metrics::{KindLabel, LedgerMetrics, LedgerStatus, OpLabel, ReasonLabel};

use crate::decode::{DecodeOptions, SharedHashKey};
use crate::store::{Recovered, Store};
use context::Context;
use error::Interruption;
use session::Ledger;

/// A cluster id as tables have it: lowercase hexadecimal without leading zeros, as etcd prints it.
#[must_use]
pub fn cluster_id_text(cluster_id: u64) -> String {
    format!("{cluster_id:x}")
}

/// Records every revision in `store` until `shutdown`, going on after what was `recovered`.
///
/// Sets the store's identity and `hash_key` as soon as the cluster is known; a hash key that is set
/// already was given by the user and stays. The hash key in `decode` is not used.
///
/// # Errors
/// [`LedgerError`] for what waiting cannot mend. An etcd that is down, restarts, loses its leader,
/// compacts or is restored, and a trace folder that cannot be written, are waited for.
pub async fn run(
    config: LedgerConfig,
    decode: DecodeOptions,
    store: Store,
    recovered: Recovered,
    hash_key: SharedHashKey,
    metrics: LedgerMetrics,
    shutdown: CancellationToken,
) -> Result<(), LedgerError> {
    check_endpoints(&config)?;
    let context = Context::new(config, store, metrics, shutdown);
    let mut ledger = Ledger::new(context, decode, hash_key, recovered);
    match ledger.run().await {
        Interruption::Fatal(error) => Err(error),
        _ => {
            ledger.finish().await;
            Ok(())
        }
    }
}

fn check_endpoints(config: &LedgerConfig) -> Result<(), LedgerError> {
    if config.endpoints.is_empty() {
        return Err(LedgerError::NoEndpoint);
    }
    for endpoint in &config.endpoints {
        let invalid = |reason: String| LedgerError::InvalidEndpoint {
            endpoint: endpoint.clone(),
            reason,
        };
        if !endpoint.contains("://") {
            return Err(invalid(
                "write it as http://HOST:PORT or https://HOST:PORT".to_owned(),
            ));
        }
        config
            .connect
            .dialer(endpoint)
            .map_err(|error| invalid(error.to_string()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_ids_are_written_as_etcd_prints_them() {
        assert_eq!(cluster_id_text(0x0cdf_818e_5e5a_3fe1), "cdf818e5e5a3fe1");
        assert_eq!(cluster_id_text(u64::MAX), "ffffffffffffffff");
    }

    #[test]
    fn endpoints_are_checked_before_anything_starts() {
        let check = |endpoints: &[&str]| {
            let endpoints: Vec<String> = endpoints.iter().map(|&text| text.to_owned()).collect();
            let config = LedgerConfig::new("test", endpoints);
            check_endpoints(&config).map_err(|error| error.to_string())
        };
        assert_eq!(
            check(&["http://127.0.0.1:2379", "http://etcd:2379"]),
            Ok(())
        );
        for bad in [
            "",
            "127.0.0.1:2379",
            "ftp://a:1",
            "http://a b",
            "https://a:1",
        ] {
            let text = check(&[bad]).unwrap_err();
            assert!(text.contains(&format!("{bad:?}")), "{text}");
        }
        assert!(check(&[]).unwrap_err().contains("no etcd endpoint"));
    }
}
