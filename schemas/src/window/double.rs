//! Floats of twice the precision, as pairs whose sum they are. Sums in them come out the same whatever the order, to within far less
//! than a `f64` can tell, unless terms cancel by more than thirty digits.
//!
//! The algorithms are Dekker's and Knuth's error-free transformations. A sum that is no finite number keeps no second part.

/// `high + low`, where `low` is at most half a unit in the last place of `high`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Double {
    pub(super) high: f64,
    pub(super) low: f64,
}

impl Double {
    pub(super) fn of(value: f64) -> Self {
        Self { high: value, low: 0.0 }
    }

    /// Exact for every `i64`, and for every `i128` of up to 106 significant bits.
    pub(super) fn of_int(value: i128) -> Self {
        let high = value as f64;
        Self { high, low: value.saturating_sub(high as i128) as f64 }
    }

    pub(super) fn value(self) -> f64 {
        self.high + self.low
    }

    #[inline]
    pub(super) fn plus(self, other: Self) -> Self {
        let (high, error) = two_sum(self.high, other.high);
        let (low, rest) = two_sum(self.low, other.low);
        let sum = pair(high, error + low);
        pair(sum.high, sum.low + rest)
    }

    pub(super) fn minus(self, other: Self) -> Self {
        self.plus(Self { high: -other.high, low: -other.low })
    }

    #[inline]
    pub(super) fn times(self, other: Self) -> Self {
        let high = self.high * other.high;
        let error = self.high.mul_add(other.high, -high);
        pair(high, error + (self.high * other.low + self.low * other.high))
    }

    pub(super) fn over(self, divisor: f64) -> Self {
        let first = self.high / divisor;
        let rest = self.minus(Self::of(first).times(Self::of(divisor)));
        pair(first, rest.value() / divisor)
    }
}

#[inline]
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let of_b = sum - a;
    (sum, (a - (sum - of_b)) + (b - of_b))
}

/// The pair with this sum, where `low` is the smaller.
#[inline]
fn pair(high: f64, low: f64) -> Double {
    let sum = high + low;
    match sum.is_finite() {
        true => Double { high: sum, low: low - (sum - high) },
        // Infinities would leave a NaN behind.
        false => Double::of(if high.is_finite() { sum } else { high }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_to_a_large_term() {
        let terms = [1e16, 1.0, -1e16, 1e-3];
        let sum = terms.iter().fold(Double::default(), |sum, term| sum.plus(Double::of(*term)));
        assert_eq!(sum.value(), 1.001);
        let back = terms.iter().rev().fold(Double::default(), |sum, term| sum.plus(Double::of(*term)));
        assert_eq!(back.value(), 1.001);
    }

    #[test]
    fn integers_squares_and_quotients_are_exact() {
        for value in [i64::MAX, i64::MIN, (1 << 53) + 1, -7] {
            let double = Double::of_int(value.into());
            assert_eq!(double.high as i128 + double.low as i128, i128::from(value));
        }
        let square = Double::of_int((1 << 40) + 1);
        let square = square.times(square);
        assert_eq!(square.high as i128 + square.low as i128, ((1_i128 << 40) + 1) * ((1 << 40) + 1));
        assert_eq!(Double::of(1.0).over(3.0).value(), 1.0 / 3.0);
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        let sum = |terms: &[f64]| terms.iter().fold(Double::default(), |sum, term| sum.plus(Double::of(*term))).value();
        assert_eq!(sum(&[1.0, f64::INFINITY, 2.0]), f64::INFINITY);
        assert_eq!(sum(&[f64::NEG_INFINITY, 1.0]), f64::NEG_INFINITY);
        assert!(sum(&[f64::INFINITY, 1.0, f64::NEG_INFINITY]).is_nan());
        assert!(sum(&[f64::NAN, 1.0]).is_nan());
    }
}
