//! Commands and tickets survive the wire, and no bytes make the parser panic.

use super::*;
use arrow_flight::sql::{CommandGetTables, CommandStatementQuery};
use tidegate_schemas::error::ErrorKind;

fn training_set() -> v1::TrainingSet {
    v1::TrainingSet {
        project: "flights".into(),
        selection: Some(v1::training_set::Selection::FeatureService("late_arrival".into())),
        spine: Some(v1::training_set::Spine::Sql("SELECT * FROM flights".into())),
        as_of: Some(-1),
        ..v1::TrainingSet::default()
    }
}

fn statement() -> v1::SqlStatement {
    v1::SqlStatement { project: "flights".into(), query: "SELECT $1".into(), parameters: vec![1, 2, 3].into() }
}

fn descriptor(cmd: impl Into<bytes::Bytes>) -> FlightDescriptor {
    FlightDescriptor::new_cmd(cmd)
}

#[test]
fn our_commands_and_tickets_round_trip() {
    let cmd = flight::pack(&training_set());
    assert_eq!(of_descriptor(&descriptor(cmd)).unwrap(), Command::TrainingSet(training_set()));
    assert_eq!(of_descriptor(&descriptor(flight::pack(&statement()))).unwrap(), Command::Sql(statement()));
    assert_eq!(of_ticket(&training_set_ticket(training_set())).unwrap(), Command::TrainingSet(training_set()));
    assert_eq!(of_ticket(&statement_ticket(statement())).unwrap(), Command::Sql(statement()));
    assert_eq!(of_handle(&statement().encode_to_vec()).unwrap(), statement());
}

#[test]
fn a_command_is_its_own_ticket() {
    let ticket = Ticket { ticket: flight::pack(&training_set()) };
    assert_eq!(of_ticket(&ticket).unwrap(), Command::TrainingSet(training_set()));
    let tables = CommandGetTables { include_schema: true, ..CommandGetTables::default() };
    let ticket = Ticket { ticket: tables.as_any().encode_to_vec().into() };
    let expected = Command::FlightSql(Box::new(sql::Command::CommandGetTables(tables)));
    assert_eq!(of_ticket(&ticket).unwrap(), expected);
}

#[test]
fn what_is_no_command_says_so() {
    let unknown = Any { type_url: "type.googleapis.com/other.Message".into(), value: bytes::Bytes::new() };
    let truncated = Any { type_url: CommandStatementQuery::type_url().into(), value: vec![0x0a, 0x05, b'S'].into() };
    for (cmd, says) in [
        (vec![], "empty"),
        (vec![0xff; 7], "google.protobuf.Any"),
        (unknown.encode_to_vec(), "other.Message"),
        (truncated.encode_to_vec(), "CommandStatementQuery"),
    ] {
        let error = of_descriptor(&descriptor(cmd)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(error.message.contains(says), "{}", error.message);
    }
    let path = FlightDescriptor::new_path(vec!["/etc/passwd".into()]);
    assert_eq!(of_descriptor(&path).unwrap_err().kind, ErrorKind::Invalid);
    assert_eq!(of_handle(&[]).unwrap_err().kind, ErrorKind::Invalid);
    assert_eq!(of_handle(&[0xff; 20]).unwrap_err().kind, ErrorKind::Invalid);
    let empty = Ticket { ticket: flight::pack(&v1::Ticket { what: None }) };
    assert_eq!(of_ticket(&empty).unwrap_err().kind, ErrorKind::Invalid);
}

#[test]
fn no_prefix_or_flipped_bit_of_a_ticket_panics() {
    for whole in [training_set_ticket(training_set()).ticket, statement_ticket(statement()).ticket] {
        for at in 0..whole.len() {
            let _ = of_ticket(&Ticket { ticket: whole.slice(..at) });
            for bit in 0..8 {
                let mut flipped = whole.to_vec();
                flipped[at] ^= 1 << bit;
                let _ = of_ticket(&Ticket { ticket: flipped.clone().into() });
                let _ = of_descriptor(&descriptor(flipped));
            }
        }
    }
}
