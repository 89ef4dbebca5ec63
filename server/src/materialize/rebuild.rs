//! A full refresh: the newest observation of each key, found by the offline tier, goes into an epoch of its own; of a windowed view all
//! events do.
//!
//! ```text
//! plan threads      keys and times of all rows → winners → their payload, batch by batch
//! loading threads   rows of the online tier → encoded; one of them for windows, where the order of events is kept
//! the end           sorted → files → taken in → flip
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use parking_lot::Mutex;
use tidegate_offline::latest::{Newest, Seen, latest};
use tidegate_online::{Load, LoadPart};
use tidegate_schemas::error::ErrorKind;
use tidegate_schemas::time::Micros;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::MaterializeProgress;
use super::decide::Work;
use super::rows::{Columns, Observations};
use super::run::{Job, Reports, send};
use super::windows::{blocking, events};
use crate::error::{Error, Result};
use crate::shutdown::Registration;

/// Batches between the threads.
const BATCHES_AHEAD: usize = 4;

/// How often a report is sent.
const REPORT_EVERY: Duration = Duration::from_millis(200);

/// More threads than this would wait for those that read.
const LOADERS_MAX: usize = 4;

/// What the loading threads get.
enum Step {
    /// What one version of the table added and the search found.
    Found(Newest),
    /// Events that one version of the table added.
    Events(i64, Box<Observations>),
}

impl Job {
    /// Rebuilds the view from the files of a work; gives the report with what was read and written.
    pub(super) async fn rebuild(
        &self,
        work: &Work,
        mut report: MaterializeProgress,
        reports: &Reports,
        registration: &Registration,
    ) -> Result<MaterializeProgress> {
        let (store, id, now) = (self.store.clone(), self.id, self.clock.now());
        let settled;
        let (load, work) = match self.columns.is_windowed() {
            true => {
                let (load, work) = self.begin_windows(work, now).await?;
                settled = work;
                (load, &settled)
            }
            false => {
                let target = work.target();
                (blocking(move || Ok(store.begin_full(id, target, now)?)).await?, work)
            }
        };
        let mut load = load.until(now).of_table(work.snapshot.id.as_deref());
        let target = work.target();
        report.to_version = target;
        let (already, seen) = (report.rows_read, Arc::new(Seen::default()));
        let (steps, taken) = mpsc::channel(BATCHES_AHEAD);
        let loaders = self.start_loading(&mut load, taken);
        let fed = {
            let mut feed = std::pin::pin!(async {
                match self.columns.is_windowed() {
                    true => self.feed_events(work, steps, &seen).await,
                    false => self.feed(work, now, steps, &seen).await,
                }
            });
            let mut tick = tokio::time::interval(REPORT_EVERY);
            loop {
                tokio::select! {
                    fed = &mut feed => break fed,
                    _ = tick.tick() => {
                        report.rows_read = already + seen.rows.load(Relaxed);
                        if let Err(gone) = self.attend(&report, reports, registration).await {
                            break Err(gone);
                        }
                    }
                }
            }
        };
        // With nothing to feed them the threads end; one that failed says why itself.
        for loader in loaders {
            let part = loader.await.map_err(|error| Error::internal("a refresh panicked").with_source(error))?;
            load.join(part?);
        }
        fed?;
        let (store, clock) = (self.store.clone(), self.clock.clone());
        let loaded = blocking(move || Ok(store.finish_full(load, target, clock.now())?)).await?;
        let skipped = seen.skipped.load(Relaxed);
        let written = loaded.written + loaded.waiting;
        report.rows_read = already + seen.rows.load(Relaxed);
        report.rows_written += written;
        report.rows_skipped += skipped;
        self.telemetry.materialized(written, seen.rows.load(Relaxed).saturating_sub(written + skipped), skipped);
        Ok(report)
    }

    /// Tells how far it is, and whether anybody wants it to go on.
    async fn attend(&self, report: &MaterializeProgress, reports: &Reports, registration: &Registration) -> Result<()> {
        send(reports, report.clone()).await?;
        match registration.is_stopping() {
            false => Ok(()),
            true => {
                let message = format!("the server stops; materialize `{}` again", self.view);
                Err(Error::new(ErrorKind::Unavailable, message))
            }
        }
    }

    /// Finds the newest rows and hands them to the loading threads.
    async fn feed(&self, work: &Work, now: Micros, steps: mpsc::Sender<Step>, seen: &Arc<Seen>) -> Result<()> {
        let (found, mut newest) = mpsc::channel::<Newest>(BATCHES_AHEAD);
        let search = {
            let (plans, snapshot, files) = (self.plans.clone(), work.snapshot.clone(), work.files.clone());
            let (spec, seen, on) = (self.columns.latest(now, true), seen.clone(), self.plans.clone());
            async move { on.run(async move { latest(&plans, &snapshot, &files, &spec, found, &seen).await }).await }
        };
        let pass_on = async move {
            while let Some(found) = newest.recv().await {
                if steps.send(Step::Found(found)).await.is_err() {
                    break;
                }
            }
        };
        let (searched, ()) = tokio::join!(search, pass_on);
        Ok(searched?)
    }

    /// Reads all events and hands them to the loading thread.
    async fn feed_events(&self, work: &Work, steps: mpsc::Sender<Step>, seen: &Arc<Seen>) -> Result<()> {
        let added = |version, events| Step::Events(version, Box::new(events));
        events(&work.snapshot, &work.files, &self.columns, seen, added, &steps).await
    }

    /// Starts threads that encode what comes, each into a part of its own.
    fn start_loading(&self, load: &mut Load, steps: mpsc::Receiver<Step>) -> Vec<JoinHandle<Result<LoadPart>>> {
        let steps = Arc::new(Mutex::new(steps));
        let threads = match self.columns.is_windowed() {
            true => 1,
            false => self.plans.settings().threads.clamp(1, LOADERS_MAX),
        };
        let start = |part: LoadPart| {
            let (steps, columns) = (steps.clone(), self.columns.clone());
            tokio::task::spawn_blocking(move || fill(part, &steps, &columns))
        };
        load.parts(threads).into_iter().map(start).collect()
    }
}

/// Adds what comes to a part.
fn fill(mut part: LoadPart, steps: &Mutex<mpsc::Receiver<Step>>, columns: &Columns) -> Result<LoadPart> {
    loop {
        let next = steps.lock().blocking_recv();
        match next {
            Some(Step::Found(Newest { version, batch })) => part.add(columns.read(&batch)?.added(version))?,
            Some(Step::Events(version, events)) => part.add(events.added(version))?,
            None => return Ok(part),
        }
    }
}
