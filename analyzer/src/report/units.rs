//! Numbers as people read them.

/// What stands where there is no value.
pub(crate) const NOTHING: &str = "–";

/// A duration with three significant digits and its unit, such as `850 ns`, `12.3 ms`, `4.56 s`
/// or `2 min 05 s`.
#[must_use]
pub fn duration(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let magnitude = nanoseconds.unsigned_abs();
    // Rounded to seconds first: 59.996 s is a minute.
    let seconds = magnitude.saturating_add(500_000_000) / 1_000_000_000;
    let text = if magnitude < 1_000 {
        format!("{magnitude} ns")
    } else if magnitude < 999_500 {
        scaled(magnitude, 1_000, "µs")
    } else if magnitude < 999_500_000 {
        scaled(magnitude, 1_000_000, "ms")
    } else if seconds < 60 || magnitude < 59_950_000_000 {
        scaled(magnitude, 1_000_000_000, "s")
    } else if seconds < 3_600 {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    } else {
        let minutes = seconds / 60;
        format!("{} h {:02} min", minutes / 60, minutes % 60)
    };
    format!("{sign}{text}")
}

/// Like [`duration`]; a dash where there is none.
#[must_use]
pub fn optional_duration(nanoseconds: Option<i64>) -> String {
    nanoseconds.map_or_else(|| NOTHING.to_owned(), duration)
}

/// Three significant digits of `magnitude / unit`, which is at least 1 and below 1,000.
fn scaled(magnitude: u64, unit: u64, name: &str) -> String {
    // Integers throughout: the digits printed are the digits measured, rounded half up.
    let (decimals, step) = match magnitude / unit {
        0..10 if magnitude * 1_000 < unit * 9_995 => (2, unit / 100),
        0..100 if magnitude * 1_000 < unit * 99_950 => (1, unit / 10),
        _ => (0, unit),
    };
    let steps = (magnitude + step / 2) / step;
    match decimals {
        2 => format!("{}.{:02} {name}", steps / 100, steps % 100),
        1 => format!("{}.{} {name}", steps / 10, steps % 10),
        _ => format!("{steps} {name}"),
    }
}

/// A count with thousands separated, such as `12,345`.
#[must_use]
pub fn count(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if value < 0 {
        text.push('-');
    }
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count and the noun it counts, such as `1 change` or `2 changes`.
#[must_use]
pub fn counted(value: i64, noun: &str) -> String {
    let plural = if value == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(value))
}

/// A share with two decimals, rounded down, so that only all is `100 %`. A dash if `whole` is 0.
#[must_use]
pub fn share(part: i64, whole: i64) -> String {
    if whole <= 0 {
        return NOTHING.to_owned();
    }
    let hundredths = i128::from(part) * 10_000 / i128::from(whole);
    if hundredths == 10_000 {
        return "100 %".to_owned();
    }
    format!("{}.{:02} %", hundredths / 100, hundredths % 100)
}

/// Seconds with nine decimals, for formats that hold decimal seconds.
#[must_use]
pub fn decimal_seconds(nanoseconds: i64) -> String {
    let magnitude = nanoseconds.unsigned_abs();
    let sign = if nanoseconds < 0 { "-" } else { "" };
    format!(
        "{sign}{}.{:09}",
        magnitude / 1_000_000_000,
        magnitude % 1_000_000_000
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_three_digits_and_round_into_the_next_unit() {
        let cases = [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (9_994, "9.99 µs"),
            (9_995, "10.0 µs"),
            (99_949, "99.9 µs"),
            (99_950, "100 µs"),
            (999_499, "999 µs"),
            (999_500, "1.00 ms"),
            (12_345_678, "12.3 ms"),
            (999_499_999, "999 ms"),
            (999_500_000, "1.00 s"),
            (4_560_000_000, "4.56 s"),
            (59_949_999_999, "59.9 s"),
            (59_950_000_000, "1 min 00 s"),
            (125_000_000_000, "2 min 05 s"),
            (3_599_600_000_000, "1 h 00 min"),
            (i64::MAX, "2562047 h 47 min"),
            (-1_500_000, "-1.50 ms"),
        ];
        for (nanoseconds, text) in cases {
            assert_eq!(duration(nanoseconds), text, "{nanoseconds} ns");
        }
        assert_eq!(optional_duration(None), "–");
    }

    #[test]
    fn counts_are_grouped_by_thousands() {
        for (value, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (-1_234_567, "-1,234,567"),
        ] {
            assert_eq!(count(value), text);
        }
        assert_eq!(counted(1, "change"), "1 change");
        assert_eq!(counted(0, "change"), "0 changes");
    }

    #[test]
    fn only_all_is_a_hundred_percent() {
        assert_eq!(share(99_999, 100_000), "99.99 %");
        assert_eq!(share(7, 7), "100 %");
        assert_eq!(share(0, 7), "0.00 %");
        assert_eq!(share(0, 0), "–");
    }

    #[test]
    fn decimal_seconds_keep_every_nanosecond() {
        assert_eq!(decimal_seconds(1_500_000_001), "1.500000001");
        assert_eq!(decimal_seconds(42), "0.000000042");
    }
}
