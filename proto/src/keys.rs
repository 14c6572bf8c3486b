//! etcd keys as the text that tables hold.
//!
//! Keys are bytes. Those of Kubernetes are text already; in others, a byte that is not UTF-8 is written
//! `\xNN`. So that no two keys have one text, a backslash that would read like that is written so itself:
//! `\x5c`.

use std::fmt::Write as _;

/// The text of a key.
#[must_use]
pub fn key_text(key: &[u8]) -> String {
    let mut text = String::with_capacity(key.len());
    for chunk in key.utf8_chunks() {
        push_valid(&mut text, chunk.valid());
        for byte in chunk.invalid() {
            push_escaped(&mut text, *byte);
        }
    }
    text
}

/// The key that has this text.
#[must_use]
pub fn key_bytes(text: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, from) = rest.split_at(at);
        key.extend_from_slice(before.as_bytes());
        match escaped(from) {
            Some((byte, after)) => {
                key.push(byte);
                rest = after;
            }
            None => {
                key.push(b'\\');
                rest = from.get(1..).unwrap_or_default();
            }
        }
    }
    key.extend_from_slice(rest.as_bytes());
    key
}

fn push_valid(text: &mut String, valid: &str) {
    let mut rest = valid;
    while let Some(at) = rest.find('\\') {
        let (before, from) = rest.split_at(at);
        text.push_str(before);
        if escaped(from).is_some() {
            push_escaped(text, b'\\');
        } else {
            text.push('\\');
        }
        rest = from.get(1..).unwrap_or_default();
    }
    text.push_str(rest);
}

fn push_escaped(text: &mut String, byte: u8) {
    let _ = write!(text, "\\x{byte:02x}"); // writing to a String cannot fail
}

/// The byte that `\xNN` at the begin of `text` stands for, and what follows it.
fn escaped(text: &str) -> Option<(u8, &str)> {
    let digits = text.strip_prefix("\\x")?;
    let (digits, after) = digits.split_at_checked(2)?;
    let is_digit = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
    if !digits.bytes().all(is_digit) {
        return None;
    }
    Some((u8::from_str_radix(digits, 16).ok()?, after))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_what_would_not_be_the_key_is_escaped() {
        for (key, text) in [
            (&b"/registry/pods/a"[..], "/registry/pods/a"),
            ("schön".as_bytes(), "schön"),
            (b"a\xff\x00b\xc3", "a\\xff\0b\\xc3"),
            (b"", ""),
            (b"a\\b\\", "a\\b\\"),
            (b"\\xff", "\\x5cxff"),
            (b"\\x5cxff", "\\x5cx5cxff"),
            (b"\\xFF\\xf", "\\xFF\\xf"),
            (b"\\\xff", "\\\\xff"),
        ] {
            assert_eq!(key_text(key), text);
            assert_eq!(key_bytes(text), key, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_key_comes_back(
            key in prop::collection::vec(
                prop_oneof![any::<u8>(), prop::sample::select(b"\\xf5c".to_vec())],
                0..12,
            ),
        ) {
            prop_assert_eq!(key_bytes(&key_text(&key)), key);
        }
    }
}
