//! Approximate percentiles: counts of values in bins whose width is a share of the values in them, after `DDSketch`.
//!
//! The mapping from values to bins is the library's. Its own store of bins gives up the lowest ones where they range widely, by
//! the order in which values come, so bins are held here: few, sorted, and never given up.

use std::sync::LazyLock;

use sketches_ddsketch::Config;

/// A percentile is within this share of a value at its rank.
pub const RELATIVE_ERROR: f64 = 0.01;

/// Bins of positive numbers begin here; a number's own may be lower by as much as the smallest one takes.
const OFFSET: i32 = 40_000;
const ZERO: i32 = 0;
const INFINITE: i32 = 2 * OFFSET;
const NAN: i32 = INFINITE + 1;

/// The largest count of bins is not used: it limits the library's store.
static MAPPING: LazyLock<Config> = LazyLock::new(|| Config::new(RELATIVE_ERROR, 2048, f64::MIN_POSITIVE));

/// Bins in the order of their values, with how many values each has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bins(pub(super) Vec<(i32, u64)>);

impl Bins {
    pub(super) fn add(&mut self, value: f64) {
        let bin = bin(value);
        match self.0.binary_search_by_key(&bin, |(bin, _)| *bin) {
            Ok(at) => self.0[at].1 += 1,
            Err(at) => self.0.insert(at, (bin, 1)),
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        if self.0.is_empty() {
            self.0.clone_from(&other.0);
            return;
        }
        let (mut merged, mut mine) = (Vec::with_capacity(self.0.len() + other.0.len()), self.0.iter().peekable());
        for &(bin, count) in &other.0 {
            while let Some(before) = mine.next_if(|(before, _)| *before < bin) {
                merged.push(*before);
            }
            let same = mine.next_if(|(same, _)| *same == bin).map_or(0, |(_, count)| *count);
            merged.push((bin, count + same));
        }
        merged.extend(mine);
        self.0 = merged;
    }

    /// The value at a rank given in ten-thousandths: the one that is followed by that share of the others. `None` without values.
    pub(super) fn percentile(&self, ten_thousandths: u32) -> Option<f64> {
        let count: u64 = self.0.iter().map(|(_, count)| count).sum();
        let rank = u128::from(count.checked_sub(1)?) * u128::from(ten_thousandths) / 10_000;
        let mut before = 0;
        for &(bin, count) in &self.0 {
            before += u128::from(count);
            if before > rank {
                return Some(value(bin));
            }
        }
        None
    }
}

fn bin(value: f64) -> i32 {
    let magnitude = value.abs();
    let bin = match magnitude {
        _ if value.is_nan() => return NAN,
        _ if magnitude < f64::MIN_POSITIVE => return ZERO,
        f64::INFINITY => INFINITE,
        _ => OFFSET + MAPPING.key(magnitude),
    };
    if value < 0.0 { -bin } else { bin }
}

fn value(bin: i32) -> f64 {
    let magnitude = match bin.abs() {
        NAN => f64::NAN,
        ZERO => 0.0,
        INFINITE => f64::INFINITY,
        // The middle of the topmost bin may lie beyond the largest number.
        bin => MAPPING.value(bin - OFFSET).min(f64::MAX),
    };
    if bin < 0 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_comes_back_within_the_error() {
        let mut at = f64::MIN_POSITIVE;
        while at.is_finite() {
            for value in [at, -at] {
                let mut bins = Bins::default();
                bins.add(value);
                let back = bins.percentile(5_000).expect("a value");
                assert!((back - value).abs() <= RELATIVE_ERROR * value.abs() * (1.0 + 1e-6), "{value} became {back}");
            }
            at *= 1.37;
        }
    }

    #[test]
    fn bins_are_in_the_order_of_values() {
        let values = [f64::NEG_INFINITY, f64::MIN, -1.0, -1e-300, -0.0, 1e-300, 0.5, f64::MAX, f64::INFINITY, f64::NAN];
        let found: Vec<i32> = values.iter().map(|value| bin(*value)).collect();
        assert!(found.is_sorted(), "{found:?}");
        assert!(value(bin(f64::NAN)).is_nan() && value(bin(f64::NEG_INFINITY)) == f64::NEG_INFINITY);
    }

    #[test]
    fn ranks() {
        let mut bins = Bins::default();
        assert_eq!(bins.percentile(5_000), None);
        (1..=100).for_each(|value| bins.add(f64::from(value)));
        for (p, expect) in [(0, 1.0), (5_000, 50.0), (9_500, 95.0), (9_999, 99.0), (10_000, 100.0)] {
            let found = bins.percentile(p).expect("a value");
            assert!((found - expect).abs() <= 0.011 * expect, "{p}: {found}");
        }
    }
}
