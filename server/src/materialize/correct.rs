//! The end of an increment in which rows were removed or changed: their keys are put right, and the cursor moves with the last of them.
//!
//! ```text
//! plan threads       keys and times of all files → winners among the keys → their payload
//! a blocking thread  so many rows at a time → the store, with the progress, or with the cursor
//! ```

use std::sync::Arc;

use tidegate_offline::latest::{Keys, Newest, Seen, latest_of};
use tidegate_online::{Commit, Corrected, Corrections, Rows};
use tokio::sync::mpsc;

use super::decide::Work;
use super::rows::{KeyColumns, Observations};
use super::run::Job;
use crate::error::{Error, Result};

/// Batches between the threads.
const BATCHES_AHEAD: usize = 4;

/// What is committed with the rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Commits {
    /// With each write but the last.
    pub(super) progress: Commit,
    /// With the last.
    pub(super) last: Commit,
}

/// What is written together.
#[derive(Default)]
struct Chunk {
    /// Newest rows by the version that added them.
    rows: Vec<(i64, Observations)>,
    gone: Option<KeyColumns>,
}

impl Chunk {
    fn len(&self) -> usize {
        self.rows.iter().map(|(_, rows)| rows.event.len()).sum()
    }
}

impl Job {
    /// Puts keys right. `goes_on` is asked between writes, and its error ends it there.
    pub(super) async fn correct(
        &self,
        work: &Work,
        keys: Keys,
        commits: Commits,
        goes_on: impl Fn() -> Result<()>,
    ) -> Result<Corrected> {
        let Commits { progress, last } = commits;
        let goes_on = &goes_on;
        let (found, newest) = mpsc::channel::<Newest>(BATCHES_AHEAD);
        let search = {
            let (plans, snapshot, spec) =
                (self.plans.clone(), work.snapshot.clone(), self.columns.latest(self.clock.now(), false));
            let on = self.plans.clone();
            let keys = Arc::new(keys);
            async move {
                let search = async move {
                    latest_of(&plans, &snapshot, &spec, &keys, found, &Arc::new(Seen::default())).await?;
                    keys.gone()
                };
                on.run(search).await
            }
        };
        let write = async move {
            let mut newest = newest;
            let (mut chunk, mut corrected) = (Chunk::default(), Corrected::default());
            while let Some(Newest { version, batch }) = newest.recv().await {
                if chunk.len() >= self.batch_rows {
                    let full = std::mem::take(&mut chunk);
                    corrected = sum(corrected, self.put_right(full, progress).await?);
                    goes_on()?;
                }
                chunk.rows.push((version, self.columns.read(&batch)?));
            }
            Ok::<_, Error>((chunk, corrected))
        };
        let (gone, written) = tokio::join!(search, write);
        let (gone, (mut chunk, mut corrected)) = (gone?, written?);
        for batch in &gone {
            if chunk.gone.is_some() {
                let full = std::mem::take(&mut chunk);
                corrected = sum(corrected, self.put_right(full, progress).await?);
                goes_on()?;
            }
            chunk.gone = Some(self.columns.keys_of(batch)?);
        }
        Ok(sum(corrected, self.put_right(chunk, last).await?))
    }

    async fn put_right(&self, chunk: Chunk, commit: Commit) -> Result<Corrected> {
        let (store, id) = (self.store.clone(), self.id);
        let written = tokio::task::spawn_blocking(move || {
            let rows: Vec<Rows<'_>> = chunk.rows.iter().map(|(version, rows)| rows.added(*version)).collect();
            let (gone, gone_count) =
                chunk.gone.as_ref().map_or((&[][..], 0), |keys| (keys.columns.as_slice(), keys.rows));
            store.correct(id, &Corrections { rows: &rows, gone, gone_count }, commit)
        });
        Ok(written.await.map_err(|error| Error::internal("a correction panicked").with_source(error))??)
    }
}

fn sum(a: Corrected, b: Corrected) -> Corrected {
    Corrected { replaced: a.replaced + b.replaced, deleted: a.deleted + b.deleted, kept: a.kept + b.kept }
}
