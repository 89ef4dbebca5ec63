//! Materialization: bringing a view's online rows up to its table's current version.
//!
//! Parts, in the order data moves: [`decide`] looks at the cursor, at progress that was left behind and at the log, and says what to
//! read; [`rows`] turns a file's batch into rows of the online tier, leaving out what is no observation; [`run`] writes an increment
//! batch by batch, each together with the [`Position`] reached, and the last together with the cursor; [`correct`] puts right the keys of
//! rows that were removed or changed; [`rebuild`] loads everything; [`rewrite`] says what happens when a table can't be followed;
//! [`windows`] says what is different about views of windows.
//!
//! ```text
//! nothing to do   cursor = current version
//! incremental     the files that versions after the cursor added        -> written into the current epoch
//!                 keys of rows that these versions removed or changed   -> what the table has for them now, or nothing
//! full            all files of one version; when there is no cursor, rows lack a feature, the table was rewritten in a way that can't
//!                 be followed, or the caller says so                    -> the newest row of each key into a new epoch, then flipped
//! ```
//!
//! The cursor is a table version, never a time, so an observation that arrives late is read like any other. There is no moment at which
//! a kill loses or doubles anything: values and position are one atomic write, and a row that is written again changes nothing.

mod correct;
mod decide;
mod progress;
mod rebuild;
mod rewrite;
mod rows;
mod run;
mod windows;

pub use progress::{MaterializeProgress, Phase};
pub(crate) use rows::{Columns, Observations};
pub use run::{Job, Subject};
pub(crate) use windows::events;
pub use windows::{Begin, Settle};

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;

/// Who has which view: one at a time, a job or a comparison with the table.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    taken: Arc<Mutex<HashSet<(String, String)>>>,
}

/// A view that nobody else touches until this is dropped.
#[derive(Debug)]
pub struct Claim {
    claims: Claims,
    key: (String, String),
}

impl Claims {
    /// Claims a view, or `None` while somebody else has it.
    #[must_use]
    pub fn claim(&self, project: &str, view: &str) -> Option<Claim> {
        let key = (project.to_owned(), view.to_owned());
        let claimed = self.taken.lock().insert(key.clone());
        claimed.then(|| Claim { claims: self.clone(), key })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.taken.lock().remove(&self.key);
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
