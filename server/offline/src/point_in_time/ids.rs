//! Numbers for the distinct values of a key column, and for pairs of numbers.

use arrow::array::Array;
use arrow::buffer::NullBuffer;
use hashbrown::HashTable;

use super::columns::{Family, Lane};
use super::spine::NONE;

/// How many array cells per spine row a plain array of ids may cost before a hash table is cheaper.
const DENSE_CELLS_PER_ROW: u64 = 8;
const DENSE_CELLS_MIN: u64 = 1 << 16;

/// Words that a table has room for before it knows how many there are, at most.
const ROOM_MAX: usize = 1 << 21;

/// Words whose cells are fetched ahead of being looked at.
const AHEAD: usize = 64;

/// The id of each value of a key column.
#[derive(Debug)]
pub(super) enum Ids {
    /// Of integers that lie close together.
    Dense(DenseIds),
    /// Of other integers.
    Hashed(WordTable),
    /// Of text and bytes.
    Interned(Interner),
}

impl Default for Ids {
    fn default() -> Self {
        Self::Hashed(WordTable::new())
    }
}

/// `ids[value - lowest]`.
#[derive(Debug)]
pub(super) struct DenseIds {
    lowest: i64,
    ids: Vec<u32>,
}

impl DenseIds {
    /// The id of a value, or [`NONE`].
    #[inline]
    pub(super) fn find(&self, value: i64) -> u32 {
        // Below the lowest wraps to beyond the array.
        let at = usize::try_from(value.wrapping_sub(self.lowest).cast_unsigned());
        at.ok().and_then(|at| self.ids.get(at)).copied().unwrap_or(NONE)
    }
}

impl Ids {
    pub(super) fn choose(lanes: &[Lane], rows: usize, family: Family) -> Self {
        if matches!(family, Family::Text | Family::Bytes) {
            return Self::Interned(Interner::new());
        }
        let (mut lowest, mut highest) = (i64::MAX, i64::MIN);
        for lane in lanes {
            if let Lane::Words(values, nulls) = lane {
                for (row, value) in values.iter().enumerate() {
                    if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                        (lowest, highest) = (lowest.min(*value), highest.max(*value));
                    }
                }
            }
        }
        let span = if lowest > highest { 0 } else { highest.abs_diff(lowest).saturating_add(1) };
        if span <= (rows as u64).saturating_mul(DENSE_CELLS_PER_ROW).max(DENSE_CELLS_MIN) {
            return Self::Dense(DenseIds { lowest, ids: vec![NONE; span as usize] });
        }
        Self::Hashed(WordTable::new())
    }

    pub(super) fn insert(&mut self, lane: &Lane, distinct: &mut u32, of_row: &mut Vec<u32>) {
        let nulls = lane.nulls().cloned();
        let is_null = |row: usize| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
        match (self, lane) {
            (Self::Dense(DenseIds { lowest, ids }), Lane::Words(values, _)) => {
                of_row.extend(values.iter().enumerate().map(|(row, value)| {
                    if is_null(row) {
                        return NONE;
                    }
                    let id = &mut ids[value.abs_diff(*lowest) as usize];
                    if *id == NONE {
                        *id = *distinct;
                        *distinct += 1;
                    }
                    *id
                }));
            }
            (Self::Hashed(table), Lane::Words(values, _)) => {
                of_row.extend(
                    values.iter().enumerate().map(
                        |(row, value)| {
                            if is_null(row) { NONE } else { table.insert(*value, distinct) }
                        },
                    ),
                );
            }
            (Self::Interned(interner), Lane::Text(array)) => of_row
                .extend(array.iter().map(|text| text.map_or(NONE, |text| interner.insert(text.as_bytes(), distinct)))),
            (Self::Interned(interner), Lane::Bytes(array)) => {
                of_row.extend(array.iter().map(|bytes| bytes.map_or(NONE, |bytes| interner.insert(bytes, distinct))));
            }
            // Ids are chosen by the family that made the lane.
            (_, lane) => of_row.extend(std::iter::repeat_n(NONE, lane.len())),
        }
    }

    /// Writes the id of every value of a table's column, or [`NONE`] for values the spine does not have.
    pub(super) fn find(&self, lane: &Lane, out: &mut Vec<u32>) {
        match (self, lane) {
            (Self::Dense(dense), Lane::Words(values, _)) => out.extend(values.iter().map(|value| dense.find(*value))),
            (Self::Hashed(table), Lane::Words(values, _)) => out.extend(values.iter().map(|value| table.find(*value))),
            (Self::Interned(interner), Lane::Text(array)) => {
                out.extend((0..array.len()).map(|row| interner.find(array.value(row).as_bytes())));
            }
            (Self::Interned(interner), Lane::Bytes(array)) => {
                out.extend((0..array.len()).map(|row| interner.find(array.value(row))));
            }
            (_, lane) => out.extend(std::iter::repeat_n(NONE, lane.len())),
        }
        if let Some(nulls) = lane.nulls().filter(|nulls| nulls.null_count() > 0) {
            clear_nulls(nulls, out);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Dense(dense) => dense.ids.len() * 4,
            Self::Hashed(table) => table.bytes(),
            Self::Interned(interner) => interner.bytes(),
        }
    }
}

fn clear_nulls(nulls: &NullBuffer, out: &mut [u32]) {
    let first = out.len() - nulls.len();
    for (row, id) in out[first..].iter_mut().enumerate() {
        if nulls.is_null(row) {
            *id = NONE;
        }
    }
}

/// A flat hash table from 64-bit words to ids, open addressing, at most half full.
///
/// Most words of a view are not the spine's. A filter small enough for a core's cache says so of seven in eight of them,
/// where a look at a cell is a look at memory.
#[derive(Debug)]
pub(super) struct WordTable {
    cells: Vec<Cell>,
    /// Four bits to a cell: whether a word of the table has this hash, as far as it goes.
    filter: Vec<u64>,
    filled: usize,
    shift: u32,
}

/// A word beside its id: one look at memory finds both. Free where the id is [`NONE`].
#[derive(Debug, Clone, Copy)]
struct Cell {
    word: i64,
    id: u32,
}

impl Cell {
    const FREE: Self = Self { word: 0, id: NONE };
}

/// The multiplication spreads every bit upward; the high bits choose.
#[inline]
fn hash(word: i64) -> u64 {
    let mixed = word.cast_unsigned() ^ (word.cast_unsigned() >> 32);
    mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl WordTable {
    pub(super) fn new() -> Self {
        Self::with_room(0)
    }

    /// A table that need not grow for `words` words, unless they are very many.
    pub(super) fn with_room(words: usize) -> Self {
        Self::of((words.min(ROOM_MAX) * 2).next_power_of_two().max(16))
    }

    fn of(cells: usize) -> Self {
        let shift = 64 - cells.trailing_zeros();
        Self { cells: vec![Cell::FREE; cells], filter: vec![0; cells / 16], filled: 0, shift }
    }

    /// The id of a word, or [`NONE`].
    #[inline]
    pub(super) fn find(&self, word: i64) -> u32 {
        let hash = hash(word);
        if self.may_hold(hash) { self.cells[self.cell(hash, word)].id } else { NONE }
    }

    /// Replaces each right id by that of its pair with the left one, or [`NONE`].
    pub(super) fn find_pairs(&self, left: &[u32], right: &mut [u32]) {
        for (left, right) in left.chunks(AHEAD).zip(right.chunks_mut(AHEAD)) {
            self.fetch(left, right);
            for (left, right) in left.iter().zip(right) {
                *right = if *left == NONE || *right == NONE { NONE } else { self.find(pair(*left, *right)) };
            }
        }
    }

    /// Replaces each left id by that of its pair with the right one, a new one where it has none; [`NONE`] stays.
    pub(super) fn insert_pairs(&mut self, left: &mut [u32], right: &[u32], distinct: &mut u32) {
        for (left, right) in left.chunks_mut(AHEAD).zip(right.chunks(AHEAD)) {
            self.fetch(left, right);
            for (left, right) in left.iter_mut().zip(right) {
                let none = *left == NONE || *right == NONE;
                *left = if none { NONE } else { self.insert(pair(*left, *right), distinct) };
            }
        }
    }

    /// Looks at the cells of pairs: loads that don't depend on each other overlap, those of a search don't.
    fn fetch(&self, left: &[u32], right: &[u32]) {
        let look = |(left, right): (&u32, &u32)| {
            let hash = hash(pair(*left, *right));
            self.cells[if self.may_hold(hash) { self.home(hash) } else { 0 }].id
        };
        std::hint::black_box(left.iter().zip(right).fold(0, |seen, both| seen ^ look(both)));
    }

    pub(super) fn insert(&mut self, word: i64, distinct: &mut u32) -> u32 {
        if (self.filled + 1) * 2 > self.cells.len() {
            self.grow();
        }
        let at = self.cell(hash(word), word);
        if self.cells[at].id == NONE {
            self.put(at, Cell { word, id: *distinct });
            *distinct += 1;
        }
        self.cells[at].id
    }

    fn put(&mut self, at: usize, cell: Cell) {
        let bit = self.bit(hash(cell.word));
        self.cells[at] = cell;
        self.filter[bit / 64] |= 1 << (bit % 64);
        self.filled += 1;
    }

    /// The cell a word starts to look at.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        (hash >> self.shift) as usize
    }

    /// The word's bit in the filter: its home, and two bits more of its hash.
    #[inline]
    fn bit(&self, hash: u64) -> usize {
        (hash >> (self.shift - 2)) as usize
    }

    #[inline]
    fn may_hold(&self, hash: u64) -> bool {
        let bit = self.bit(hash);
        self.filter[bit / 64] >> (bit % 64) & 1 == 1
    }

    /// The cell that holds the word, or the free one where it belongs.
    #[inline]
    fn cell(&self, hash: u64, word: i64) -> usize {
        let last = self.cells.len() - 1;
        let mut at = self.home(hash);
        while self.cells[at].id != NONE && self.cells[at].word != word {
            at = (at + 1) & last;
        }
        at
    }

    fn grow(&mut self) {
        let mut larger = Self::of(self.cells.len() * 2);
        for cell in self.cells.iter().filter(|cell| cell.id != NONE) {
            larger.put(larger.cell(hash(cell.word), cell.word), *cell);
        }
        *self = larger;
    }

    pub(super) fn bytes(&self) -> usize {
        self.cells.len() * size_of::<Cell>() + self.filter.len() * 8
    }
}

fn pair(left: u32, right: u32) -> i64 {
    (u64::from(left) << 32 | u64::from(right)).cast_signed()
}

/// Distinct byte strings, numbered, in one buffer.
#[derive(Debug)]
pub(super) struct Interner {
    data: Vec<u8>,
    ends: Vec<usize>,
    table: HashTable<u32>,
    hasher: ahash::RandomState,
}

impl Interner {
    fn new() -> Self {
        let hasher = ahash::RandomState::with_seeds(0x5469, 0x6465, 0x6761, 0x7465);
        Self { data: Vec::new(), ends: Vec::new(), table: HashTable::new(), hasher }
    }

    #[inline]
    pub(super) fn find(&self, bytes: &[u8]) -> u32 {
        let hash = self.hasher.hash_one(bytes);
        let same = |id: &u32| slice(&self.data, &self.ends, *id) == bytes;
        self.table.find(hash, same).copied().unwrap_or(NONE)
    }

    fn insert(&mut self, bytes: &[u8], distinct: &mut u32) -> u32 {
        let found = self.find(bytes);
        if found != NONE {
            return found;
        }
        let id = *distinct;
        *distinct += 1;
        self.data.extend_from_slice(bytes);
        self.ends.push(self.data.len());
        let (data, ends, hasher) = (&self.data, &self.ends, &self.hasher);
        let rehash = |id: &u32| hasher.hash_one(slice(data, ends, *id));
        self.table.insert_unique(hasher.hash_one(bytes), id, rehash);
        id
    }

    fn bytes(&self) -> usize {
        self.data.capacity() + self.ends.capacity() * 8 + self.table.capacity() * 5
    }
}

fn slice<'a>(data: &'a [u8], ends: &[usize], id: u32) -> &'a [u8] {
    let id = id as usize;
    let start = if id == 0 { 0 } else { ends[id - 1] };
    &data[start..ends[id]]
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::{NONE, WordTable};

    #[test]
    fn words_and_pairs_are_numbered_in_the_order_they_come() {
        let mut rng = StdRng::seed_from_u64(3);
        for (words, span, room) in [(0, 1, 0), (50, 10, 0), (2_000, 100_000, 0), (2_000, 100_000, 5_000), (900, 30, 9)]
        {
            let (mut table, mut distinct) = (WordTable::with_room(room), 0);
            let mut expected = HashMap::new();
            let id = |rng: &mut StdRng| if rng.random_bool(0.1) { NONE } else { rng.random_range(0..span) };
            let pairs: Vec<(u32, u32)> = (0..words).map(|_| (id(&mut rng), id(&mut rng))).collect();
            let (mut left, right): (Vec<u32>, Vec<u32>) = pairs.iter().copied().unzip();
            table.insert_pairs(&mut left, &right, &mut distinct);
            for (pair, got) in pairs.iter().zip(&left) {
                let next = expected.len() as u32;
                let none = pair.0 == NONE || pair.1 == NONE;
                assert_eq!(*got, if none { NONE } else { *expected.entry(*pair).or_insert(next) });
            }
            assert_eq!(distinct as usize, expected.len());
            let others: Vec<(u32, u32)> = (0..words).map(|_| (id(&mut rng), id(&mut rng))).chain(pairs).collect();
            let (left, mut right): (Vec<u32>, Vec<u32>) = others.iter().copied().unzip();
            table.find_pairs(&left, &mut right);
            for (pair, got) in others.iter().zip(right) {
                assert_eq!(got, expected.get(pair).copied().unwrap_or(NONE), "{pair:?} of {words} below {span}");
            }
        }
    }
}
