//! Rows in memory: encoded, sorted, and merged with those of other buffers.

use crate::key;
use crate::{Error, Result};

/// Encoded entities and rows, end to end, with what sorts them beside.
#[derive(Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

/// One row of a buffer: the entity's bytes, then the row's.
#[derive(Clone, Copy)]
struct Entry {
    /// The first eight bytes after the entity type, as a number: most comparisons end here.
    head: u64,
    start: usize,
    entity: u32,
    row: u32,
}

/// Entities from one on, up to another that is not of the range.
#[derive(Default)]
pub(super) struct Range {
    from: Option<Vec<u8>>,
    to: Option<Vec<u8>>,
}

impl Buffer {
    /// Makes room for so many bytes in one piece.
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve_exact(bytes.saturating_sub(self.bytes.capacity()));
    }

    pub(super) fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn push(&mut self, entity: &[u8], encode: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(entity);
        if let Err(error) = encode(&mut self.bytes) {
            self.bytes.truncate(start);
            return Err(error);
        }
        let row = u32::try_from(self.bytes.len() - start - entity.len());
        let row = row.map_err(|_| Error::Shape("a row's values are longer than 4 GiB".to_owned()))?;
        self.entries.push(Entry { head: head(entity), start, entity: entity.len() as u32, row });
        Ok(())
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }

    /// Rows of one entity stay in the order they came in.
    pub(super) fn sort(&mut self) {
        let bytes = &self.bytes;
        let entity = |entry: &Entry| &bytes[entry.start..entry.start + entry.entity as usize];
        self.entries.sort_unstable_by(|a, b| {
            a.head.cmp(&b.head).then_with(|| entity(a).cmp(entity(b))).then_with(|| a.start.cmp(&b.start))
        });
    }

    /// Entities and rows as they were sorted.
    pub(super) fn sorted(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries.iter().map(|entry| (self.entity(entry), self.row(entry)))
    }

    fn entity(&self, entry: &Entry) -> &[u8] {
        &self.bytes[entry.start..entry.start + entry.entity as usize]
    }

    fn row(&self, entry: &Entry) -> &[u8] {
        let start = entry.start + entry.entity as usize;
        &self.bytes[start..start + entry.row as usize]
    }

    /// The entries of a range, of a sorted buffer.
    fn of(&self, range: &Range) -> Cursor<'_> {
        let before = |end: &Vec<u8>| self.entries.partition_point(|entry| self.entity(entry) < end.as_slice());
        let (from, to) = (range.from.as_ref().map_or(0, before), range.to.as_ref().map_or(self.entries.len(), before));
        Cursor { buffer: self, entries: &self.entries[from..to] }
    }
}

/// The first eight bytes after the entity type.
fn head(entity: &[u8]) -> u64 {
    let mut head = [0; 8];
    let rest = entity.get(key::ENTITY_TYPE..).unwrap_or_default();
    let length = rest.len().min(8);
    head[..length].copy_from_slice(&rest[..length]);
    u64::from_be_bytes(head)
}

/// Cuts all keys of sorted buffers into so many ranges, by the keys of the largest.
pub(super) fn ranges(buffers: &[Buffer], count: usize) -> Vec<Range> {
    let Some(largest) = buffers.iter().max_by_key(|buffer| buffer.entries.len()) else { return Vec::new() };
    let entries = &largest.entries;
    let cut = |nth: usize| largest.entity(&entries[entries.len() * nth / count]).to_vec();
    let inner: Vec<Vec<u8>> = (1..count).map(cut).collect();
    let from = std::iter::once(None).chain(inner.iter().cloned().map(Some));
    let to = inner.iter().cloned().map(Some).chain(std::iter::once(None));
    from.zip(to).map(|(from, to)| Range { from, to }).collect()
}

/// Where the merge stands in one buffer.
struct Cursor<'a> {
    buffer: &'a Buffer,
    entries: &'a [Entry],
}

impl Cursor<'_> {
    /// Whether its next entity comes before another's; one that has none left comes last.
    fn before(&self, other: &Self) -> bool {
        match (self.entries.first(), other.entries.first()) {
            (Some(a), Some(b)) => {
                let entities = || self.buffer.entity(a) < other.buffer.entity(b);
                a.head < b.head || a.head == b.head && entities()
            }
            (mine, _) => mine.is_some(),
        }
    }
}

/// Hands over all rows of a range, of sorted buffers; those of one entity buffer by buffer.
pub(super) fn merge(buffers: &[Buffer], range: &Range, mut take: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
    let mut cursors: Vec<Cursor<'_>> = buffers.iter().map(|buffer| buffer.of(range)).collect();
    loop {
        let mut next = 0;
        for nth in 1..cursors.len() {
            if cursors[nth].before(&cursors[next]) {
                next = nth;
            }
        }
        let Some(cursor) = cursors.get_mut(next) else { return Ok(()) };
        let Some((entry, rest)) = cursor.entries.split_first() else { return Ok(()) };
        take(cursor.buffer.entity(entry), cursor.buffer.row(entry))?;
        cursor.entries = rest;
    }
}
