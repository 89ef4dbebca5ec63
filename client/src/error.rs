//! Why a call failed.

use std::error::Error as StdError;
use std::fmt;

use arrow::error::ArrowError;
use arrow_flight::error::FlightError;
use tidegate_proto::convert::{self, ConvertError};
use tidegate_proto::error::WireError;
use tidegate_schemas::error::ErrorKind;
use tidegate_schemas::problem::Problem;
use tonic::{Code, Status};

/// The result of a call.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call failed. Display says one level; `source()` has the rest.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers.
    #[error("can't reach a server at {address}; is `tidegate serve` running there?")]
    Connect {
        /// The address tried.
        address: String,
        /// What the network said.
        #[source]
        source: Cause,
    },
    /// The address is none.
    #[error("`{address}` is not an address: {reason}; write it as http://HOST:PORT")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The call needs a project and the client has none.
    #[error("no project is chosen; name one in `ClientOptions::with_project`")]
    NoProject,
    /// The server answered with an error.
    #[error("{message}")]
    Server {
        /// What to do about it.
        kind: ErrorKind,
        /// Cause and remedy, as the server put them.
        message: String,
        /// Problems in definition files, where the error is about them.
        problems: Vec<Problem>,
        /// Problems that did not fit into the answer.
        problems_omitted: u32,
        /// What led to it, on the server.
        #[source]
        source: Option<Cause>,
    },
    /// What was to be sent could not be read; nothing of it was kept.
    #[error("the rows to send could not be read; the server kept none of them")]
    Input(#[source] Box<dyn StdError + Send + Sync>),
    /// An argument is wrong.
    #[error("{0}")]
    Argument(String),
    /// The answer is not what this client understands.
    #[error("the server's answer is not understood: {0}; are client and server of the same version?")]
    Protocol(String),
    /// Batches could not be encoded or decoded.
    #[error("Arrow data could not be encoded or decoded")]
    Arrow(#[source] ArrowError),
}

/// One link of a chain of causes.
#[derive(Debug)]
pub struct Cause {
    message: String,
    source: Option<Box<Cause>>,
}

impl Cause {
    /// A chain from its messages, outermost first; `None` when there are none.
    pub fn chain(messages: impl IntoIterator<Item = String, IntoIter: DoubleEndedIterator>) -> Option<Self> {
        messages.into_iter().rev().fold(None, |inner, message| Some(Self { message, source: inner.map(Box::new) }))
    }

    /// An error and what led to it, as text.
    pub fn of(error: &(dyn StdError + 'static)) -> Self {
        let source = error.source().map(|source| Box::new(Self::of(source)));
        Self { message: error.to_string(), source }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Cause {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|cause| cause as _)
    }
}

impl Error {
    /// What to do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Connect { .. } => ErrorKind::Unavailable,
            Self::Address { .. } | Self::NoProject | Self::Input(_) | Self::Argument(_) => ErrorKind::Invalid,
            Self::Server { kind, .. } => *kind,
            Self::Protocol(_) | Self::Arrow(_) => ErrorKind::Internal,
        }
    }

    /// The problems in definition files that the error is about.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Server { problems, .. } => problems,
            _ => &[],
        }
    }

    /// The error behind a gRPC status of the server at `address`.
    pub(crate) fn from_status(address: &str, status: &Status) -> Self {
        if let Some(source) = connection_failure(status) {
            return Self::Connect { address: address.to_owned(), source: Cause::of(source) };
        }
        let wire = WireError::from_status(status);
        Self::Server {
            kind: wire.kind,
            message: wire.message,
            problems: wire.problems.into_iter().map(convert::problem).collect(),
            problems_omitted: wire.problems_omitted,
            source: Cause::chain(wire.causes),
        }
    }

    /// The error behind a failed Flight stream of the server at `address`.
    pub(crate) fn from_flight(address: &str, error: FlightError) -> Self {
        match error {
            FlightError::Tonic(status) => Self::from_status(address, &status),
            FlightError::Arrow(source) => Self::Arrow(source),
            FlightError::ExternalError(source) => Self::Input(source),
            FlightError::ProtocolError(what)
            | FlightError::DecodeError(what)
            | FlightError::NotYetImplemented(what) => Self::Protocol(what),
        }
    }
}

/// What the connection failed with, where that is why there is this status: a status that a server sent has no source. A call that was
/// about to be sent on a connection that the server closes is told as cancelled, and so is one whose time is over, which is no failure
/// of the connection.
pub(crate) fn connection_failure(status: &Status) -> Option<&(dyn StdError + 'static)> {
    let of_connection = matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal);
    let source = status.source().filter(|source| of_connection && source.is::<tonic::transport::Error>())?;
    let mut cause = Some(source);
    while let Some(of) = cause {
        if of.is::<tonic::TimeoutExpired>() {
            return None;
        }
        cause = of.source();
    }
    Some(source)
}

impl From<ArrowError> for Error {
    fn from(source: ArrowError) -> Self {
        Self::Arrow(source)
    }
}

impl From<ConvertError> for Error {
    fn from(error: ConvertError) -> Self {
        Self::Protocol(error.to_string())
    }
}

impl From<prost::DecodeError> for Error {
    fn from(error: prost::DecodeError) -> Self {
        Self::Protocol(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_error_is_rebuilt_with_problems_and_causes() {
        let problem = Problem { file: "a.yaml".into(), line: 2, message: "no".into(), ..Problem::default() };
        let wire = WireError {
            causes: vec!["outer".into(), "inner".into()],
            ..WireError::new(ErrorKind::Conflict, "another version came first; plan again")
        };
        let sent = wire.with_domain_problems(std::slice::from_ref(&problem)).to_status();
        let error = Error::from_status("http://h:1", &sent);
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert_eq!(error.to_string(), "another version came first; plan again");
        assert_eq!(error.problems(), [problem]);
        let outer = error.source().expect("a cause");
        assert_eq!(outer.to_string(), "outer");
        assert_eq!(outer.source().expect("its cause").to_string(), "inner");
    }
}
