//! Tables on disk over gRPC.

use std::sync::Arc;

use tidegate_proto::table::v1::{self as wire, table_service_server::TableService};
use tonic::{Request, Response, Status};

use crate::serve::error::status;
use crate::serve::meter::metered;
use crate::serve::principal;
use crate::service::Tidegate;

/// The door to how tables lie.
pub(super) struct TableDoor {
    service: Arc<Tidegate>,
}

impl TableDoor {
    pub(super) fn new(service: Arc<Tidegate>) -> Self {
        Self { service }
    }
}

#[tonic::async_trait]
impl TableService for TableDoor {
    async fn compact(&self, request: Request<wire::CompactRequest>) -> Result<Response<wire::CompactResponse>, Status> {
        let caller = principal::of(&request)?;
        let wire::CompactRequest { project, name } = request.into_inner();
        let work = self.service.compact_table(&caller, &project, &name);
        let (source, done) = metered(&self.service, "grpc", "compact", work).await.map_err(status)?;
        Ok(Response::new(wire::CompactResponse {
            source,
            version: done.version,
            files_before: done.files_before,
            files_after: done.files_after,
            rows: done.rows,
            bytes_before: done.bytes_before,
            bytes_after: done.bytes_after,
        }))
    }

    async fn vacuum(&self, request: Request<wire::VacuumRequest>) -> Result<Response<wire::VacuumResponse>, Status> {
        let caller = principal::of(&request)?;
        let wire::VacuumRequest { project, name, older_than, dry_run } = request.into_inner();
        let work = self.service.vacuum_table(&caller, &project, &name, older_than, dry_run);
        let (source, done, kept) = metered(&self.service, "grpc", "vacuum", work).await.map_err(status)?;
        Ok(Response::new(wire::VacuumResponse {
            source,
            version: done.version,
            files: done.files,
            bytes: done.bytes,
            sealed_versions: kept.into_iter().collect(),
        }))
    }

    async fn stats(&self, request: Request<wire::StatsRequest>) -> Result<Response<wire::StatsResponse>, Status> {
        let caller = principal::of(&request)?;
        let wire::StatsRequest { project, name } = request.into_inner();
        let work = self.service.table_stats(&caller, &project, &name);
        let (source, stats) = metered(&self.service, "grpc", "table_stats", work).await.map_err(status)?;
        let overlaps = stats.overlaps.into_iter().map(|it| wire::ColumnOverlap {
            column: it.column,
            files: it.files,
            files_unknown: it.files_unknown,
        });
        Ok(Response::new(wire::StatsResponse {
            source,
            version: stats.version,
            files: stats.files,
            files_compacted: stats.files_compacted,
            runs: stats.runs,
            rows: stats.rows,
            bytes: stats.bytes,
            rows_deleted: stats.rows_deleted,
            overlaps: overlaps.collect(),
        }))
    }
}
