//! How far the materialization of a view has come.

/// Where a view's job is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Phase {
    /// It waits for another job, or for a place.
    Queued,
    /// It reads and writes.
    #[default]
    Running,
    /// It failed, and is tried again after a while.
    Retrying {
        /// What it failed with.
        problem: String,
    },
    /// The last message about the view: it is at its table's newest version.
    Done,
}

/// How far the materialization of one view has come.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MaterializeProgress {
    /// The view.
    pub view: String,
    /// Where its job is.
    pub phase: Phase,
    /// The job.
    pub job: u64,
    /// Whether this call started it, and did not join it.
    pub started: bool,
    /// The cursor before; absent when there was none.
    pub from_version: Option<i64>,
    /// The table version being reached.
    pub to_version: i64,
    /// Rows read so far.
    pub rows_read: u64,
    /// An estimate from the table's statistics; 0 where unknown.
    pub rows_total: u64,
    /// Rows that replaced what was stored, or were new.
    pub rows_written: u64,
    /// Rows that were no observation: a null key or a null event time.
    pub rows_skipped: u64,
    /// Rows of keys that were put right because rows were removed from the table or changed in it.
    pub rows_corrected: u64,
    /// Of the bytes, about how many were read.
    pub bytes_read: u64,
    /// Bytes of the files to read.
    pub bytes_total: u64,
    /// Whether the view is rebuilt from the whole table.
    pub full: bool,
    /// With [`Phase::Done`]: a token of everything written so far, for [`crate::service::LookupRequest::after_write`].
    pub write_token: String,
}

impl MaterializeProgress {
    /// Whether this is the last message about the view.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// What was done before and what has come since, together.
    pub(crate) fn and_then_came(&self, report: &Self) -> Self {
        let began = self.rows_read > 0 || self.full || self.to_version > 0;
        let rows_read = self.rows_read + report.rows_read;
        let rows_total = if report.rows_total == 0 { self.rows_total } else { self.rows_read + report.rows_total };
        let bytes_total = self.bytes_read + report.bytes_total;
        let share = if rows_total == 0 { 0.0 } else { (rows_read as f64 / rows_total as f64).min(1.0) };
        Self {
            view: report.view.clone(),
            phase: report.phase.clone(),
            job: self.job,
            started: self.started,
            from_version: if began { self.from_version } else { report.from_version },
            to_version: report.to_version.max(self.to_version),
            rows_read,
            rows_total,
            rows_written: self.rows_written + report.rows_written,
            rows_skipped: self.rows_skipped + report.rows_skipped,
            rows_corrected: self.rows_corrected + report.rows_corrected,
            bytes_read: (bytes_total as f64 * share) as u64,
            bytes_total,
            full: self.full || report.full,
            write_token: report.write_token.clone(),
        }
    }
}
