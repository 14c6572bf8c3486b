//! How far another host's clock is from ours, by the header field `Date` of an answer.

use std::time::Duration;

use cascade_proto::tables::Moment;
use chrono::DateTime;

/// Nanoseconds in a second.
const SECOND: i64 = 1_000_000_000;

/// What is certain about the difference of two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Skew {
    /// At least so far apart.
    pub(super) at_least: Duration,
    /// Whether the other clock is ahead of ours.
    pub(super) ahead: bool,
}

/// Compares `date`, which the other host wrote between the two moments of our clock. It has no parts
/// of seconds, and the way takes time; both are left out of the difference. `None` if `date` is none.
pub(super) fn skew(date: &str, asked: Moment, answered: Moment) -> Option<Skew> {
    let date = DateTime::parse_from_rfc2822(date).ok()?;
    let earliest = date.timestamp().checked_mul(SECOND)?;
    let latest = earliest.checked_add(SECOND)?;
    let ahead = earliest.saturating_sub(answered.unix_nano);
    let behind = asked.unix_nano.saturating_sub(latest);
    let nanos = u64::try_from(ahead.max(behind)).unwrap_or(0);
    Some(Skew {
        at_least: Duration::from_nanos(nanos),
        ahead: ahead > behind,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(milliseconds: i64) -> Moment {
        Moment {
            unix_nano: milliseconds * 1_000_000,
        }
    }

    #[test]
    fn parts_of_seconds_and_the_way_do_not_count() {
        // Second 1,000,000 since 1970.
        let date = "Mon, 12 Jan 1970 13:46:40 GMT";
        let skew = |asked, answered| {
            let skew = skew(date, at(asked), at(answered)).unwrap();
            (skew.at_least.as_millis(), skew.ahead)
        };
        assert_eq!(skew(1_000_000_000, 1_000_000_999).0, 0);
        assert_eq!(skew(1_000_000_999, 1_000_009_000).0, 0);
        assert_eq!(skew(999_990_000, 1_000_000_000).0, 0);
        assert_eq!(skew(999_990_000, 999_990_500), (9_500, true));
        assert_eq!(skew(1_000_004_000, 1_000_005_000), (3_000, false));
        assert_eq!(super::skew("yesterday", at(0), at(0)), None);
    }

    proptest! {
        #[test]
        fn no_date_makes_it_panic(date in ".*", asked in any::<i64>(), answered in any::<i64>()) {
            let (asked, answered) = (Moment { unix_nano: asked }, Moment { unix_nano: answered });
            let _ = skew(&date, asked, answered);
            let _ = skew("Mon, 12 Jan 1970 13:46:40 GMT", asked, answered);
        }
    }
}
