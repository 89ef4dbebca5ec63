//! Definitions: plan, apply, read, delete, history, rollback.

use tidegate_proto::convert;
use tidegate_proto::registry::v1;
use tidegate_proto::registry::v1::registry_service_client::RegistryServiceClient;
use tidegate_schemas::file::SourceFile;
use tidegate_schemas::plan::Change;
use tidegate_schemas::problem::Problem;
use tidegate_schemas::time::Micros;
use tonic::transport::Channel;

use crate::connect::{Client, MESSAGE_BYTES_MAX};
use crate::error::Result;

/// What applying files would do.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The project that the files name.
    pub project: String,
    /// The version the plan was made against; 0 for a new project.
    pub base_version: u64,
    /// The definitions that would change.
    pub changes: Vec<Change>,
    /// What is wrong with the files; then there are no changes.
    pub problems: Vec<Problem>,
    /// SHA-256 of the definitions the plan leads to.
    pub target_digest: String,
    /// What is worth knowing and stops nothing.
    pub warnings: Vec<String>,
}

/// Definitions to apply.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Apply {
    /// The definition files.
    pub files: Vec<SourceFile>,
    /// Also remove what the files do not mention.
    pub prune: bool,
    /// The version that was planned against; `None` applies to whatever is there.
    pub base_version: Option<u64>,
    /// Refuse unless the definitions lead to this digest; empty: do not check.
    pub expected_digest: String,
    /// Apply although readers break.
    pub allow_breaking: bool,
}

/// A new version.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The project.
    pub project: String,
    /// The newest version; unchanged when there was nothing to change.
    pub version: u64,
    /// What changed.
    pub changes: Vec<Change>,
    /// What is wrong with the files; then nothing was applied.
    pub problems: Vec<Problem>,
}

/// A definition as text, with what is known beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// `entity`, `source`, `feature_view` or `feature_service`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// As a definition file of version 1.
    pub yaml: String,
    /// One sentence on what it is.
    pub description: String,
    /// Who answers for it.
    pub owner: String,
    /// What depends on it, as `feature_service/late_arrival`.
    pub dependents: Vec<String>,
    /// Names and values, such as `table version` or `materialized at`.
    pub facts: Vec<(String, String)>,
}

/// One version of a project's definitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Its number.
    pub version: u64,
    /// When, in UTC microseconds.
    pub created_at: Micros,
    /// By whom.
    pub principal: String,
    /// Why, such as `apply` or `rollback to 3`.
    pub cause: String,
    /// One line for each change.
    pub changes: Vec<String>,
}

impl Client {
    fn registry(&self) -> RegistryServiceClient<Channel> {
        RegistryServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Checks files and compares them with the registry; changes nothing. Problems of the files are in the reply.
    ///
    /// # Errors
    /// The server can't be reached or can't plan.
    pub async fn plan(&self, files: &[SourceFile], prune: bool) -> Result<Plan> {
        let request = v1::PlanRequest { files: to_wire(files), prune };
        let reply = self.registry().plan(request).await.map_err(|status| self.failed(&status))?.into_inner();
        Ok(Plan {
            project: reply.project,
            base_version: reply.base_version,
            changes: changes(reply.changes)?,
            problems: reply.problems.into_iter().map(convert::problem).collect(),
            target_digest: reply.target_digest,
            warnings: reply.warnings,
        })
    }

    /// Makes files' definitions the next version.
    ///
    /// # Errors
    /// Of kind `Conflict` when another version came first, `Precondition` when readers would break and that is not allowed.
    pub async fn apply(&self, apply: &Apply) -> Result<Applied> {
        let request = v1::ApplyRequest {
            files: to_wire(&apply.files),
            prune: apply.prune,
            base_version: apply.base_version,
            expected_digest: apply.expected_digest.clone(),
            allow_breaking: apply.allow_breaking,
        };
        applied(self.registry().apply(request).await.map_err(|status| self.failed(&status))?.into_inner())
    }

    /// Definitions by kind and name; an empty text stands for all.
    ///
    /// # Errors
    /// Nothing of that kind and name.
    pub async fn get(&self, kind: &str, name: &str) -> Result<Vec<Definition>> {
        let project = self.project()?.to_owned();
        let request = v1::GetRequest { project, kind: kind.to_owned(), name: name.to_owned(), version: 0 };
        let reply = self.registry().get(request).await.map_err(|status| self.failed(&status))?.into_inner();
        Ok(reply.definitions.into_iter().map(definition).collect())
    }

    /// Removes one definition.
    ///
    /// # Errors
    /// Of kind `Precondition`, naming what still depends on it.
    pub async fn delete(&self, kind: &str, name: &str) -> Result<Applied> {
        let project = self.project()?.to_owned();
        let request = v1::DeleteRequest { project, kind: kind.to_owned(), name: name.to_owned() };
        applied(self.registry().delete(request).await.map_err(|status| self.failed(&status))?.into_inner())
    }

    /// All versions, newest first.
    ///
    /// # Errors
    /// The project does not exist.
    pub async fn history(&self) -> Result<Vec<Version>> {
        let request = v1::HistoryRequest { project: self.project()?.to_owned() };
        let reply = self.registry().history(request).await.map_err(|status| self.failed(&status))?.into_inner();
        let version = |wire: v1::Version| {
            let v1::Version { version, created_at, principal, cause, changes } = wire;
            Version { version, created_at, principal, cause, changes }
        };
        Ok(reply.versions.into_iter().map(version).collect())
    }

    /// Makes an old version's definitions the next version.
    ///
    /// # Errors
    /// No such version; readers would break and that is not allowed.
    pub async fn rollback(&self, to_version: u64, allow_breaking: bool) -> Result<Applied> {
        let request = v1::RollbackRequest { project: self.project()?.to_owned(), to_version, allow_breaking };
        applied(self.registry().rollback(request).await.map_err(|status| self.failed(&status))?.into_inner())
    }

    /// The projects there are.
    ///
    /// # Errors
    /// The server can't be reached.
    pub async fn list_projects(&self) -> Result<Vec<String>> {
        let request = v1::ListProjectsRequest {};
        let reply = self.registry().list_projects(request).await.map_err(|status| self.failed(&status))?;
        Ok(reply.into_inner().projects)
    }
}

fn to_wire(files: &[SourceFile]) -> Vec<v1::DefinitionFile> {
    files.iter().map(convert::source_file_to_wire).collect()
}

fn changes(wire: Vec<v1::Change>) -> Result<Vec<Change>> {
    Ok(wire.into_iter().map(convert::change).collect::<std::result::Result<_, _>>()?)
}

fn applied(wire: v1::ApplyResponse) -> Result<Applied> {
    Ok(Applied {
        project: wire.project,
        version: wire.version,
        changes: changes(wire.changes)?,
        problems: wire.problems.into_iter().map(convert::problem).collect(),
    })
}

fn definition(wire: v1::Definition) -> Definition {
    let v1::Definition { kind, name, yaml, description, owner, dependents, facts } = wire;
    let facts = facts.into_iter().map(|fact| (fact.name, fact.value)).collect();
    Definition { kind, name, yaml, description, owner, dependents, facts }
}
