//! Asks a trace for its paths.

use std::collections::HashMap;

use super::model::{Dominating, Excluded, Path, Paths, SCHEMA, SCHEMA_VERSION};
use super::{By, FanOut};
use crate::error::Error;
use crate::report::collect::PRODUCER;
use crate::report::model::{PERCENTILE_METHOD, SectionQuery};
use crate::report::rows::{integers, text, texts};
use crate::report::scope::{Filter, literal};
use crate::session::Session;

/// What is asked.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    pub(super) by: Option<By>,
    pub(super) fan_out: FanOut,
    pub(super) filter: Filter,
}

impl Question {
    /// The arrivals that are looked at, each with how its cascade ended.
    fn arrivals(&self) -> String {
        let end = |end: &Option<String>| match end {
            Some(end) => literal(end),
            None => "NULL".to_owned(),
        };
        let group = self.by.map(|by| format!("p.{}", by.column()));
        let group = group.as_deref().unwrap_or("CAST(NULL AS VARCHAR)");
        let mut conditions = self
            .filter
            .conditions("p.from_revision", "s.commit_unix_nano");
        let starts = if conditions
            .iter()
            .any(|condition| condition.contains("s.commit_unix_nano"))
        {
            "JOIN writes s ON s.cluster_id = p.cluster_id AND s.epoch = p.epoch
                AND s.revision = p.from_revision AND s.ordinal = p.from_ordinal"
        } else {
            ""
        };
        if self.fan_out == FanOut::Last {
            conditions.push("p.is_last".to_owned());
        }
        let conditions = match conditions.is_empty() {
            true => String::new(),
            false => format!("\n    WHERE {}", conditions.join(" AND ")),
        };
        format!(
            "WITH arrivals AS (
    SELECT {group} AS group_name, p.path, p.total_ns, p.step_ns, c.outcome
    FROM paths({}, {}) p
    JOIN cascades c ON c.cluster_id = p.cluster_id AND c.epoch = p.epoch
        AND c.revision = p.root_revision AND c.ordinal = p.root_ordinal
    {starts}{conditions}
)",
            end(&self.from),
            end(&self.to)
        )
    }

    /// Percentiles by signature.
    fn latency(&self) -> String {
        format!(
            "{}
SELECT group_name, path, n, q[1] AS p50, q[2] AS p90, q[3] AS p95, q[4] AS p99, slowest FROM (
    SELECT group_name, path, count(*) AS n, max(total_ns) AS slowest,
        quantile_disc(total_ns, [0.5, 0.9, 0.95, 0.99]) AS q
    FROM arrivals WHERE outcome = 'converged' GROUP BY group_name, path)
ORDER BY n DESC, path, group_name",
            self.arrivals()
        )
    }

    /// All time on each signature, by hop.
    fn hops(&self) -> String {
        format!(
            "{}
SELECT group_name, path, position, sum(nanoseconds) AS nanoseconds FROM (
    SELECT group_name, path, unnest(step_ns) AS nanoseconds,
        unnest(range(0, array_length(step_ns))) AS position
    FROM arrivals WHERE outcome = 'converged')
GROUP BY group_name, path, position",
            self.arrivals()
        )
    }

    /// Arrivals that are left out.
    fn excluded(&self) -> String {
        format!(
            "{}
SELECT outcome, count(*) AS arrivals FROM arrivals
WHERE outcome <> 'converged' GROUP BY outcome ORDER BY outcome",
            self.arrivals()
        )
    }

    /// The queries, with what each answers.
    pub(super) fn explain(&self) -> Vec<SectionQuery> {
        let query = |title: &str, sql| SectionQuery {
            section: "paths",
            title: title.to_owned(),
            sql,
        };
        vec![
            query("latency by path", self.latency()),
            query("time by hop", self.hops()),
            query("what is left out", self.excluded()),
        ]
    }
}

/// Computes the paths.
///
/// # Errors
/// When a query fails.
pub(super) async fn collect(
    session: &Session,
    traces: &[String],
    question: &Question,
) -> Result<Paths, Error> {
    let hops = hops(session, question).await?;
    let mut paths = Vec::new();
    for batch in session.query(&question.latency()).await? {
        let (groups, signatures) = (texts(&batch, "group_name")?, texts(&batch, "path")?);
        let (counts, slowest) = (integers(&batch, "n")?, integers(&batch, "slowest")?);
        let (p50, p90) = (integers(&batch, "p50")?, integers(&batch, "p90")?);
        let (p95, p99) = (integers(&batch, "p95")?, integers(&batch, "p99")?);
        for row in 0..batch.num_rows() {
            let key = (text(&groups, row), signatures.value(row).to_owned());
            paths.push(Path {
                dominating: hops.get(&key).and_then(|hops| dominating(&key.1, hops)),
                group: key.0,
                path: key.1,
                n: counts.value(row),
                p50_ns: p50.value(row),
                p90_ns: p90.value(row),
                p95_ns: p95.value(row),
                p99_ns: p99.value(row),
                max_ns: slowest.value(row),
            });
        }
    }
    let mut excluded = Vec::new();
    for batch in session.query(&question.excluded()).await? {
        let (outcomes, arrivals) = (texts(&batch, "outcome")?, integers(&batch, "arrivals")?);
        excluded.extend((0..batch.num_rows()).map(|row| Excluded {
            outcome: outcomes.value(row).to_owned(),
            arrivals: arrivals.value(row),
        }));
    }
    Ok(Paths {
        schema: SCHEMA,
        schema_version: SCHEMA_VERSION,
        producer: PRODUCER.to_owned(),
        traces: traces.to_vec(),
        scope: question.filter.scope().clone(),
        from: question.from.clone(),
        to: question.to.clone(),
        by: question.by.map(By::column),
        fan_out: question.fan_out.name(),
        percentile_method: PERCENTILE_METHOD,
        paths,
        excluded,
        queries: Vec::new(),
    })
}

/// A group and a signature.
type PathKey = (Option<String>, String);

/// Nanoseconds by position, of every path.
async fn hops(
    session: &Session,
    question: &Question,
) -> Result<HashMap<PathKey, Vec<(i64, i64)>>, Error> {
    let mut hops: HashMap<PathKey, Vec<(i64, i64)>> = HashMap::new();
    for batch in session.query(&question.hops()).await? {
        let (groups, signatures) = (texts(&batch, "group_name")?, texts(&batch, "path")?);
        let (positions, sums) = (
            integers(&batch, "position")?,
            integers(&batch, "nanoseconds")?,
        );
        for row in 0..batch.num_rows() {
            let key = (text(&groups, row), signatures.value(row).to_owned());
            let hop = (positions.value(row), sums.value(row));
            hops.entry(key).or_default().push(hop);
        }
    }
    Ok(hops)
}

/// The hop with most of the time.
fn dominating(path: &str, hops: &[(i64, i64)]) -> Option<Dominating> {
    let total: i64 = hops.iter().map(|(_, nanoseconds)| nanoseconds).sum();
    // Of equals the first.
    let (position, nanoseconds) = *hops
        .iter()
        .max_by_key(|(position, nanoseconds)| (*nanoseconds, -position))?;
    if total <= 0 || nanoseconds <= 0 {
        return None;
    }
    let step = path.split(" > ").nth(usize::try_from(position).ok()?)?;
    Some(Dominating {
        position,
        step: step.to_owned(),
        // Shares are rounded for people anyway.
        share: nanoseconds as f64 / total as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hop_with_most_of_the_time_dominates() {
        let path = "A/create@a > B/create@b > C/update@c";
        let found = dominating(path, &[(2, 30), (0, 0), (1, 70)]).unwrap();
        assert_eq!((found.position, found.step.as_str()), (1, "B/create@b"));
        assert!((found.share - 0.7).abs() < 1e-9);
        assert_eq!(dominating(path, &[(0, 0)]), None);
        assert_eq!(dominating(path, &[]), None);
    }
}
