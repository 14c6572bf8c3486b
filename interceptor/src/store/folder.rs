//! The trace folder as a whole: whose it is, what version, and the files of the store's own state.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use cascade_proto::tables::{Moment, SCHEMA_VERSION, raw_tables};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::files::Files;
use super::layout::{STATE_FOLDER, sanitise_instance};
use super::{Checkpoint, StoreError, state};

/// Entries of a folder that say nothing about what it is for: a new ext4 volume has this one.
const IGNORED_ENTRIES: &[&str] = &["lost+found"];

/// `.cascade/trace.json`: makes a folder a trace folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    /// Highest schema version written to the folder.
    pub(super) schema_version: u32,
    /// Instance that writes to it unless another is named.
    instance: String,
}

/// Content of `.cascade/lock`: who has, or had, the folder open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Holder {
    pub(super) pid: u32,
    instance: String,
    opened_unix_nano: i64,
    /// Set by a proper close.
    pub(super) closed_unix_nano: Option<i64>,
}

/// `.cascade/changes.json`: where the last durable row of `changes` among the sealed files is.
/// It is written after the sealed file has its name and before the journal is removed, so that
/// what it misses is still to be found by its journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NewestChanges {
    /// The sealed file, relative to the trace folder.
    pub(super) file: PathBuf,
    pub(super) cluster_id: String,
    pub(super) epoch: i32,
    pub(super) revision: i64,
}

impl NewestChanges {
    /// Whether this is later in the same history, or in a later history of the same cluster.
    pub(super) fn is_after(&self, other: &Self) -> bool {
        self.cluster_id == other.cluster_id
            && (self.epoch, self.revision) > (other.epoch, other.revision)
    }
}

/// An open trace folder. No other store can open it while this value lives.
pub(super) struct Folder {
    root: PathBuf,
    files: Files,
    lock: File,
    instance: String,
    previous: Option<Holder>,
    interrupted: bool,
}

impl Folder {
    /// Opens or creates the folder.
    pub(super) fn open(
        root: &Path,
        instance: Option<&str>,
        files: &Files,
    ) -> Result<Self, StoreError> {
        if let Ok(entries) = fs::read_dir(root) {
            refuse_foreign(root, entries)?;
        }
        let state = root.join(STATE_FOLDER);
        files
            .create_folders(&state)
            .map_err(StoreError::io("create folder", &state))?;

        let lock_path = state.join("lock");
        let mut lock = files
            .open_or_create(&lock_path)
            .map_err(StoreError::io("open lock file", &lock_path))?;
        let mut content = String::new();
        let locked = lock.try_lock();
        // Read also when it is locked: it says by whom.
        let read = lock.read_to_string(&mut content);
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked {
                    path: root.to_path_buf(),
                    holder: describe_holder(&content),
                });
            }
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                tracing::warn!(folder = %root.display(), "the file system has no locks: make sure that no second interceptor uses this trace folder");
            }
            Err(TryLockError::Error(error)) => {
                return Err(StoreError::io("lock", &lock_path)(error));
            }
        }
        read.map_err(StoreError::io("read lock file", &lock_path))?;

        let previous: Option<Holder> = serde_json::from_str(&content).ok();
        let mut folder = Self {
            root: root.to_path_buf(),
            files: files.clone(),
            lock,
            instance: String::new(),
            // A half-written lock file is that of a process which did not get to its close.
            interrupted: !content.is_empty()
                && previous
                    .as_ref()
                    .is_none_or(|holder| holder.closed_unix_nano.is_none()),
            previous,
        };
        folder.instance = folder.mark(instance)?;
        Ok(folder)
    }

    /// Checks the marker, decides on the instance, and writes the marker if it has to change.
    fn mark(&self, instance: Option<&str>) -> Result<String, StoreError> {
        let path = self.state("trace.json");
        let old: Option<Marker> = self.read_state("trace.json")?;
        if let Some(marker) = &old
            && marker.schema_version > SCHEMA_VERSION
        {
            return Err(StoreError::NewerSchema {
                path,
                found: marker.schema_version,
                supported: SCHEMA_VERSION,
            });
        }
        let stored = old
            .as_ref()
            .and_then(|marker| sanitise_instance(&marker.instance));
        let instance = match (instance, stored) {
            (Some(name), _) => {
                sanitise_instance(name).ok_or_else(|| StoreError::InvalidInstance {
                    name: name.to_owned(),
                })?
            }
            (None, Some(stored)) => stored,
            (None, None) => new_instance(),
        };
        let marker = Marker {
            schema_version: SCHEMA_VERSION,
            instance: instance.clone(),
        };
        if old.as_ref() != Some(&marker) {
            self.write_state("trace.json", &marker)
                .map_err(StoreError::io("write", &path))?;
        }
        Ok(instance)
    }

    /// The trace folder.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The instance that writes to it.
    pub(super) fn instance(&self) -> &str {
        &self.instance
    }

    /// Whether the marker is still where it was put. When it is not, the folder was removed or
    /// another one was mounted over it, and nothing must be written.
    pub(super) fn is_there(&self) -> bool {
        self.state("trace.json").is_file()
    }

    /// Whether the previous process did not close the folder.
    pub(super) fn interrupted(&self) -> bool {
        self.interrupted
    }

    /// When the previous process opened or closed the folder.
    pub(super) fn previous_time(&self) -> Option<Moment> {
        let holder = self.previous.as_ref()?;
        let unix_nano = holder.closed_unix_nano.unwrap_or(holder.opened_unix_nano);
        Some(Moment { unix_nano })
    }

    /// Notes that this process goes on where the previous one ended.
    pub(super) fn note_opened(&mut self, now: Moment) -> Result<(), StoreError> {
        self.hold(Holder {
            pid: std::process::id(),
            instance: self.instance.clone(),
            opened_unix_nano: now.unix_nano,
            closed_unix_nano: None,
        })
    }

    /// Notes a proper close.
    pub(super) fn note_closed(&mut self, now: Moment) -> Result<(), StoreError> {
        self.hold(Holder {
            pid: std::process::id(),
            instance: self.instance.clone(),
            opened_unix_nano: now.unix_nano,
            closed_unix_nano: Some(now.unix_nano),
        })
    }

    /// Rewrites the lock file in place: the lock is on the file, not on its name.
    fn hold(&mut self, holder: Holder) -> Result<(), StoreError> {
        let path = self.state("lock");
        let write = |lock: &mut File| {
            let content = serde_json::to_vec(&holder)?;
            self.files.cut(lock, &path, 0)?;
            lock.seek(SeekFrom::Start(0))?;
            self.files.write(lock, &path, &content)?;
            self.files.sync_file(lock, &path)
        };
        write(&mut self.lock).map_err(StoreError::io("write lock file", &path))
    }

    /// The last checkpoint.
    pub(super) fn checkpoint(&self) -> Result<Option<Checkpoint>, StoreError> {
        self.read_state("checkpoint.json")
    }

    /// When the last checkpoint was written, by the file system's clock.
    pub(super) fn checkpoint_time(&self) -> Option<Moment> {
        modified(&self.state("checkpoint.json"))
    }

    /// Makes a checkpoint durable.
    pub(super) fn write_checkpoint(&self, checkpoint: &Checkpoint) -> io::Result<()> {
        self.write_state("checkpoint.json", checkpoint)
    }

    /// Where the newest sealed changes are.
    pub(super) fn newest_changes(&self) -> Result<Option<NewestChanges>, StoreError> {
        self.read_state("changes.json")
    }

    fn state(&self, name: &str) -> PathBuf {
        self.root.join(STATE_FOLDER).join(name)
    }

    fn read_state<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StoreError> {
        state::read(&self.files, &self.state(name))
    }

    fn write_state<T: Serialize>(&self, name: &str, state: &T) -> io::Result<()> {
        state::write(&self.files, &self.state(name), state)
    }
}

/// Notes where the newest sealed changes are.
pub(super) fn write_newest_changes(
    files: &Files,
    root: &Path,
    newest: &NewestChanges,
) -> io::Result<()> {
    let path = root.join(STATE_FOLDER).join("changes.json");
    state::write(files, &path, newest)
}

/// When a file was last written.
pub(super) fn modified(path: &Path) -> Option<Moment> {
    let time = fs::metadata(path).ok()?.modified().ok()?;
    let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Moment {
        unix_nano: i64::try_from(since.as_nanos()).ok()?,
    })
}

/// Refuses a folder that holds something and nothing of a trace.
pub(super) fn refuse_foreign(root: &Path, entries: fs::ReadDir) -> Result<(), StoreError> {
    let tables: Vec<_> = raw_tables().iter().map(|table| table.name).collect();
    let mut foreign = None;
    for entry in entries {
        let name = entry
            .map_err(StoreError::io("list", root))?
            .file_name()
            .to_string_lossy()
            .into_owned();
        if name == STATE_FOLDER || tables.contains(&name.as_str()) {
            return Ok(());
        }
        if !IGNORED_ENTRIES.contains(&name.as_str()) {
            foreign = Some(name);
        }
    }
    match foreign {
        Some(found) => Err(StoreError::NotATrace {
            path: root.to_path_buf(),
            found,
        }),
        None => Ok(()),
    }
}

fn describe_holder(content: &str) -> String {
    match serde_json::from_str::<Holder>(content) {
        Ok(holder) => format!("instance {}, process {}", holder.instance, holder.pid),
        Err(_) => "its lock file does not say which".to_owned(),
    }
}

/// A name for a folder that has none yet: the host's, and four digits against two folders of one
/// host being taken for one.
fn new_instance() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| fs::read_to_string("/etc/hostname"))
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .and_then(|name| sanitise_instance(name.trim()))
        .unwrap_or_else(|| "interceptor".to_owned());
    let [first, second, ..] = Uuid::new_v4().into_bytes();
    // Hosts may have long names; the digits must not be what is cut off.
    let short: String = host.chars().take(48).collect();
    format!("{short}-{first:02x}{second:02x}")
}
