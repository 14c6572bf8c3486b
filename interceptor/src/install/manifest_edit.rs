//! Changes kube-apiserver's `--etcd-servers` in the text of its manifest, and nothing else: comments,
//! order and style stay. That nothing else changed is checked by parsing both.

use serde_json::Value;

/// The flag that is changed.
const FLAG: &str = "--etcd-servers=";

/// Why a manifest cannot be changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The flag's text was not found as it was parsed, or at several places.
    #[error(
        "`{FLAG}{servers}` stands at {places} places of the manifest, where one is expected; change it \
         by hand to `{FLAG}{wanted}`"
    )]
    NotFound {
        /// The value there is.
        servers: String,
        /// How often it was found.
        places: usize,
        /// The value there should be.
        wanted: String,
    },
    /// The changed text does not mean what it should.
    #[error(
        "the changed manifest would not mean what it should ({reason}); change it by hand to `{FLAG}{wanted}`"
    )]
    Meaning {
        /// What is wrong with it.
        reason: String,
        /// The value there should be.
        wanted: String,
    },
}

/// Makes `wanted` the value of the flag, which is `servers`.
pub(super) fn set_etcd_servers(
    text: &str,
    servers: &str,
    wanted: &str,
) -> Result<String, EditError> {
    let before = format!("{FLAG}{servers}");
    let ends = |place: &usize| {
        let rest = text.get(place.saturating_add(before.len())..);
        let next = rest.and_then(|rest| rest.chars().next());
        // Not the beginning of a longer value.
        next.is_none_or(|next| matches!(next, '"' | '\'' | ',' | ']') || next.is_whitespace())
    };
    let commented = |place: &usize| {
        let line = text.get(..*place).unwrap_or_default();
        let line = line.rsplit('\n').next().unwrap_or_default();
        line.trim_start().starts_with('#')
    };
    let places = text.match_indices(&before).map(|(place, _)| place);
    let places: Vec<usize> = places
        .filter(ends)
        .filter(|place| !commented(place))
        .collect();
    let [place] = places.as_slice() else {
        return Err(EditError::NotFound {
            servers: servers.to_owned(),
            places: places.len(),
            wanted: wanted.to_owned(),
        });
    };
    let mut changed = text.to_owned();
    let end = place.saturating_add(before.len());
    changed.replace_range(*place..end, &format!("{FLAG}{wanted}"));
    check(text, &changed, &before, wanted)?;
    Ok(changed)
}

/// Checks that the two texts differ in this one string.
fn check(old: &str, new: &str, before: &str, wanted: &str) -> Result<(), EditError> {
    let wrong = |reason: &dyn std::fmt::Display| EditError::Meaning {
        reason: reason.to_string(),
        wanted: wanted.to_owned(),
    };
    let parse = |text: &str| serde_saphyr::from_str::<Value>(text).map_err(|error| wrong(&error));
    let (mut expected, found) = (parse(old)?, parse(new)?);
    let after = format!("{FLAG}{wanted}");
    let exchanged = exchange(&mut expected, before, &after);
    if exchanged != 1 || expected != found {
        return Err(wrong(&"something else changed as well"));
    }
    Ok(())
}

/// Exchanges a string wherever it is a value; how often it was.
fn exchange(value: &mut Value, before: &str, after: &str) -> usize {
    match value {
        Value::String(text) if text == before => {
            after.clone_into(text);
            1
        }
        Value::Array(items) => items
            .iter_mut()
            .map(|item| exchange(item, before, after))
            .sum(),
        Value::Object(fields) => fields
            .values_mut()
            .map(|field| exchange(field, before, after))
            .sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OLD: &str = "https://127.0.0.1:2379";
    const NEW: &str = "https://127.0.0.1:2479";

    fn with(line: &str) -> String {
        format!(
            "kind: Pod # mine\nspec:\n  containers:\n  - command:\n    - kube-apiserver\n{line}\n    name: x\n"
        )
    }

    #[test]
    fn one_line_changes_and_the_rest_stays() {
        for line in [
            "    - --etcd-servers=URL",
            "    - --etcd-servers=URL # where it is kept",
            "    - \"--etcd-servers=URL\"",
            "    - '--etcd-servers=URL'",
            "    # - --etcd-servers=URL\n    - --etcd-servers=URL",
            "    - --etcd-servers-overrides=/events#URL\n    - --etcd-servers=URL\r",
        ] {
            let (old, new) = (line.replace("URL", OLD), with(line).replace("URL", OLD));
            let changed =
                set_etcd_servers(&new, OLD, NEW).unwrap_or_else(|error| panic!("{old}: {error}"));
            let differing = new
                .lines()
                .zip(changed.lines())
                .filter(|(old, new)| old != new);
            assert_eq!(differing.count(), 1, "{changed}");
            assert_eq!(changed.matches(NEW).count(), 1, "{changed}");
            // And back.
            assert_eq!(set_etcd_servers(&changed, NEW, OLD).unwrap(), new);
        }
        let flow = format!(
            "kind: Pod\nspec: {{containers: [{{command: [kube-apiserver, \"--etcd-servers={OLD}\"]}}]}}\n"
        );
        assert!(set_etcd_servers(&flow, OLD, NEW).unwrap().contains(NEW));
    }

    #[test]
    fn what_is_not_clear_is_left_to_people() {
        let twice = with(&format!(
            "    - --etcd-servers={OLD}\n    - --etcd-servers={OLD}"
        ));
        let apart = with(&format!("    - --etcd-servers\n    - {OLD}"));
        for (text, places) in [(twice, 2), (apart, 0)] {
            let error = set_etcd_servers(&text, OLD, NEW).unwrap_err();
            assert!(
                matches!(error, EditError::NotFound { places: found, .. } if found == places),
                "{error}"
            );
            assert!(error.to_string().contains(&format!("--etcd-servers={NEW}")));
        }
        // A part of a longer list, and of a text that is one value as a whole.
        let longer = with(&format!("    - --etcd-servers={OLD},https://other:2379"));
        let block = with(&format!("    - |\n      exec x --etcd-servers={OLD}"));
        for text in [longer, block] {
            let error = set_etcd_servers(&text, OLD, NEW).unwrap_err();
            assert!(matches!(error, EditError::Meaning { .. }), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*", servers in ".*", wanted in ".*") {
            let _ = set_etcd_servers(&text, &servers, &wanted);
            let _ = set_etcd_servers(&with(&format!("    - {FLAG}{servers}{text}")), &servers, &wanted);
        }
    }
}
