//! Sorting by small whole numbers: least significant digit first, stable, no comparison.

/// Bits of a digit: counters of one pass stay in a core's first cache.
const DIGIT_BITS: u32 = 11;

/// Below this, comparing is cheaper than counting.
const SHORT: usize = 4_096;

/// Sorts by `key`, whose largest value is found first; equal ones keep their order.
pub(super) fn sort<T: Copy + Default>(items: &mut Vec<T>, key: impl Fn(&T) -> u64) {
    if items.len() < SHORT {
        items.sort_by_key(key);
        return;
    }
    let highest = items.iter().map(&key).max().unwrap_or(0);
    let mut other = vec![T::default(); items.len()];
    for pass in 0..(64 - highest.leading_zeros()).div_ceil(DIGIT_BITS) {
        let digit = |item: &T| (key(item) >> (pass * DIGIT_BITS)) as usize & ((1 << DIGIT_BITS) - 1);
        let mut starts = vec![0_usize; 1 << DIGIT_BITS];
        for item in items.iter() {
            starts[digit(item)] += 1;
        }
        let mut sum = 0;
        for start in &mut starts {
            (*start, sum) = (sum, sum + *start);
        }
        for item in items.iter() {
            let at = &mut starts[digit(item)];
            other[*at] = *item;
            *at += 1;
        }
        std::mem::swap(items, &mut other);
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    #[test]
    fn sorts_as_a_stable_comparison_does() {
        let mut rng = StdRng::seed_from_u64(7);
        for (length, highest) in [(0, 1), (10, 3), (5_000, 1), (5_000, 40), (20_000, 1 << 33), (9_000, u64::MAX)] {
            let mut items: Vec<(u64, u32)> = (0..length).map(|at| (rng.random_range(0..highest), at)).collect();
            let mut expected = items.clone();
            expected.sort_by_key(|item| item.0);
            super::sort(&mut items, |item| item.0);
            assert_eq!(items, expected, "{length} items below {highest}");
        }
    }
}
