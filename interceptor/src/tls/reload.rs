//! Certificates change while connections are open.

use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;

use super::{Side, TlsError, TlsMetrics};

/// Time between two looks at the files.
const LOOK_INTERVAL: Duration = Duration::from_secs(3);

/// Files, and what is made of them.
pub(super) trait Source: fmt::Debug + Send + Sync + 'static {
    /// Content of the files.
    type Files: Hash;
    /// What is made of them.
    type Built: Send + Sync;
    /// What it is for.
    fn side(&self) -> Side;
    /// Reads all files.
    fn read(&self) -> Result<Self::Files, TlsError>;
    /// Makes something of them, warning of what will be trouble.
    fn build(&self, files: &Self::Files) -> Result<Self::Built, TlsError>;
    /// End of the validity of the own certificate, in seconds since 1970.
    fn not_after(built: &Self::Built) -> Option<i64>;
}

/// What was made of files that may change.
pub(super) struct Reloadable<S: Source> {
    source: S,
    current: RwLock<Arc<S::Built>>,
    /// Digest of what was last seen in the files, good or bad, so that a bad file is told once.
    seen: Mutex<u64>,
}

impl<S: Source> fmt::Debug for Reloadable<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(formatter)
    }
}

impl<S: Source> Reloadable<S> {
    pub(super) fn load(source: S) -> Result<Self, TlsError> {
        let files = source.read()?;
        let built = source.build(&files)?;
        Ok(Self {
            source,
            current: RwLock::new(Arc::new(built)),
            seen: Mutex::new(digest(&Ok(files))),
        })
    }

    pub(super) fn source(&self) -> &S {
        &self.source
    }

    /// What the last good files gave.
    pub(super) fn current(&self) -> Arc<S::Built> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn digest<F: Hash>(files: &Result<F, TlsError>) -> u64 {
    let mut hasher = DefaultHasher::new();
    match files {
        Ok(files) => files.hash(&mut hasher),
        Err(error) => error.to_string().hash(&mut hasher),
    }
    hasher.finish()
}

/// What a look at files showed.
#[derive(Debug)]
pub enum Refreshed {
    /// They are as they were.
    Unchanged,
    /// They changed, and new connections use them.
    Loaded,
    /// They changed, and cannot be used; new connections use what was there before.
    Failed(TlsError),
}

/// Something made of files that may change.
pub trait Refresh: Send + Sync {
    /// What it is for.
    fn side(&self) -> Side;
    /// Looks at the files. Blocks for as long as reading them takes.
    fn refresh(&self) -> Refreshed;
    /// End of the validity of the own certificate, in seconds since 1970.
    fn not_after(&self) -> Option<i64>;
}

impl<S: Source> Refresh for Reloadable<S> {
    fn side(&self) -> Side {
        self.source.side()
    }

    fn refresh(&self) -> Refreshed {
        let files = self.source.read();
        let digest = digest(&files);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == digest {
            return Refreshed::Unchanged;
        }
        *seen = digest;
        match files.and_then(|files| self.source.build(&files)) {
            Ok(built) => {
                let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
                *current = Arc::new(built);
                Refreshed::Loaded
            }
            Err(error) => Refreshed::Failed(error),
        }
    }

    fn not_after(&self) -> Option<i64> {
        S::not_after(&self.current())
    }
}

/// Looks at the files now and then, and whenever `asked`. Never ends.
pub async fn keep_fresh(parts: Vec<Arc<dyn Refresh>>, asked: Arc<Notify>, metrics: TlsMetrics) {
    note_expiry(&parts, &metrics);
    loop {
        let was_asked = tokio::select! {
            () = asked.notified() => true,
            () = tokio::time::sleep(LOOK_INTERVAL), if !parts.is_empty() => false,
        };
        if parts.is_empty() {
            tracing::info!("asked to reload, but there are no certificates");
            continue;
        }
        for part in &parts {
            let looked = Arc::clone(part);
            // The files may lie on a file system that does not answer.
            let looking = tokio::task::spawn_blocking(move || looked.refresh());
            let Ok(refreshed) = looking.await else {
                tracing::error!("reloading certificates has panicked");
                continue;
            };
            let side = part.side();
            match refreshed {
                Refreshed::Unchanged if was_asked => {
                    tracing::info!(side = side.label(), "certificates have not changed");
                }
                Refreshed::Unchanged => {}
                Refreshed::Loaded => {
                    metrics.count_reload(side, true);
                    tracing::info!(side = side.label(), "new connections use new certificates");
                }
                Refreshed::Failed(error) => {
                    metrics.count_reload(side, false);
                    tracing::error!(
                        side = side.label(),
                        %error,
                        "changed certificates cannot be used; the old ones stay in use"
                    );
                }
            }
        }
        note_expiry(&parts, &metrics);
    }
}

fn note_expiry(parts: &[Arc<dyn Refresh>], metrics: &TlsMetrics) {
    for part in parts {
        if let Some(not_after) = part.not_after() {
            metrics.set_expiry(part.side(), not_after);
        }
    }
}
