//! Trace folder, disk and open files.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access, statvfs};
use rustix::process::{Resource, getrlimit};

use super::Subject;
use super::report::{Check, Finding, Report, Severity};
use crate::relay::DescriptorLimit;
use crate::run::COMFORTABLE_CONNECTIONS;
use crate::store::{self, FolderFacts};

/// Files that can still be made, from which on it is complained of: the trace makes one per table and
/// hour, and a few at a time.
const FILES_MIN: u64 = 1_000;
/// How the kernel names our program: 15 bytes of it.
const COMMAND: &str = "cascade-interce";

/// Looks at this host.
pub(super) fn examine(subject: &Subject, report: &mut Report) {
    let mut running = None;
    match &subject.trace_dir {
        None => {
            for check in [Check::TraceFolder, Check::Disk] {
                report.not_checked(check, "no --trace-dir");
            }
        }
        Some(folder) => {
            running = trace_folder(folder, report);
            disk(folder, subject.limits.disk_free_min, report);
        }
    }
    if subject.routes.is_empty() {
        report.not_checked(Check::OpenFiles, "nothing is relayed");
        return;
    }
    open_files(subject, running, report);
}

/// Looks at the trace folder. Returns the interceptor that writes to it, if one runs.
fn trace_folder(folder: &Path, report: &mut Report) -> Option<u32> {
    let mut find = |what: String, advice: &str| {
        report.find(Finding {
            severity: Severity::Error,
            check: Check::TraceFolder,
            place: format!("--trace-dir {}", folder.display()),
            what,
            advice: advice.to_owned(),
        });
    };
    let FolderFacts { exists, opened_by } = match store::inspect(folder) {
        Ok(facts) => facts,
        Err(error) => {
            find(
                error.to_string(),
                "an interceptor of this version cannot use this folder, and would end at its start \
                 with code 73",
            );
            return None;
        }
    };
    let writable = Access::WRITE_OK | Access::EXEC_OK;
    let place = nearest(folder);
    if let Err(error) = access(&place, writable) {
        let what = match exists {
            true => format!("it cannot be written by this user: {error}"),
            false => format!(
                "it does not exist, and this user cannot make it in {}: {error}",
                place.display()
            ),
        };
        find(
            what,
            "give it to the user that the interceptor runs as (chown), or run this as that user",
        );
    }
    opened_by.filter(|id| {
        let command = fs::read_to_string(format!("/proc/{id}/comm"));
        command.is_ok_and(|command| command.starts_with(COMMAND))
    })
}

/// The folder, or the nearest one above it that exists.
fn nearest(folder: &Path) -> PathBuf {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let mut above = absolute.ancestors();
    let found = above.find(|folder| folder.exists()).map(Path::to_owned);
    found.unwrap_or_else(|| PathBuf::from("/"))
}

fn disk(folder: &Path, free_min: u64, report: &mut Report) {
    let place = nearest(folder);
    let facts = match statvfs(&place) {
        Ok(facts) => facts,
        Err(error) => {
            report.not_checked(Check::Disk, format!("{}: {error}", place.display()));
            return;
        }
    };
    let free = facts.f_bavail.saturating_mul(facts.f_frsize);
    let mut find = |what: String, advice: &str| {
        report.find(Finding {
            severity: Severity::Warning,
            check: Check::Disk,
            place: format!("--trace-dir {}", folder.display()),
            what,
            advice: advice.to_owned(),
        });
    };
    if free < free_min {
        find(
            format!(
                "{} MiB are free there, less than the {} MiB of --disk-free-min. When the disk is \
                 full, traffic goes on and the trace has a gap",
                free >> 20,
                free_min >> 20
            ),
            "make room, choose another disk for the trace, or record less (--exclude)",
        );
    }
    // File systems without a limit of files say 0.
    if facts.f_files > 0 && facts.f_favail < FILES_MIN {
        find(
            format!("only {} more files can be made there", facts.f_favail),
            "remove files, or choose another disk for the trace",
        );
    }
}

fn open_files(subject: &Subject, running: Option<u32>, report: &mut Report) {
    let of_running = running.and_then(|id| Some((id, limit_of(id)?)));
    let (place, limit) = match of_running {
        Some((id, limit)) => (format!("process {id}, which writes this trace"), limit),
        // What `serve` raises its own limit to.
        None => ("this shell".to_owned(), getrlimit(Resource::Nofile).maximum),
    };
    let limit = DescriptorLimit { limit };
    let Some(connections) = limit.connections() else {
        return;
    };
    let wanted = match subject.max_connections {
        Some(wanted) => wanted,
        None => COMFORTABLE_CONNECTIONS,
    };
    if connections >= wanted {
        return;
    }
    report.find(Finding {
        severity: Severity::Warning,
        check: Check::OpenFiles,
        place,
        what: format!(
            "the limit of {} open files allows {connections} connections, and {wanted} {}: further \
             ones wait",
            limit.limit.unwrap_or_default(),
            match subject.max_connections {
                Some(_) => "are asked for by --max-connections",
                None => "may be needed: kube-apiserver opens one for each resource",
            }
        ),
        advice: "raise the limit: LimitNOFILE=65536 in the systemd unit, or ulimit -n 65536"
            .to_owned(),
    });
}

/// The limit on open files of a process, which raises its own at its start; `None` if it is not known.
fn limit_of(id: u32) -> Option<Option<u64>> {
    parse_limits(&fs::read_to_string(format!("/proc/{id}/limits")).ok()?)
}

fn parse_limits(text: &str) -> Option<Option<u64>> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(None),
        soft => soft.parse().ok().map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_a_process() {
        let text = "Limit       Soft Limit   Hard Limit   Units\n\
                    Max processes             1  2  processes\n\
                    Max open files            1024                 524288               files\n";
        assert_eq!(parse_limits(text), Some(Some(1024)));
        let unlimited = "Max open files            unlimited            unlimited            files";
        assert_eq!(parse_limits(unlimited), Some(None));
        assert_eq!(parse_limits("Max open files"), None);
        assert!(limit_of(std::process::id()).is_some());
    }

    #[test]
    fn the_nearest_folder_that_exists() {
        let folder = tempfile::TempDir::new().unwrap();
        assert_eq!(nearest(&folder.path().join("a/b")), folder.path());
        assert_eq!(nearest(folder.path()), folder.path());
    }
}
