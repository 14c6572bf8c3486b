//! kube-apiservers that run on this host.

use std::fs;
use std::path::Path;

use super::{Apiserver, Files, Flags, PROGRAM};

/// All that run, as far as this user may see; none where there is no `/proc`.
#[must_use]
pub fn running() -> Vec<Apiserver> {
    found_in(Path::new("/proc"))
}

fn found_in(processes: &Path) -> Vec<Apiserver> {
    let Ok(entries) = fs::read_dir(processes) else {
        return Vec::new();
    };
    let folders = entries.filter_map(Result::ok).map(|entry| entry.path());
    folders.filter_map(|folder| apiserver(&folder)).collect()
}

fn apiserver(folder: &Path) -> Option<Apiserver> {
    let id: u32 = folder.file_name()?.to_str()?.parse().ok()?;
    let line = fs::read(folder.join("cmdline")).ok()?;
    let words = line
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty());
    let words: Vec<String> = words
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    // Only the program itself: wrappers and editors have its name among their arguments.
    let is_it = words.first()?.rsplit('/').next() == Some(PROGRAM);
    is_it.then(|| Apiserver {
        origin: format!("process {id}"),
        flags: Flags::parse(&words),
        files: Files::Below(folder.join("root")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_told_apart_by_their_program() {
        let processes = tempfile::TempDir::new().unwrap();
        let add = |name: &str, line: &[u8]| {
            let folder = processes.path().join(name);
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("cmdline"), line).unwrap();
        };
        add(
            "12",
            b"/usr/bin/kube-apiserver\0--etcd-servers=http://a:1\0",
        );
        add("13", b"vi\0kube-apiserver\0");
        add("14", b"");
        add("self", b"kube-apiserver\0");
        let found = found_in(processes.path());
        assert_eq!(found.len(), 1);
        let apiserver = found.first().unwrap();
        assert_eq!(apiserver.origin, "process 12");
        assert_eq!(apiserver.flags.etcd_servers(), ["http://a:1"]);
        assert_eq!(
            apiserver.host_path("/etc/ca.crt"),
            Some(processes.path().join("12/root/etc/ca.crt"))
        );
    }
}
