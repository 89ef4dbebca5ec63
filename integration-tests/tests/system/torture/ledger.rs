//! What a server was asked for and what it acknowledged: known to the test alone.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::shop::Act;

/// How the rows of a batch come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Into the table; lookups see them once they are materialized.
    Ingest,
    /// To lookups at once, and to the table with a flush.
    Push,
}

/// What is known of batches, by their numbers.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// Those that were sent, each one way; what was not acknowledged may have arrived.
    pub(super) sent: BTreeMap<usize, Way>,
    /// Of those, the acknowledged ones.
    pub(super) arrived: BTreeSet<usize>,
    /// Of those, the ones that lookups see.
    pub(super) served: BTreeSet<usize>,
    /// Customers who are to be erased: of who is not below, some may be left.
    pub(super) to_erase: BTreeSet<i64>,
    /// Those of whom nothing is there any more.
    pub(super) erased: BTreeSet<i64>,
    /// Pushes that were sent, and of those the acknowledged ones: each has a row that can't be taken.
    pushes: (i64, i64),
}

/// A [`Known`] that everybody writes to who has to do with one server.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    known: Mutex<Known>,
}

impl Way {
    /// A batch comes in this way.
    pub(super) fn act(self, batch: usize) -> Act {
        match self {
            Self::Ingest => Act::Ingest(batch),
            Self::Push => Act::Push(batch),
        }
    }
}

impl Known {
    /// Those that were sent.
    pub(super) fn sent(&self) -> BTreeSet<usize> {
        self.sent.keys().copied().collect()
    }

    /// Those of whom it is not known what is there.
    pub(super) fn half_erased(&self) -> BTreeSet<i64> {
        &self.to_erase - &self.erased
    }

    /// How many rows the quarantine may have.
    pub(super) fn refused(&self) -> RangeInclusive<i64> {
        self.pushes.1..=self.pushes.0
    }
}

impl From<Known> for Ledger {
    fn from(known: Known) -> Self {
        Self { known: Mutex::new(known) }
    }
}

impl Ledger {
    /// What is known now.
    pub(super) fn known(&self) -> Known {
        self.lock().clone()
    }

    /// A batch is about to be sent; whether it was acknowledged before.
    pub(super) fn sends(&self, batch: usize, way: Way) -> bool {
        let mut known = self.lock();
        let before = known.sent.insert(batch, way);
        assert!(before.is_none_or(|before| before == way), "batch {batch} comes in two ways");
        known.pushes.0 += i64::from(way == Way::Push);
        known.arrived.contains(&batch)
    }

    /// A batch was acknowledged; what was pushed is served by then.
    pub(super) fn arrived(&self, batch: usize, way: Way) {
        let mut known = self.lock();
        known.arrived.insert(batch);
        if way == Way::Push {
            known.served.insert(batch);
            known.pushes.1 += 1;
        }
    }

    /// A customer is about to be erased.
    pub(super) fn erases(&self, customer: i64) {
        self.lock().to_erase.insert(customer);
    }

    /// A customer is erased.
    pub(super) fn erased(&self, customer: i64) {
        self.lock().erased.insert(customer);
    }

    /// Lookups see batches.
    pub(super) fn serves(&self, batches: BTreeSet<usize>) {
        self.lock().served.extend(batches);
    }

    /// A test that has failed elsewhere still tells what it knows.
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
