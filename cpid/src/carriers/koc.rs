//! The carrier of arXiv:2411.01336: `{"cpid":"…","ancCpids":["…",…]}`, newest ancestor first.

use serde::Serialize;
use serde_json::Value;

use super::CarrierError;
use crate::context::ChangeContext;

/// Reads the text of an annotation. `None` is one that says that there is no CPID: `cpid` is
/// missing, null or empty.
///
/// Other members are ignored, and of members with one name the last one counts, as in the authors'
/// prototype. Any number of ancestors is accepted.
///
/// # Errors
/// The text is not such a JSON object, or the context not valid.
pub fn read(text: &str) -> Result<Option<ChangeContext>, CarrierError> {
    let json: Value = serde_json::from_str(text).map_err(|_| CarrierError::NotJson)?;
    let Value::Object(mut members) = json else {
        return Err(CarrierError::NotAnObject);
    };
    let cpid = match members.remove("cpid") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(cpid)) if cpid.is_empty() => return Ok(None),
        Some(Value::String(cpid)) => cpid,
        Some(_) => return Err(CarrierError::CpidNotText),
    };
    let ancestors = match members.remove("ancCpids") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => items
            .into_iter()
            .map(ancestor)
            .collect::<Result<_, CarrierError>>()?,
        Some(_) => return Err(CarrierError::AncestorsNotTexts),
    };
    let context = ChangeContext { cpid, ancestors };
    context.validate()?;
    Ok(Some(context))
}

fn ancestor(item: Value) -> Result<String, CarrierError> {
    match item {
        Value::String(cpid) if cpid.is_empty() => Err(CarrierError::EmptyAncestor),
        Value::String(cpid) => Ok(cpid),
        _ => Err(CarrierError::AncestorsNotTexts),
    }
}

/// Writes the text of an annotation.
///
/// # Errors
/// The context is not valid, or an ancestor is the empty text.
pub fn write(context: &ChangeContext) -> Result<String, CarrierError> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Koc<'a> {
        cpid: &'a str,
        anc_cpids: &'a [String],
    }
    context.validate()?;
    if context.ancestors.iter().any(String::is_empty) {
        return Err(CarrierError::EmptyAncestor);
    }
    let koc = Koc {
        cpid: &context.cpid,
        anc_cpids: &context.ancestors,
    };
    // Texts and a list: there is nothing that JSON cannot hold.
    serde_json::to_string(&koc).map_err(|_| CarrierError::CannotHold)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::context::InvalidContext;

    fn context(cpid: &str, ancestors: &[&str]) -> ChangeContext {
        ChangeContext {
            cpid: cpid.to_owned(),
            ancestors: ancestors.iter().map(|text| (*text).to_owned()).collect(),
        }
    }

    #[test]
    fn what_the_prototype_writes_is_read_and_written() {
        for (text, expected) in [
            (
                r#"{"cpid":"c","ancCpids":["a","b"]}"#,
                context("c", &["a", "b"]),
            ),
            (r#"{"cpid":"c","ancCpids":[]}"#, context("c", &[])),
        ] {
            assert_eq!(read(text), Ok(Some(expected.clone())));
            assert_eq!(write(&expected).as_deref(), Ok(text));
        }
        // A Go slice that is nil.
        let nil = r#"{"cpid":"c","ancCpids":null}"#;
        assert_eq!(read(nil), Ok(Some(context("c", &[]))));
    }

    #[test]
    fn no_cpid_is_none() {
        for text in [
            "{}",
            r#"{"cpid":""}"#,
            r#"{"cpid":null,"ancCpids":["a"]}"#,
            r#"{"cpid":"","ancCpids":null}"#,
        ] {
            assert_eq!(read(text), Ok(None), "{text}");
        }
    }

    #[test]
    fn spacing_order_and_other_members_do_not_matter() {
        let text = "\n{ \"x\": {}, \"ancCpids\" : [ \"a\" ],\"cpid\":\"\\u0063\"} ";
        assert_eq!(read(text), Ok(Some(context("c", &["a"]))));
        let twice = r#"{"cpid":"b","cpid":"c"}"#;
        assert_eq!(read(twice), Ok(Some(context("c", &[]))));
    }

    #[test]
    fn malformed_texts_are_told_apart() {
        for (text, error) in [
            ("", CarrierError::NotJson),
            ("x", CarrierError::NotJson),
            (r#"{"cpid":"c"} x"#, CarrierError::NotJson),
            (r#"{"cpid":"c""#, CarrierError::NotJson),
            ("[]", CarrierError::NotAnObject),
            ("null", CarrierError::NotAnObject),
            (r#"{"cpid":1}"#, CarrierError::CpidNotText),
            (
                r#"{"cpid":"c","ancCpids":"a"}"#,
                CarrierError::AncestorsNotTexts,
            ),
            (
                r#"{"cpid":"c","ancCpids":[1]}"#,
                CarrierError::AncestorsNotTexts,
            ),
            (
                r#"{"cpid":"c","ancCpids":[""]}"#,
                CarrierError::EmptyAncestor,
            ),
            (
                r#"{"cpid":"c","ancCpids":["b","c"]}"#,
                CarrierError::Invalid(InvalidContext::OwnAncestor),
            ),
        ] {
            assert_eq!(read(text), Err(error), "{text}");
        }
        let deep = format!(r#"{{"cpid":{}"#, "[".repeat(100_000));
        assert_eq!(read(&deep), Err(CarrierError::NotJson));
    }

    #[test]
    fn what_is_not_valid_is_not_written() {
        assert_eq!(
            write(&context("", &[])),
            Err(CarrierError::Invalid(InvalidContext::EmptyCpid))
        );
        assert_eq!(
            write(&context("c", &["c"])),
            Err(CarrierError::Invalid(InvalidContext::OwnAncestor))
        );
        assert_eq!(
            write(&context("c", &[""])),
            Err(CarrierError::EmptyAncestor)
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(cpid in ".+", ancestors in prop::collection::vec(".+", 0..5)) {
            let context = ChangeContext { cpid, ancestors };
            prop_assume!(context.validate().is_ok());
            let text = write(&context).unwrap();
            prop_assert_eq!(read(&text), Ok(Some(context)));
        }

        #[test]
        fn any_text_is_read_or_refused(
            text in prop_oneof![".*", "[\\[\\]{}\":,a-c ]*", "\\{\"cpid\":.{0,9}\\}"],
        ) {
            if let Ok(Some(context)) = read(&text) {
                prop_assert_eq!(context.validate(), Ok(()));
            }
        }
    }
}
