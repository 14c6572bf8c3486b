//! The thresholds file: TOML, one `[[threshold]]` per limit.

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use thiserror::Error;

use super::metrics;

/// A thresholds file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    /// The limits, in the order of the file.
    #[serde(default, rename = "threshold")]
    pub thresholds: Vec<Threshold>,
}

/// One limit.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    /// What is measured: a stage such as `pod.created_to_ready`, or `etcd.write` and its kin.
    #[serde(deserialize_with = "metric")]
    pub metric: String,
    /// Which value of the distribution is compared.
    pub percentile: Percentile,
    /// Longest duration that holds, in nanoseconds; in the file text such as `5s` or `1m30s`.
    #[serde(rename(deserialize = "limit", serialize = "limit_ns"))]
    #[serde(deserialize_with = "duration")]
    pub limit: i64,
    /// Only objects of this namespace; all without it.
    #[serde(default)]
    pub namespace: Option<String>,
    /// With fewer samples the threshold is not decided.
    #[serde(default = "one")]
    pub min_samples: i64,
    /// At most so many objects may be short of the stage when the trace ends; any number without
    /// it. They are in no percentile: without this limit, objects that never arrive go unnoticed.
    #[serde(default)]
    pub max_not_reached: Option<i64>,
}

/// A value of a distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Percentile {
    /// Median.
    P50,
    /// 90th percentile.
    P90,
    /// 95th percentile.
    P95,
    /// 99th percentile.
    P99,
    /// Longest.
    Max,
}

impl Percentile {
    /// Its name in files and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P95 => "p95",
            Self::P99 => "p99",
            Self::Max => "max",
        }
    }
}

/// Why a thresholds file cannot be used; says what, where and what is valid.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ThresholdsError {
    /// It is not TOML, or not a thresholds file.
    #[error("{0}")]
    Syntax(String),
    /// It sets no limit.
    #[error("there is no [[threshold]] in it: a gate without limits would always hold")]
    Empty,
    /// A threshold that cannot be meant.
    #[error("threshold {position} ({metric}): {problem}")]
    Value {
        /// Position in the file, from 1.
        position: usize,
        /// Its metric.
        metric: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// Reads a thresholds file.
///
/// # Errors
/// [`ThresholdsError`] when the text is not a valid thresholds file.
pub fn parse(text: &str) -> Result<Thresholds, ThresholdsError> {
    let file: Thresholds = toml::from_str(text)
        .map_err(|error| ThresholdsError::Syntax(error.to_string().trim_end().to_owned()))?;
    if file.thresholds.is_empty() {
        return Err(ThresholdsError::Empty);
    }
    for (index, threshold) in file.thresholds.iter().enumerate() {
        if let Some(problem) = problem(threshold) {
            return Err(ThresholdsError::Value {
                position: index + 1,
                metric: threshold.metric.clone(),
                problem,
            });
        }
    }
    Ok(file)
}

fn problem(threshold: &Threshold) -> Option<&'static str> {
    let is_of_stage = metrics::is_stage(&threshold.metric);
    if threshold.min_samples < 1 {
        return Some("min_samples must be at least 1: without a sample there is no percentile");
    }
    if threshold.max_not_reached.is_some_and(|most| most < 0) {
        return Some("max_not_reached must not be negative");
    }
    if !is_of_stage && threshold.namespace.is_some() {
        return Some("etcd calls have no namespace; remove the key `namespace`");
    }
    if !is_of_stage && threshold.max_not_reached.is_some() {
        return Some("only stages can be left unreached; remove the key `max_not_reached`");
    }
    None
}

fn one() -> i64 {
    1
}

fn metric<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    if metrics::names().any(|known| known == name) {
        return Ok(name);
    }
    let known: Vec<&str> = metrics::names().collect();
    Err(D::Error::custom(format!(
        "unknown metric `{name}`, expected one of {}",
        known.join(", ")
    )))
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).ok_or_else(|| {
        D::Error::custom(format!(
            "`{text}` is not a duration; write it with its unit, such as \"250ms\", \"1.5s\" or \
             \"1m30s\" (ns, us, ms, s, m, h)"
        ))
    })
}

/// Nanoseconds of a duration as Go and Kubernetes write it: decimal numbers, each with its unit.
/// `None` if it is none, negative, or longer than 292 years.
fn parse_duration(text: &str) -> Option<i64> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(number_end);
        let unit_end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, remaining) = after.split_at(unit_end);
        let scale: i64 = match unit.trim() {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" | "min" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        total = total.checked_add(scaled(number, scale)?)?;
        rest = remaining;
    }
    Some(total)
}

/// `number` times `scale` without floating point, what is below a nanosecond cut off.
fn scaled(number: &str, scale: i64) -> Option<i64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value = match whole {
        "" => 0,
        digits => digits.parse::<i64>().ok()?.checked_mul(scale)?,
    };
    let mut place = scale;
    for digit in fraction.chars() {
        place /= 10;
        value = value.checked_add(i64::from(digit.to_digit(10)?) * place)?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::Random;

    #[test]
    fn a_whole_file_is_read() {
        let file = parse(
            r#"
            [[threshold]]
            metric = "pod.created_to_ready"
            percentile = "p99"
            limit = "5s"
            namespace = "shop"
            min_samples = 20
            max_not_reached = 0

            [[threshold]]
            metric = "etcd.write"
            percentile = "max"
            limit = "250ms"
            "#,
        )
        .expect("valid file");
        assert_eq!(
            file.thresholds,
            [
                Threshold {
                    metric: "pod.created_to_ready".into(),
                    percentile: Percentile::P99,
                    limit: 5_000_000_000,
                    namespace: Some("shop".into()),
                    min_samples: 20,
                    max_not_reached: Some(0),
                },
                Threshold {
                    metric: "etcd.write".into(),
                    percentile: Percentile::Max,
                    limit: 250_000_000,
                    namespace: None,
                    min_samples: 1,
                    max_not_reached: None,
                },
            ]
        );
    }

    #[test]
    fn mistakes_are_named_with_what_is_valid() {
        let base = "[[threshold]]\nmetric = \"etcd.write\"\npercentile = \"p50\"\n";
        let cases: &[(String, &[&str])] = &[
            (
                format!("{base}limt = \"1s\"\n"),
                &["limt", "limit", "min_samples", "line 4"],
            ),
            (
                format!("{base}limit = \"1\"\n"),
                &["`1` is not a duration", "250ms"],
            ),
            (
                format!("{base}limit = 5\n"),
                &["expected a string", "line 4"],
            ),
            (base.to_owned(), &["missing field `limit`"]),
            (
                base.replace("p50", "p42") + "limit = \"1s\"\n",
                &["p42", "p50", "p90", "p95", "p99", "max"],
            ),
            (
                base.replace("etcd.write", "pod.ready") + "limit = \"1s\"\n",
                &[
                    "unknown metric `pod.ready`",
                    "pod.created_to_ready",
                    "etcd.write",
                ],
            ),
            (
                format!("{base}limit = \"1s\"\nmin_samples = 0\n"),
                &["threshold 1 (etcd.write)", "min_samples"],
            ),
            (
                format!("{base}limit = \"1s\"\nnamespace = \"a\"\n"),
                &["etcd calls have no namespace"],
            ),
            (
                format!("{base}limit = \"1s\"\nmax_not_reached = 1\n"),
                &["max_not_reached"],
            ),
            (
                "[[thresholds]]\n".to_owned(),
                &["thresholds", "`threshold`"],
            ),
            (String::new(), &["no [[threshold]]"]),
            ("=".to_owned(), &["line 1"]),
        ];
        for (text, expected) in cases {
            let message = parse(text).expect_err(text).to_string();
            for part in *expected {
                assert!(message.contains(part), "{text}: no {part:?} in {message}");
            }
        }
    }

    #[test]
    fn durations_are_exact() {
        let cases = [
            ("5s", Some(5_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            ("0.1ms", Some(100_000)),
            (".5h", Some(1_800_000_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("100us", Some(100_000)),
            ("7 ns", Some(7)),
            ("0s", Some(0)),
            ("9223372036854775807ns", Some(i64::MAX)),
            ("9223372036854775808ns", None),
            ("9999999999h", None),
            ("-1s", None),
            ("5", None),
            ("s", None),
            (".s", None),
            ("1.2.3s", None),
            ("5 parsecs", None),
            ("", None),
        ];
        for (text, nanoseconds) in cases {
            assert_eq!(parse_duration(text), nanoseconds, "{text}");
        }
    }

    #[test]
    fn no_text_panics() {
        const ALPHABET: &[char] = &[
            '0', '1', '9', '.', 's', 'm', 'u', 'n', 'h', 'µ', ' ', '-', '=', '"', '[', ']', '\n',
            '💥',
        ];
        let mut random = Random::new(7);
        for _ in 0..5_000 {
            let text: String = (0..random.below(20))
                .map(|_| ALPHABET[usize::try_from(random.below(ALPHABET.len() as u64)).unwrap()])
                .collect();
            let _ = parse_duration(&text);
            let _ = parse(&text);
            let _ = parse(&format!("[[threshold]]\nlimit = \"{text}\""));
        }
    }

    #[test]
    fn whole_nanoseconds_are_read_back() {
        let mut random = Random::new(8);
        for _ in 0..1_000 {
            let nanoseconds = i64::try_from(random.below(1 << 60)).unwrap();
            assert_eq!(
                parse_duration(&format!("{nanoseconds}ns")),
                Some(nanoseconds)
            );
        }
    }
}
