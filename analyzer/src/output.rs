//! Where answers go: standard output or a file.

use std::fs::File;
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
    /// Opens `path`, or standard output without one. An existing file is replaced.
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
        let file = File::create(path)
            .map_err(|source| Error::io(format!("cannot write {name}"), source))?;
        Ok(Self {
            name,
            writer: Box::new(BufWriter::new(file)),
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

impl Write for Output {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.writer.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
