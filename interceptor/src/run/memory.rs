//! The ceiling on what recording holds in memory, and how the parts share it.
//!
//! Each part has a share of its own, so that none takes the room of another: however many spans
//! come, calls have their place. What does not fit into its part is shed, or makes its sender wait;
//! the traffic's own buffers are no part of it.

use std::fmt;
use std::str::FromStr;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// Shares are so many parts of the whole.
const PARTS: usize = 16;
/// Less leaves no room for a single message of each kind.
const LEAST: usize = 64 << 20;

/// Most memory that recording may hold, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLimit(usize);

/// Why a text is no limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemoryLimitError {
    /// It is no number of bytes.
    #[error("write a size: 512MiB, 1GiB")]
    NoSize,
    /// It is too little to work with.
    #[error("write at least 64MiB")]
    TooLittle,
}

impl MemoryLimit {
    fn share(self, parts: usize) -> usize {
        self.0 / PARTS * parts
    }

    /// For messages that the observer puts together, and calls under way.
    #[must_use]
    pub fn observer(self) -> usize {
        self.share(4)
    }

    /// For observed calls that wait for the disk.
    #[must_use]
    pub fn calls(self) -> usize {
        self.share(3)
    }

    /// For requests that wait for the disk.
    #[must_use]
    pub fn requests(self) -> usize {
        self.share(2)
    }

    /// For spans and audit events that wait for each other.
    #[must_use]
    pub fn spans(self) -> usize {
        self.share(2)
    }

    /// For changes that wait for the disk; the ledger waits with more.
    #[must_use]
    pub fn changes(self) -> usize {
        self.share(2)
    }

    /// For mergelogs and spans that wait for the disk; who posts waits with more.
    #[must_use]
    pub fn reported(self) -> usize {
        self.share(1)
    }

    /// For values that the ledger remembers until they are replaced; etcd is asked for others.
    #[must_use]
    pub fn previous(self) -> usize {
        self.share(2)
    }

    /// Adds a metric with the shares to `registry`.
    pub fn register(self, registry: &mut Registry) {
        let limits = Family::<PartLabel, Gauge>::default();
        for (part, bytes) in [
            ("observer", self.observer()),
            ("calls", self.calls()),
            ("requests", self.requests()),
            ("spans", self.spans()),
            ("changes", self.changes()),
            ("reported", self.reported()),
            ("previous", self.previous()),
        ] {
            let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
            limits.get_or_create(&PartLabel { part }).set(bytes);
        }
        registry.register_with_unit(
            "cascade_memory_limit",
            "Most memory that each part of recording may hold",
            Unit::Bytes,
            limits,
        );
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartLabel {
    part: &'static str,
}

impl Default for MemoryLimit {
    /// 1 GiB.
    fn default() -> Self {
        Self(1 << 30)
    }
}

impl FromStr for MemoryLimit {
    type Err = MemoryLimitError;

    /// Reads a number of bytes, or of `KiB`, `MiB` or `GiB`.
    fn from_str(text: &str) -> Result<Self, MemoryLimitError> {
        let units = [("GiB", 30), ("MiB", 20), ("KiB", 10), ("", 0)];
        let unit = units.iter().find(|(unit, _)| text.ends_with(unit));
        let (unit, shift) = unit.ok_or(MemoryLimitError::NoSize)?;
        let number = text.strip_suffix(unit).unwrap_or(text);
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(MemoryLimitError::NoSize);
        }
        let number: usize = number.parse().map_err(|_| MemoryLimitError::NoSize)?;
        let bytes = number
            .checked_mul(1 << shift)
            .ok_or(MemoryLimitError::NoSize)?;
        if bytes < LEAST {
            return Err(MemoryLimitError::TooLittle);
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("GiB", 30), ("MiB", 20), ("KiB", 10), ("", 0)];
        let exact = units
            .iter()
            .find(|(_, shift)| self.0.is_multiple_of(1 << shift));
        let (unit, shift) = exact.unwrap_or(&("", 0));
        write!(formatter, "{}{unit}", self.0 >> shift)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes) in [
            ("64MiB", 64 << 20),
            ("1GiB", 1 << 30),
            ("131072KiB", 128 << 20),
            ("100000001", 100_000_001),
        ] {
            assert_eq!(text.parse(), Ok(MemoryLimit(bytes)), "{text}");
            let written = MemoryLimit(bytes).to_string();
            assert_eq!(written.parse(), Ok(MemoryLimit(bytes)), "{written}");
        }
        assert_eq!(MemoryLimit::default().to_string(), "1GiB");
        for wrong in ["", "MiB", "1 GiB", "1GB", "-1GiB", "+1GiB", "1.5GiB"] {
            let read = wrong.parse::<MemoryLimit>();
            assert_eq!(read, Err(MemoryLimitError::NoSize), "{wrong}");
        }
        let huge = format!("{}GiB", usize::MAX);
        assert_eq!(huge.parse::<MemoryLimit>(), Err(MemoryLimitError::NoSize));
        for little in ["0", "1MiB", "63MiB"] {
            let read = little.parse::<MemoryLimit>();
            assert_eq!(read, Err(MemoryLimitError::TooLittle), "{little}");
        }
    }

    #[test]
    fn the_parts_are_the_whole() {
        for limit in [MemoryLimit::default(), MemoryLimit(LEAST)] {
            let parts = [
                limit.observer(),
                limit.calls(),
                limit.requests(),
                limit.spans(),
                limit.changes(),
                limit.reported(),
                limit.previous(),
            ];
            assert_eq!(parts.iter().sum::<usize>(), limit.0);
        }
    }
}
