//! Progress of long work, shown on a terminal only.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often the line is renewed.
const INTERVAL: Duration = Duration::from_millis(200);
/// Short work shows nothing.
const DELAY: Duration = Duration::from_secs(1);

/// A line that says how far the work is.
#[derive(Debug)]
pub(crate) struct Progress {
    what: &'static str,
    total: u64,
    done: u64,
    /// When the line is to be renewed; `None` when standard error is no terminal.
    due: Option<Instant>,
    is_shown: bool,
}

impl Progress {
    /// Starts work on `total` things called `what`.
    pub(crate) fn start(what: &'static str, total: u64) -> Self {
        Self {
            what,
            total,
            done: 0,
            due: std::io::stderr()
                .is_terminal()
                .then(|| Instant::now() + DELAY),
            is_shown: false,
        }
    }

    /// Notes that `count` more things are done.
    pub(crate) fn add(&mut self, count: u64) {
        self.done += count;
        let Some(due) = self.due else { return };
        let now = Instant::now();
        if now < due {
            return;
        }
        self.due = Some(now + INTERVAL);
        self.is_shown = true;
        let percent = self.done.saturating_mul(100) / self.total.max(1);
        self.print(&format!(
            "\r\x1b[K{}: {} of {} ({percent} %)",
            self.what, self.done, self.total
        ));
    }

    fn print(&self, text: &str) {
        let mut screen = std::io::stderr();
        // Progress that cannot be shown is no reason to stop.
        drop(
            screen
                .write_all(text.as_bytes())
                .and_then(|()| screen.flush()),
        );
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            self.print("\r\x1b[K");
        }
    }
}
