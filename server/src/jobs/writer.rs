//! Keeps the folder of jobs in step with the board, on a thread of its own: who moves a job on never waits for the disk.
//!
//! ```text
//! the board ──keep, forget──> what waits, one record for each job ──> files, all that waited before who asks to be told
//! ```
//! Of a job that moves on faster than the disk writes, only the newest record is written; so what waits has an end.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::Job;
use super::files::JobFiles;

/// The thread that writes, which ends with what waits when this is dropped.
#[derive(Debug)]
pub(super) struct Writer {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Desk {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Records to write; `None` where one is to go.
    records: BTreeMap<u64, Option<Job>>,
    /// Who wants to know that all of them are written.
    callers: Vec<oneshot::Sender<()>>,
    closing: bool,
}

impl Writer {
    /// # Errors
    /// The thread can't be started.
    pub(super) fn start(files: JobFiles) -> io::Result<Self> {
        let desk = Arc::new(Desk::default());
        let theirs = desk.clone();
        let thread = std::thread::Builder::new().name("jobs".to_owned()).spawn(move || theirs.write_all(&files))?;
        Ok(Self { desk, thread: Some(thread) })
    }

    /// Writes a job as it is now.
    pub(super) fn keep(&self, job: Job) {
        self.desk.tell(|waiting| {
            waiting.records.insert(job.id, Some(job));
        });
    }

    /// Deletes the record of a job.
    pub(super) fn forget(&self, id: u64) {
        self.desk.tell(|waiting| {
            waiting.records.insert(id, None);
        });
    }

    /// Resolves when everything is written that was handed over before, or could not be, which was logged.
    pub(super) fn written(&self) -> oneshot::Receiver<()> {
        let (caller, told) = oneshot::channel();
        self.desk.tell(|waiting| waiting.callers.push(caller));
        told
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.desk.tell(|waiting| waiting.closing = true);
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Desk {
    fn tell(&self, what: impl FnOnce(&mut Waiting)) {
        what(&mut self.waiting.lock());
        self.changed.notify_one();
    }

    fn write_all(&self, files: &JobFiles) {
        loop {
            let (records, callers) = {
                let mut waiting = self.waiting.lock();
                while waiting.is_empty() {
                    if waiting.closing {
                        return;
                    }
                    self.changed.wait(&mut waiting);
                }
                (std::mem::take(&mut waiting.records), std::mem::take(&mut waiting.callers))
            };
            for (id, record) in records {
                match record {
                    Some(job) => save(files, &job),
                    None => files.remove(id),
                }
            }
            for caller in callers {
                // Who went away need not know.
                let _ = caller.send(());
            }
        }
    }
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.callers.is_empty()
    }
}

/// The work goes on where its record can't be written.
fn save(files: &JobFiles, job: &Job) {
    if let Err(error) = files.save(job) {
        tracing::warn!(job = job.id, view = job.view, %error, "a job's record can't be written");
    }
}
