//! What a descriptor, a ticket or an action asks for, as one enum.
//!
//! Ours and Flight SQL's commands both travel as `google.protobuf.Any`. Tickets are stateless: they hold the request itself, name
//! no principal, and are resolved, checked and authorised again when they are redeemed. Nothing here panics on any bytes.

use arrow_flight::flight_descriptor::DescriptorType;
use arrow_flight::sql::{self, Any, ProstMessageExt, TicketStatementQuery};
use arrow_flight::{Action, FlightDescriptor, Ticket};
use prost::Message;
use tidegate_proto::flight::{self, v1};

use crate::service::{Error, Result};

/// A request of the Flight door.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Command {
    /// A training set.
    TrainingSet(v1::TrainingSet),
    /// The rows of a sealed training set.
    SealedSet(v1::SealedSet),
    /// What of a sealed training set is another value now.
    SealedDiff(v1::SealedDiff),
    /// What a training set would have leaked.
    Audit(v1::Audit),
    /// A query with its parameters.
    Sql(v1::SqlStatement),
    /// Upload of a spine.
    SpineUpload(v1::SpineUpload),
    /// Upload of rows for a source.
    Ingest(v1::Ingest),
    /// One of Flight SQL's.
    FlightSql(Box<sql::Command>),
}

/// The command of a descriptor.
///
/// # Errors
/// A path, or bytes that are no command.
pub(crate) fn of_descriptor(descriptor: &FlightDescriptor) -> Result<Command> {
    if descriptor.r#type() == DescriptorType::Path {
        return Err(Error::invalid(
            "a descriptor with a path names nothing here; use a command: tidegate.flight.v1.TrainingSet, SealedSet, SealedDiff, \
             Audit, SqlStatement, SpineUpload or Ingest packed in google.protobuf.Any, or Flight SQL",
        ));
    }
    parse(&descriptor.cmd)
}

/// The command of a ticket.
///
/// # Errors
/// Bytes this server did not make, and that are no command either.
pub(crate) fn of_ticket(ticket: &Ticket) -> Result<Command> {
    match parse(&ticket.ticket)? {
        Command::FlightSql(command) => match *command {
            sql::Command::TicketStatementQuery(statement) => of_statement_handle(&statement.statement_handle),
            other => Ok(Command::FlightSql(Box::new(other))),
        },
        command => Ok(command),
    }
}

/// The ticket of a training set.
pub(crate) fn training_set_ticket(request: v1::TrainingSet) -> Ticket {
    let ticket = v1::Ticket { what: Some(v1::ticket::What::TrainingSet(request)) };
    Ticket { ticket: flight::pack(&ticket) }
}

/// The ticket of a query, in the form that Flight SQL prescribes.
pub(crate) fn statement_ticket(statement: v1::SqlStatement) -> Ticket {
    let ticket = v1::Ticket { what: Some(v1::ticket::What::Sql(statement)) };
    let statement = TicketStatementQuery { statement_handle: ticket.encode_to_vec().into() };
    Ticket { ticket: statement.as_any().encode_to_vec().into() }
}

/// The statement a prepared statement's handle holds. Handles are statements: the server keeps nothing between calls.
///
/// # Errors
/// Bytes this server did not make.
pub(crate) fn of_handle(handle: &[u8]) -> Result<v1::SqlStatement> {
    let statement = v1::SqlStatement::decode(handle).ok().filter(|statement| !statement.query.is_empty());
    statement
        .ok_or_else(|| Error::invalid("the prepared statement's handle is not one of this server's; prepare it again"))
}

/// An action's body as Flight SQL packs it.
///
/// # Errors
/// Bytes that are not the message the action takes.
pub(crate) fn of_action<M: ProstMessageExt>(action: &Action) -> Result<M> {
    let unpacked = Any::decode(&*action.body).ok().and_then(|any| any.unpack::<M>().ok().flatten());
    unpacked.ok_or_else(|| Error::invalid(format!("the body of action `{}` is not a {}", action.r#type, M::type_url())))
}

fn of_statement_handle(handle: &[u8]) -> Result<Command> {
    let ticket = v1::Ticket::decode(handle).map_err(|_| not_ours())?;
    of_our_ticket(ticket)
}

fn of_our_ticket(ticket: v1::Ticket) -> Result<Command> {
    match ticket.what {
        Some(v1::ticket::What::TrainingSet(request)) => Ok(Command::TrainingSet(request)),
        Some(v1::ticket::What::Sql(statement)) => Ok(Command::Sql(statement)),
        None => Err(not_ours()),
    }
}

fn not_ours() -> Error {
    Error::invalid("the ticket is not one of this server's; call GetFlightInfo again")
}

fn parse(bytes: &[u8]) -> Result<Command> {
    let malformed = |error: flight::UnpackError| Error::new(error.kind(), error.to_string()).with_source(error);
    match flight::unpack(bytes).map_err(malformed)? {
        flight::Command::TrainingSet(request) => Ok(Command::TrainingSet(request)),
        flight::Command::SealedSet(sealed) => Ok(Command::SealedSet(sealed)),
        flight::Command::SealedDiff(diff) => Ok(Command::SealedDiff(diff)),
        flight::Command::Audit(audit) => Ok(Command::Audit(audit)),
        flight::Command::SqlStatement(statement) => Ok(Command::Sql(statement)),
        flight::Command::ExplainRow(_) => {
            Err(Error::invalid("an ExplainRow is the body of the action of that name: send it with DoAction"))
        }
        flight::Command::SpineUpload(upload) => Ok(Command::SpineUpload(upload)),
        flight::Command::Ingest(ingest) => Ok(Command::Ingest(ingest)),
        flight::Command::Ticket(ticket) => of_our_ticket(ticket),
        flight::Command::Foreign(name) => flight_sql(bytes, &name),
    }
}

fn flight_sql(bytes: &[u8], name: &str) -> Result<Command> {
    let malformed =
        |error: String| Error::invalid(format!("the command says it is a {name}, and can't be read: {error}"));
    let any = Any::decode(bytes).map_err(|error| malformed(error.to_string()))?;
    match sql::Command::try_from(any).map_err(|error| malformed(error.to_string()))? {
        sql::Command::Unknown(_) if name.is_empty() => Err(Error::invalid("the command is empty")),
        sql::Command::Unknown(_) => {
            Err(Error::invalid(format!("`{name}` is no command of Tidegate's or of Flight SQL's")))
        }
        command => Ok(Command::FlightSql(Box::new(command))),
    }
}

#[cfg(test)]
mod tests;
