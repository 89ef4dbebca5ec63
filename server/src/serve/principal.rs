//! Who is calling, decided from a request's metadata before its body is read.
//!
//! An embedded server knows one principal, its local owner; the address it listens on is what keeps others out. Credentials that
//! a client sends are not looked at: authentication comes with its configuration, here and nowhere else.

use axum::extract::Request as HttpRequest;
use axum::middleware::Next;
use axum::response::Response;
use tonic::{Request, Status};

use crate::service::Principal;

/// Puts the caller's principal into a gRPC request's extensions, for [`of`]. Runs before any service and any decoding.
// A `Status` is what interceptors return; its size is tonic's.
#[allow(clippy::result_large_err)]
pub(super) fn intercept(mut request: Request<()>) -> Result<Request<()>, Status> {
    request.extensions_mut().insert(Principal::local_owner());
    Ok(request)
}

/// The principal that [`intercept`] left. A request that came around it has none and is refused.
#[allow(clippy::result_large_err)]
pub(super) fn of<T>(request: &Request<T>) -> Result<Principal, Status> {
    request
        .extensions()
        .get::<Principal>()
        .cloned()
        .ok_or_else(|| Status::unauthenticated("the request carries no principal"))
}

/// The same for HTTP: a layer around every route that reads or writes a project.
pub(super) async fn attach(mut request: HttpRequest, next: Next) -> Response {
    request.extensions_mut().insert(Principal::local_owner());
    next.run(request).await
}
