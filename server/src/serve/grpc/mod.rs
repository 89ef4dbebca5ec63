//! The gRPC port: lookups, pushes, registry, materialization and its jobs, tables, lifecycle, sealed training sets, Arrow Flight with Flight SQL, health and
//! reflection.
//!
//! Each service is an adapter in a file of its own. The settings of the connection are those of one program that talks to a few:
//! wide windows for bulk, no delay for lookups, keepalive for what sits between.

mod derived;
mod jobs;
mod lifecycle;
mod materialize;
mod online;
mod push;
mod registry;
mod sealed;
mod table;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use tidegate_proto::derived::v1::derived_service_server::DerivedServiceServer;
use tidegate_proto::jobs::v1::jobs_service_server::JobsServiceServer;
use tidegate_proto::lifecycle::v1::lifecycle_service_server::LifecycleServiceServer;
use tidegate_proto::materialize::v1::materialize_service_server::MaterializeServiceServer;
use tidegate_proto::push::v1::push_service_server::PushServiceServer;
use tidegate_proto::registry::v1::registry_service_server::RegistryServiceServer;
use tidegate_proto::sealed::v1::sealed_service_server::SealedServiceServer;
use tidegate_proto::table::v1::table_service_server::TableServiceServer;
use tokio::net::TcpListener;
use tonic::service::{InterceptorLayer, Routes};
use tonic::transport::Server;
use tonic_health::pb::health_server::Health;
use tonic_health::server::HealthReporter;

use super::flight::FlightDoor;
use super::{Settings, incoming, principal};
use crate::service::Tidegate;

/// Flow control: what one stream and one connection may have in flight.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Frames large enough that a record batch is a few, not hundreds.
const FRAME_BYTES_MAX: u32 = 1 << 20;
/// A peer that does not answer a ping is gone: its streams are dropped and what they hold is freed.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves gRPC until `stop` resolves; requests in progress are answered first.
pub(super) async fn serve(
    service: Arc<Tidegate>,
    listener: TcpListener,
    settings: &Settings,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (reporter, health) = tonic_health::server::health_reporter();
    report_serving(&reporter).await;
    let stop = async move {
        stop.await;
        // Load balancers look elsewhere while what is in progress is answered.
        reporter.set_service_status("", tonic_health::ServingStatus::NotServing).await;
    };
    server(settings)
        .layer(InterceptorLayer::new(principal::intercept))
        .add_routes(routes(service, health, settings)?)
        .serve_with_incoming_shutdown(incoming::connections(listener), stop)
        .await
        .map_err(io::Error::other)
}

fn server(settings: &Settings) -> Server {
    let requests_max = u32::try_from(settings.requests_per_connection_max).unwrap_or(u32::MAX);
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_concurrent_streams(requests_max)
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
}

fn routes<H: Health>(
    service: Arc<Tidegate>,
    health: tonic_health::pb::health_server::HealthServer<H>,
    settings: &Settings,
) -> io::Result<Routes> {
    let unary = settings.request_bytes_max;
    let flight = settings.flight_message_bytes_max;
    let online = online::OnlineDoor::new(service.clone(), settings);
    let registry = RegistryServiceServer::new(registry::RegistryDoor::new(service.clone()))
        .max_decoding_message_size(unary)
        .max_encoding_message_size(usize::MAX);
    let materialize = MaterializeServiceServer::new(materialize::MaterializeDoor::new(service.clone()));
    let push = PushServiceServer::new(push::PushDoor::new(service.clone())).max_decoding_message_size(unary);
    let jobs = JobsServiceServer::new(jobs::JobsDoor::new(service.clone()));
    let lifecycle = LifecycleServiceServer::new(lifecycle::LifecycleDoor::new(service.clone()))
        .max_decoding_message_size(unary)
        .max_encoding_message_size(usize::MAX);
    let derived =
        DerivedServiceServer::new(derived::DerivedDoor::new(service.clone())).max_encoding_message_size(usize::MAX);
    let table = TableServiceServer::new(table::TableDoor::new(service.clone()));
    let sealed = SealedServiceServer::new(sealed::SealedDoor::new(service.clone()))
        .max_decoding_message_size(unary)
        .max_encoding_message_size(usize::MAX);
    let flight = FlightServiceServer::new(FlightDoor::new(service))
        .max_decoding_message_size(flight)
        .max_encoding_message_size(usize::MAX);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(tidegate_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let mut routes = Routes::builder();
    routes
        .add_service(online)
        .add_service(registry)
        .add_service(materialize)
        .add_service(push)
        .add_service(jobs)
        .add_service(table)
        .add_service(lifecycle)
        .add_service(derived)
        .add_service(sealed)
        .add_service(flight)
        .add_service(health)
        .add_service(reflection().build_v1().map_err(io::Error::other)?)
        .add_service(reflection().build_v1alpha().map_err(io::Error::other)?);
    Ok(routes.routes())
}

async fn report_serving(reporter: &HealthReporter) {
    use tidegate_proto::{derived, jobs, lifecycle, materialize, online, push, registry, sealed, table};
    let serving = tonic_health::ServingStatus::Serving;
    for name in [
        online::v1::online_service_server::SERVICE_NAME,
        registry::v1::registry_service_server::SERVICE_NAME,
        materialize::v1::materialize_service_server::SERVICE_NAME,
        push::v1::push_service_server::SERVICE_NAME,
        jobs::v1::jobs_service_server::SERVICE_NAME,
        table::v1::table_service_server::SERVICE_NAME,
        lifecycle::v1::lifecycle_service_server::SERVICE_NAME,
        derived::v1::derived_service_server::SERVICE_NAME,
        sealed::v1::sealed_service_server::SERVICE_NAME,
        "arrow.flight.protocol.FlightService",
    ] {
        reporter.set_service_status(name, serving).await;
    }
}
