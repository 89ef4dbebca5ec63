//! A full refresh: the newest observation of each key, found by the offline tier, goes into an epoch of its own; of a windowed view all
//! events do.
//!
//! ```text
//! plan threads       keys and times of all rows → winners → their payload, batch by batch
//! a blocking thread  encode → sort → files → taken in → flip
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tidegate_offline::latest::{Newest, Seen, latest};
use tidegate_online::{Load, Written};
use tidegate_schemas::error::ErrorKind;
use tidegate_schemas::time::Micros;
use tokio::sync::mpsc;

use super::decide::Work;
use super::rows::Observations;
use super::run::{Job, Reports, send};
use super::windows::{blocking, events};
use crate::service::{Error, MaterializeProgress, Result};
use crate::shutdown::Registration;

/// Batches between the threads.
const BATCHES_AHEAD: usize = 4;

/// How often a report is sent.
const REPORT_EVERY: Duration = Duration::from_millis(200);

/// What the loading thread gets. Without a word that this was all, nothing is put in place.
enum Step {
    /// Observations that one version of the table added.
    Added(i64, Box<Observations>),
    All,
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
        let load = load.until(now);
        let target = work.target();
        report.to_version = target;
        let (already, seen) = (report.rows_read, Arc::new(Seen::default()));
        let (steps, taken) = mpsc::channel(BATCHES_AHEAD);
        let loading = self.start_loading(load, taken, target);
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
        // With nothing to feed it the thread ends; what it holds is free once it is waited for.
        let loaded = loading.await.map_err(|error| Error::internal("a refresh panicked").with_source(error))?;
        fed?;
        let (loaded, skipped) = (loaded?, seen.skipped.load(Relaxed));
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

    /// Finds the newest rows and hands them to the loading thread; a thread that has failed says why itself.
    async fn feed(&self, work: &Work, now: Micros, steps: mpsc::Sender<Step>, seen: &Arc<Seen>) -> Result<()> {
        let (found, mut newest) = mpsc::channel::<Newest>(BATCHES_AHEAD);
        let search = {
            let (plans, snapshot, files) = (self.plans.clone(), work.snapshot.clone(), work.files.clone());
            let (spec, seen, on) = (self.columns.latest(now, true), seen.clone(), self.plans.clone());
            async move { on.run(async move { latest(&plans, &snapshot, &files, &spec, found, &seen).await }).await }
        };
        let convert = async {
            while let Some(Newest { version, batch }) = newest.recv().await {
                let observations = Box::new(self.columns.read(&batch)?);
                if steps.send(Step::Added(version, observations)).await.is_err() {
                    break;
                }
            }
            drop(newest);
            Ok::<(), Error>(())
        };
        let (search, converted) = tokio::join!(search, convert);
        search?;
        converted?;
        let _ = steps.send(Step::All).await;
        Ok(())
    }

    /// Reads all events and hands them to the loading thread.
    async fn feed_events(&self, work: &Work, steps: mpsc::Sender<Step>, seen: &Arc<Seen>) -> Result<()> {
        let added = |version, events| Step::Added(version, Box::new(events));
        events(&work.snapshot, &work.files, &self.columns, seen, added, &steps).await?;
        let _ = steps.send(Step::All).await;
        Ok(())
    }

    /// Loads what comes, and puts it in place once all has come.
    fn start_loading(
        &self,
        mut load: Load,
        mut steps: mpsc::Receiver<Step>,
        target: i64,
    ) -> tokio::task::JoinHandle<Result<Written>> {
        let (store, clock) = (self.store.clone(), self.clock.clone());
        tokio::task::spawn_blocking(move || {
            loop {
                let (version, observations) = match steps.blocking_recv() {
                    Some(Step::Added(version, observations)) => (version, observations),
                    Some(Step::All) => return Ok(store.finish_full(load, target, clock.now())?),
                    None => return Err(Error::new(ErrorKind::Cancelled, "the refresh was given up")),
                };
                load.add(observations.added(version))?;
            }
        })
    }
}
