//! The CPID alone, in an annotation or a label.

use super::CarrierError;
use crate::context::{ChangeContext, InvalidContext};

/// Reads the text; the empty text is no CPID.
///
/// # Errors
/// There is white space around it, or a control character in it: these get in by accident, and two
/// CPIDs that look alike would be different ones.
pub fn read(text: &str) -> Result<Option<ChangeContext>, CarrierError> {
    if text.is_empty() {
        return Ok(None);
    }
    check(text)?;
    Ok(Some(ChangeContext {
        cpid: text.to_owned(),
        ancestors: Vec::new(),
    }))
}

/// Writes the text. Ancestors have no place in it. A label can hold fewer characters than this
/// allows (63 of letters, digits, `-`, `_` and `.`); Kubernetes refuses others.
///
/// # Errors
/// The CPID is empty, or would not be read again.
pub fn write(cpid: &str) -> Result<String, CarrierError> {
    if cpid.is_empty() {
        return Err(InvalidContext::EmptyCpid.into());
    }
    check(cpid)?;
    Ok(cpid.to_owned())
}

fn check(text: &str) -> Result<(), CarrierError> {
    if text.trim() != text || text.chars().any(char::is_control) {
        return Err(CarrierError::NotPlain);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_text_is_the_cpid() {
        let found = read("a b").unwrap().unwrap();
        assert_eq!((found.cpid.as_str(), found.ancestors.len()), ("a b", 0));
        assert_eq!(read(""), Ok(None));
        for text in [" ", "a\n", "\ta", "a\0b"] {
            assert_eq!(read(text), Err(CarrierError::NotPlain));
            assert_eq!(write(text), Err(CarrierError::NotPlain));
        }
        assert_eq!(write(""), Err(InvalidContext::EmptyCpid.into()));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(cpid in "\\PC*") {
            if let Ok(text) = write(&cpid) {
                prop_assert_eq!(read(&text).unwrap().unwrap().cpid, cpid);
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".*") {
            let _ = read(&text);
        }
    }
}
