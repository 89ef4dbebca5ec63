//! Which observations of a write are stored: the newest of each entity in the batch, if it replaces what is there.
//!
//! The comparison and the write it leads to happen under the locks of the entities concerned, so that of two threads writing one
//! entity the one with the newer observation wins, whichever comes last. The rule itself is [`tidegate_schemas::time::replaces`].

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tidegate_schemas::time::{Micros, replaces};

/// An observation's event and created time.
pub(crate) type Times = (Micros, Option<Micros>);

/// More than threads ever write at once, few enough that a large batch takes them all quickly.
const STRIPES: usize = 1024;

/// Locks for all entities, many entities to a lock.
pub(crate) struct Stripes {
    stripes: Box<[Stripe]>,
    hasher: ahash::RandomState,
}

#[derive(Default)]
struct Stripe {
    lock: Mutex<()>,
    /// Counts beginnings and ends of writes to entities of this stripe, while the lock is held: odd while one is under way.
    writes: AtomicU64,
}

/// The locks of the entities of one write.
pub(crate) struct Held<'a> {
    stripes: &'a Stripes,
    held: Vec<(usize, MutexGuard<'a, ()>)>,
    writing: bool,
}

impl Stripes {
    pub(crate) fn new() -> Self {
        let stripes = (0..STRIPES).map(|_| Stripe::default()).collect();
        Self { stripes, hasher: ahash::RandomState::new() }
    }

    #[inline]
    pub(crate) fn of(&self, entity: &[u8]) -> usize {
        self.hasher.hash_one(entity) as usize % STRIPES
    }

    /// Locks the stripes of these entities, in one order for every caller so that no two wait for each other.
    pub(crate) fn lock<'e>(&self, entities: impl Iterator<Item = &'e [u8]>) -> Held<'_> {
        let mut stripes: Vec<usize> = entities.map(|entity| self.of(entity)).collect();
        stripes.sort_unstable();
        stripes.dedup();
        let held = stripes.into_iter().map(|nth| (nth, self.stripes[nth].lock.lock())).collect();
        Held { stripes: self, held, writing: false }
    }

    /// The stripe's count, to be noted before a read whose result may be cached.
    #[inline]
    pub(crate) fn writes(&self, stripe: usize) -> u64 {
        self.stripes[stripe].writes.load(Ordering::Acquire)
    }

    /// Whether no write was under way when this was noted, and none came since.
    #[inline]
    pub(crate) fn untouched(&self, stripe: usize, noted: u64) -> bool {
        noted.is_multiple_of(2) && self.writes(stripe) == noted
    }

    /// Runs `publish` with the stripe locked, unless an entity of it was written since `noted` or is being written now.
    pub(crate) fn unless_written(&self, stripe: usize, noted: u64, publish: impl FnOnce()) {
        let Some(_held) = self.stripes[stripe].lock.try_lock() else { return };
        if self.writes(stripe) == noted {
            publish();
        }
    }
}

impl Held<'_> {
    /// Counts the beginning of a write for every stripe held; to be called before it is in the store. The end counts when this is
    /// dropped, which must be after the cache has forgotten the entities.
    pub(crate) fn begin(&mut self) {
        self.writing = true;
        self.count();
    }

    fn count(&self) {
        for (nth, _) in &self.held {
            self.stripes.stripes[*nth].writes.fetch_add(1, Ordering::AcqRel);
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if self.writing {
            self.count();
        }
    }
}

/// Whether the incoming observation is stored.
#[inline]
pub(crate) fn accepts(incoming: Times, stored: Option<Times>) -> bool {
    stored.is_none_or(|stored| replaces(incoming, stored))
}

/// The rows to compare with the store: for each distinct key among `rows` the one that supersedes the others, in key order.
///
/// Among equal times the later row wins: rows come in the order of their addresses.
pub(crate) fn winners<'k>(
    mut rows: Vec<usize>,
    key: impl Fn(usize) -> &'k [u8],
    times: impl Fn(usize) -> Times,
) -> Vec<usize> {
    rows.sort_unstable_by(|&a, &b| key(a).cmp(key(b)).then_with(|| (times(a), a).cmp(&(times(b), b))));
    let last_of_key = |nth: usize| rows.get(nth + 1).is_none_or(|&next| key(next) != key(rows[nth]));
    (0..rows.len()).filter(|&nth| last_of_key(nth)).map(|nth| rows[nth]).collect()
}

/// All of these rows in key order, those of one key as they came.
pub(crate) fn by_key<'k>(mut rows: Vec<usize>, key: impl Fn(usize) -> &'k [u8]) -> Vec<usize> {
    rows.sort_by(|&a, &b| key(a).cmp(key(b)));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_of_a_key_wins_by_time_then_by_place() {
        let rows: [(&[u8], Times); 7] = [
            (b"b", (5, None)),
            (b"a", (3, Some(9))),
            (b"b", (5, Some(0))),
            (b"a", (4, None)),
            (b"c", (1, None)),
            (b"b", (5, Some(0))),
            (b"c", (0, Some(100))),
        ];
        let of = |chosen: Vec<usize>| winners(chosen, |row| rows[row].0, |row| rows[row].1);
        assert_eq!(of((0..rows.len()).collect()), [3, 5, 4]);
        assert_eq!(of(vec![0, 1, 2]), [1, 2]);
        assert!(of(Vec::new()).is_empty());
    }

    #[test]
    fn equal_times_replace_and_older_ones_never_do() {
        assert!(accepts((5, None), None));
        assert!(accepts((5, None), Some((5, None))));
        assert!(accepts((5, Some(1)), Some((5, None))));
        assert!(!accepts((5, None), Some((5, Some(i64::MIN)))));
        assert!(!accepts((4, Some(100)), Some((5, None))));
    }

    #[test]
    fn nothing_is_published_after_or_during_a_write() {
        let stripes = Stripes::new();
        let stripe = stripes.of(b"entity");
        let noted = stripes.writes(stripe);
        let published = |noted| {
            let mut done = false;
            stripes.unless_written(stripe, noted, || done = true);
            done
        };
        assert!(published(noted));
        assert!(stripes.untouched(stripe, noted));
        let mut held = stripes.lock([b"entity".as_slice()].into_iter());
        assert!(!published(noted), "a write is under way");
        held.begin();
        let during = stripes.writes(stripe);
        assert!(!stripes.untouched(stripe, noted) && !stripes.untouched(stripe, during));
        drop(held);
        assert!(!published(noted) && !published(during), "a write came in between");
        assert!(!stripes.untouched(stripe, noted) && !stripes.untouched(stripe, during));
        let after = stripes.writes(stripe);
        assert!(published(after) && stripes.untouched(stripe, after));
    }
}
