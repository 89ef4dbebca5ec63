//! Sets of whole numbers that know how many smaller ones they hold.

/// A set of numbers below a bound, a bit each.
#[derive(Debug)]
pub(super) struct Ranks {
    words: Vec<u64>,
    /// Per word how many are in the words before it.
    before: Vec<u32>,
    count: usize,
}

impl Ranks {
    /// The set whose bits these are; fewer than 2^32.
    pub(super) fn of(words: Vec<u64>) -> Self {
        let (mut before, mut count) = (Vec::with_capacity(words.len()), 0_u32);
        for word in &words {
            before.push(count);
            count += word.count_ones();
        }
        Self { words, before, count: count as usize }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// How many are smaller than `number`, where it is one of them.
    #[inline]
    pub(super) fn rank(&self, number: usize) -> Option<u32> {
        let (word, bit) = (self.words[number / 64], number % 64);
        let below = word & ((1_u64 << bit) - 1);
        (word >> bit & 1 == 1).then(|| self.before[number / 64] + below.count_ones())
    }

    /// Hands them out, ascending.
    #[inline]
    pub(super) fn each(&self, mut take: impl FnMut(usize)) {
        for (at, word) in self.words.iter().enumerate() {
            let mut word = *word;
            while word != 0 {
                take(at * 64 + word.trailing_zeros() as usize);
                word &= word - 1;
            }
        }
    }
}

/// Distinct row numbers out of many, and each one's rank.
#[derive(Debug)]
pub(super) enum Distinct {
    /// Where they lie close enough for a bit per row.
    Bits(Ranks),
    /// Ascending.
    List(Vec<u64>),
}

/// Rows per number above which a list takes less memory, and time, than a bit for each.
const ROWS_PER_NUMBER: u64 = 512;

impl Distinct {
    /// The distinct ones of `numbers`, all below `bound`.
    pub(super) fn of(numbers: impl ExactSizeIterator<Item = Option<u64>>, bound: u64) -> Self {
        if bound / ROWS_PER_NUMBER > numbers.len() as u64 {
            let mut list: Vec<u64> = numbers.flatten().collect();
            list.sort_unstable();
            list.dedup();
            return Self::List(list);
        }
        let mut words = vec![0_u64; bound.div_ceil(64) as usize];
        for number in numbers.flatten() {
            words[(number / 64) as usize] |= 1 << (number % 64);
        }
        Self::Bits(Ranks::of(words))
    }

    /// How many are smaller than `number`, which is one of them.
    #[inline]
    pub(super) fn rank(&self, number: u64) -> u32 {
        match self {
            Self::Bits(ranks) => ranks.rank(number as usize).unwrap_or(0),
            Self::List(list) => list.partition_point(|other| *other < number) as u32,
        }
    }

    /// Hands them out, ascending.
    pub(super) fn each(&self, mut take: impl FnMut(u64)) {
        match self {
            Self::Bits(ranks) => ranks.each(|number| take(number as u64)),
            Self::List(list) => list.iter().for_each(|number| take(*number)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::Distinct;

    #[test]
    fn ranks_are_those_of_a_sorted_set() {
        let mut rng = StdRng::seed_from_u64(11);
        for (count, bound) in [(0, 0), (0, 1_000), (1, 1), (500, 64), (500, 1_000), (500, 200_000), (50, 10_000_000)] {
            let number = |_| rng.random_bool(0.8).then(|| rng.random_range(0..bound));
            let numbers: Vec<Option<u64>> = (0..count).map(number).collect();
            let distinct = Distinct::of(numbers.iter().copied(), bound);
            let expected: BTreeSet<u64> = numbers.iter().copied().flatten().collect();
            let mut got = Vec::new();
            distinct.each(|number| got.push(number));
            assert_eq!(got, expected.iter().copied().collect::<Vec<_>>(), "{count} below {bound}");
            for (rank, number) in expected.into_iter().enumerate() {
                assert_eq!(distinct.rank(number), rank as u32, "{number} of {count} below {bound}");
            }
        }
    }
}
