//! Log lines that would otherwise be repeated endlessly: for every connection, every message, every attempt.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time in which the same complaint is made once.
const INTERVAL: Duration = Duration::from_secs(60);

/// When each complaint was last made, and how often it was left out since.
#[derive(Debug, Default)]
pub(crate) struct Complaints(Mutex<HashMap<&'static str, (Instant, u64)>>);

impl Complaints {
    /// Whether the complaint `about` this is due at `now`, and how often it was left out before.
    pub(crate) fn due(&self, about: &'static str, now: Instant) -> Option<u64> {
        let mut complaints = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((last, left_out)) = complaints.get_mut(about) else {
            complaints.insert(about, (now, 0));
            return Some(0);
        };
        if now.saturating_duration_since(*last) < INTERVAL {
            *left_out = left_out.saturating_add(1);
            return None;
        }
        *last = now;
        Some(std::mem::take(left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_made_once_in_a_while() {
        let (complaints, start) = (Complaints::default(), Instant::now());
        assert_eq!(complaints.due("expired", start), Some(0));
        assert_eq!(complaints.due("expired", start), None);
        assert_eq!(complaints.due("expired", start + INTERVAL / 2), None);
        assert_eq!(complaints.due("revoked", start), Some(0));
        assert_eq!(complaints.due("expired", start + INTERVAL), Some(2));
        assert_eq!(complaints.due("expired", start + INTERVAL * 2), Some(0));
    }
}
