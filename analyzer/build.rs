//! Names the rules by which tables are derived: a hash of their sources, so that tables that another
//! version of the rules wrote are not taken for those of this one.

#![allow(clippy::print_stdout)] // how cargo is told

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What decides what is in derived tables.
const SOURCES: [&str; 6] = [
    "src/causality",
    "src/causality.rs",
    "src/derive",
    "src/derive.rs",
    "src/milestones",
    "src/milestones.rs",
];

fn main() -> io::Result<()> {
    let mut files = Vec::new();
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
        collect(Path::new(source), &mut files)?;
    }
    files.sort_unstable();
    let mut hash = 0xcbf2_9ce4_8422_2325;
    for file in files {
        hash = add(hash, file.to_string_lossy().as_bytes());
        hash = add(hash, &fs::read(&file)?);
    }
    println!("cargo::rustc-env=CASCADE_RULES={hash:016x}");
    Ok(())
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        collect(&entry?.path(), files)?;
    }
    Ok(())
}

/// FNV-1a, which is the same everywhere.
fn add(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
