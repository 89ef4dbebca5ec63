//! The doors: how requests from outside reach [`crate::service`], and how its answers leave.
//!
//! Every door does the same three things: decode, call, encode. None decides anything: what a project holds, who may see it and what
//! a query means is the service's business, and no engine is named here.
//!
//! [`grpc`] is one port with lookups, registry, materialization, Arrow Flight and Flight SQL ([`flight`]), health and reflection.
//! [`http`] is another with the JSON door, health, readiness and metrics. [`turn`] refuses lookups that would wait too long. [`principal`] says who is calling before a body is read;
//! [`error`] turns the one error type of the service into gRPC statuses and HTTP replies by the one table in `tidegate_proto`.

pub(crate) mod error;
pub(crate) mod flight;
pub(crate) mod grpc;
pub(crate) mod http;
mod incoming;
mod meter;
mod principal;
mod turn;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::service::Tidegate;
use crate::shutdown::{Shutdown, Stage};

/// The bound sockets: binding them is the first thing a start does, so that a port in use is told before any store is opened.
#[derive(Debug)]
pub struct Listeners {
    /// gRPC, Arrow Flight and Flight SQL.
    pub grpc: TcpListener,
    /// HTTP/JSON, health and metrics.
    pub http: TcpListener,
}

/// Limits of the doors.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The largest message of the unary gRPC services, in bytes.
    pub request_bytes_max: usize,
    /// The largest single Arrow Flight message a client may send, in bytes; larger uploads are several messages.
    pub flight_message_bytes_max: usize,
    /// Requests in progress on one gRPC connection; more wait.
    pub requests_per_connection_max: usize,
    /// The largest body of an HTTP request, in bytes.
    pub http_body_bytes_max: usize,
    /// How long an HTTP request may take.
    pub http_timeout: Duration,
    /// How long a lookup may wait for its turn.
    pub lookup_wait_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            request_bytes_max: 16 << 20,
            flight_message_bytes_max: 128 << 20,
            requests_per_connection_max: 256,
            http_body_bytes_max: 8 << 20,
            http_timeout: Duration::from_secs(30),
            lookup_wait_max: Duration::from_millis(100),
        }
    }
}

/// Serves both ports until the doors' stage of `shutdown` stops, then lets the requests in progress finish. How long they may
/// take is the caller's to decide: [`Shutdown::finish`] waits for the registrations made here.
///
/// # Errors
/// A listener that can't be used any more.
pub async fn serve(
    service: Arc<Tidegate>,
    listeners: Listeners,
    settings: Settings,
    shutdown: &Shutdown,
) -> io::Result<()> {
    let grpc = shutdown.register(Stage::Doors, "gRPC and Flight");
    let http = shutdown.register(Stage::Doors, "HTTP");
    let grpc = async {
        grpc::serve(service.clone(), listeners.grpc, &settings, grpc.stopping()).await.inspect(|()| drop(grpc))
    };
    let http = async {
        http::serve(service.clone(), listeners.http, &settings, http.stopping()).await.inspect(|()| drop(http))
    };
    tokio::try_join!(grpc, http).map(|_| ())
}

#[cfg(test)]
mod tests;
