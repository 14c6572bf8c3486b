//! The steps by which the store changes the disk.
//!
//! Everything that writes goes through [`Files`], so that tests can look at the folder, or fail,
//! before each single step. What it creates only its user can read: a trace tells much about a
//! cluster.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// A step that changes what is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// Creates a folder.
    CreateFolder,
    /// Creates a file.
    CreateFile,
    /// Appends bytes to a file.
    Write,
    /// Cuts a file.
    Cut,
    /// Makes a file's content durable.
    SyncFile,
    /// Makes names in a folder durable.
    SyncFolder,
    /// Gives a file its final name.
    Rename,
    /// Removes a file.
    Remove,
}

/// Called before each step. An error is returned instead of taking the step; what is returned
/// otherwise is dropped after it, so that a lock can span the step.
#[cfg(test)]
pub(super) type Hook =
    std::sync::Arc<dyn Fn(Step, &Path) -> io::Result<Box<dyn std::any::Any>> + Send + Sync>;

/// Access to the disk.
#[derive(Clone, Default)]
pub(super) struct Files {
    #[cfg(test)]
    hook: Option<Hook>,
}

impl Files {
    /// With a hook that sees every step before it is taken.
    #[cfg(test)]
    pub(super) fn with_hook(hook: Hook) -> Self {
        Self { hook: Some(hook) }
    }

    #[cfg(test)]
    fn step<T>(
        &self,
        step: Step,
        path: &Path,
        action: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let _guard = self
            .hook
            .as_ref()
            .map(|hook| hook(step, path))
            .transpose()?;
        action()
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self)] // the same shape as in tests
    #[inline]
    fn step<T>(
        &self,
        _step: Step,
        _path: &Path,
        action: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        action()
    }

    /// Creates a folder and those above it, durably. Does nothing when it is there.
    pub(super) fn create_folders(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        let parent = match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        self.create_folders(parent)?;
        self.step(Step::CreateFolder, path, || {
            match DirBuilder::new().mode(FOLDER_MODE).create(path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {
                    Ok(())
                }
                result => result,
            }
        })?;
        self.sync_folder(parent)
    }

    /// Creates a file, or empties the one there is.
    pub(super) fn create_or_empty(&self, path: &Path) -> io::Result<File> {
        self.step(Step::CreateFile, path, || {
            OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(FILE_MODE)
                .open(path)
        })
    }

    /// Opens a file for locking and for rewriting in place; creates it when it is missing.
    pub(super) fn open_or_create(&self, path: &Path) -> io::Result<File> {
        self.step(Step::CreateFile, path, || {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(FILE_MODE)
                .open(path)
        })
    }

    /// Writes all bytes at the file's position.
    pub(super) fn write(&self, file: &mut File, path: &Path, bytes: &[u8]) -> io::Result<()> {
        // In tests a write is two steps, so that a file can be seen, or left, half written.
        #[cfg(test)]
        let bytes = if self.hook.is_some() {
            let (first, rest) = bytes.split_at(bytes.len() / 2);
            self.step(Step::Write, path, || file.write_all(first))?;
            rest
        } else {
            bytes
        };
        self.step(Step::Write, path, || file.write_all(bytes))
    }

    /// Cuts a file to `length` bytes.
    pub(super) fn cut(&self, file: &File, path: &Path, length: u64) -> io::Result<()> {
        self.step(Step::Cut, path, || file.set_len(length))
    }

    /// Makes a file's content durable.
    pub(super) fn sync_file(&self, file: &File, path: &Path) -> io::Result<()> {
        // The length is metadata that is needed to read the content, so `fdatasync` stores it too.
        self.step(Step::SyncFile, path, || file.sync_data())
    }

    /// Makes the names in a folder durable.
    pub(super) fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.step(Step::SyncFolder, path, || File::open(path)?.sync_all())
    }

    /// Renames within a folder, replacing what has the new name.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(Step::Rename, to, || fs::rename(from, to))
    }

    /// Removes a file; one that is not there is as good.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        self.step(Step::Remove, path, || match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        })
    }

    /// Replaces the content of a file as a whole: after a power loss it holds the old or the new.
    pub(super) fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let folder = path.parent().ok_or(io::ErrorKind::NotFound)?;
        let temporary = path.with_extension("tmp");
        let mut file = self.create_or_empty(&temporary)?;
        self.write(&mut file, &temporary, content)?;
        self.sync_file(&file, &temporary)?;
        self.rename(&temporary, path)?;
        self.sync_folder(folder)
    }
}

/// A file under construction that is written from its begin to its end.
pub(super) struct NewFile {
    files: Files,
    file: File,
    path: PathBuf,
}

impl NewFile {
    /// Creates the file, or empties what an earlier attempt left.
    pub(super) fn create(files: &Files, path: PathBuf) -> io::Result<Self> {
        Ok(Self {
            file: files.create_or_empty(&path)?,
            files: files.clone(),
            path,
        })
    }

    /// Makes the content durable and gives the file its final name, in the same folder.
    pub(super) fn publish(self, to: &Path) -> io::Result<()> {
        let folder = to.parent().ok_or(io::ErrorKind::NotFound)?;
        self.files.sync_file(&self.file, &self.path)?;
        self.files.rename(&self.path, to)?;
        self.files.sync_folder(folder)
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.files.write(&mut self.file, &self.path, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
