//! Materialization over gRPC: progress as a stream, whose end is the work's end and whose cancellation lets go of the jobs.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt};
use tidegate_proto::materialize::v1::{self as wire, materialize_service_server::MaterializeService};
use tonic::{Request, Response, Status};

use crate::serve::error::{panicked, status};
use crate::serve::meter::metered;
use crate::serve::principal;
use crate::service::{
    Error, MaterializeProgress, MaterializeRequest, Mismatch, Parity, Phase, Tidegate, ViewParity, ViewStatus,
};

/// What the wire says where there is no version.
const NO_VERSION: i64 = -1;

/// What the wire says where a length of time or a number of versions is not known.
const UNKNOWN: i64 = -1;

/// The materialization door.
pub(super) struct MaterializeDoor {
    service: Arc<Tidegate>,
}

impl MaterializeDoor {
    pub(super) fn new(service: Arc<Tidegate>) -> Self {
        Self { service }
    }
}

#[tonic::async_trait]
impl MaterializeService for MaterializeDoor {
    type MaterializeStream = BoxStream<'static, Result<wire::MaterializeProgress, Status>>;

    async fn materialize(
        &self,
        request: Request<wire::MaterializeRequest>,
    ) -> Result<Response<Self::MaterializeStream>, Status> {
        let caller = principal::of(&request)?;
        let wire::MaterializeRequest { project, views, full, detach } = request.into_inner();
        let work = self.service.materialize(&caller, MaterializeRequest { project, views, full, detach });
        let steps = metered(&self.service, "grpc", "materialize", work).await.map_err(status)?;
        let steps = AssertUnwindSafe(steps).catch_unwind().map(|step| match step {
            Ok(step) => step.map(progress).map_err(status),
            Err(panic) => Err(status(Error::internal(format!("materialization failed: {}", panicked(&*panic))))),
        });
        Ok(Response::new(steps.boxed()))
    }

    type ParityStream = BoxStream<'static, Result<wire::ViewParity, Status>>;

    async fn parity(&self, request: Request<wire::ParityRequest>) -> Result<Response<Self::ParityStream>, Status> {
        let caller = principal::of(&request)?;
        let wire::ParityRequest { project, views } = request.into_inner();
        let work = self.service.parity(&caller, &project, &views);
        let reports = metered(&self.service, "grpc", "parity", work).await.map_err(status)?;
        Ok(Response::new(reports.map(|report| report.map(view_parity).map_err(status)).boxed()))
    }

    async fn status(&self, request: Request<wire::StatusRequest>) -> Result<Response<wire::StatusResponse>, Status> {
        let caller = principal::of(&request)?;
        let wire::StatusRequest { project, views } = request.into_inner();
        let answer = self.service.materialize_status(&caller, &project, &views);
        let views = metered(&self.service, "grpc", "materialize_status", answer).await.map_err(status)?;
        Ok(Response::new(wire::StatusResponse { views: views.into_iter().map(view_status).collect() }))
    }
}

fn progress(step: MaterializeProgress) -> wire::MaterializeProgress {
    use wire::materialize_progress::Phase as Wire;
    let (phase, problem) = match step.phase {
        Phase::Queued => (Wire::Queued, String::new()),
        Phase::Running => (Wire::Running, String::new()),
        Phase::Retrying { problem } => (Wire::Retrying, problem),
        Phase::Done => (Wire::Done, String::new()),
    };
    wire::MaterializeProgress {
        view: step.view,
        phase: phase.into(),
        from_version: step.from_version.unwrap_or(NO_VERSION),
        to_version: step.to_version,
        rows_read: step.rows_read,
        rows_total: step.rows_total,
        rows_written: step.rows_written,
        rows_skipped: step.rows_skipped,
        full: step.full,
        write_token: step.write_token,
        job: step.job,
        started: step.started,
        bytes_total: step.bytes_total,
        bytes_read: step.bytes_read,
        rows_corrected: step.rows_corrected,
        problem,
    }
}

fn view_parity(ViewParity { view, version, parity }: ViewParity) -> wire::ViewParity {
    let Parity { equal, different, missing, extra, ahead, examples } = parity;
    let mismatch = |Mismatch { key, what }: Mismatch| wire::Mismatch { key, what };
    let examples = examples.into_iter().map(mismatch).collect();
    wire::ViewParity { view, version, equal, different, missing, extra, ahead, examples }
}

fn view_status(view: ViewStatus) -> wire::ViewStatus {
    use wire::view_status::Objective;
    let objective = match view.freshness.is_met() {
        None => Objective::Unspecified,
        Some(true) => Objective::Met,
        Some(false) => Objective::Missed,
    };
    wire::ViewStatus {
        view: view.view,
        cursor: view.cursor.unwrap_or(NO_VERSION),
        table_version: view.table_version.unwrap_or(NO_VERSION),
        materialized_at: view.materialized_at.unwrap_or(0),
        epoch: view.epoch,
        in_progress: view.in_progress,
        versions_behind: view
            .freshness
            .versions
            .map_or(UNKNOWN, |versions| i64::try_from(versions).unwrap_or(i64::MAX)),
        behind: view.freshness.behind.unwrap_or(UNKNOWN),
        freshness: view.freshness.objective.unwrap_or(0),
        objective: objective.into(),
        schedule: view.schedule,
        job: view.job.unwrap_or(0),
    }
}
