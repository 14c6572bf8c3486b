//! What a report is narrowed to, and how that reads in SQL.

use chrono::{DateTime, NaiveDate};
use clap::Args;

use super::model::Scope;
use crate::error::Error;

/// The flags that narrow an answer; the same of every command that has them.
#[derive(Debug, Args)]
pub struct ScopeArgs {
    /// Only what happened from here on: a revision, a time or a date. Changes count by their commit, paths and
    /// stages by where they begin. How complete the trace is concerns all of it.
    #[arg(long, value_name = "TIME|REVISION", env = "CASCADE_SINCE")]
    since: Option<String>,

    /// Only what happened before this: a revision, a time or a date.
    #[arg(long, value_name = "TIME|REVISION", env = "CASCADE_UNTIL")]
    until: Option<String>,

    /// Only objects of this namespace; of paths the object that they end with. Completeness and calls concern all.
    #[arg(long, value_name = "NAME", env = "CASCADE_NAMESPACE")]
    namespace: Option<String>,
}

impl ScopeArgs {
    /// What they say.
    ///
    /// # Errors
    /// [`Error::Usage`] when a bound is neither a revision nor a time.
    pub fn filter(self) -> Result<Filter, Error> {
        Filter::new(Scope {
            since: self.since,
            until: self.until,
            namespace: self.namespace,
        })
        .map_err(Error::Usage)
    }
}

/// An end of the span of a trace that a report looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// An etcd revision.
    Revision(i64),
    /// A time, nanoseconds since 1970.
    Time(i64),
}

impl Bound {
    /// Reads a revision such as `4711`, a time such as `2026-05-01T12:00:00Z`, or a date (its
    /// first moment in UTC).
    ///
    /// # Errors
    /// What is wrong and how to write it, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Ok(revision) = text.parse::<i64>() {
            return Ok(Self::Revision(revision));
        }
        let time = DateTime::parse_from_rfc3339(text)
            .map(|time| time.timestamp_nanos_opt())
            .or_else(|_| {
                text.parse::<NaiveDate>().map(|date| {
                    date.and_time(chrono::NaiveTime::MIN)
                        .and_utc()
                        .timestamp_nanos_opt()
                })
            });
        match time {
            Ok(Some(nanoseconds)) => Ok(Self::Time(nanoseconds)),
            _ => Err(format!(
                "`{text}` is neither a revision nor a time; write it like 4711, \
                 2026-05-01T12:00:00Z or 2026-05-01"
            )),
        }
    }
}

/// The narrowing of a report: [`Scope`] with its bounds understood.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    scope: Scope,
    since: Option<Bound>,
    until: Option<Bound>,
}

impl Filter {
    /// Understands the bounds of a scope.
    ///
    /// # Errors
    /// What is wrong with a bound, for people.
    pub fn new(scope: Scope) -> Result<Self, String> {
        let parse = |text: &Option<String>| text.as_deref().map(Bound::parse).transpose();
        Ok(Self {
            since: parse(&scope.since)?,
            until: parse(&scope.until)?,
            scope,
        })
    }

    /// The scope as it was given.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The same span, of one namespace.
    #[must_use]
    pub fn in_namespace(&self, namespace: Option<&str>) -> Self {
        let mut filter = self.clone();
        filter.scope.namespace = namespace.map(str::to_owned);
        filter
    }

    /// SQL conditions for rows that have a namespace, a revision and a time in nanoseconds, given
    /// as SQL expressions.
    #[must_use]
    pub fn conditions(&self, revision: &str, unix_nano: &str) -> Vec<String> {
        let mut conditions = self.span(revision, unix_nano);
        if let Some(namespace) = &self.scope.namespace {
            conditions.push(format!("namespace = {}", literal(namespace)));
        }
        conditions
    }

    /// SQL conditions for rows that have only a revision and a time.
    #[must_use]
    pub fn span(&self, revision: &str, unix_nano: &str) -> Vec<String> {
        let compare = |bound: Bound, operator: &str| match bound {
            Bound::Revision(value) => format!("{revision} {operator} {value}"),
            Bound::Time(value) => format!("{unix_nano} {operator} {value}"),
        };
        self.since
            .map(|bound| compare(bound, ">="))
            .into_iter()
            .chain(self.until.map(|bound| compare(bound, "<")))
            .collect()
    }
}

/// Text as an SQL literal.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_revisions_times_or_dates() {
        assert_eq!(Bound::parse("4711"), Ok(Bound::Revision(4711)));
        assert_eq!(
            Bound::parse("1970-01-01T00:00:01.5+00:00"),
            Ok(Bound::Time(1_500_000_000))
        );
        assert_eq!(
            Bound::parse("1970-01-02"),
            Ok(Bound::Time(86_400_000_000_000))
        );
        for wrong in ["", "yesterday", "9999-12-31T00:00:00Z", "2026-13-01"] {
            assert!(Bound::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn conditions_quote_what_users_give() {
        let filter = Filter::new(Scope {
            since: Some("10".into()),
            until: Some("1970-01-02".into()),
            namespace: Some("a' OR 'b".into()),
        })
        .expect("valid bounds");
        assert_eq!(
            filter.conditions("revision", "commit_unix_nano"),
            [
                "revision >= 10",
                "commit_unix_nano < 86400000000000",
                "namespace = 'a'' OR ''b'",
            ]
        );
        assert_eq!(filter.in_namespace(None).conditions("r", "t").len(), 2);
    }
}
