//! Commands of the Arrow Flight door, packed as Flight SQL packs its own: a `google.protobuf.Any` in the descriptor's `cmd`.
//!
//! [`pack`] encodes one of the [`v1`] messages; [`unpack`] decodes whatever a client sent and never panics. A command that is
//! not ours (Flight SQL's, for one) comes back as [`Command::Foreign`], for the next door to try.

use prost::bytes::Bytes;
use prost::{Message, Name};
use prost_types::Any;

/// Version 1, generated from `protos/tidegate/flight/v1/flight.proto`.
// Generated: documented in the .proto and shaped by prost and tonic.
#[allow(missing_docs, clippy::all)]
pub mod v1 {
    include!("generated/tidegate.flight.v1.rs");
}

/// What a descriptor or a ticket holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// GetFlightInfo and DoExchange.
    TrainingSet(v1::TrainingSet),
    /// The body of DoAction `ExplainRow`.
    ExplainRow(v1::ExplainRow),
    /// GetFlightInfo: the rows of a sealed set.
    SealedSet(v1::SealedSet),
    /// GetFlightInfo: what is another value now.
    SealedDiff(v1::SealedDiff),
    /// GetFlightInfo and DoExchange.
    Audit(v1::Audit),
    /// DoPut of a spine.
    SpineUpload(v1::SpineUpload),
    /// DoPut of rows for a source.
    Ingest(v1::Ingest),
    /// GetFlightInfo, or DoGet at once.
    SqlStatement(v1::SqlStatement),
    /// DoGet.
    Ticket(v1::Ticket),
    /// Some other message, by its full name: Flight SQL's commands are.
    Foreign(String),
}

/// Bytes that are no command.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// Not a `google.protobuf.Any`.
    #[error("not a command: expected a google.protobuf.Any, as Flight SQL packs its commands")]
    NotAny(#[source] prost::DecodeError),
    /// An `Any` that names one of our messages and holds something else.
    #[error("the command says it is a {name}, and its bytes are not one; is the client of another version?")]
    Malformed {
        /// The message's full name.
        name: &'static str,
        /// Where decoding failed.
        #[source]
        source: prost::DecodeError,
    },
}

impl UnpackError {
    /// Always the caller's to mend.
    #[must_use]
    pub fn kind(&self) -> tidegate_schemas::error::ErrorKind {
        tidegate_schemas::error::ErrorKind::Invalid
    }
}

/// A message that is a command.
pub trait Packed: Name {}
impl Packed for v1::TrainingSet {}
impl Packed for v1::ExplainRow {}
impl Packed for v1::SealedSet {}
impl Packed for v1::SealedDiff {}
impl Packed for v1::Audit {}
impl Packed for v1::SpineUpload {}
impl Packed for v1::Ingest {}
impl Packed for v1::SqlStatement {}
impl Packed for v1::Ticket {}

/// Encodes a command for a descriptor's `cmd` or a ticket.
pub fn pack<M: Packed>(command: &M) -> Bytes {
    let any = Any { type_url: M::type_url(), value: command.encode_to_vec() };
    any.encode_to_vec().into()
}

/// Decodes a descriptor's `cmd` or a ticket.
///
/// # Errors
/// Bytes that are no `Any`, or an `Any` whose bytes are not the message it names.
pub fn unpack(bytes: &[u8]) -> Result<Command, UnpackError> {
    let any = Any::decode(bytes).map_err(UnpackError::NotAny)?;
    let name = any.type_url.rsplit('/').next().unwrap_or_default();
    match name {
        "tidegate.flight.v1.TrainingSet" => decode(&any, "TrainingSet").map(Command::TrainingSet),
        "tidegate.flight.v1.ExplainRow" => decode(&any, "ExplainRow").map(Command::ExplainRow),
        "tidegate.flight.v1.SealedSet" => decode(&any, "SealedSet").map(Command::SealedSet),
        "tidegate.flight.v1.SealedDiff" => decode(&any, "SealedDiff").map(Command::SealedDiff),
        "tidegate.flight.v1.Audit" => decode(&any, "Audit").map(Command::Audit),
        "tidegate.flight.v1.SpineUpload" => decode(&any, "SpineUpload").map(Command::SpineUpload),
        "tidegate.flight.v1.Ingest" => decode(&any, "Ingest").map(Command::Ingest),
        "tidegate.flight.v1.SqlStatement" => decode(&any, "SqlStatement").map(Command::SqlStatement),
        "tidegate.flight.v1.Ticket" => decode(&any, "Ticket").map(Command::Ticket),
        _ => Ok(Command::Foreign(name.to_owned())),
    }
}

fn decode<M: Message + Default>(any: &Any, name: &'static str) -> Result<M, UnpackError> {
    M::decode(any.value.as_slice()).map_err(|source| UnpackError::Malformed { name, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_round_trip() {
        let training_set = v1::TrainingSet {
            project: "flights".into(),
            selection: Some(v1::training_set::Selection::FeatureService("late_arrival".into())),
            as_of: Some(-1),
            ..v1::TrainingSet::default()
        };
        assert_eq!(unpack(&pack(&training_set)).unwrap(), Command::TrainingSet(training_set.clone()));
        let explain = v1::ExplainRow { training_set: Some(training_set.clone()), ..v1::ExplainRow::default() };
        assert_eq!(unpack(&pack(&explain)).unwrap(), Command::ExplainRow(explain));
        let sealed = v1::SealedSet { project: "p".into(), name: "n".into() };
        assert_eq!(unpack(&pack(&sealed)).unwrap(), Command::SealedSet(sealed));
        let diff = v1::SealedDiff { name: "n".into(), against: "m".into(), ..v1::SealedDiff::default() };
        assert_eq!(unpack(&pack(&diff)).unwrap(), Command::SealedDiff(diff));
        let audit = v1::Audit { training_set: Some(training_set.clone()), margin: 5 };
        assert_eq!(unpack(&pack(&audit)).unwrap(), Command::Audit(audit));
        let upload = v1::SpineUpload { project: "p".into() };
        assert_eq!(unpack(&pack(&upload)).unwrap(), Command::SpineUpload(upload));
        let ingest = v1::Ingest { target: "t".into(), batch_id: "b".into(), ..v1::Ingest::default() };
        assert_eq!(unpack(&pack(&ingest)).unwrap(), Command::Ingest(ingest));
        let ticket = v1::Ticket { what: Some(v1::ticket::What::TrainingSet(training_set)) };
        assert_eq!(unpack(&pack(&ticket)).unwrap(), Command::Ticket(ticket));
    }

    #[test]
    fn type_urls_are_the_ones_other_languages_pack() {
        let any = Any::decode(&*pack(&v1::Ingest::default())).unwrap();
        assert_eq!(any.type_url, "type.googleapis.com/tidegate.flight.v1.Ingest");
    }

    #[test]
    fn anything_else_is_foreign_or_refused() {
        let sql = Any {
            type_url: "type.googleapis.com/arrow.flight.protocol.sql.CommandStatementQuery".into(),
            value: vec![1],
        };
        let foreign = Command::Foreign("arrow.flight.protocol.sql.CommandStatementQuery".into());
        assert_eq!(unpack(&sql.encode_to_vec()).unwrap(), foreign);
        assert_eq!(unpack(&[]).unwrap(), Command::Foreign(String::new()));
        assert!(matches!(unpack(&[0xff; 9]), Err(UnpackError::NotAny(_))));
        let broken = Any { type_url: v1::Ingest::type_url(), value: vec![0xff; 3] };
        assert!(matches!(unpack(&broken.encode_to_vec()), Err(UnpackError::Malformed { name: "Ingest", .. })));
    }

    #[test]
    fn no_prefix_or_flipped_byte_of_a_command_panics() {
        let whole = pack(&v1::TrainingSet { project: "flights".into(), as_of: Some(5), ..v1::TrainingSet::default() });
        for at in 0..whole.len() {
            let _ = unpack(&whole[..at]);
            for bit in 0..8 {
                let mut flipped = whole.to_vec();
                flipped[at] ^= 1 << bit;
                let _ = unpack(&flipped);
            }
        }
    }
}
