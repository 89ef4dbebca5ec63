//! The folder of jobs: one file for each, replaced as a whole when the job moves on.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{Job, record};

const ENDING: &str = "json";

#[derive(Debug)]
pub(super) struct JobFiles {
    folder: PathBuf,
}

impl JobFiles {
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// All jobs that can be read. What can't is told and left where it is.
    pub(super) fn load(&self) -> io::Result<Vec<Job>> {
        let mut jobs = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_none_or(|ending| ending != ENDING) {
                continue;
            }
            match fs::read(&path).map_err(|error| error.to_string()).and_then(|bytes| record::decode(&bytes)) {
                Ok(job) => jobs.push(job),
                Err(why) => tracing::warn!(file = %path.display(), why, "a job's record can't be read; it is left out"),
            }
        }
        Ok(jobs)
    }

    /// Written beside and moved into place, so that a crash leaves the old one or the new one.
    pub(super) fn save(&self, job: &Job) -> io::Result<()> {
        let path = self.path(job.id);
        let half = path.with_extension("half");
        let mut file = fs::File::create(&half)?;
        file.write_all(&record::encode(job))?;
        file.sync_data()?;
        fs::rename(&half, &path)
    }

    pub(super) fn remove(&self, id: u64) {
        let path = self.path(id);
        if let Err(error) = fs::remove_file(&path) {
            tracing::debug!(file = %path.display(), %error, "a job's record stays behind");
        }
    }

    /// Names sort as ids do.
    fn path(&self, id: u64) -> PathBuf {
        self.folder.join(format!("{id:020}.{ENDING}"))
    }
}
