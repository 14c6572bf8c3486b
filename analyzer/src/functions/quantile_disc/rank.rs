//! Which of n sorted values is the quantile.

use datafusion::common::{Result, plan_err};

/// A quantile between 0 and 1, kept as a decimal fraction.
///
/// In binary floating point 0.07 · 100 is a little more than 7, and rounding up would take the
/// eighth value of a hundred. People mean the decimal they wrote, so ranks are computed in integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quantile {
    /// In units of 1 / [`DENOMINATOR`].
    numerator: u128,
}

/// Twelve decimal places: a double of at most 1 holds 15.
const DENOMINATOR: u128 = 1_000_000_000_000;

impl Quantile {
    /// Takes a quantile as written in SQL.
    pub(super) fn new(quantile: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&quantile) {
            return plan_err!("the quantile {quantile} is not between 0 and 1");
        }
        // Between 0 and 10^12: exact in a double, and not negative.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let numerator = (quantile * 1e12).round() as u128;
        Ok(Self { numerator })
    }

    /// Index of the quantile among `count` sorted values, `None` without values.
    pub(super) fn index(self, count: usize) -> Option<usize> {
        let last = count.checked_sub(1)?;
        // Below 2^64 · 10^12, which is far below 2^128.
        let rank = (count as u128 * self.numerator).div_ceil(DENOMINATOR);
        // The quantile 0 is the first value.
        let index = usize::try_from(rank.saturating_sub(1)).unwrap_or(last);
        Some(index.min(last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges() {
        let index = |quantile: f64, count| Quantile::new(quantile).unwrap().index(count);
        assert_eq!(index(0.5, 0), None);
        assert_eq!(index(0.0, 9), Some(0));
        assert_eq!(index(1.0, 9), Some(8));
        assert_eq!(index(0.5, 2), Some(0));
        assert_eq!(index(0.5, 3), Some(1));
        assert_eq!(index(0.07, 100), Some(6), "not 7, as floating point has it");
        for wrong in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert!(Quantile::new(wrong).is_err(), "{wrong}");
        }
    }

    /// ClusterLoader2: `sorted[ceil(n*p/100)-1]` in integers.
    #[test]
    fn percentiles_are_those_of_cluster_loader() {
        for percent in 1_u32..=100 {
            let quantile = Quantile::new(f64::from(percent) / 100.0).unwrap();
            for count in 1_usize..2000 {
                let expected = (count * percent as usize).div_ceil(100) - 1;
                assert_eq!(
                    quantile.index(count),
                    Some(expected),
                    "{percent} % of {count}"
                );
            }
        }
    }
}
