//! The pages of one list.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};

use bytemuck::checked::CheckedCastError;

use super::Record;
use super::pager::{Buffer, Evict, PAGE_BYTES, Pager, Wanted};

/// Stands for no frame.
const NO_FRAME: u32 = u32::MAX;
/// Stands for no place in the file.
const NO_PLACE: u64 = u64::MAX;
/// Frames that are looked at for each that is to leave memory.
const LOOKED_AT: usize = 4;

/// Where a page is.
#[derive(Debug, Clone, Copy)]
struct Page {
    place: u64,
    frame: u32,
}

const NOWHERE: Page = Page {
    place: NO_PLACE,
    frame: NO_FRAME,
};

/// A page in memory.
#[derive(Debug)]
struct Frame {
    page: usize,
    bytes: Buffer,
    /// Since it was last looked at whether it could leave.
    is_used: bool,
    is_dirty: bool,
}

/// The pages of a list, by several threads.
#[derive(Debug)]
pub(super) struct Pages<T: Record> {
    pager: Arc<Pager>,
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    table: Vec<Page>,
    frames: Vec<Frame>,
    hand: usize,
    len: usize,
    /// What entries are that nobody has set.
    filling: Option<T>,
}

impl<T: Record> Pages<T> {
    /// Entries of a page.
    const EACH: usize = PAGE_BYTES / size_of::<T>();

    pub(super) fn create(pager: &Arc<Pager>) -> Arc<Self> {
        let pages = Arc::new(Self {
            pager: Arc::clone(pager),
            state: Mutex::new(State {
                table: Vec::new(),
                frames: Vec::new(),
                hand: 0,
                len: 0,
                filling: None,
            }),
        });
        let list: Weak<Self> = Arc::downgrade(&pages);
        pager.register(list);
        pages
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing that panics holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len
    }

    /// Gives an empty list so many entries that are all the same.
    pub(super) fn fill(&self, len: usize, filling: T) {
        let mut state = self.lock();
        debug_assert!(state.len == 0, "only an empty list is filled");
        state.filling = Some(filling);
        state.len = len;
        state.table.resize(len.div_ceil(Self::EACH), NOWHERE);
    }

    pub(super) fn push(&self, entry: T) {
        self.extend(&[entry]);
    }

    pub(super) fn extend(&self, mut added: &[T]) {
        let mut state = self.lock();
        while !added.is_empty() {
            let (page, first) = (state.len / Self::EACH, state.len % Self::EACH);
            if page == state.table.len() {
                state.table.push(NOWHERE);
            }
            let room = Self::EACH - first;
            let (fitting, rest) = added.split_at(room.min(added.len()));
            let Some(frame) = state.frame(page, &self.pager) else {
                return;
            };
            frame.is_dirty = true;
            let bytes = frame.bytes.get_mut(first * size_of::<T>()..);
            for (place, entry) in bytes.into_iter().flat_map(entries_mut::<T>).zip(fitting) {
                place.copy_from_slice(bytemuck::bytes_of(entry));
            }
            state.len += fitting.len();
            added = rest;
        }
    }

    pub(super) fn get(&self, index: usize) -> Option<T> {
        let mut state = self.lock();
        if index >= state.len {
            return None;
        }
        let frame = state.frame(index / Self::EACH, &self.pager)?;
        let start = index % Self::EACH * size_of::<T>();
        let entry = read(frame.bytes.get(start..start + size_of::<T>())?);
        self.checked(entry)
    }

    pub(super) fn update(&self, index: usize, change: impl FnOnce(&mut T)) -> bool {
        let mut state = self.lock();
        if index >= state.len {
            return false;
        }
        let Some(frame) = state.frame(index / Self::EACH, &self.pager) else {
            return false;
        };
        let start = index % Self::EACH * size_of::<T>();
        let Some(bytes) = frame.bytes.get_mut(start..start + size_of::<T>()) else {
            return false;
        };
        let Some(mut entry) = self.checked(read(bytes)) else {
            return false;
        };
        change(&mut entry);
        bytes.copy_from_slice(bytemuck::bytes_of(&entry));
        frame.is_dirty = true;
        true
    }

    /// Adds the entries from `start` to the end of its page, or to `end`, to `entries`; tells where that is.
    pub(super) fn read(&self, start: usize, end: usize, entries: &mut Vec<T>) -> usize {
        let mut state = self.lock();
        let end = end
            .min(state.len)
            .min((start / Self::EACH + 1) * Self::EACH);
        if start >= end {
            return start;
        }
        let Some(frame) = state.frame(start / Self::EACH, &self.pager) else {
            return end;
        };
        let first = start % Self::EACH;
        let bytes = first * size_of::<T>()..(first + end - start) * size_of::<T>();
        let bytes = frame.bytes.get(bytes).unwrap_or(&[]);
        let read = bytes.chunks_exact(size_of::<T>()).map(read);
        entries.extend(read.map_while(|entry| self.checked(entry)));
        end
    }

    /// Shortens the list.
    pub(super) fn truncate(&self, len: usize) {
        let mut state = self.lock();
        if len >= state.len {
            return;
        }
        let pages = len.div_ceil(Self::EACH);
        while let Some(position) = state.frames.iter().position(|frame| frame.page >= pages) {
            self.pager.give_back(state.drop_frame(position));
        }
        let freed: Vec<u64> = state.table.drain(pages..).map(|page| page.place).collect();
        self.pager
            .free(freed.into_iter().filter(|place| *place != NO_PLACE));
        state.len = len;
    }

    /// An entry, unless its bytes are none that were written.
    fn checked(&self, entry: Result<T, CheckedCastError>) -> Option<T> {
        entry
            .inspect_err(|error| {
                let what = format!("a page on the disk has changed: {error}");
                let error = io::Error::new(io::ErrorKind::InvalidData, what);
                self.pager.fail(error);
            })
            .ok()
    }
}

fn read<T: Record>(bytes: &[u8]) -> Result<T, CheckedCastError> {
    bytemuck::checked::try_pod_read_unaligned(bytes)
}

/// The places of entries.
fn entries_mut<T: Record>(bytes: &mut [u8]) -> impl Iterator<Item = &mut [u8]> {
    bytes.chunks_exact_mut(size_of::<T>())
}

impl<T: Record> State<T> {
    /// A page, read if it is not in memory; `None` if it cannot be read.
    fn frame(&mut self, page: usize, pager: &Pager) -> Option<&mut Frame> {
        let mut number = self.table.get(page)?.frame;
        if number == NO_FRAME {
            number = self.load(page, pager)?;
        }
        let frame = self.frames.get_mut(number as usize)?;
        frame.is_used = true;
        Some(frame)
    }

    fn load(&mut self, page: usize, pager: &Pager) -> Option<u32> {
        let mut bytes = pager.take(|wanted| self.evict(wanted, pager));
        let place = self.table.get(page)?.place;
        if place != NO_PLACE {
            if !pager.read(place, bytes.as_mut_slice()) {
                pager.give_back(bytes);
                return None;
            }
        } else if let Some(filling) = &self.filling {
            let filling = bytemuck::bytes_of(filling);
            let entries = bytes.chunks_exact_mut(size_of::<T>());
            entries.for_each(|entry| entry.copy_from_slice(filling));
        }
        // 2^32 pages are 32 TiB.
        let number = u32::try_from(self.frames.len()).ok()?;
        self.frames.push(Frame {
            page,
            bytes,
            is_used: true,
            is_dirty: false,
        });
        self.table.get_mut(page)?.frame = number;
        Some(number)
    }

    /// Takes its share of pages out of memory; tells how many.
    fn evict(&mut self, wanted: Wanted, pager: &Pager) -> usize {
        let share = wanted.share(self.frames.len());
        let mut evicted = 0;
        for _ in 0..share * LOOKED_AT {
            if evicted == share {
                break;
            }
            if self.hand >= self.frames.len() {
                self.hand = 0;
            }
            let Some(frame) = self.frames.get_mut(self.hand) else {
                break;
            };
            if std::mem::take(&mut frame.is_used) {
                self.hand += 1;
                continue;
            }
            if frame.is_dirty {
                let Some(page) = self.table.get_mut(frame.page) else {
                    break;
                };
                if page.place == NO_PLACE {
                    page.place = pager.place();
                }
                if !pager.write(page.place, frame.bytes.as_slice()) {
                    break;
                }
            }
            pager.give_back(self.drop_frame(self.hand));
            evicted += 1;
        }
        evicted
    }

    fn drop_frame(&mut self, number: usize) -> Buffer {
        let dropped = self.frames.swap_remove(number);
        if let Some(page) = self.table.get_mut(dropped.page) {
            page.frame = NO_FRAME;
        }
        if let Some(moved) = self.frames.get(number)
            && let Some(page) = self.table.get_mut(moved.page)
        {
            page.frame = u32::try_from(number).unwrap_or(NO_FRAME);
        }
        dropped.bytes
    }
}

impl<T: Record> Evict for Pages<T> {
    fn evict(&self, wanted: Wanted) -> usize {
        let state = match self.state.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(state)) => Some(state.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        state.map_or(0, |mut state| state.evict(wanted, &self.pager))
    }
}

impl<T: Record> Drop for Pages<T> {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let frames = state.frames.drain(..);
        frames.for_each(|frame| self.pager.give_back(frame.bytes));
        let places = state.table.iter().map(|page| page.place);
        self.pager.free(places.filter(|place| *place != NO_PLACE));
    }
}
