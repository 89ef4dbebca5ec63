//! One table from kinds of failure to gRPC codes and HTTP statuses, and what an error carries beyond them.
//!
//! [`row`] is the table. [`WireError`] is an error on its way: the server builds one and sends [`WireError::to_status`]; the
//! client rebuilds it with [`WireError::from_status`]. Problems and causes travel as `google.rpc.Status` in
//! `grpc-status-details-bin`, which stock gRPC libraries decode.

use prost::bytes::Bytes;
use prost::{Message, Name};
use tidegate_schemas::error::ErrorKind;
use tonic::{Code, Status};

use crate::registry::v1::Problem;

/// Version 1, generated from `protos/tidegate/error/v1/error.proto`.
// Generated: documented in the .proto and shaped by prost and tonic.
#[allow(missing_docs, clippy::all)]
pub mod v1 {
    include!("generated/tidegate.error.v1.rs");
}

/// How a kind of failure looks on each door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The kind's name in JSON, in logs and in metrics.
    pub name: &'static str,
    /// Its gRPC code; no two kinds share one.
    pub grpc: Code,
    /// Its HTTP status.
    pub http: u16,
}

/// The table.
#[must_use]
pub const fn row(kind: ErrorKind) -> Row {
    let (name, grpc, http) = match kind {
        ErrorKind::Invalid => ("invalid", Code::InvalidArgument, 400),
        ErrorKind::NotFound => ("not_found", Code::NotFound, 404),
        ErrorKind::AlreadyExists => ("already_exists", Code::AlreadyExists, 409),
        ErrorKind::Conflict => ("conflict", Code::Aborted, 409),
        ErrorKind::Precondition => ("precondition", Code::FailedPrecondition, 412),
        ErrorKind::Unauthenticated => ("unauthenticated", Code::Unauthenticated, 401),
        ErrorKind::Forbidden => ("forbidden", Code::PermissionDenied, 403),
        ErrorKind::Exhausted => ("exhausted", Code::ResourceExhausted, 429),
        ErrorKind::Unavailable => ("unavailable", Code::Unavailable, 503),
        ErrorKind::Deadline => ("deadline", Code::DeadlineExceeded, 504),
        ErrorKind::Cancelled => ("cancelled", Code::Cancelled, 499),
        ErrorKind::Unsupported => ("unsupported", Code::Unimplemented, 501),
        ErrorKind::Corrupt => ("corrupt", Code::DataLoss, 500),
        ErrorKind::Internal => ("internal", Code::Internal, 500),
    };
    Row { name, grpc, http }
}

/// The kind a gRPC code stands for. Codes that no kind maps to come from proxies and libraries.
#[must_use]
pub const fn kind_of_code(code: Code) -> ErrorKind {
    match code {
        Code::InvalidArgument | Code::OutOfRange => ErrorKind::Invalid,
        Code::NotFound => ErrorKind::NotFound,
        Code::AlreadyExists => ErrorKind::AlreadyExists,
        Code::Aborted => ErrorKind::Conflict,
        Code::FailedPrecondition => ErrorKind::Precondition,
        Code::Unauthenticated => ErrorKind::Unauthenticated,
        Code::PermissionDenied => ErrorKind::Forbidden,
        Code::ResourceExhausted => ErrorKind::Exhausted,
        Code::Unavailable => ErrorKind::Unavailable,
        Code::DeadlineExceeded => ErrorKind::Deadline,
        Code::Cancelled => ErrorKind::Cancelled,
        Code::Unimplemented => ErrorKind::Unsupported,
        Code::DataLoss => ErrorKind::Corrupt,
        Code::Internal | Code::Unknown | Code::Ok => ErrorKind::Internal,
    }
}

/// The kind with this name, as JSON bodies carry it.
#[must_use]
pub fn kind_of_name(name: &str) -> Option<ErrorKind> {
    ErrorKind::ALL.into_iter().find(|kind| row(*kind).name == name)
}

/// An error as it crosses the wire.
#[derive(Debug, Clone, PartialEq)]
pub struct WireError {
    /// What the caller should do.
    pub kind: ErrorKind,
    /// Cause and remedy, one level.
    pub message: String,
    /// Problems in definition files, where the error is about them.
    pub problems: Vec<Problem>,
    /// Problems that did not fit.
    pub problems_omitted: u32,
    /// What led to the error, outermost first.
    pub causes: Vec<String>,
}

/// Most bytes of a message and of the detail. Many gRPC libraries refuse headers above 8 KiB in all, and the details travel
/// in base64.
const MESSAGE_BYTES_MAX: usize = 1_024;
const DETAIL_BYTES_MAX: usize = 2_560;
const CAUSE_BYTES_MAX: usize = 384;
const CAUSES_MAX: usize = 4;

impl WireError {
    /// An error without problems or causes.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), problems: Vec::new(), problems_omitted: 0, causes: Vec::new() }
    }

    /// An error with the chain of its sources as causes.
    #[must_use]
    pub fn from_error(kind: ErrorKind, error: &dyn std::error::Error) -> Self {
        let causes = std::iter::successors(error.source(), |cause| cause.source()).map(ToString::to_string).collect();
        Self { causes, ..Self::new(kind, error.to_string()) }
    }

    /// The error with these problems.
    #[must_use]
    pub fn with_problems(mut self, problems: Vec<Problem>) -> Self {
        self.problems = problems;
        self
    }

    /// The error with these problems, as the domain has them.
    #[must_use]
    pub fn with_domain_problems(self, problems: &[tidegate_schemas::problem::Problem]) -> Self {
        self.with_problems(problems.iter().map(crate::convert::problem_to_wire).collect())
    }

    /// The gRPC status: what does not fit an error's metadata is cut, and said to be.
    #[must_use]
    pub fn to_status(&self) -> Status {
        let code = row(self.kind).grpc;
        let message = shorten(&self.message, MESSAGE_BYTES_MAX);
        let detail = self.detail();
        if detail.encoded_len() == 0 {
            return Status::new(code, message);
        }
        let any = prost_types::Any { type_url: v1::ErrorDetail::type_url(), value: detail.encode_to_vec() };
        let rich = RpcStatus { code: code as i32, message: message.clone(), details: vec![any] };
        Status::with_details(code, message, Bytes::from(rich.encode_to_vec()))
    }

    /// The error a status carries, whoever sent it.
    #[must_use]
    pub fn from_status(status: &Status) -> Self {
        let bare = Self::new(kind_of_code(status.code()), status.message());
        let Ok(rich) = RpcStatus::decode(status.details()) else { return bare };
        let ours = rich.details.iter().find(|any| any.type_url.ends_with("/tidegate.error.v1.ErrorDetail"));
        match ours.map(|any| v1::ErrorDetail::decode(any.value.as_slice())) {
            Some(Ok(detail)) => Self {
                problems: detail.problems,
                problems_omitted: detail.problems_omitted,
                causes: detail.causes,
                ..bare
            },
            Some(Err(_)) | None => bare,
        }
    }

    /// As many causes and problems as fit.
    fn detail(&self) -> v1::ErrorDetail {
        let causes = self.causes.iter().take(CAUSES_MAX).map(|cause| shorten(cause, CAUSE_BYTES_MAX)).collect();
        let mut detail = v1::ErrorDetail { causes, ..v1::ErrorDetail::default() };
        for problem in &self.problems {
            detail.problems.push(problem.clone());
            if detail.encoded_len() > DETAIL_BYTES_MAX {
                detail.problems.pop();
                break;
            }
        }
        let omitted = u32::try_from(self.problems.len() - detail.problems.len()).unwrap_or(u32::MAX);
        detail.problems_omitted = self.problems_omitted.saturating_add(omitted);
        detail
    }
}

/// `google.rpc.Status`, field for field.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

/// `text` cut at a character's edge to at most `bytes_max` bytes, the ellipsis included.
fn shorten(text: &str, bytes_max: usize) -> String {
    const ELLIPSIS: &str = "…";
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let mut end = bytes_max - ELLIPSIS.len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{ELLIPSIS}", &text[..end])
}

#[cfg(test)]
mod tests;
