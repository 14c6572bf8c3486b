//! Text from a trace as a terminal may show it. What users of the cluster write into objects (names of managers, CPIDs, user agents)
//! must not move the cursor, hide lines, or make them read in another order.

use std::borrow::Cow;

/// The text of one cell: every control character is written out, as `\u{1b}`.
pub(crate) fn cell(text: &str) -> Cow<'_, str> {
    written_out(text, is_obeyed)
}

/// Text of several lines: the same, but for line breaks.
pub(crate) fn lines(text: &str) -> Cow<'_, str> {
    written_out(text, |character| character != '\n' && is_obeyed(character))
}

/// Whether a terminal may do something other than show it: control characters, and those that change the direction of
/// what follows (Unicode's explicit embeddings, overrides and isolates).
fn is_obeyed(character: char) -> bool {
    character.is_control() || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn written_out(text: &str, is_obeyed: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_obeyed(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_written_out() {
        assert_eq!(cell("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(cell("a\u{9b}1Ab\r\n"), "a\\u{9b}1Ab\\u{d}\\u{a}");
        assert_eq!(cell("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(lines("a\nb\u{7}"), "a\nb\\u{7}");
    }

    #[test]
    fn other_text_stays() {
        for text in ["", "web", "Käse 日本 …", "\\u{1b}"] {
            assert!(matches!(cell(text), Cow::Borrowed(same) if same == text));
        }
    }
}
