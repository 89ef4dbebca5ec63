//! The service's one error on its way out: a gRPC status with details, or an HTTP reply with a JSON body.
//!
//! Which code stands for which kind is `tidegate_proto::error`'s table and nobody else's. What is the caller's to mend goes out as
//! it is; a defect of ours is logged here as well, because the caller can't do anything about it.

use std::any::Any;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use tidegate_proto::convert::{self, ConvertError};
use tidegate_proto::error::{Row, WireError, row};
use tidegate_schemas::error::ErrorKind;
use tonic::Status;

use crate::service::Error;

/// What callers of gRPC should wait before they try again what will pass, in milliseconds.
pub(super) const RETRY_AFTER_MS: u64 = 100;

/// The gRPC status of an error.
pub(crate) fn status(error: impl Into<Error>) -> Status {
    let error = error.into();
    report(&error);
    advised(&error, wire(&error).to_status())
}

/// What will pass says when to try again, in the way gRPC libraries heed.
fn advised(error: &Error, mut status: Status) -> Status {
    if error.kind == ErrorKind::Unavailable {
        status.metadata_mut().insert("grpc-retry-pushback-ms", RETRY_AFTER_MS.into());
    }
    status
}

/// The same for Flight, whose clients show the message and drop the details: the causes are in the message.
pub(crate) fn status_in_full(error: impl Into<Error>) -> Status {
    let error = error.into();
    report(&error);
    advised(&error, WireError { message: error.chain(), causes: Vec::new(), ..wire(&error) }.to_status())
}

/// The HTTP reply of an error: the status of its kind and `{"error": {"kind", "message", "problems", "causes"}}`.
pub(crate) struct HttpError(pub(crate) Error);

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        report(&self.0);
        let Row { name, http, .. } = row(self.0.kind);
        let status = StatusCode::from_u16(http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let wire = wire(&self.0);
        let problems = self.0.problems.iter().map(problem).collect();
        let body =
            ErrorBody { error: ErrorObject { kind: name, message: wire.message, problems, causes: wire.causes } };
        let mut response = (status, Json(body)).into_response();
        if self.0.kind == ErrorKind::Unavailable {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// What a call that failed is answered with.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Failure")]
pub(super) struct ErrorBody {
    error: ErrorObject,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Error")]
struct ErrorObject {
    /// What the caller should do, as one word: `invalid`, `not_found`, `unavailable` …
    kind: &'static str,
    /// What is wrong, and what to do.
    message: String,
    /// What is wrong in definition files, each with its place.
    problems: Vec<serde_json::Value>,
    /// What led to it, outermost first.
    causes: Vec<String>,
}

impl<E: Into<Error>> From<E> for HttpError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl From<ConvertError> for Error {
    fn from(error: ConvertError) -> Self {
        Self::new(error.kind(), error.to_string())
    }
}

/// A refusal of something this server does not do; says what to do instead.
pub(crate) fn unsupported(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unsupported, message)
}

/// What a contained panic becomes: the request it happened in fails, nothing else does.
pub(crate) fn panicked(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

fn wire(error: &Error) -> WireError {
    WireError::from_error(error.kind, error)
        .with_problems(error.problems.iter().map(convert::problem_to_wire).collect())
}

fn problem(problem: &tidegate_schemas::problem::Problem) -> serde_json::Value {
    serde_json::json!({
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "message": problem.message,
        "snippet": problem.snippet,
        "suggestion": problem.suggestion,
    })
}

fn report(error: &Error) {
    match error.kind {
        ErrorKind::Internal | ErrorKind::Corrupt => tracing::error!(error = error.chain(), "a request failed"),
        _ => tracing::debug!(error = error.chain(), "a request was refused"),
    }
}

#[cfg(test)]
mod tests;
