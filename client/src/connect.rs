//! The connection: one HTTP/2 channel, with windows and message sizes fit for Arrow batches.

use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_client::FlightServiceClient;
use tidegate_proto::PROJECT_METADATA;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::error::{Cause, Error, Result};

/// Where a server listens unless told otherwise.
pub const DEFAULT_ADDRESS: &str = "http://127.0.0.1:7407";

/// Bytes the server may send ahead of what a reader has taken, on one stream and on the connection.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;
/// Largest message taken. Batches are cut to a few MiB; one row with long values can be larger.
pub(crate) const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// How to reach a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientOptions {
    /// `http://HOST:PORT`; the scheme may be left out.
    pub address: String,
    /// The project that calls are about; only [`Client::list_projects`] and definitions in files do without.
    pub project: Option<String>,
    /// How long a connection may take to open.
    pub connect_timeout: Duration,
}

impl ClientOptions {
    /// A server's address, no project, five seconds to connect.
    #[must_use]
    pub fn new(address: impl Into<String>) -> Self {
        Self { address: address.into(), project: None, connect_timeout: Duration::from_secs(5) }
    }

    /// With the project that calls are about.
    #[must_use]
    pub fn with_project(mut self, project: impl Into<String>) -> Self {
        self.project = Some(project.into());
        self
    }
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self::new(DEFAULT_ADDRESS)
    }
}

/// A connection to a server. Clones share it.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) channel: Channel,
    pub(crate) address: Arc<str>,
    project: Option<Arc<str>>,
}

impl Client {
    /// Opens a connection.
    ///
    /// # Errors
    /// [`Error::Address`] for what is no address, [`Error::Connect`] when nobody answers.
    pub async fn connect(options: ClientOptions) -> Result<Self> {
        let address = with_scheme(&options.address);
        let endpoint = endpoint(&address, options.connect_timeout)?;
        let channel = endpoint
            .connect()
            .await
            .map_err(|error| Error::Connect { address: address.clone(), source: Cause::of(&error) })?;
        Ok(Self { channel, address: address.into(), project: options.project.map(Into::into) })
    }

    /// The server's address.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The project that calls are about.
    ///
    /// # Errors
    /// [`Error::NoProject`] when none was chosen.
    pub fn project(&self) -> Result<&str> {
        self.project.as_deref().ok_or(Error::NoProject)
    }

    /// The same connection, for another project.
    #[must_use]
    pub fn with_project(mut self, project: impl Into<String>) -> Self {
        self.project = Some(project.into().into());
        self
    }

    /// Whether the server says that it serves.
    ///
    /// # Errors
    /// [`Error::Connect`] when nobody answers.
    pub async fn healthy(&self) -> Result<bool> {
        let mut client = HealthClient::new(self.channel.clone());
        let reply = client.check(HealthCheckRequest::default()).await.map_err(|status| self.failed(&status))?;
        Ok(reply.into_inner().status() == ServingStatus::Serving)
    }

    pub(crate) fn failed(&self, status: &Status) -> Error {
        Error::from_status(&self.address, status)
    }

    pub(crate) fn flight(&self) -> FlightServiceClient<Channel> {
        FlightServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// A request that names the project in its metadata, for messages that have no place for it.
    pub(crate) fn request<T>(&self, message: T) -> Result<Request<T>> {
        let mut request = Request::new(message);
        if let Some(project) = &self.project {
            let value = MetadataValue::try_from(project.as_ref())
                .map_err(|_| Error::Argument(format!("`{project}` can't be a project's name")))?;
            request.metadata_mut().insert(PROJECT_METADATA, value);
        }
        Ok(request)
    }
}

fn with_scheme(address: &str) -> String {
    match address.contains("://") {
        true => address.to_owned(),
        false => format!("http://{address}"),
    }
}

fn endpoint(address: &str, connect_timeout: Duration) -> Result<Endpoint> {
    let wrong = |reason: String| Error::Address { address: address.to_owned(), reason };
    let endpoint = Endpoint::from_shared(address.to_owned()).map_err(|error| wrong(Cause::of(&error).to_string()))?;
    if endpoint.uri().scheme_str() != Some("http") {
        return Err(wrong("only http is spoken".to_owned()));
    }
    if endpoint.uri().port_u16().is_none() {
        return Err(wrong("the port is missing".to_owned()));
    }
    Ok(endpoint
        .connect_timeout(connect_timeout)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_before_anything_is_sent() {
        let check =
            |address: &str| endpoint(&with_scheme(address), Duration::from_secs(1)).map(|it| it.uri().to_string());
        assert_eq!(check("localhost:7407").unwrap(), "http://localhost:7407/");
        assert_eq!(check("http://[::1]:7407").unwrap(), "http://[::1]:7407/");
        for wrong in ["https://host:1", "host", "http://", "not an address", "ftp://host:1", ""] {
            assert!(matches!(check(wrong), Err(Error::Address { .. })), "{wrong}");
        }
    }
}
