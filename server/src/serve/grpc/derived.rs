//! Rows that are computed from others, over gRPC.

use std::sync::Arc;

use tidegate_proto::derived::v1::{self as wire, derived_service_server::DerivedService};
use tonic::{Request, Response, Status};

use crate::serve::error::status;
use crate::serve::meter::metered;
use crate::serve::principal;
use crate::service::{LineageStep, Place, SourceRefreshed, Tidegate};

/// The door to the tables of queries.
pub(super) struct DerivedDoor {
    service: Arc<Tidegate>,
}

impl DerivedDoor {
    pub(super) fn new(service: Arc<Tidegate>) -> Self {
        Self { service }
    }
}

#[tonic::async_trait]
impl DerivedService for DerivedDoor {
    async fn refresh(&self, request: Request<wire::RefreshRequest>) -> Result<Response<wire::RefreshResponse>, Status> {
        let caller = principal::of(&request)?;
        let wire::RefreshRequest { project, name, full } = request.into_inner();
        let work = self.service.refresh(&caller, &project, &name, full);
        let sources = metered(&self.service, "grpc", "refresh", work).await.map_err(status)?;
        Ok(Response::new(wire::RefreshResponse { sources: sources.into_iter().map(refreshed).collect() }))
    }

    async fn lineage(&self, request: Request<wire::LineageRequest>) -> Result<Response<wire::LineageResponse>, Status> {
        let caller = principal::of(&request)?;
        let wire::LineageRequest { project, view } = request.into_inner();
        let work = self.service.lineage(&caller, &project, &view);
        let steps = metered(&self.service, "grpc", "lineage", work).await.map_err(status)?;
        Ok(Response::new(wire::LineageResponse { steps: steps.into_iter().map(step).collect() }))
    }
}

fn refreshed(SourceRefreshed { source, refreshed }: SourceRefreshed) -> wire::Refreshed {
    let input = |(name, version): (String, i64)| wire::InputVersion { name, version };
    wire::Refreshed {
        source,
        version: refreshed.version,
        changed: refreshed.changed,
        full: refreshed.full,
        rows: refreshed.rows,
        inputs: refreshed.inputs.into_iter().map(input).collect(),
    }
}

fn step(LineageStep { to, from, by }: LineageStep) -> wire::Step {
    wire::Step { to: Some(place(to)), from: from.into_iter().map(place).collect(), by }
}

fn place(Place { kind, name, column }: Place) -> wire::Place {
    wire::Place { kind: kind.to_string(), name, column }
}
