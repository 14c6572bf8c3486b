//! Lists with an entry for each change, or for each of something that there are nearly as many of.
//!
//! They are in memory, unless that is limited to less than they take: then they are in a file, of which the pages that
//! are used are in memory. The kernel looks at changes in their order and back at recent ones, so few pages are used at a
//! time. What reads such a list gets copies, since a page may leave memory at any moment.

mod list;
mod pager;
mod pages;
mod runs;

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytemuck::{CheckedBitPattern, NoUninit};

pub use list::List;
use pager::Pager;
pub(crate) use runs::Runs;

/// What lists have as entries: no pointers and no padding, so that the bytes in a file are all there is.
pub trait Record: NoUninit + CheckedBitPattern + std::fmt::Debug + Send + Sync {}

impl<T: NoUninit + CheckedBitPattern + std::fmt::Debug + Send + Sync> Record for T {}

/// Where lists are. Clones share the file and the memory.
#[derive(Debug, Clone, Default)]
pub struct Storage {
    /// In memory without it.
    pager: Option<Arc<Pager>>,
}

impl Storage {
    /// Lists in a file without a name in `folder`, of which about so many bytes are in memory.
    ///
    /// # Errors
    /// When there can be no such file.
    pub fn in_file(folder: &Path, memory: usize) -> io::Result<Self> {
        let pager = Arc::new(Pager::create(folder, memory)?);
        Ok(Self { pager: Some(pager) })
    }

    /// Whether lists are in a file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.pager.is_some()
    }

    /// Tells whether everything that was in the file could be read. What could not seems not to be there.
    ///
    /// # Errors
    /// What happened when the file was read.
    pub fn check(&self) -> io::Result<()> {
        match &self.pager {
            Some(pager) => pager.check(),
            None => Ok(()),
        }
    }
}
