//! Named points at which a test ends the process, as a crash at just that moment would.
//!
//! [`arm`] is told one point and how often it may be passed before; whoever gets there then aborts, with nothing flushed or
//! cleaned up. Where nothing is armed, which is everywhere but in those tests, [`reach`] costs one relaxed load.
//!
//! A point is a variant here and a call of [`reach`] at the place. Tests go over [`Failpoint::ALL`], so a point that nothing
//! reaches any more makes one fail.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

macro_rules! failpoints {
    ($($(#[$doc:meta])* $point:ident = $name:literal,)*) => {
        /// Where a process can be made to end.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Failpoint {
            $($(#[$doc])* $point,)*
        }

        impl Failpoint {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$point,)*];

            /// Its name in [`arm`].
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)*
                }
            }
        }
    };
}

failpoints! {
    /// A data file of an ingest or a compaction is there, and no commit names it.
    AfterDataFile = "after-data-file",
    /// All data files of an ingest are there; its commit comes next.
    BeforeDeltaCommit = "before-delta-commit",
    /// A file that must be whole when its name appears is there under another name.
    BeforeRename = "before-rename",
    /// A commit is in the log; what follows it, such as a checkpoint, is not done.
    AfterDeltaCommit = "after-delta-commit",
    /// An ingest is committed and its caller does not know.
    BeforeIngestAck = "before-ingest-ack",
    /// The files of a compaction are there; its commit comes next.
    BeforeCompactionCommit = "before-compaction-commit",
    /// A vacuum has deleted a file, and there are more.
    MidVacuum = "mid-vacuum",
    /// A record of the registry or of a sealed set has its name and may not be on disk.
    MidRecord = "mid-record",
    /// A view is registered online; what its rows mean is not noted.
    AfterRegistration = "after-registration",
    /// Metadata of the online store is about to change: a registration, the beginning or the end of a full refresh.
    BeforeMetadata = "before-metadata",
    /// The same has just changed on disk and not in memory.
    AfterMetadata = "after-metadata",
    /// A batch of rows was read from a table and nothing is done with it.
    AfterDeltaRead = "after-delta-read",
    /// Some rows of a write are in its batch.
    MidBatch = "mid-batch",
    /// A write's batch is complete.
    BeforeWriteBatch = "before-write-batch",
    /// It is in the log, and the cache still has what was there before.
    AfterWriteBatch = "after-write-batch",
    /// A write is done and its caller does not know.
    BeforeWriteAck = "before-write-ack",
    /// A push's batch is complete: rows of all views, the ids of its events, what goes to tables.
    BeforePushBatch = "before-push-batch",
    /// It is in the log, and the cache still has what was there before.
    AfterPushBatch = "after-push-batch",
    /// Lookups see a push that may not be on disk.
    BeforePushSync = "before-push-sync",
    /// A push is done and its caller does not know.
    BeforePushAck = "before-push-ack",
    /// Which rows of an outbox are next is noted, and their table does not have them.
    AfterChunkNoted = "after-chunk-noted",
    /// A table has rows of an outbox that still has them too.
    AfterChunkCommit = "after-chunk-commit",
    /// They have left the outbox, and who waits for that does not know.
    AfterChunkDone = "after-chunk-done",
    /// A table has what was pushed, and that of the quarantine lacks what was refused of it.
    BeforeQuarantine = "before-quarantine",
    /// The rows that come with the cursor are about to be written.
    BeforeCursor = "before-cursor",
    /// What is right for the keys of removed rows is about to be written.
    BeforeCorrection = "before-correction",
    /// It is in the log, and the cache still has what was there before.
    AfterCorrection = "after-correction",
    /// A view has arrived at its version and the caller does not know.
    BeforeMaterializeAck = "before-materialize-ack",
    /// A lookup has read an entity and is about to keep it.
    BeforeCacheFill = "before-cache-fill",
    /// Some rows of a full refresh are in a file of their own.
    MidLoad = "mid-load",
    /// The files of a full refresh are complete.
    BeforeTakeIn = "before-take-in",
    /// They are the store's, and nobody reads them.
    AfterTakeIn = "after-take-in",
    /// Some pushes that tables do not have are in the epoch of a full refresh.
    MidCarryOver = "mid-carry-over",
    /// A full refresh of windows counts what is pushed, and its table does not have what was pushed before.
    AfterWindowsBegun = "after-windows-begun",
    /// Some tiles of a full refresh are in its epoch.
    MidFold = "mid-fold",
    /// A full refresh is complete beside what is served.
    BeforeFlip = "before-flip",
    /// Of an entity nothing is taken any more, and what there is of it is there.
    AfterGrave = "after-grave",
    /// The newest version of a table is without an erased entity, whose files are there.
    AfterErasureCommit = "after-erasure-commit",
    /// Those are gone, and commits still name its key.
    BeforeScrub = "before-scrub",
    /// An entity is erased from tables, and lookups see it.
    BeforeOnlineErasure = "before-online-erasure",
    /// An entity is erased, and there is no receipt.
    BeforeReceipt = "before-receipt",
    /// The online tier is in a backup, and nothing else is.
    MidBackup = "mid-backup",
    /// A backup is whole, and has not its name.
    BeforeBackupName = "before-backup-name",
    /// Rows of replaced epochs are gone, and that is not noted.
    BeforePurgeNoted = "before-purge-noted",
}

/// The environment variable that a server arms a point from: `NAME`, or `NAME:NTH` for the nth time it is reached.
pub const VARIABLE: &str = "TIDEGATE_FAILPOINT";

const NONE: u8 = u8::MAX;

static ARMED: AtomicU8 = AtomicU8::new(NONE);
static TO_PASS: AtomicU64 = AtomicU64::new(1);

/// A text that arms nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{VARIABLE} is `{given}`, which is no failpoint; write NAME or NAME:NTH, with one of: {}", names())]
pub struct Unknown {
    given: String,
}

fn names() -> String {
    Failpoint::ALL.iter().map(|point| point.name()).collect::<Vec<_>>().join(", ")
}

/// Ends this process where the text says: a name, and after a colon at which time of reaching it, counted from 1.
///
/// # Errors
/// No such name, or a number that is none.
pub fn arm(text: &str) -> Result<(), Unknown> {
    let (point, nth) = parse(text).ok_or_else(|| Unknown { given: text.to_owned() })?;
    TO_PASS.store(nth, Ordering::Relaxed);
    ARMED.store(point as u8, Ordering::Release);
    Ok(())
}

fn parse(text: &str) -> Option<(Failpoint, u64)> {
    let (name, nth) = text.split_once(':').unwrap_or((text, "1"));
    let point = Failpoint::ALL.iter().find(|point| point.name() == name)?;
    let nth: u64 = nth.parse().ok()?;
    (nth > 0).then_some((*point, nth))
}

/// Ends the process if this is the place and the time.
#[inline]
pub fn reach(point: Failpoint) {
    if ARMED.load(Ordering::Relaxed) == point as u8 {
        reached(point);
    }
}

#[cold]
fn reached(point: Failpoint) {
    if TO_PASS.fetch_sub(1, Ordering::Relaxed) == 1 {
        eprintln!("failpoint `{}` is reached: the process ends", point.name());
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_point_has_a_name_of_its_own() {
        for point in Failpoint::ALL {
            assert_eq!(parse(point.name()), Some((*point, 1)));
            assert_eq!(parse(&format!("{}:30", point.name())), Some((*point, 30)));
            assert_ne!(*point as u8, NONE);
        }
    }

    #[test]
    fn other_texts_are_refused_with_the_names_there_are() {
        for text in ["", "mid-air", "mid-batch:", "mid-batch:0", "mid-batch:x", "mid-batch:1:1"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert!(arm("mid-air").is_err_and(|unknown| unknown.to_string().contains("before-flip")));
    }
}
