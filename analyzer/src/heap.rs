//! How glibc hands out memory, where memory is limited.

/// Bytes of memory from which on a few hundred MiB more or less do not matter, but time does: a derivation of ten million changes takes
/// a seventh longer when memory is handed out sparingly.
pub(crate) const ENOUGH: usize = 2 << 30;

/// What glibc reads from the environment, and what it is to read there: one heap for all threads; whatever has at least 256 KiB is
/// mapped by itself, and unmapped when nobody needs it any more, also if larger things were before.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const SETTINGS: [(&str, &str); 3] = [
    ("MALLOC_ARENA_MAX", "1"),
    ("MALLOC_MMAP_THRESHOLD_", "262144"),
    ("MALLOC_TRIM_THRESHOLD_", "262144"),
];

/// Begins the program anew with memory handed out sparingly, unless the environment says how.
///
/// glibc gives most threads a heap of their own, and what one of them has freed, others cannot use; of what is freed within a heap, little
/// goes back to the system. While files are read and written by many threads, hundreds of MiB come together that nobody uses. It
/// can only be told otherwise before a process begins. Should it not be possible to begin anew, the program goes on as it is.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn begin_anew(arguments: &[std::ffi::OsString]) {
    use std::os::unix::process::CommandExt as _;

    let is_told = |(name, _): &(&str, &str)| std::env::var_os(name).is_some();
    if SETTINGS.iter().any(is_told) {
        tracing::debug!("memory is handed out as the environment says");
        return;
    }
    let (Ok(program), [name, rest @ ..]) = (std::env::current_exe(), arguments) else {
        return;
    };
    let mut anew = std::process::Command::new(program);
    anew.arg0(name).args(rest).envs(SETTINGS);
    // It returns only if it could not be done.
    let error = anew.exec();
    tracing::debug!(%error, "cannot begin anew with memory handed out sparingly");
}

/// Other allocators do without.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn begin_anew(_arguments: &[std::ffi::OsString]) {}
