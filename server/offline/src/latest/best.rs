//! Each key's best observation so far.
//!
//! Millions of keys are the usual case, and what costs then is memory that is touched for the first time, or moved: so entries and
//! keys lie in blocks that never move, and the table holds their numbers only.

use ahash::RandomState;
use hashbrown::HashTable;
use tidegate_schemas::time::{Address, Micros, Rank, supersedes};

use crate::table::snapshot::DataFile;

/// Entries of one block.
const BLOCK: usize = 1 << 15;

/// Bytes of keys in one block; a longer key has one of its own.
const KEY_BLOCK: usize = 1 << 20;

/// The table is made for as many keys as there may be, up to this many: growing it looks at all keys again.
const EXPECTED_MAX: usize = 1 << 22;

/// What a key takes beside its bytes: its entry, and its share of the table.
pub(super) const ENTRY_BYTES: usize = size_of::<Entry>() + 10;

/// Keys and their best observations.
pub(super) struct Best {
    /// Version and order of each file: what its rows' addresses begin with.
    files: Vec<(i64, u32)>,
    hasher: RandomState,
    numbers: HashTable<u32>,
    entries: Vec<Vec<Entry>>,
    keys: Vec<Vec<u8>>,
}

#[derive(Clone, Copy)]
struct Entry {
    hash: u64,
    event: Micros,
    created: Option<Micros>,
    row: u64,
    file: u32,
    key_block: u32,
    key_start: u32,
    key_length: u32,
}

/// One observation, by where it is.
#[derive(Clone, Copy)]
pub(super) struct Candidate {
    pub(super) event: Micros,
    pub(super) created: Option<Micros>,
    /// The position of its file.
    pub(super) file: usize,
    pub(super) row: u64,
}

impl Best {
    /// For one of `shares` of the files' keys.
    pub(super) fn new(files: &[DataFile], shares: u64, hasher: RandomState) -> Self {
        let rows: u64 = files.iter().map(|file| file.rows.unwrap_or(0)).sum::<u64>() / shares;
        let expected = usize::try_from(rows).unwrap_or(usize::MAX).min(EXPECTED_MAX);
        let (numbers, entries, keys) = (HashTable::with_capacity(expected), Vec::new(), Vec::new());
        let files = files.iter().map(|file| (file.added_version, file.order)).collect();
        Self { files, hasher, numbers, entries, keys }
    }

    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    /// Distinct keys.
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Takes a candidate for a key of this hash. `grow` is asked before a key is added.
    pub(super) fn take<E>(
        &mut self,
        hash: u64,
        key: &[u8],
        candidate: Candidate,
        grow: impl FnOnce(usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let is = |entry: &Entry| entry.hash == hash && bytes(&self.keys, entry) == key;
        let found = self.numbers.find(hash, |&number| is(self.entry(number))).copied();
        if let Some(number) = found {
            let known = self.entry(number).candidate();
            if supersedes(&self.rank(candidate), &self.rank(known)) {
                let (block, at) = place(number);
                let entry = &mut self.entries[block][at];
                (entry.event, entry.created) = (candidate.event, candidate.created);
                (entry.file, entry.row) = (candidate.file as u32, candidate.row);
            }
            return Ok(());
        }
        grow(self.len())?;
        let number = self.add(hash, key, candidate);
        let Self { numbers, entries, .. } = self;
        numbers.insert_unique(hash, number, |&number| {
            let (block, at) = place(number);
            entries[block][at].hash
        });
        Ok(())
    }

    /// For each file the rows that won, in no order.
    pub(super) fn winners(self) -> Vec<Vec<u64>> {
        let mut winners = vec![Vec::new(); self.files.len()];
        for entry in self.entries.iter().flatten() {
            winners[entry.file as usize].push(entry.row);
        }
        winners
    }

    fn add(&mut self, hash: u64, key: &[u8], candidate: Candidate) -> u32 {
        let number = self.len() as u32;
        if self.keys.last().is_none_or(|block| block.capacity() - block.len() < key.len()) {
            self.keys.push(Vec::with_capacity(KEY_BLOCK.max(key.len())));
        }
        let key_block = self.keys.len() - 1;
        let block = &mut self.keys[key_block];
        let key_start = block.len() as u32;
        block.extend_from_slice(key);
        if self.entries.last().is_none_or(|block| block.len() == BLOCK) {
            self.entries.push(Vec::with_capacity(BLOCK));
        }
        let Candidate { event, created, file, row } = candidate;
        let (file, key_block, key_length) = (file as u32, key_block as u32, key.len() as u32);
        if let Some(block) = self.entries.last_mut() {
            block.push(Entry { hash, event, created, row, file, key_block, key_start, key_length });
        }
        number
    }

    #[inline]
    fn entry(&self, number: u32) -> &Entry {
        let (block, at) = place(number);
        &self.entries[block][at]
    }

    fn rank(&self, candidate: Candidate) -> Rank {
        let (version, file) = self.files[candidate.file];
        let address = Address { version, file, row: candidate.row };
        Rank { event: candidate.event, created: candidate.created, address }
    }
}

impl Entry {
    fn candidate(&self) -> Candidate {
        Candidate { event: self.event, created: self.created, file: self.file as usize, row: self.row }
    }
}

#[inline]
fn place(number: u32) -> (usize, usize) {
    (number as usize / BLOCK, number as usize % BLOCK)
}

#[inline]
fn bytes<'k>(keys: &'k [Vec<u8>], entry: &Entry) -> &'k [u8] {
    let start = entry.key_start as usize;
    &keys[entry.key_block as usize][start..start + entry.key_length as usize]
}
