//! Moving features from the offline tier to the online tier, and how far they have come.

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use tidegate_proto::materialize::v1;
use tidegate_proto::materialize::v1::materialize_progress::Phase;
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
    /// Rebuilt from the whole table.
    pub full: bool,
    /// With `done`: a token of everything written so far, for a lookup's `after_write`.
    pub write_token: String,
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
    /// A materialization stopped half way and will resume.
    pub in_progress: bool,
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

    /// Brings views (none named: all online ones) up to their tables' versions. Dropping the stream stops the work at the
    /// next batch; a later call resumes it.
    ///
    /// # Errors
    /// Unknown views; the stream ends with whatever stopped the work.
    pub async fn materialize(&self, views: &[String], full: bool) -> Result<BoxStream<'static, Result<Progress>>> {
        let request = v1::MaterializeRequest { project: self.project()?.to_owned(), views: views.to_vec(), full };
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
    Progress {
        done: wire.phase() == Phase::Done,
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
    ViewStatus {
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
