//! The one error of the use cases: what the caller should do, what happened, and for definition files every problem at once.

use tidegate_schemas::catalog::ResolveError;
use tidegate_schemas::error::ErrorKind;
use tidegate_schemas::problem::Problem;

use crate::{kafka, registry, sealed};

/// Why a use case failed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What the caller should do; decides the gRPC and HTTP status.
    pub kind: ErrorKind,
    /// Cause and remedy, in one sentence or two.
    pub message: String,
    /// Problems in definition files; empty for all other errors.
    pub problems: Vec<Problem>,
    /// What it came from.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Result of a use case.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of this kind.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), problems: Vec::new(), source: None }
    }

    /// The request is wrong.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// It names something that does not exist.
    #[must_use]
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// A defect of ours.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Definition files with these problems.
    #[must_use]
    pub fn problems(problems: Vec<Problem>) -> Self {
        let message = match problems.as_slice() {
            [one] => format!("the definitions have a problem: {}", one.message),
            many => format!("the definitions have {} problems; mend them and apply again", many.len()),
        };
        Self { kind: ErrorKind::Invalid, message, problems, source: None }
    }

    /// The same error with what it came from.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The message followed by the causes that add something to it, for doors that carry one string.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.message.clone();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            let line = cause.to_string();
            if !text.contains(&line) {
                text.push_str(": ");
                text.push_str(&line);
            }
            next = cause.source();
        }
        text
    }
}

impl From<tidegate_offline::Error> for Error {
    fn from(error: tidegate_offline::Error) -> Self {
        match error {
            // What a caller's stream failed with is an error of ours already.
            tidegate_offline::Error::Incoming(inner) => match inner.downcast::<Self>() {
                Ok(ours) => *ours,
                Err(other) => {
                    let error = tidegate_offline::Error::Incoming(other);
                    wrap(error.kind(), error)
                }
            },
            error => wrap(error.kind(), error),
        }
    }
}

impl From<tidegate_online::Error> for Error {
    fn from(error: tidegate_online::Error) -> Self {
        wrap(error.kind(), error)
    }
}

impl From<registry::Error> for Error {
    fn from(error: registry::Error) -> Self {
        wrap(error.kind(), error)
    }
}

impl From<tidegate_offline::training::Error> for Error {
    fn from(error: tidegate_offline::training::Error) -> Self {
        tidegate_offline::Error::from(error).into()
    }
}

impl From<kafka::Error> for Error {
    fn from(error: kafka::Error) -> Self {
        wrap(error.kind(), error)
    }
}

impl From<sealed::Error> for Error {
    fn from(error: sealed::Error) -> Self {
        wrap(error.kind(), error)
    }
}

impl From<ResolveError> for Error {
    fn from(error: ResolveError) -> Self {
        let kind = match error {
            ResolveError::Unknown { .. } => ErrorKind::NotFound,
            ResolveError::Clash(_) | ResolveError::Empty => ErrorKind::Invalid,
        };
        Self::new(kind, error.to_string())
    }
}

/// Keeps the engine's message as ours and its cause as our cause, so that nothing is said twice.
fn wrap(kind: ErrorKind, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    let message = error.to_string();
    let source = error.source().map(|cause| cause.to_string().into());
    Error { kind, message, problems: Vec::new(), source }
}
