//! The limit on open files.

use std::io;

/// Descriptors that are not for connections.
const RESERVED_DESCRIPTORS: u64 = 64;

/// How many files this process may have open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DescriptorLimit {
    /// The limit in force; `None` is none.
    pub limit: Option<u64>,
}

impl DescriptorLimit {
    /// How many connections fit, at least one: each takes two descriptors, and listeners, threads,
    /// the trace and clients of metrics need some.
    #[must_use]
    pub fn connections(self) -> Option<usize> {
        let connections = self.limit?.saturating_sub(RESERVED_DESCRIPTORS) / 2;
        Some(usize::try_from(connections).unwrap_or(usize::MAX).max(1))
    }
}

/// Raises the limit on open files as far as this process may.
///
/// # Errors
/// The system refuses to raise it; the limit stays as it was.
pub fn raise_descriptor_limit() -> Result<DescriptorLimit, io::Error> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let before = getrlimit(Resource::Nofile);
    if before.current != before.maximum {
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: before.maximum,
                maximum: before.maximum,
            },
        )?;
    }
    Ok(DescriptorLimit {
        limit: getrlimit(Resource::Nofile).current,
    })
}
