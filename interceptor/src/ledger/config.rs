//! What the ledger is told.

use std::path::PathBuf;
use std::time::Duration;

use etcd_client::ConnectOptions;

use crate::tls::ClientTls;

/// How many revisions are caught up with at most, unless the user says otherwise.
///
/// etcd reads the backlog of a watch under a lock that writes need: with 400 MB behind, the 99th
/// percentile of writes was seen to rise from 3 to 400 ms.
pub const DEFAULT_MAX_CATCHUP_REVISIONS: i64 = 20_000;

/// Settings of the ledger.
#[derive(Debug, Clone)]
pub struct LedgerConfig {
    /// Name of this interceptor, for the column `instance`.
    pub instance: String,
    /// etcd members as URLs. One is used at a time; after a failure the next has its turn.
    pub endpoints: Vec<String>,
    /// How to connect.
    pub connect: ConnectSettings,
    /// A backlog of more revisions than this is given up for a snapshot.
    pub max_catchup_revisions: i64,
    /// Size that a page of a snapshot should have, in bytes of keys and values.
    pub snapshot_page_bytes: usize,
    /// Most memory for values that are remembered until they are replaced, in bytes.
    pub previous_values_bytes: usize,
}

impl LedgerConfig {
    /// Settings for these members, everything else at its default.
    #[must_use]
    pub fn new(instance: impl Into<String>, endpoints: Vec<String>) -> Self {
        Self {
            instance: instance.into(),
            endpoints,
            connect: ConnectSettings::default(),
            max_catchup_revisions: DEFAULT_MAX_CATCHUP_REVISIONS,
            snapshot_page_bytes: 2 << 20,
            previous_values_bytes: 64 << 20,
        }
    }
}

/// How to connect to etcd. Everything that concerns a connection belongs here.
#[derive(Debug, Clone)]
pub struct ConnectSettings {
    /// Longest wait for a TCP connection.
    pub connect_timeout: Duration,
    /// Longest wait for the answer to a call, and for a watch to be opened.
    pub call_timeout: Duration,
    /// Time without traffic after which the connection is probed.
    pub keep_alive_interval: Duration,
    /// Longest wait for the answer to a probe.
    pub keep_alive_timeout: Duration,
    /// How to connect to members that speak TLS.
    pub tls: Option<ClientTls>,
    /// Who the ledger is to an etcd that asks for a user.
    pub user: Option<EtcdUser>,
}

/// A user of etcd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdUser {
    /// Name of the user.
    pub name: String,
    /// File with the password; read at each new connection, without the line end.
    pub password_file: PathBuf,
}

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// The file cannot be read.
    #[error("cannot read the password of etcd's user from {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is empty.
    #[error("the file {} for the password of etcd's user is empty", .0.display())]
    Empty(PathBuf),
}

impl EtcdUser {
    /// Reads the password.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub fn password(&self) -> Result<String, PasswordError> {
        let path = &self.password_file;
        let content = std::fs::read_to_string(path).map_err(|source| PasswordError::Read {
            path: path.clone(),
            source,
        })?;
        let password = content.strip_suffix('\n').unwrap_or(&content);
        let password = password.strip_suffix('\r').unwrap_or(password);
        if password.is_empty() {
            return Err(PasswordError::Empty(path.clone()));
        }
        Ok(password.to_owned())
    }
}

impl Default for ConnectSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            // Reading a page waits for a linearizable read, and those wait for a leader.
            call_timeout: Duration::from_secs(30),
            // etcd closes connections that are probed more often than every 5 s.
            keep_alive_interval: Duration::from_secs(30),
            keep_alive_timeout: Duration::from_secs(10),
            tls: None,
            user: None,
        }
    }
}

impl ConnectSettings {
    /// The settings as etcd-client wants them; those of the transport are the channel's.
    pub(super) fn options(&self) -> ConnectOptions {
        ConnectOptions::new()
            // A member that has lost its leader ends the watch instead of keeping it silent.
            .with_require_leader(true)
    }
}
