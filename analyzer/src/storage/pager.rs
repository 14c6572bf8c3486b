//! The file that pages are in, and how many of them are in memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use tracing::warn;

/// Bytes of a page. A disk takes hardly longer for eight KiB than for four; of what is looked up at random, little more is
/// read than needed.
pub(super) const PAGE_BYTES: usize = 8 * 1024;
/// Pages that leave memory together.
const EVICTED: usize = 64;
/// How often all lists are asked: what was used since the last time stays in the first round.
const ROUNDS: usize = 3;

/// The bytes of a page.
pub(super) type Buffer = Box<[u8; PAGE_BYTES]>;

/// How many pages are to leave memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// At most so many.
    most: usize,
    /// Pages of all lists in memory.
    resident: usize,
}

impl Wanted {
    /// The share of a list with so many pages in memory.
    pub(super) fn share(self, pages: usize) -> usize {
        (pages * EVICTED)
            .div_ceil(self.resident.max(1))
            .min(self.most)
    }
}

/// Something that has pages in memory.
pub(super) trait Evict: Send + Sync {
    /// Takes its share of pages out of memory, of those that were not used for a while; tells how many. None if the list is
    /// being used at the moment.
    fn evict(&self, wanted: Wanted) -> usize;
}

/// The pages of all lists.
pub(super) struct Pager {
    file: File,
    folder: PathBuf,
    /// Most pages in memory.
    limit: usize,
    resident: AtomicUsize,
    /// Those of pages that left memory. They are used again rather than returned to the allocator, which would be left with
    /// memory in pieces.
    buffers: Mutex<Vec<Buffer>>,
    /// Places in the file that were given away so far, and those that came back.
    end: AtomicU64,
    free: Mutex<Vec<u64>>,
    lists: Mutex<Vec<Weak<dyn Evict>>>,
    /// The file takes no more: what is in memory stays there.
    is_full: AtomicBool,
    failure: OnceLock<io::Error>,
}

impl std::fmt::Debug for Pager {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let resident = self.resident.load(Ordering::Relaxed);
        formatter
            .debug_struct("Pager")
            .field("folder", &self.folder)
            .field("limit", &self.limit)
            .field("resident", &resident)
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that panics holds these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pager {
    pub(super) fn create(folder: &Path, memory: usize) -> io::Result<Self> {
        Ok(Self {
            file: tempfile::tempfile_in(folder)?,
            folder: folder.to_owned(),
            limit: memory / PAGE_BYTES,
            resident: AtomicUsize::new(0),
            buffers: Mutex::default(),
            end: AtomicU64::new(0),
            free: Mutex::default(),
            lists: Mutex::default(),
            is_full: AtomicBool::new(false),
            failure: OnceLock::new(),
        })
    }

    pub(super) fn check(&self) -> io::Result<()> {
        match self.failure.get() {
            Some(error) => Err(io::Error::new(error.kind(), error.to_string())),
            None => Ok(()),
        }
    }

    pub(super) fn register(&self, list: Weak<dyn Evict>) {
        let mut lists = lock(&self.lists);
        lists.retain(|list| list.strong_count() > 0);
        lists.push(list);
    }

    /// Memory for a page, for which others leave if there are too many: of the list itself by `own`, of which nobody else can
    /// take any while it is being used. What is in it has no meaning.
    pub(super) fn take(&self, own: impl FnMut(Wanted) -> usize) -> Buffer {
        let resident = self.resident.fetch_add(1, Ordering::Relaxed) + 1;
        if resident > self.limit && !self.is_full.load(Ordering::Relaxed) {
            self.make_room(resident, own);
        }
        let used = lock(&self.buffers).pop();
        used.unwrap_or_else(|| Box::new([0; PAGE_BYTES]))
    }

    /// Takes the memory of a page back.
    pub(super) fn give_back(&self, buffer: Buffer) {
        self.resident.fetch_sub(1, Ordering::Relaxed);
        lock(&self.buffers).push(buffer);
    }

    fn make_room(&self, resident: usize, mut own: impl FnMut(Wanted) -> usize) {
        let mut wanted = Wanted {
            most: EVICTED,
            resident,
        };
        // Another thread that is about it makes room for this one too.
        let Ok(lists) = self.lists.try_lock() else {
            return;
        };
        for _ in 0..ROUNDS {
            wanted.most = wanted.most.saturating_sub(own(wanted));
            for list in lists.iter().filter_map(Weak::upgrade) {
                wanted.most = wanted.most.saturating_sub(list.evict(wanted));
            }
            if wanted.most == 0 {
                break;
            }
        }
    }

    /// A free place in the file.
    pub(super) fn place(&self) -> u64 {
        let freed = lock(&self.free).pop();
        freed.unwrap_or_else(|| self.end.fetch_add(1, Ordering::Relaxed))
    }

    /// Gives places back.
    pub(super) fn free(&self, places: impl Iterator<Item = u64>) {
        lock(&self.free).extend(places);
    }

    /// Writes a page; tells whether that could be done.
    pub(super) fn write(&self, place: u64, bytes: &[u8]) -> bool {
        match self.file.write_all_at(bytes, place * PAGE_BYTES as u64) {
            Ok(()) => true,
            Err(error) => {
                if !self.is_full.swap(true, Ordering::Relaxed) {
                    warn!(
                        folder = %self.folder.display(), %error,
                        "what does not fit into --memory-limit cannot be written to the disk: it stays in memory"
                    );
                }
                false
            }
        }
    }

    /// Reads a page; tells whether that could be done.
    pub(super) fn read(&self, place: u64, bytes: &mut [u8]) -> bool {
        match self.file.read_exact_at(bytes, place * PAGE_BYTES as u64) {
            Ok(()) => true,
            Err(error) => {
                self.fail(error);
                false
            }
        }
    }

    /// Remembers the first thing that went wrong.
    pub(super) fn fail(&self, error: io::Error) {
        drop(self.failure.set(error));
    }
}
