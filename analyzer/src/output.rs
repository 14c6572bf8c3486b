//! Where answers go: standard output or a file.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::error::Error;

/// A buffered destination for an answer.
#[allow(missing_debug_implementations)] // holds locks and buffers, nothing to print
pub struct Output {
    name: String,
    writer: Box<dyn Write + Send>,
}

impl Output {
    /// Opens `path`, or standard output without one. What an existing file holds is replaced when the answer begins:
    /// if there is none, it stays.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be created.
    pub fn open(path: Option<&Path>) -> Result<Self, Error> {
        let Some(path) = path else {
            return Ok(Self {
                name: "standard output".to_owned(),
                writer: Box::new(BufWriter::new(io::stdout())),
            });
        };
        let name = path.display().to_string();
        let replacing = Replacing::open(path)
            .map_err(|source| Error::io(format!("cannot write {name}"), source))?;
        Ok(Self {
            name,
            writer: Box::new(BufWriter::new(replacing)),
        })
    }

    /// Writes a whole answer.
    ///
    /// # Errors
    /// As [`Output::finish`].
    pub fn finish_with(mut self, text: &str) -> Result<(), Error> {
        let written = self.write_all(text.as_bytes());
        self.check(written)?;
        self.finish()
    }

    /// Writes all that is still buffered.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written; a broken pipe leads to [`crate::exit::Exit::Ok`].
    pub fn finish(mut self) -> Result<(), Error> {
        self.writer
            .flush()
            .map_err(|source| Error::io(format!("cannot write {}", self.name), source))
    }

    /// Turns the outcome of writing to this output into this crate's error.
    ///
    /// # Errors
    /// [`Error::Io`] with the name of this output.
    pub fn check<T>(&self, result: io::Result<T>) -> Result<T, Error> {
        result.map_err(|source| Error::io(format!("cannot write {}", self.name), source))
    }
}

/// A file that is emptied when the first byte is written, or when it is said that there is none.
struct Replacing {
    file: File,
    /// Whether what the file held is there still. Pipes and devices hold nothing.
    holds_older: bool,
}

impl Replacing {
    fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let holds_older = file.metadata()?.is_file();
        Ok(Self { file, holds_older })
    }

    fn empty(&mut self) -> io::Result<()> {
        if self.holds_older {
            self.file.set_len(0)?;
            self.holds_older = false;
        }
        Ok(())
    }
}

impl Write for Replacing {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.empty()?;
        self.file.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.empty()?;
        self.file.flush()
    }
}

impl Write for Output {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.writer.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_by_an_answer_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answer");
        let held = || std::fs::read_to_string(&path).unwrap();
        let open = || Output::open(Some(&path)).unwrap();
        open().finish_with("a long answer").unwrap();
        drop(open());
        assert_eq!(held(), "a long answer", "no answer came");
        open().finish_with("short").unwrap();
        assert_eq!(held(), "short");
        open().finish().unwrap();
        assert_eq!(held(), "", "an empty answer is one");
    }

    #[test]
    fn devices_are_written_to() {
        let output = Output::open(Some(Path::new("/dev/null"))).unwrap();
        output.finish_with("lost").unwrap();
    }
}
