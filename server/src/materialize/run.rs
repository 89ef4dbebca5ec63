//! The job of one view: reads, writes, reports, and stops at a batch when nobody wants it any more.

use std::sync::Arc;

use futures::StreamExt;
use tidegate_offline::latest::Keys;
use tidegate_offline::runtime::Runtime;
use tidegate_offline::table::Table;
use tidegate_offline::table::read::{FileBatch, ReadOptions, read_file};
use tidegate_online::{Commit, Progress, Store, ViewId, Written};
use tidegate_schemas::catalog::Catalog;
use tidegate_schemas::definition::{FeatureView, OnRewrite, Source};
use tidegate_schemas::error::ErrorKind;
use tidegate_schemas::failpoint::{Failpoint, reach};
use tokio::sync::mpsc;

use super::MaterializeProgress;
use super::correct::Commits;
use super::decide::{self, Work};
use super::rows::{Columns, Observations};
use super::windows::Settle;
use super::{Claim, Position};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::shutdown::Registration;
use crate::telemetry::{JobOutcome, Telemetry};

/// Everything the materialization of one view needs.
pub struct Job {
    /// The view's name, for messages.
    pub view: String,
    /// Where rows go.
    pub store: Arc<Store>,
    /// The view there.
    pub id: ViewId,
    /// Where rows come from.
    pub table: Table,
    /// The threads that read.
    pub plans: Arc<Runtime>,
    /// When the cursor is set.
    pub clock: Clock,
    /// Counters.
    pub telemetry: Arc<Telemetry>,
    /// Rebuild from the whole table.
    pub full: bool,
    /// What to do when the table was rewritten in a way that can't be followed.
    pub on_rewrite: OnRewrite,
    /// Rows in one atomic write.
    pub batch_rows: usize,
    /// How the rebuild of a windowed view is begun whose table pushes reach.
    pub settle: Option<Settle>,
    /// Keeps other jobs off this view.
    pub claim: Claim,
    pub(super) columns: Columns,
}

/// What [`Job::new`] takes from the definitions.
pub struct Subject<'a> {
    /// The project's definitions.
    pub catalog: &'a Catalog,
    /// The view.
    pub view: &'a FeatureView,
    /// Its source.
    pub source: &'a Source,
}

/// Whom a job reports to; it stops when nobody listens.
pub(crate) type Reports = mpsc::Sender<Result<MaterializeProgress>>;

/// Rows that wait to be written, and where the reader is after them.
struct Pending {
    observations: Observations,
    after: Position,
    version: i64,
}

/// One pass over the files that an increment reads.
struct Pass<'a> {
    job: &'a Job,
    work: &'a Work,
    progress: Progress,
    report: MaterializeProgress,
    reports: &'a Reports,
    registration: &'a Registration,
}

impl Job {
    /// A job for a view.
    #[must_use]
    #[allow(clippy::too_many_arguments, reason = "the parts of a server that a job borrows, each once")]
    pub fn new(
        subject: &Subject<'_>,
        store: Arc<Store>,
        id: ViewId,
        table: Table,
        plans: Arc<Runtime>,
        clock: Clock,
        telemetry: Arc<Telemetry>,
        claim: Claim,
    ) -> Self {
        let columns = Columns::of(subject.catalog, subject.view, subject.source);
        let view = subject.view.name.clone();
        let on_rewrite = subject.source.on_rewrite;
        let (full, batch_rows, settle) = (false, 16_384, None);
        Self { view, store, id, table, plans, clock, telemetry, full, on_rewrite, batch_rows, settle, claim, columns }
    }

    /// Brings the view up to the table's newest version, and reports how far it is.
    ///
    /// # Errors
    /// `Cancelled` when nobody listens any more, `Unavailable` when the server stops, whatever reading or writing fails with. What an
    /// increment wrote stays, and the next one goes on there; a rebuild begins anew.
    pub(crate) async fn run(self, reports: &Reports, registration: &Registration) -> Result<()> {
        self.telemetry.job_started();
        let result = self.bring_up(reports, registration).await;
        self.telemetry.job_ended(match &result {
            Ok(()) => JobOutcome::Done,
            Err(error) if matches!(error.kind, ErrorKind::Cancelled | ErrorKind::Unavailable) => JobOutcome::Stopped,
            Err(_) => JobOutcome::Failed,
        });
        result
    }

    async fn bring_up(&self, reports: &Reports, registration: &Registration) -> Result<()> {
        let from = self.store.cursor(self.id)?.map(|cursor| cursor.version);
        let mut last = MaterializeProgress {
            view: self.view.clone(),
            from_version: from,
            to_version: from.unwrap_or(0),
            ..MaterializeProgress::default()
        };
        // Without a history nothing tells what came since: everything is read again.
        let mut full = self.full || !self.table.has_history();
        while let Some(work) = decide::next(self, full).await? {
            // A rebuild that was interrupted and is finished now is what was asked for.
            full = false;
            last = self.pass(work, last, reports, registration).await?;
        }
        last.write_token = self.store.token();
        reach(Failpoint::BeforeMaterializeAck);
        // It is done, whether anybody hears of it or not.
        let _ = send(reports, last).await;
        Ok(())
    }

    pub(super) async fn pass(
        &self,
        mut work: Work,
        mut report: MaterializeProgress,
        reports: &Reports,
        registration: &Registration,
    ) -> Result<MaterializeProgress> {
        report.to_version = work.target();
        report.rows_total += work.rows();
        report.bytes_total += work.bytes();
        report.full |= work.full;
        send(reports, report.clone()).await?;
        self.columns.expect_of(&work.snapshot)?;
        let report = if work.full {
            self.rebuild(&work, report, reports, registration).await?
        } else {
            self.note_table(&work)?;
            let (progress, keys) = (self.begin(&work), work.keys.take());
            let mut pass = Pass { job: self, work: &work, progress, report, reports, registration };
            pass.read_all(keys).await?;
            pass.report
        };
        tracing::info!(
            view = self.view,
            version = work.target(),
            full = work.full,
            read = report.rows_read,
            written = report.rows_written,
            skipped = report.rows_skipped,
            corrected = report.rows_corrected,
            "materialized"
        );
        Ok(report)
    }

    /// A cursor of which no table was noted is taken to be of the one that is there; any other stays with its own.
    fn note_table(&self, work: &Work) -> Result<()> {
        if let Some(id) = &work.snapshot.id
            && self.store.table_of(self.id)?.is_none()
        {
            self.store.note_table(self.id, id)?;
        }
        Ok(())
    }

    fn begin(&self, work: &Work) -> Progress {
        work.resume.unwrap_or_else(|| Progress {
            target_version: work.target(),
            full: false,
            position: 0,
            rows_read: 0,
            rows_written: 0,
            started_at: self.clock.now(),
        })
    }

    /// Rows and their commit reach the store together, on a thread that may wait for the disk.
    async fn write(&self, observations: Observations, version: i64, commit: Commit) -> Result<Written> {
        let (store, id, now) = (self.store.clone(), self.id, self.clock.now());
        let write = move || store.write_at(id, observations.added(version), commit, now);
        let written = tokio::task::spawn_blocking(write);
        let written = written.await.map_err(|error| Error::internal("a write panicked").with_source(error))?;
        Ok(written?)
    }
}

impl Pass<'_> {
    /// Reads the files from the start position; writes each batch once the next is there, so that the last one is known as such.
    async fn read_all(&mut self, keys: Option<Keys>) -> Result<()> {
        let start = Position::decode(self.progress.position);
        let columns = Some(self.job.columns.names());
        let options = ReadOptions { columns, batch_rows: self.job.batch_rows, ..ReadOptions::default() };
        let mut pending: Option<Pending> = None;
        let files = self.work.files.iter().enumerate().skip(usize::try_from(start.file).unwrap_or(usize::MAX));
        for (index, file) in files {
            let index = index as u64;
            let first_row = if index == start.file { start.row } else { 0 };
            let mut batches = read_file(&self.work.snapshot, file, &options)?;
            while let Some(batch) = batches.next().await {
                let Some((batch, after)) = unread(batch?, index, first_row) else { continue };
                reach(Failpoint::AfterDeltaRead);
                let observations = self.job.columns.read(&batch.batch)?;
                self.report.rows_read += batch.batch.num_rows() as u64;
                self.progress.rows_read += batch.batch.num_rows() as u64;
                let next = Pending { observations, after, version: file.added_version };
                if let Some(ready) = pending.replace(next) {
                    self.write_progress(ready).await?;
                }
            }
        }
        match keys {
            None => self.write_last(pending).await,
            Some(keys) => self.write_corrections(pending, keys).await,
        }
    }

    async fn write_progress(&mut self, ready: Pending) -> Result<()> {
        self.progress.position = ready.after.encode();
        let skipped = ready.observations.skipped;
        let written = self.job.write(ready.observations, ready.version, Commit::Progress(self.progress)).await?;
        self.count(written, skipped);
        send(self.reports, self.report.clone()).await?;
        self.goes_on()
    }

    /// Whether anybody wants the work to go on.
    fn goes_on(&self) -> Result<()> {
        if self.registration.is_stopping() {
            let message = format!("the server stops; materialize `{}` again and it goes on here", self.job.view);
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        match self.reports.is_closed() {
            false => Ok(()),
            true => Err(given_up()),
        }
    }

    /// The last rows and the cursor in one write.
    async fn write_last(&mut self, pending: Option<Pending>) -> Result<()> {
        let (version, now) = (self.work.target(), self.job.clock.now());
        let (observations, origin) = match pending {
            Some(last) => (last.observations, last.version),
            None => (self.job.columns.none(), version),
        };
        let skipped = observations.skipped;
        reach(Failpoint::BeforeCursor);
        let written = self.job.write(observations, origin, Commit::Cursor { version, now }).await?;
        self.count(written, skipped);
        Ok(())
    }

    /// The last new rows, then what is right for keys of removed ones, and with the last of that the cursor.
    async fn write_corrections(&mut self, pending: Option<Pending>, keys: Keys) -> Result<()> {
        if let Some(ready) = pending {
            self.write_progress(ready).await?;
        }
        let last = Commit::Cursor { version: self.work.target(), now: self.job.clock.now() };
        let commits = Commits { progress: Commit::Progress(self.progress), last };
        let corrected = self.job.correct(self.work, keys, commits, || self.goes_on()).await?;
        self.report.rows_corrected += corrected.replaced + corrected.deleted;
        self.job.telemetry.corrected(corrected.replaced, corrected.deleted);
        Ok(())
    }

    fn count(&mut self, written: Written, skipped: u64) {
        self.progress.rows_written += written.written + written.waiting;
        self.report.rows_written += written.written + written.waiting;
        self.report.rows_skipped += skipped;
        self.job.telemetry.materialized(written.written + written.waiting, written.kept, skipped);
    }
}

/// The rows of a batch from `first_row` on, and the position after them; `None` when all of it was written before.
fn unread(mut found: FileBatch, file: u64, first_row: u64) -> Option<(FileBatch, Position)> {
    let last = *found.rows.last()?;
    let known = found.rows.partition_point(|row| *row < first_row);
    if known == found.rows.len() {
        return None;
    }
    found.batch = found.batch.slice(known, found.rows.len() - known);
    found.rows.drain(..known);
    Some((found, Position { file, row: last + 1 }))
}

pub(super) async fn send(reports: &Reports, report: MaterializeProgress) -> Result<()> {
    reports.send(Ok(report)).await.map_err(|_| given_up())
}

fn given_up() -> Error {
    Error::new(ErrorKind::Cancelled, "nobody wants the work to go on")
}
