//! JUnit XML, as CI systems read it.
//!
//! There is no single standard. What is written here is valid by the two schemas in common use,
//! that of Jenkins' xUnit plugin and that of the Ant task; `scripts/checks/junit.xsd` states their
//! intersection: no attributes on `testsuites`, no `timestamp` and no output on `testcase`, at most
//! one result per `testcase`, all of `properties`, `system-out` and `system-err` present in order.

use super::units::decimal_seconds;

/// One suite of checks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Suite {
    /// Name of the suite, and class name of its cases.
    pub name: String,
    /// When what was tested happened: UTC, `YYYY-MM-DDThh:mm:ss`.
    pub timestamp: String,
    /// Facts about the run.
    pub properties: Vec<(String, String)>,
    /// The checks.
    pub cases: Vec<Case>,
    /// Output for people.
    pub output: String,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Name that needs no context to be understood.
    pub name: String,
    /// Duration it is about in nanoseconds, 0 where it is about none.
    pub nanoseconds: i64,
    /// How it went.
    pub result: CaseResult,
}

/// How a check went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaseResult {
    /// It holds.
    Passed,
    /// There was nothing to check; says why.
    Skipped(String),
    /// It does not hold; says how.
    Failed(String),
    /// It could not be decided; says why.
    Error(String),
}

/// The suites as one XML document, ending in a newline.
#[must_use]
pub fn render(suites: &[Suite]) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for (id, suite) in suites.iter().enumerate() {
        render_suite(&mut out, id, suite);
    }
    out.push_str("</testsuites>\n");
    out
}

fn render_suite(out: &mut String, id: usize, suite: &Suite) {
    let number_of = |wanted: fn(&CaseResult) -> bool| {
        suite
            .cases
            .iter()
            .filter(|case| wanted(&case.result))
            .count()
    };
    let total = suite
        .cases
        .iter()
        .fold(0_i64, |sum, case| sum.saturating_add(case.nanoseconds));
    let name = escaped(&suite.name);
    out.push_str(&format!(
        "  <testsuite name=\"{name}\" package=\"cascade\" id=\"{id}\" timestamp=\"{}\" \
         hostname=\"localhost\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" \
         time=\"{}\">\n    <properties>\n",
        escaped(&suite.timestamp),
        suite.cases.len(),
        number_of(|result| matches!(result, CaseResult::Failed(_))),
        number_of(|result| matches!(result, CaseResult::Error(_))),
        number_of(|result| matches!(result, CaseResult::Skipped(_))),
        decimal_seconds(total),
    ));
    for (property, value) in &suite.properties {
        out.push_str(&format!(
            "      <property name=\"{}\" value=\"{}\"/>\n",
            escaped(property),
            escaped(value)
        ));
    }
    out.push_str("    </properties>\n");
    for case in &suite.cases {
        render_case(out, &name, case);
    }
    out.push_str(&format!(
        "    <system-out>{}</system-out>\n    <system-err></system-err>\n  </testsuite>\n",
        escaped(&suite.output)
    ));
}

fn render_case(out: &mut String, class_name: &str, case: &Case) {
    out.push_str(&format!(
        "    <testcase name=\"{}\" classname=\"{class_name}\" time=\"{}\"",
        escaped(&case.name),
        decimal_seconds(case.nanoseconds.max(0))
    ));
    let (element, kind, message) = match &case.result {
        CaseResult::Passed => {
            out.push_str("/>\n");
            return;
        }
        CaseResult::Skipped(message) => ("skipped", "no_samples", message),
        CaseResult::Failed(message) => ("failure", "failed", message),
        CaseResult::Error(message) => ("error", "undecided", message),
    };
    let message = escaped(message);
    out.push_str(&format!(
        ">\n      <{element} type=\"{kind}\" message=\"{message}\">{message}</{element}>\n    \
         </testcase>\n"
    ));
}

/// Text that is safe in an element and in a quoted attribute; characters that XML 1.0 cannot hold
/// become U+FFFD.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push('\n'),
            '\t' => out.push('\t'),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_result_is_counted_and_text_is_escaped() {
        let case = |name: &str, result| Case {
            name: name.into(),
            nanoseconds: 1_500_000_000,
            result,
        };
        let xml = render(&[Suite {
            name: "cascade gate".into(),
            timestamp: "2026-01-02T03:04:05".into(),
            properties: vec![("trace".into(), "a&b".into())],
            cases: vec![
                case("holds", CaseResult::Passed),
                case("p99 <= \"1 s\"", CaseResult::Failed("by 1 s\u{1b}".into())),
                case("undecided", CaseResult::Error("gap".into())),
                case("nothing", CaseResult::Skipped("no samples".into())),
            ],
            output: "1 < 2\n".into(),
        }]);
        assert!(
            xml.contains(
                "tests=\"4\" failures=\"1\" errors=\"1\" skipped=\"1\" time=\"6.000000000\""
            ),
            "{xml}"
        );
        assert!(xml.contains("<property name=\"trace\" value=\"a&amp;b\"/>"));
        assert!(xml.contains("<testcase name=\"p99 &lt;= &quot;1 s&quot;\" classname=\"cascade gate\" time=\"1.500000000\">"));
        assert!(xml.contains("message=\"by 1 s\u{fffd}\""));
        assert!(xml.contains("<system-out>1 &lt; 2\n</system-out>"));
        assert!(!xml.contains('\u{1b}'));
    }
}
