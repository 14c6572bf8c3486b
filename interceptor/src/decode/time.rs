//! Times as Kubernetes writes them.

use cascade_proto::tables::Timestamp;
use chrono::{DateTime, SecondsFormat, Utc};

/// Nanoseconds per microsecond.
const NANOS_PER_MICRO: i64 = 1_000;

/// The moment in an RFC 3339 text, rounded down to microseconds.
pub(super) fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let moment = DateTime::parse_from_rfc3339(text).ok()?;
    Some(Timestamp(moment.timestamp_micros()))
}

/// The moment in a protobuf `Time` or `MicroTime`; `None` when out of range.
pub(super) fn from_parts(seconds: i64, nanos: i64) -> Option<Timestamp> {
    if !(0..1_000_000_000).contains(&nanos) {
        return None;
    }
    let micros = seconds.checked_mul(1_000_000)?;
    Some(Timestamp(micros.checked_add(nanos / NANOS_PER_MICRO)?))
}

/// RFC 3339 in UTC with as many digits as needed: none, 3 or 6 after the second.
pub(super) fn to_rfc3339(time: Timestamp) -> String {
    match DateTime::<Utc>::from_timestamp_micros(time.0) {
        Some(moment) => moment.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        // Beyond the year 262,000: the microseconds themselves are still the fact.
        None => format!("{} us", time.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_agree() {
        let second = parse_rfc3339("2024-05-06T07:08:09Z").unwrap();
        assert_eq!(Some(second), from_parts(1_714_979_289, 0));
        assert_eq!(to_rfc3339(second), "2024-05-06T07:08:09Z");

        let micro = parse_rfc3339("2024-05-06T09:08:09.000012+02:00").unwrap();
        assert_eq!(Some(micro), from_parts(1_714_979_289, 12_345));
        assert_eq!(to_rfc3339(micro), "2024-05-06T07:08:09.000012Z");

        let before_the_epoch = parse_rfc3339("1969-12-31T23:59:59.5Z").unwrap();
        assert_eq!(before_the_epoch, Timestamp(-500_000));
    }

    #[test]
    fn nonsense_is_no_time() {
        assert_eq!(parse_rfc3339("yesterday"), None);
        assert_eq!(parse_rfc3339(""), None);
        assert_eq!(from_parts(i64::MAX, 0), None);
        assert_eq!(from_parts(0, -1), None);
        assert_eq!(from_parts(0, 1_000_000_000), None);
        assert_eq!(to_rfc3339(Timestamp(i64::MAX)), format!("{} us", i64::MAX));
    }
}
