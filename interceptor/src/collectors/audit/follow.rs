//! Follows a file of lines that somebody writes and rotates.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Longest line that is read. An event with both objects of a request has at most twice the 3 MiB
/// that kube-apiserver accepts.
pub const MAX_LINE_BYTES: usize = 8 << 20;
/// Bytes that are read at once.
const CHUNK_BYTES: usize = 256 << 10;

/// Reads what is appended to a file.
///
/// Rotation by renaming and by truncating is followed. A file that is there at the begin is read
/// from its end on: what it holds is about requests from before.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    file: Option<Open>,
    /// Whether a file was looked for before.
    started: bool,
    /// The begin of a line whose end is not written yet.
    line: Vec<u8>,
    /// The rest of the line is of no use.
    skipping: bool,
    max_line_bytes: usize,
}

#[derive(Debug)]
struct Open {
    file: File,
    position: u64,
}

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// There may be more to read at once.
    pub more: bool,
    /// Lines that were too long, or cut short by a rotation.
    pub skipped: u64,
}

impl Follower {
    /// Follows the file at `path`, which need not exist yet. Lines longer than `max_line_bytes`
    /// are skipped.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, max_line_bytes: usize) -> Self {
        Self {
            path: path.into(),
            file: None,
            started: false,
            line: Vec::new(),
            skipping: false,
            max_line_bytes,
        }
    }

    /// Reads some of what is there, and hands on each complete line, without its end.
    ///
    /// # Errors
    /// The file cannot be read; it can be tried again.
    pub fn poll(&mut self, mut on_line: impl FnMut(&[u8])) -> io::Result<Progress> {
        let Some(open) = &mut self.file else {
            let file = match File::open(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.started = true;
                    return Ok(Progress::default());
                }
                opened => opened?,
            };
            let mut open = Open { file, position: 0 };
            if !self.started {
                self.skipping = open.go_to_end()?;
                self.started = true;
            }
            self.file = Some(open);
            return Ok(Progress {
                more: true,
                skipped: 0,
            });
        };
        // Asked before reading: what was written before a rotation is then read after this.
        let current = match std::fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            asked => Some(asked?),
        };
        let mut chunk = vec![0; CHUNK_BYTES];
        let read = open.file.read(&mut chunk)?;
        open.position += read as u64;
        let chunk = chunk.get(..read).unwrap_or_default();
        let mut progress = Progress {
            more: read > 0,
            skipped: 0,
        };
        if read == 0 {
            let mine = open.file.metadata()?;
            let rotated = current.is_some_and(|current| !same(&mine, &current));
            if rotated || mine.len() < open.position {
                // Cut off; the writer begins anew.
                progress = Progress {
                    more: true,
                    skipped: u64::from(!self.line.is_empty()),
                };
                self.line.clear();
                self.skipping = false;
                if rotated {
                    self.file = None;
                } else {
                    open.file.seek(SeekFrom::Start(0))?;
                    open.position = 0;
                }
            }
            return Ok(progress);
        }
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            progress.skipped += u64::from(self.take_piece(piece, &mut on_line));
        }
        Ok(progress)
    }

    /// Takes the next piece of a line; true when the line is too long.
    fn take_piece(&mut self, piece: &[u8], on_line: &mut impl FnMut(&[u8])) -> bool {
        let (piece, ends) = match piece.split_last() {
            Some((b'\n', before)) => (before, true),
            _ => (piece, false),
        };
        let mut too_long = false;
        if !self.skipping && self.line.len() + piece.len() > self.max_line_bytes {
            self.skipping = true;
            self.line = Vec::new();
            too_long = true;
        }
        if !self.skipping {
            if ends && self.line.is_empty() {
                on_line(piece);
            } else {
                self.line.extend_from_slice(piece);
                if ends {
                    on_line(&self.line);
                    self.line.clear();
                }
            }
        }
        if ends {
            self.skipping = false;
        }
        too_long
    }
}

impl Open {
    /// Goes to the end; true when that is in the middle of a line.
    fn go_to_end(&mut self) -> io::Result<bool> {
        self.position = self.file.seek(SeekFrom::End(0))?;
        if self.position == 0 {
            return Ok(false);
        }
        self.file.seek(SeekFrom::Start(self.position - 1))?;
        let mut last = [0];
        self.file.read_exact(&mut last)?;
        Ok(last != [b'\n'])
    }
}

fn same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    fn append(path: &Path, text: &str) {
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    /// All lines there are now, joined by `|`, and how many were skipped.
    fn drain(follower: &mut Follower) -> (String, u64) {
        let (mut lines, mut skipped) = (Vec::new(), 0);
        loop {
            let progress = follower
                .poll(|line| lines.push(String::from_utf8(line.to_vec()).unwrap()))
                .unwrap();
            skipped += progress.skipped;
            if !progress.more {
                return (lines.join("|"), skipped);
            }
        }
    }

    #[test]
    fn what_is_appended_is_read_line_by_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let mut follower = Follower::new(&path, 100);
        assert_eq!(drain(&mut follower), (String::new(), 0));
        append(&path, "one\ntw");
        assert_eq!(drain(&mut follower), ("one".into(), 0));
        append(&path, "o\n\nthree\n");
        assert_eq!(drain(&mut follower), ("two||three".into(), 0));
    }

    #[test]
    fn what_was_there_before_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        append(&path, "old\nhalf");
        let mut follower = Follower::new(&path, 100);
        assert_eq!(drain(&mut follower), (String::new(), 0));
        append(&path, " old\nnew\n");
        assert_eq!(drain(&mut follower), ("new".into(), 0));
        let mut follower = Follower::new(&path, 100);
        assert_eq!(drain(&mut follower), (String::new(), 0));
        append(&path, "newer\n");
        assert_eq!(drain(&mut follower), ("newer".into(), 0));
    }

    #[test]
    fn renamed_files_are_read_to_their_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let mut follower = Follower::new(&path, 100);
        drain(&mut follower);
        append(&path, "one\n");
        assert_eq!(drain(&mut follower).0, "one");
        append(&path, "two\nhal");
        fs::rename(&path, folder.path().join("audit-1.log")).unwrap();
        // Not there yet.
        assert_eq!(drain(&mut follower), ("two".into(), 0));
        append(&folder.path().join("audit-1.log"), "f\n");
        append(&path, "three\n");
        assert_eq!(drain(&mut follower), ("half|three".into(), 0));
        append(&path, "cut");
        fs::rename(&path, folder.path().join("audit-2.log")).unwrap();
        append(&path, "four\n");
        assert_eq!(drain(&mut follower), ("four".into(), 1));
    }

    #[test]
    fn truncated_files_are_read_from_their_begin() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let mut follower = Follower::new(&path, 100);
        drain(&mut follower);
        append(&path, "a long line\n");
        assert_eq!(drain(&mut follower).0, "a long line");
        fs::write(&path, "two\n").unwrap();
        assert_eq!(drain(&mut follower), ("two".into(), 0));
    }

    #[test]
    fn long_lines_are_skipped_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let mut follower = Follower::new(&path, 4);
        drain(&mut follower);
        append(&path, "1234\n12345\n1\n123");
        assert_eq!(drain(&mut follower), ("1234|1".into(), 1));
        append(&path, "45");
        assert_eq!(drain(&mut follower), (String::new(), 1));
        append(&path, "6789\n12\n");
        assert_eq!(drain(&mut follower), ("12".into(), 0));
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_they_are_written(
            lines in prop::collection::vec("[a-z]{0,12}", 0..20),
            cuts in prop::collection::vec(0..100_usize, 0..20),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("audit.log");
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut % (text.len() + 1)).collect();
            cuts.push(text.len());
            cuts.sort_unstable();
            let mut follower = Follower::new(&path, 8);
            drain(&mut follower);
            let (mut found, mut skipped, mut written) = (Vec::new(), 0, 0);
            for cut in cuts {
                append(&path, &text[written..cut]);
                written = cut;
                loop {
                    let progress = follower
                        .poll(|line| found.push(String::from_utf8(line.to_vec()).unwrap()))
                        .unwrap();
                    skipped += progress.skipped;
                    if !progress.more {
                        break;
                    }
                }
            }
            let expected: Vec<_> = lines.iter().filter(|line| line.len() <= 8).cloned().collect();
            prop_assert_eq!(skipped, (lines.len() - expected.len()) as u64);
            prop_assert_eq!(found, expected);
        }
    }
}
