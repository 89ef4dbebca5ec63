//! Lookups: the newest served values of some features for a batch of entity rows.
//!
//! ```text
//! plan      compiled once: views grouped by the entities they read, features, defaults
//! find      encode each group's keys · probe the cache · one iterator, in key order, for the misses
//! windows   of windowed views, tiles read and merged into rows
//! answer    rows of fixed width are copied into columns as they come · one pass for each other column
//! ```
//! Views are read at the epochs they have when the lookup begins; an iterator that was opened after an epoch changed is not used.

mod answer;
pub(crate) mod fields;
mod find;
pub(crate) mod plan;
mod windows;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, TimestampMicrosecondArray};
use tidegate_schemas::time::Micros;

pub use plan::Plan;

use find::Patience;

use crate::layout::ViewId;
use crate::reply::Reply;
use crate::store::Store;
use crate::{Error, Result};

/// What to compile a plan for.
#[derive(Debug, Clone)]
pub struct LookupSpec {
    /// The views, in the order their features are answered.
    pub views: Vec<LookupView>,
}

/// One view of a lookup.
#[derive(Debug, Clone)]
pub struct LookupView {
    /// The view, as registered.
    pub view: ViewId,
    /// For each key of the view, which of the request's key columns holds it.
    pub key_columns: Vec<usize>,
    /// The view's alias, or its name.
    pub alias: String,
    /// The features, in order.
    pub features: Vec<LookupFeature>,
    /// Observations older than this many microseconds are EXPIRED; `None` is unbounded.
    pub serve_ttl: Option<Micros>,
}

/// One feature of a lookup.
#[derive(Debug, Clone)]
pub struct LookupFeature {
    /// Its name in the view.
    pub name: String,
    /// The name in the reply.
    pub output: String,
    /// Answered in place of a missing, null or expired value; in the form of
    /// [`Feature::default`](tidegate_schemas::definition::Feature::default).
    pub default: Option<serde_json::Value>,
}

/// How one lookup answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LookupOptions {
    /// Return the values of expired observations; their status stays EXPIRED.
    pub return_expired: bool,
    /// Fill the reply's `views`.
    pub include_times: bool,
    /// Where the caller's time is over, answer with what was read by then and FAILED for the rest.
    pub allow_partial: bool,
}

/// What a view held for each entity row, from elsewhere than the store.
#[derive(Debug, Clone)]
pub struct Observed {
    /// Event time of each row's observation; null where there is none.
    pub event: TimestampMicrosecondArray,
    /// The view's features, in the order it was registered with.
    pub features: Vec<ArrayRef>,
}

impl Store {
    /// Answers a lookup. Rows keep their order and their duplicates; without key columns (global views only) there is one row.
    ///
    /// # Errors
    /// Missing or unequally long key columns; a key column of the wrong type, naming both types; a null key, naming its row; damaged
    /// rows; a failing disk.
    pub fn lookup(&self, plan: &Arc<Plan>, keys: &[ArrayRef], now: Micros, options: &LookupOptions) -> Result<Reply> {
        self.lookup_until(plan, keys, now, options, &|| false)
    }

    /// The same for a caller whose time may be over; that is asked every few entities read from the store.
    ///
    /// # Errors
    /// As [`Self::lookup`]; [`Error::Deadline`] when the time is over and a partial answer is not allowed.
    pub fn lookup_until(
        &self,
        plan: &Arc<Plan>,
        keys: &[ArrayRef],
        now: Micros,
        options: &LookupOptions,
        over: &dyn Fn() -> bool,
    ) -> Result<Reply> {
        let rows = row_count(plan, keys)?;
        let patience = Patience { over, allow_partial: options.allow_partial };
        loop {
            let found = find::find(self.inner(), plan, keys, rows, &patience)?;
            // An epoch that was replaced meanwhile may be half deleted.
            if let Some(computed) = windows::compute(self.inner(), plan, &found, now, &patience)? {
                return answer::answer(self.inner(), plan, &found, &computed, now, *options);
            }
        }
    }

    /// Answers a lookup from given observations, one [`Observed`] for each view of the plan, by the rules of any lookup at `now`.
    ///
    /// # Errors
    /// Observations that do not fit the plan's views.
    pub fn answer(
        &self,
        plan: &Arc<Plan>,
        observed: &[Observed],
        rows: usize,
        now: Micros,
        options: &LookupOptions,
    ) -> Result<Reply> {
        if observed.len() != plan.views.len() {
            let (given, needed) = (observed.len(), plan.views.len());
            return Err(Error::Shape(format!("observations of {given} views were given, {needed} are needed")));
        }
        answer::answer_observed(self.inner(), plan, observed, rows, now, *options)
    }
}

fn row_count(plan: &Plan, keys: &[ArrayRef]) -> Result<usize> {
    if keys.len() < plan.key_columns {
        let (given, needed) = (keys.len(), plan.key_columns);
        return Err(Error::Shape(format!("{given} key columns were given, {needed} are needed")));
    }
    let rows = keys.first().map_or(1, |column| column.len());
    match keys.iter().find(|column| column.len() != rows) {
        Some(column) => {
            Err(Error::Shape(format!("key columns have {rows} and {} rows; give all the same length", column.len())))
        }
        None => Ok(rows),
    }
}
