//! Materialization: bringing a view's online rows up to its table's current version.
//!
//! Parts, in the order data moves: [`decide`] looks at the cursor, at progress that was left behind and at the log, and says what to
//! read; [`rows`] turns a file's batch into rows of the online tier, leaving out what is no observation; [`run`] writes an increment
//! batch by batch, each together with the [`Position`] reached, and the last together with the cursor; [`rebuild`] loads everything;
//! [`windows`] says what is different about views of windows.
//!
//! ```text
//! nothing to do   cursor = current version
//! incremental     the files that versions after the cursor added        -> written into the current epoch
//! full            all files of one version; when there is no cursor, the view reads another table than the cursor was set
//!                 for, rows were removed or changed, or the caller says so -> the newest row of each key into a new epoch, then flipped
//! ```
//!
//! The cursor is a table version, never a time, so an observation that arrives late is read like any other. There is no moment at which
//! a kill loses or doubles anything: values and position are one atomic write, and a row that is written again changes nothing.

mod decide;
mod rebuild;
mod rows;
mod run;
mod windows;

pub(crate) use rows::{Columns, Observations};
pub use run::{Job, Subject};
pub(crate) use windows::events;
pub use windows::{Begin, Settle};

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;

/// The jobs that run: one at a time for each view.
#[derive(Debug, Clone, Default)]
pub struct Jobs {
    running: Arc<Mutex<HashSet<(String, String)>>>,
}

/// A view that no other job touches until this is dropped.
#[derive(Debug)]
pub struct Claim {
    jobs: Jobs,
    key: (String, String),
}

impl Jobs {
    /// Claims a view, or `None` while another job has it.
    #[must_use]
    pub fn claim(&self, project: &str, view: &str) -> Option<Claim> {
        let key = (project.to_owned(), view.to_owned());
        let claimed = self.running.lock().insert(key.clone());
        claimed.then(|| Claim { jobs: self.clone(), key })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.jobs.running.lock().remove(&self.key);
    }
}

/// How far a job has come: a file among those it reads, and the row of that file to go on with.
///
/// Kept by the online tier as one number: 24 bits of file, 40 bits of row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position {
    /// Index of the file in address order.
    pub file: u64,
    /// The first row of that file that has not been written.
    pub row: u64,
}

impl Position {
    const ROW_BITS: u32 = 40;

    /// The number that is kept.
    #[must_use]
    pub fn encode(self) -> u64 {
        (self.file << Self::ROW_BITS) | (self.row & ((1 << Self::ROW_BITS) - 1))
    }

    /// The position that was kept.
    #[must_use]
    pub fn decode(kept: u64) -> Self {
        Self { file: kept >> Self::ROW_BITS, row: kept & ((1 << Self::ROW_BITS) - 1) }
    }
}

#[cfg(test)]
mod tests;
