//! Unified diffs that `patch -p1 -d /` takes.

use std::fmt::Write as _;
use std::path::Path;

/// Lines around a change.
const CONTEXT: usize = 3;

/// What makes `after` of `before`, a file at `path`: the lines from the first that differs to the last,
/// with some around them. Empty if they are the same.
pub(super) fn change(path: &Path, before: &str, after: &str) -> String {
    if before == after {
        return String::new();
    }
    let (old, new): (Vec<_>, Vec<_>) = (lines(before), lines(after));
    let same = |pair: &(&&str, &&str)| pair.0 == pair.1;
    let head = old.iter().zip(&new).take_while(same).count();
    let shorter = old.len().min(new.len()).saturating_sub(head);
    let tail = old.iter().rev().zip(new.iter().rev());
    let tail = tail.take(shorter).take_while(same).count();
    let begin = head.saturating_sub(CONTEXT);
    let kept = tail.min(CONTEXT);
    let (old_end, new_end) = (old.len() - tail, new.len() - tail);
    let name = name(path);
    let mut text = format!(
        "--- a/{name}\n+++ b/{name}\n@@ -{},{} +{},{} @@\n",
        begin + 1,
        old_end + kept - begin,
        begin + 1,
        new_end + kept - begin,
    );
    let mut add = |sign: char, lines: &[&str]| {
        for line in lines {
            // Writing to a string cannot fail.
            let _ = write!(text, "{sign}{line}");
            if !line.ends_with('\n') {
                text.push_str("\n\\ No newline at end of file\n");
            }
        }
    };
    add(' ', old.get(begin..head).unwrap_or_default());
    add('-', old.get(head..old_end).unwrap_or_default());
    add('+', new.get(head..new_end).unwrap_or_default());
    add(' ', old.get(old_end..old_end + kept).unwrap_or_default());
    text
}

/// What makes a file at `path` that is not there yet.
pub(super) fn creation(path: &Path, content: &str) -> String {
    let lines = lines(content);
    let mut text = format!(
        "--- /dev/null\n+++ b/{}\n@@ -0,0 +1,{} @@\n",
        name(path),
        lines.len()
    );
    for line in lines {
        let _ = write!(text, "+{line}");
    }
    text
}

/// Lines with their ends.
fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

/// A path as patches have it: without the leading slash, which `patch` calls dangerous.
fn name(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute
        .display()
        .to_string()
        .trim_start_matches('/')
        .to_owned()
}

#[cfg(test)]
#[path = "../../tests/support/patch.rs"]
mod patching;

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::patching::patch;
    use super::*;

    #[test]
    fn one_line_of_many() {
        let before = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        let diff = change(Path::new("/etc/x"), before, &before.replace('5', "five"));
        assert_eq!(
            diff,
            "--- a/etc/x\n+++ b/etc/x\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n"
        );
        assert_eq!(change(Path::new("/etc/x"), before, before), "");
    }

    #[test]
    fn a_new_file() {
        let root = TempDir::new().unwrap();
        patch(
            root.path(),
            &creation(Path::new("/etc/new/x"), "a\nb\n"),
            &[],
        );
        let made = fs::read_to_string(root.path().join("etc/new/x")).unwrap();
        assert_eq!(made, "a\nb\n");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        /// `patch` makes the one of the other, and takes it back.
        #[test]
        fn patch_agrees(before in "([ab]?\n){1,12}[ab]?", after in "([ab]?\n){1,12}[ab]?") {
            let root = TempDir::new().unwrap();
            let file = root.path().join("x");
            fs::write(&file, &before).unwrap();
            let diff = change(Path::new("/x"), &before, &after);
            if !diff.is_empty() {
                patch(root.path(), &diff, &[]);
                prop_assert_eq!(fs::read_to_string(&file).unwrap(), after);
                patch(root.path(), &diff, &["--reverse"]);
                prop_assert_eq!(fs::read_to_string(&file).unwrap(), before);
            }
        }
    }
}
