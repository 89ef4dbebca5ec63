//! The table is a bijection with gRPC codes, and what a server attaches to an error a client gets back.

use super::*;

#[test]
fn every_kind_round_trips_through_its_grpc_code_and_its_name() {
    for kind in ErrorKind::ALL {
        assert_eq!(kind_of_code(row(kind).grpc), kind);
        assert_eq!(kind_of_name(row(kind).name), Some(kind));
        assert!((400..600).contains(&row(kind).http), "{kind:?} must be an HTTP error");
    }
    assert_eq!(kind_of_name("fine"), None);
}

#[test]
fn http_tells_the_callers_faults_from_ours() {
    let ours =
        [ErrorKind::Unavailable, ErrorKind::Deadline, ErrorKind::Unsupported, ErrorKind::Corrupt, ErrorKind::Internal];
    for kind in ErrorKind::ALL {
        assert_eq!(row(kind).http >= 500, ours.contains(&kind), "{kind:?}");
    }
}

fn problem(line: u32) -> Problem {
    Problem {
        file: "features.yaml".into(),
        line,
        column: 3,
        message: "unknown field `evnt_time`".into(),
        snippet: "  evnt_time: at".into(),
        suggestion: "did you mean `event_time`?".into(),
    }
}

#[test]
fn an_error_arrives_as_it_was_sent() {
    let sent = WireError {
        causes: vec!["the log is gone".into(), "no such file".into()],
        ..WireError::new(ErrorKind::Precondition, "can't read the table; restore it")
    }
    .with_problems(vec![problem(1), problem(2)]);
    assert_eq!(WireError::from_status(&sent.to_status()), sent);
    let bare = WireError::new(ErrorKind::Conflict, "plan again");
    assert!(bare.to_status().details().is_empty());
    assert_eq!(WireError::from_status(&bare.to_status()), bare);
}

#[test]
fn an_error_stays_within_what_metadata_may_hold() {
    let mut sent = WireError::new(ErrorKind::Invalid, "é".repeat(5_000)).with_problems((1..500).map(problem).collect());
    sent.causes = vec!["x".repeat(10_000); 50];
    let status = sent.to_status();
    assert!(status.message().len() <= MESSAGE_BYTES_MAX);
    assert!(status.details().len() <= DETAIL_BYTES_MAX + MESSAGE_BYTES_MAX + 100, "{}", status.details().len());
    let got = WireError::from_status(&status);
    assert_eq!(got.problems.len() + got.problems_omitted as usize, 499);
    assert!(got.message.ends_with('…'));
}

#[test]
fn foreign_details_are_no_obstacle() {
    let status = Status::with_details(Code::Unknown, "proxy", Bytes::from_static(&[0xff, 1, 2]));
    assert_eq!(WireError::from_status(&status), WireError::new(ErrorKind::Internal, "proxy"));
}

#[test]
fn from_error_keeps_the_chain_apart_from_the_message() {
    let inner = std::io::Error::other("disk on fire");
    let outer = Outer(inner);
    let wire = WireError::from_error(ErrorKind::Internal, &outer);
    assert_eq!((wire.message.as_str(), wire.causes), ("outer", vec!["disk on fire".to_owned()]));
}

#[derive(Debug, thiserror::Error)]
#[error("outer")]
struct Outer(#[source] std::io::Error);
