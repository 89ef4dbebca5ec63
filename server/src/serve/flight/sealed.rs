//! The rows of sealed training sets, their differences, and audits. Their tickets are the commands themselves.

use arrow::datatypes::SchemaRef;
use arrow_flight::Ticket;
use tidegate_proto::flight::{pack, v1};

use super::call::Call;
use super::command::Command;
use super::decode::{self, Messages};
use crate::service::{AuditRequest, Batches, Error, Result};

impl Call {
    /// The schema of a command of this module, and its ticket, which names a project.
    pub(super) async fn describe_sealed(&self, command: Command) -> Result<(SchemaRef, Ticket)> {
        let (service, principal) = (&self.service, &self.principal);
        match command {
            Command::SealedSet(mut message) => {
                message.project = self.project(&message.project).await?;
                let schema = service.sealed_schema(principal, &message.project, &message.name).await?;
                Ok((schema, Ticket { ticket: pack(&message) }))
            }
            Command::SealedDiff(mut message) => {
                message.project = self.project(&message.project).await?;
                let schema = service.sealed_diff_schema(principal, &message.project, &message.name).await?;
                Ok((schema, Ticket { ticket: pack(&message) }))
            }
            Command::Audit(mut message) => {
                self.audit_request(&mut message).await?;
                Ok((service.audit_schema(), Ticket { ticket: pack(&message) }))
            }
            _ => Err(not_here()),
        }
    }

    /// Runs a command of this module.
    pub(super) async fn get_sealed(&self, command: Command) -> Result<Batches> {
        let (service, principal) = (&self.service, &self.principal);
        match command {
            Command::SealedSet(message) => {
                let project = self.project(&message.project).await?;
                service.sealed_rows(principal, &project, &message.name).await
            }
            Command::SealedDiff(message) => {
                let project = self.project(&message.project).await?;
                let against = Some(message.against.as_str()).filter(|against| !against.is_empty());
                service.sealed_diff(principal, &project, &message.name, against).await
            }
            Command::Audit(mut message) => {
                let request = self.audit_request(&mut message).await?;
                service.audit(principal, &request).await
            }
            _ => Err(not_here()),
        }
    }

    /// The audit of rows that the client sends.
    pub(super) async fn audit_exchange(&self, mut message: v1::Audit, messages: Messages) -> Result<Batches> {
        let training_set = self.exchanged_request(named(&mut message)?).await?;
        let request = AuditRequest { training_set, margin: message.margin };
        let spine = decode::decode(messages).await?;
        self.service.audit_exchange(&self.principal, &request, spine).await
    }

    async fn audit_request(&self, message: &mut v1::Audit) -> Result<AuditRequest> {
        let training_set = self.training_set_request(named(message)?).await?;
        Ok(AuditRequest { training_set, margin: message.margin })
    }
}

fn named(message: &mut v1::Audit) -> Result<&mut v1::TrainingSet> {
    message.training_set.as_mut().ok_or_else(|| Error::invalid("nothing to audit: set `training_set`"))
}

fn not_here() -> Error {
    Error::internal("a command reached the wrong part of the Flight door")
}
