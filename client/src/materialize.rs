//! Moving features from the offline tier to the online tier, and how far they have come.

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use tidegate_proto::materialize::v1;
use tidegate_proto::materialize::v1::materialize_progress::Phase as WirePhase;
use tidegate_proto::materialize::v1::materialize_service_client::MaterializeServiceClient;
use tidegate_schemas::time::Micros;
use tonic::transport::Channel;

use crate::connect::Client;
use crate::error::Result;

/// How far the materialization of one view is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The view.
    pub view: String,
    /// Whether it has arrived; the last message of each view.
    pub done: bool,
    /// Where its job is.
    pub phase: Phase,
    /// The job, for [`Client::job`] and the like.
    pub job: u64,
    /// Whether this call started the job; one that it joined is not stopped when the call ends.
    pub started: bool,
    /// The cursor before the call.
    pub from_version: Option<i64>,
    /// The table version being reached.
    pub to_version: i64,
    /// Rows read so far.
    pub rows_read: u64,
    /// An estimate of the rows to read, where there is one.
    pub rows_total: Option<u64>,
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
    /// Rebuilt from the whole table.
    pub full: bool,
    /// With `done`: a token of everything written so far, for a lookup's `after_write`.
    pub write_token: String,
}

impl Progress {
    /// Whether there was nothing to do.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        self.done && !self.full && self.from_version == Some(self.to_version)
    }
}

/// Where the job of a view is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// It waits for another job, or for a place.
    Queued,
    /// It reads and writes.
    Running,
    /// It failed and is tried again after a while; why.
    Retrying(String),
    /// The view is at its table's newest version.
    Done,
}

/// How a materialization is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Rebuild from the whole table.
    pub full: bool,
    /// Do not wait: the stream ends after one message for each view, which names its job. The jobs go on, and are tried again when
    /// they fail.
    pub detach: bool,
}

/// How far a view's online tier has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewStatus {
    /// The view.
    pub view: String,
    /// The table version reached.
    pub cursor: Option<i64>,
    /// The table's current version.
    pub table_version: Option<i64>,
    /// When the last materialization completed, in UTC microseconds.
    pub materialized_at: Option<Micros>,
    /// Counts the full refreshes.
    pub epoch: u32,
    /// A materialization stopped half way. The next one goes on where an increment stopped; a rebuild begins anew.
    pub in_progress: bool,
    /// Versions of the table that changed rows and are not served yet; absent where the table has no history.
    pub versions_behind: Option<u64>,
    /// Microseconds since the oldest of them was committed; absent where that is not known.
    pub behind: Option<Micros>,
    /// How far behind the view may be.
    pub freshness: Option<Micros>,
    /// Whether it is within that.
    pub fresh: Option<bool>,
    /// When it is materialized by itself; empty when never.
    pub schedule: String,
    /// The job that waits or runs.
    pub job: Option<u64>,
}

/// How one view compares with its table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewParity {
    /// The view.
    pub view: String,
    /// The table version compared with: the one materialized.
    pub version: i64,
    /// Keys whose times and values are equal.
    pub equal: u64,
    /// Keys with other times or values.
    pub different: u64,
    /// Keys in the table that are not served.
    pub missing: u64,
    /// Keys served that are not in the table.
    pub extra: u64,
    /// Keys with a push that the table does not have yet; counted apart.
    pub ahead: u64,
    /// Some of the differences: a key, and what is wrong with it.
    pub examples: Vec<(String, String)>,
}

impl ViewParity {
    /// Whether every key that no push is ahead of is as in the table.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.different + self.missing + self.extra == 0
    }
}

impl Client {
    fn materializer(&self) -> MaterializeServiceClient<Channel> {
        MaterializeServiceClient::new(self.channel.clone())
    }

    /// Brings views (none named: all online ones) up to their tables' versions: starts a job for each, or joins the one there is.
    /// Dropping the stream stops the jobs that it started at their next batch. A later call goes on where an increment stopped; a
    /// rebuild from the whole table begins anew.
    ///
    /// # Errors
    /// Unknown views; the stream ends with whatever stopped the work.
    pub async fn materialize(&self, views: &[String], full: bool) -> Result<BoxStream<'static, Result<Progress>>> {
        self.materialize_with(views, Options { full, ..Options::default() }).await
    }

    /// As [`Client::materialize`], with options.
    ///
    /// # Errors
    /// Unknown views; the stream ends with the first failure, after all jobs have ended.
    pub async fn materialize_with(
        &self,
        views: &[String],
        options: Options,
    ) -> Result<BoxStream<'static, Result<Progress>>> {
        let Options { full, detach } = options;
        let request =
            v1::MaterializeRequest { project: self.project()?.to_owned(), views: views.to_vec(), full, detach };
        let reply = self.materializer().materialize(request).await.map_err(|status| self.failed(&status))?;
        let client = self.clone();
        let progress = reply.into_inner().map_ok(progress).map_err(move |status| client.failed(&status));
        Ok(progress.boxed())
    }

    /// Compares every row that lookups of views (none named: all online ones) see with the table, one report for each view.
    ///
    /// # Errors
    /// Unknown views; a view that was never materialized, or whose table no longer has the version that was.
    pub async fn parity(&self, views: &[String]) -> Result<BoxStream<'static, Result<ViewParity>>> {
        let request = v1::ParityRequest { project: self.project()?.to_owned(), views: views.to_vec() };
        let reply = self.materializer().parity(request).await.map_err(|status| self.failed(&status))?;
        let client = self.clone();
        Ok(reply.into_inner().map_ok(view_parity).map_err(move |status| client.failed(&status)).boxed())
    }

    /// How far views (none named: all online ones) have come.
    ///
    /// # Errors
    /// Unknown views.
    pub async fn materialize_status(&self, views: &[String]) -> Result<Vec<ViewStatus>> {
        let request = v1::StatusRequest { project: self.project()?.to_owned(), views: views.to_vec() };
        let reply = self.materializer().status(request).await.map_err(|status| self.failed(&status))?;
        Ok(reply.into_inner().views.into_iter().map(view_status).collect())
    }
}

fn progress(wire: v1::MaterializeProgress) -> Progress {
    let phase = match wire.phase() {
        WirePhase::Queued => Phase::Queued,
        WirePhase::Retrying => Phase::Retrying(wire.problem),
        WirePhase::Done => Phase::Done,
        WirePhase::Running | WirePhase::Unspecified => Phase::Running,
    };
    Progress {
        done: phase == Phase::Done,
        phase,
        job: wire.job,
        started: wire.started,
        rows_corrected: wire.rows_corrected,
        bytes_read: wire.bytes_read,
        bytes_total: wire.bytes_total,
        view: wire.view,
        from_version: version(wire.from_version),
        to_version: wire.to_version,
        rows_read: wire.rows_read,
        rows_total: Some(wire.rows_total).filter(|rows| *rows > 0),
        rows_written: wire.rows_written,
        rows_skipped: wire.rows_skipped,
        write_token: wire.write_token,
        full: wire.full,
    }
}

fn view_parity(wire: v1::ViewParity) -> ViewParity {
    ViewParity {
        view: wire.view,
        version: wire.version,
        equal: wire.equal,
        different: wire.different,
        missing: wire.missing,
        extra: wire.extra,
        ahead: wire.ahead,
        examples: wire.examples.into_iter().map(|mismatch| (mismatch.key, mismatch.what)).collect(),
    }
}

fn view_status(wire: v1::ViewStatus) -> ViewStatus {
    use v1::view_status::Objective;
    ViewStatus {
        fresh: match wire.objective() {
            Objective::Met => Some(true),
            Objective::Missed => Some(false),
            Objective::Unspecified => None,
        },
        versions_behind: u64::try_from(wire.versions_behind).ok(),
        behind: Some(wire.behind).filter(|behind| *behind >= 0),
        freshness: Some(wire.freshness).filter(|freshness| *freshness > 0),
        schedule: wire.schedule,
        job: Some(wire.job).filter(|job| *job != 0),
        view: wire.view,
        cursor: version(wire.cursor),
        table_version: version(wire.table_version),
        materialized_at: Some(wire.materialized_at).filter(|at| *at != 0),
        epoch: wire.epoch,
        in_progress: wire.in_progress,
    }
}

/// Versions start at zero; the wire writes -1 for none.
fn version(wire: i64) -> Option<i64> {
    (wire >= 0).then_some(wire)
}
