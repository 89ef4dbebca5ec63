//! Backups, erasures, the end of views and rebuilding over gRPC.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, BooleanArray, Int64Array, StringArray};
use futures::stream::{BoxStream, StreamExt};
use tidegate_proto::lifecycle::v1::{self as wire, lifecycle_service_server::LifecycleService};
use tonic::{Request, Response, Status};

use crate::serve::error::status;
use crate::serve::meter::metered;
use crate::serve::principal;
use crate::service::{
    BackupProgress, BackupRequest, EraseProgress, EraseRequest, ErasedSource, ErasedView, Error, Manifest,
    RebuildProgress, Receipt, Retained, SealedLoss, Tidegate,
};

/// The door to the life of what a server keeps.
pub(super) struct LifecycleDoor {
    service: Arc<Tidegate>,
}

impl LifecycleDoor {
    pub(super) fn new(service: Arc<Tidegate>) -> Self {
        Self { service }
    }
}

#[tonic::async_trait]
impl LifecycleService for LifecycleDoor {
    type EraseStream = BoxStream<'static, Result<wire::EraseProgress, Status>>;

    async fn erase(&self, request: Request<wire::EraseRequest>) -> Result<Response<Self::EraseStream>, Status> {
        let caller = principal::of(&request)?;
        let wire::EraseRequest { project, entity, keys } = request.into_inner();
        let keys = keys.into_iter().map(key).collect::<Result<_, Error>>().map_err(status)?;
        let work = self.service.erase(&caller, EraseRequest { project, entity, keys });
        let steps = metered(&self.service, "grpc", "erase", work).await.map_err(status)?;
        Ok(Response::new(steps.map(|step| step.map(erase_progress).map_err(status)).boxed()))
    }

    async fn list_erasures(
        &self,
        request: Request<wire::ListErasuresRequest>,
    ) -> Result<Response<wire::ListErasuresResponse>, Status> {
        let caller = principal::of(&request)?;
        let project = request.into_inner().project;
        let answer = self.service.erasures(&caller, &project);
        let receipts = metered(&self.service, "grpc", "erasures", answer).await.map_err(status)?;
        Ok(Response::new(wire::ListErasuresResponse { receipts: receipts.into_iter().map(receipt).collect() }))
    }

    type BackupStream = BoxStream<'static, Result<wire::BackupProgress, Status>>;

    async fn backup(&self, request: Request<wire::BackupRequest>) -> Result<Response<Self::BackupStream>, Status> {
        let caller = principal::of(&request)?;
        let wire::BackupRequest { name, online_only } = request.into_inner();
        let work = self.service.backup(&caller, BackupRequest { name, online_only });
        let steps = metered(&self.service, "grpc", "backup", work).await.map_err(status)?;
        Ok(Response::new(steps.map(|step| step.map(backup_progress).map_err(status)).boxed()))
    }

    type RebuildStream = BoxStream<'static, Result<wire::RebuildProgress, Status>>;

    async fn rebuild(&self, request: Request<wire::RebuildRequest>) -> Result<Response<Self::RebuildStream>, Status> {
        let caller = principal::of(&request)?;
        let work = self.service.rebuild(&caller, request.into_inner().projects);
        let steps = metered(&self.service, "grpc", "rebuild", work).await.map_err(status)?;
        Ok(Response::new(steps.map(|step| step.map(rebuild_progress).map_err(status)).boxed()))
    }

    async fn drop_view(
        &self,
        request: Request<wire::DropViewRequest>,
    ) -> Result<Response<wire::DropViewResponse>, Status> {
        let caller = principal::of(&request)?;
        let wire::DropViewRequest { project, view } = request.into_inner();
        let work = self.service.drop_view(&caller, &project, &view);
        let done = metered(&self.service, "grpc", "drop_view", work).await.map_err(status)?;
        Ok(Response::new(wire::DropViewResponse { version: done.version, rows: done.rows, bytes: done.bytes }))
    }

    async fn retain(&self, request: Request<wire::RetainRequest>) -> Result<Response<wire::RetainResponse>, Status> {
        let caller = principal::of(&request)?;
        let wire::RetainRequest { project, views } = request.into_inner();
        let work = self.service.retain(&caller, &project, &views);
        let views = metered(&self.service, "grpc", "retain", work).await.map_err(status)?;
        let view = |Retained { view, cut, rows, bytes }: Retained| wire::RetainedView { view, cut, rows, bytes };
        Ok(Response::new(wire::RetainResponse { views: views.into_iter().map(view).collect() }))
    }
}

fn key(key: wire::Key) -> Result<(String, ArrayRef), Error> {
    use wire::key::Value;
    let values: ArrayRef = match key.value {
        Some(Value::BoolValue(value)) => Arc::new(BooleanArray::from(vec![value])),
        Some(Value::Int64Value(value)) => Arc::new(Int64Array::from(vec![value])),
        Some(Value::StringValue(value)) => Arc::new(StringArray::from(vec![value])),
        Some(Value::BytesValue(value)) => Arc::new(BinaryArray::from(vec![value.as_ref()])),
        None => return Err(Error::invalid(format!("key `{}` has no value", key.name))),
    };
    Ok((key.name, values))
}

fn erase_progress(step: EraseProgress) -> wire::EraseProgress {
    use wire::erase_progress::Report;
    let report = match step {
        EraseProgress::Step(what) => Report::Step(what),
        EraseProgress::Done(done) => Report::Receipt(receipt(*done)),
    };
    wire::EraseProgress { report: Some(report) }
}

fn receipt(receipt: Receipt) -> wire::Receipt {
    let view = |ErasedView { view, rows }: ErasedView| wire::ErasedView { view, rows };
    let loss = |SealedLoss { name, rows, why }: SealedLoss| wire::SealedLoss { name, rows, why };
    wire::Receipt {
        id: receipt.id,
        project: receipt.project,
        entity: receipt.entity,
        digest: receipt.digest,
        erased_at: receipt.erased_at,
        principal: receipt.principal,
        views: receipt.views.into_iter().map(view).collect(),
        tables: receipt.tables.into_iter().map(erased_table).collect(),
        refreshed: receipt.refreshed,
        spines: receipt.spines,
        sealed: receipt.sealed.into_iter().map(loss).collect(),
        left: receipt.left,
    }
}

fn erased_table(table: ErasedSource) -> wire::ErasedTable {
    let versions = |(first, last)| wire::Versions { first, last };
    wire::ErasedTable {
        source: table.source,
        version: table.version,
        rows: table.rows,
        files_rewritten: table.files_rewritten,
        files_deleted: table.files_deleted,
        commits_scrubbed: table.commits_scrubbed,
        versions_lost: table.versions_lost.into_iter().map(versions).collect(),
    }
}

fn backup_progress(step: BackupProgress) -> wire::BackupProgress {
    match step {
        BackupProgress::Copied { files, bytes } => wire::BackupProgress { files, bytes, ..Default::default() },
        BackupProgress::Done { path, manifest } => {
            let (files, bytes) = (manifest.files.len() as u64, manifest.bytes());
            let Manifest { views, tables, outside, .. } = *manifest;
            let view = |view: crate::service::BackedUpView| wire::ViewVersion {
                project: view.project,
                view: view.view,
                version: view.version,
            };
            let table = |table: crate::service::BackedUpTable| wire::TableVersion {
                project: table.project,
                source: table.source,
                version: table.version,
            };
            wire::BackupProgress {
                files,
                bytes,
                done: true,
                path: path.display().to_string(),
                views: views.into_iter().map(view).collect(),
                tables: tables.into_iter().map(table).collect(),
                outside,
            }
        }
    }
}

fn rebuild_progress(step: RebuildProgress) -> wire::RebuildProgress {
    let RebuildProgress { project, view, nth, views, progress, failed } = step;
    let start =
        wire::RebuildProgress { project, view, nth, views, failed: failed.unwrap_or_default(), ..Default::default() };
    match progress {
        None => start,
        Some(progress) => wire::RebuildProgress {
            rows_read: progress.rows_read,
            rows_total: progress.rows_total,
            rows_written: progress.rows_written,
            version: progress.to_version,
            done: progress.is_done(),
            ..start
        },
    }
}
