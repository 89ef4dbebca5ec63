//! Definitions over gRPC.

use std::sync::Arc;

use tidegate_proto::convert;
use tidegate_proto::registry::v1::{self as wire, registry_service_server::RegistryService};
use tonic::{Request, Response, Status};

use crate::serve::error::status;
use crate::serve::meter::metered;
use crate::serve::principal;
use crate::service::{Applied, ApplyRequest, Definition, GetRequest, PlanOutcome, Result, Tidegate, VersionInfo};

type Reply<T> = std::result::Result<Response<T>, Status>;

/// The registry door.
pub(super) struct RegistryDoor {
    service: Arc<Tidegate>,
}

impl RegistryDoor {
    pub(super) fn new(service: Arc<Tidegate>) -> Self {
        Self { service }
    }

    async fn answer<T>(&self, method: &'static str, call: impl Future<Output = Result<T>>) -> Reply<T> {
        metered(&self.service, "grpc", method, call).await.map(Response::new).map_err(status)
    }
}

#[tonic::async_trait]
impl RegistryService for RegistryDoor {
    async fn plan(&self, request: Request<wire::PlanRequest>) -> Reply<wire::PlanResponse> {
        let caller = principal::of(&request)?;
        let message = request.into_inner();
        let files: Vec<_> = message.files.into_iter().map(convert::source_file).collect();
        let plan = async { self.service.plan(&caller, &files, message.prune).await.map(plan_response) };
        self.answer("plan", plan).await
    }

    async fn apply(&self, request: Request<wire::ApplyRequest>) -> Reply<wire::ApplyResponse> {
        let caller = principal::of(&request)?;
        let message = request.into_inner();
        let request = ApplyRequest {
            files: message.files.into_iter().map(convert::source_file).collect(),
            prune: message.prune,
            base_version: message.base_version,
            expected_digest: message.expected_digest,
            allow_breaking: message.allow_breaking,
        };
        self.answer("apply", async { self.service.apply(&caller, request).await.map(apply_response) }).await
    }

    async fn get(&self, request: Request<wire::GetRequest>) -> Reply<wire::GetResponse> {
        let caller = principal::of(&request)?;
        let wire::GetRequest { project, kind, name, version } = request.into_inner();
        let request = GetRequest { project, kind, name, version };
        let get = async {
            let found = self.service.get(&caller, &request).await?;
            let definitions = found.definitions.into_iter().map(definition).collect();
            Ok(wire::GetResponse { version: found.version, definitions })
        };
        self.answer("get", get).await
    }

    async fn delete(&self, request: Request<wire::DeleteRequest>) -> Reply<wire::ApplyResponse> {
        let caller = principal::of(&request)?;
        let wire::DeleteRequest { project, kind, name } = request.into_inner();
        let delete = async { self.service.delete(&caller, &project, &kind, &name).await.map(apply_response) };
        self.answer("delete", delete).await
    }

    async fn history(&self, request: Request<wire::HistoryRequest>) -> Reply<wire::HistoryResponse> {
        let caller = principal::of(&request)?;
        let project = request.into_inner().project;
        let history = async {
            let versions = self.service.history(&caller, &project).await?;
            Ok(wire::HistoryResponse { versions: versions.into_iter().map(version).collect() })
        };
        self.answer("history", history).await
    }

    async fn rollback(&self, request: Request<wire::RollbackRequest>) -> Reply<wire::ApplyResponse> {
        let caller = principal::of(&request)?;
        let wire::RollbackRequest { project, to_version, allow_breaking } = request.into_inner();
        let rollback =
            async { self.service.rollback(&caller, &project, to_version, allow_breaking).await.map(apply_response) };
        self.answer("rollback", rollback).await
    }

    async fn list_projects(&self, request: Request<wire::ListProjectsRequest>) -> Reply<wire::ListProjectsResponse> {
        let caller = principal::of(&request)?;
        let list = async {
            let projects = self.service.list_projects(&caller).await?;
            Ok(wire::ListProjectsResponse { projects })
        };
        self.answer("list_projects", list).await
    }
}

fn plan_response(plan: PlanOutcome) -> wire::PlanResponse {
    wire::PlanResponse {
        project: plan.project,
        base_version: plan.base_version,
        changes: plan.changes.iter().map(convert::change_to_wire).collect(),
        problems: plan.problems.iter().map(convert::problem_to_wire).collect(),
        target_digest: plan.target_digest,
        warnings: plan.warnings,
    }
}

fn apply_response(applied: Applied) -> wire::ApplyResponse {
    wire::ApplyResponse {
        project: applied.project,
        version: applied.version,
        changes: applied.changes.iter().map(convert::change_to_wire).collect(),
        problems: Vec::new(),
    }
}

fn definition(definition: Definition) -> wire::Definition {
    wire::Definition {
        kind: definition.kind,
        name: definition.name,
        yaml: definition.yaml,
        description: definition.description,
        owner: definition.owner,
        dependents: definition.dependents,
        facts: definition.facts.into_iter().map(|(name, value)| wire::Fact { name, value }).collect(),
    }
}

fn version(info: VersionInfo) -> wire::Version {
    wire::Version {
        version: info.version,
        created_at: info.created_at,
        principal: info.principal,
        cause: info.cause,
        changes: info.changes,
    }
}
