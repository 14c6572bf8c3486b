//! Which versions of etcd have errors that matter to what is recorded.

/// Versions from which on the known errors are mended, by minor version; later minors have none of
/// them.
const MENDED: [((u64, u64), u64); 2] = [((3, 5), 24), ((3, 6), 9)];

/// What is wrong with a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Complaint {
    /// What is known of it.
    pub(super) what: String,
    /// What to do.
    pub(super) advice: String,
}

/// What is wrong with a version such as `3.5.16` or `3.6.0-rc.1`; `None` if nothing is known, or it
/// is no version.
pub(super) fn complaint(version: &str) -> Option<Complaint> {
    let (major, minor, patch) = parse(version)?;
    let series = (major, minor);
    let mended = MENDED.iter().find(|(known, _)| *known == series);
    let old = match mended {
        Some((_, mended)) => patch < *mended,
        None => series < (3, 5),
    };
    old.then(|| Complaint {
        what: format!(
            "etcd is {version}. Versions before 3.5.24 and 3.6.9 have errors in what a watch and a read \
             may tell: events that are missing after a compaction, progress that overtakes events, \
             wrong revisions, stale reads after a pause of the process"
        ),
        advice: format!(
            "upgrade etcd to {} or newer",
            match mended {
                Some(((major, minor), patch)) => format!("{major}.{minor}.{patch}"),
                None => "3.5.24".to_owned(),
            }
        ),
    })
}

fn parse(version: &str) -> Option<(u64, u64, u64)> {
    let numbers = version.split(['-', '+']).next()?;
    let mut numbers = numbers.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_their_advice() {
        for good in [
            "3.5.24",
            "3.6.9",
            "3.6.16",
            "3.7.0",
            "4.0.0-alpha.1",
            "",
            "main",
        ] {
            assert_eq!(complaint(good), None, "{good}");
        }
        for (old, newer) in [
            ("3.4.30", "3.5.24"),
            ("3.5.1", "3.5.24"),
            ("3.5.23", "3.5.24"),
            ("3.6.0-rc.1", "3.6.9"),
            ("3.6.8", "3.6.9"),
        ] {
            let complaint = complaint(old).unwrap();
            assert!(complaint.what.contains(old), "{complaint:?}");
            assert!(complaint.advice.contains(newer), "{complaint:?}");
        }
    }
}
