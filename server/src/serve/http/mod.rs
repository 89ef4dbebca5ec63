//! The HTTP port: lookups as JSON, health for orchestrators, metrics for Prometheus.
//!
//! [`lookup`] reads a request's JSON, [`json`] writes values. What goes wrong is one JSON object, whatever the route; a panic in a handler or
//! a body that never ends fails its own request.

mod json;
mod lookup;
mod openapi;

use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use axum::{Extension, Json};
use futures::FutureExt;
use tidegate_schemas::error::ErrorKind;
use tokio::net::TcpListener;

use super::error::{HttpError, panicked};
use super::turn::Turns;
use super::{Settings, principal};
use crate::service::{Error, Principal, Tidegate};
use crate::telemetry;

const INDEX: &str = "\
Tidegate

POST /v1/projects/{project}/lookup   newest values of features, as JSON
GET  /v1/projects                    the projects there are
GET  /healthz                        the process is alive
GET  /readyz                         it can answer
GET  /metrics                        Prometheus metrics
GET  /openapi.json                   all of this for tools

Definitions, training sets, SQL and materialization are on the gRPC port: gRPC, Arrow Flight, Flight SQL.
";

/// Serves HTTP until `stop` resolves; requests in progress are answered first.
pub(super) async fn serve(
    service: Arc<Tidegate>,
    listener: TcpListener,
    settings: &Settings,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let listener = listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(%error, "could not set TCP_NODELAY");
        }
    });
    axum::serve(listener, router(service, settings)).with_graceful_shutdown(stop).await
}

/// The largest body of a request, in bytes.
#[derive(Debug, Clone, Copy)]
struct BodyLimit(usize);

fn router(service: Arc<Tidegate>, settings: &Settings) -> Router {
    let timeout = settings.http_timeout;
    let turns = Arc::new(Turns::new(&service, settings.lookup_wait_max));
    Router::new()
        .route("/v1/projects", get(projects))
        .route("/v1/projects/{project}/lookup", post(lookup::lookup))
        .route("/readyz", get(ready))
        // Only what is above knows a caller.
        .route_layer(middleware::from_fn(principal::attach))
        .route("/", get(async || INDEX))
        .route("/openapi.json", get(async || Json(openapi::document())))
        .route("/healthz", get(async || "ok\n"))
        .route("/metrics", get(metrics))
        .fallback(async |request: Request| {
            HttpError(Error::not_found(format!(
                "there is nothing at {}; GET / lists what there is",
                request.uri().path()
            )))
        })
        .method_not_allowed_fallback(method_not_allowed)
        .layer(Extension(turns))
        .layer(Extension(BodyLimit(settings.http_body_bytes_max)))
        .layer(DefaultBodyLimit::max(settings.http_body_bytes_max))
        .layer(middleware::from_fn(move |request: Request, next: Next| contain(timeout, request, next)))
        .with_state(service)
}

async fn projects(
    State(service): State<Arc<Tidegate>>,
    Extension(caller): Extension<Principal>,
) -> Result<Json<serde_json::Value>, HttpError> {
    let projects = service.list_projects(&caller).await?;
    Ok(Json(serde_json::json!({ "projects": projects })))
}

/// Ready means that the definitions can be read: everything else was opened before this port answered.
async fn ready(
    State(service): State<Arc<Tidegate>>,
    Extension(caller): Extension<Principal>,
) -> Result<&'static str, HttpError> {
    match service.list_projects(&caller).await {
        Ok(_) => Ok("ready\n"),
        Err(error) => {
            Err(HttpError(Error::new(ErrorKind::Unavailable, "the definitions can't be read").with_source(error)))
        }
    }
}

async fn metrics(State(service): State<Arc<Tidegate>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, telemetry::CONTENT_TYPE)], service.metrics())
}

async fn method_not_allowed(request: Request) -> Response {
    let message = format!("{} does not go with {}; GET / lists what there is", request.method(), request.uri().path());
    let mut response = HttpError(Error::invalid(message)).into_response();
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}

/// Bounds a request's time and keeps its panic to itself.
async fn contain(timeout: Duration, request: Request, next: Next) -> Response {
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(timeout, answer).await {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => {
            HttpError(Error::internal(format!("the request failed: {}", panicked(&*panic)))).into_response()
        }
        Err(_) => {
            let message = format!("the request took longer than {} s", timeout.as_secs());
            HttpError(Error::new(ErrorKind::Deadline, message)).into_response()
        }
    }
}
