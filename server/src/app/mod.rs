//! From the command line to a running server and back.
//!
//! [`main`] reads the command line; [`start`] is a list of named stages, ports first, so that a mistake in an address is told before a
//! store is opened; [`Running`] is a server in this process, for the binary and for tests alike; [`data_dir`] owns the folder.

mod args;
pub mod data_dir;
mod error;
mod restore;

pub use args::main;
pub use error::Error;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::config::Config;
use crate::jobs::Jobs;
use crate::receipts::Receipts;
use crate::registry::Registry;
use crate::sealed::SealedSets;
use crate::serve::{self, Listeners};
use crate::service::{Parts, Tidegate};
use crate::shutdown::{Shutdown, Stage};
use crate::telemetry::Telemetry;
use data_dir::DataDir;

/// A server in this process.
pub struct Running {
    /// Where gRPC, Flight and Flight SQL listen.
    pub grpc: SocketAddr,
    /// Where HTTP listens.
    pub http: SocketAddr,
    /// The use cases, for callers in this process.
    pub service: Arc<Tidegate>,
    /// The switch that stops it.
    pub shutdown: Shutdown,
    doors: JoinHandle<std::io::Result<()>>,
    stop_grace: Duration,
    data_dir: DataDir,
}

/// Starts a server. What is started stops when [`Running::stop`] is called.
///
/// # Errors
/// The first stage that fails; nothing stays behind.
pub async fn start(config: Config, clock: Clock) -> Result<Running, Error> {
    stage("settings");
    config.check_exposure()?;
    crate::kafka::check(&config.kafka)?;
    stage("ports");
    let listeners = bind(&config).await?;
    let (grpc, http) = (local_address(&listeners.grpc)?, local_address(&listeners.http)?);
    stage("data folder");
    let data_dir = DataDir::lock(&config.server.data_dir)?;
    stage("registry");
    let registry = Registry::open(&data_dir.registry())?;
    let sealed = SealedSets::open(&data_dir.sealed())?;
    let receipts = Receipts::open(&data_dir.erased())?;
    stage("plans");
    let plans = tidegate_offline::runtime::Runtime::new(&plan_settings(&config, &data_dir))?;
    stage("online store");
    let online = open_online(&config, &data_dir).await?;
    stage("jobs");
    let jobs = Jobs::open(&data_dir.jobs(), config.jobs.clone(), clock.clone())
        .map_err(|source| Error::Io { doing: "reading the jobs that are remembered", source })?;
    stage("definitions");
    let (shutdown, plan_threads) = (Shutdown::new(), plans.handle());
    let parts = Parts {
        clock,
        telemetry: Arc::new(Telemetry::new()),
        registry,
        sealed,
        receipts,
        plans,
        online,
        jobs,
        shutdown: shutdown.clone(),
        tables_dir: data_dir.tables(),
        spill_dir: data_dir.spill(),
        settings: config.clone(),
    };
    let service = Tidegate::new(parts).share();
    service.prepare().await?;
    service.load_definitions().await?;
    spawn_keeper(&service, &config, &shutdown);
    spawn_pushes(&service, &shutdown);
    tokio::spawn(service.clone().read_topics(shutdown.register(Stage::Jobs, "topics of Kafka")));
    spawn_scheduler(&service, &config, &shutdown, &plan_threads);
    spawn_retention(&service, &config, &shutdown);
    stage("doors");
    let doors = tokio::spawn(open_doors(service.clone(), listeners, serve_settings(&config), shutdown.clone()));
    data_dir.announce(grpc, http)?;
    tracing::info!(%grpc, %http, "ready");
    Ok(Running { grpc, http, service, shutdown, doors, stop_grace: config.server.stop_grace, data_dir })
}

impl Running {
    /// Waits until the server is told to stop or a door fails, then stops.
    ///
    /// # Errors
    /// What a door failed with.
    pub async fn wait(mut self) -> Result<(), Error> {
        let failed = tokio::select! {
            () = self.shutdown.requested() => None,
            ended = &mut self.doors => Some(ended),
        };
        match failed {
            None => self.stop().await,
            Some(ended) => {
                self.shutdown.finish(self.stop_grace).await;
                ended.map_err(std::io::Error::other).flatten().map_err(|source| Error::Io { doing: "serving", source })
            }
        }
    }

    /// Stops in order: jobs, doors, stores. Returns when the data folder is free.
    ///
    /// # Errors
    /// What a door failed with.
    pub async fn stop(self) -> Result<(), Error> {
        let Self { shutdown, doors, stop_grace, data_dir, service, .. } = self;
        shutdown.request("asked to");
        let late = shutdown.finish(stop_grace).await;
        if !late.is_empty() {
            doors.abort();
        }
        let ended = doors.await;
        service.jobs_saved().await;
        wait_for_last_owner(service, stop_grace).await;
        drop(data_dir);
        tracing::info!("stopped");
        match ended {
            Ok(result) => result.map_err(|source| Error::Io { doing: "serving", source }),
            Err(_) => Ok(()),
        }
    }
}

/// Calls that were cut off may hold the service a moment longer; the stores close with its last owner.
async fn wait_for_last_owner(service: Arc<Tidegate>, grace: Duration) {
    let alone = async {
        while Arc::strong_count(&service) > 1 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    if tokio::time::timeout(grace, alone).await.is_err() {
        tracing::warn!("calls still run; the stores close when they end");
    }
    // Closing flushes and waits for the disk.
    let _ = tokio::task::spawn_blocking(move || drop(service)).await;
}

fn stage(name: &'static str) {
    tracing::debug!(stage = name, "starting");
}

/// Binds both ports before any store is opened.
async fn bind(config: &Config) -> Result<Listeners, Error> {
    let grpc = listen("gRPC", config.grpc.address, "--grpc-address").await?;
    let http = listen("HTTP", config.http.address, "--http-address").await?;
    Ok(Listeners { grpc, http })
}

async fn listen(door: &'static str, address: SocketAddr, flag: &'static str) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        std::io::ErrorKind::AddrInUse => Error::PortInUse { door, address, flag },
        _ => Error::Bind { door, address, flag, source },
    })
}

fn local_address(listener: &TcpListener) -> Result<SocketAddr, Error> {
    listener.local_addr().map_err(|source| Error::Io { doing: "asking for a port's address", source })
}

fn plan_settings(config: &Config, data_dir: &DataDir) -> tidegate_offline::runtime::Settings {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    tidegate_offline::runtime::Settings {
        memory_bytes: config.plans.memory,
        spill_dir: data_dir.spill().join("plans"),
        spill_bytes: config.plans.spill as u64,
        threads: if config.plans.threads == 0 { cores() } else { config.plans.threads },
        batch_rows: config.plans.batch_rows,
    }
}

/// Opening replays the store's log, which may take a while: not on a thread that serves.
async fn open_online(config: &Config, data_dir: &DataDir) -> Result<Arc<tidegate_online::Store>, Error> {
    let settings = args::online_settings(config);
    let path = data_dir.online();
    let opened = tokio::task::spawn_blocking(move || tidegate_online::Store::open(&path, &settings)).await;
    Ok(opened
        .map_err(|error| Error::Io { doing: "opening the online store", source: std::io::Error::other(error) })??)
}

fn serve_settings(config: &Config) -> serve::Settings {
    serve::Settings {
        request_bytes_max: config.grpc.max_message_bytes,
        flight_message_bytes_max: config.grpc.max_message_bytes.saturating_mul(2),
        requests_per_connection_max: config.grpc.max_concurrent_streams as usize,
        http_body_bytes_max: config.http.max_body_bytes,
        lookup_wait_max: config.online.max_wait,
        ..serve::Settings::default()
    }
}

async fn open_doors(
    service: Arc<Tidegate>,
    listeners: Listeners,
    settings: serve::Settings,
    shutdown: Shutdown,
) -> std::io::Result<()> {
    serve::serve(service, listeners, settings, &shutdown).await
}

/// Brings pushed rows to lookups when they are due, and to their tables, until jobs stop.
fn spawn_pushes(service: &Arc<Tidegate>, shutdown: &Shutdown) {
    tokio::spawn(service.clone().release_pushes(shutdown.register(Stage::Jobs, "release of rows that are due")));
    tokio::spawn(service.clone().flush_pushes(shutdown.register(Stage::Jobs, "flush of pushed rows")));
}

/// Looks for versions written by other processes, and forgets old spines, until jobs stop.
fn spawn_keeper(service: &Arc<Tidegate>, config: &Config, shutdown: &Shutdown) {
    let (service, every) = (service.clone(), config.registry.poll.max(Duration::from_millis(10)));
    let registration = shutdown.register(Stage::Jobs, "registry watch");
    tokio::spawn(async move {
        let mut stopping = std::pin::pin!(registration.stopping());
        loop {
            tokio::select! {
                () = &mut stopping => break,
                () = tokio::time::sleep(every) => service.look_around().await,
            }
        }
    });
}

/// Looks at schedules, and goes on with jobs that an earlier server left, until jobs stop. It reads the logs of tables: not on a
/// thread that serves.
fn spawn_scheduler(service: &Arc<Tidegate>, config: &Config, shutdown: &Shutdown, on: &tokio::runtime::Handle) {
    let (service, every) = (service.clone(), config.jobs.poll.max(Duration::from_millis(10)));
    let registration = shutdown.register(Stage::Jobs, "scheduler");
    on.spawn(async move {
        let mut stopping = std::pin::pin!(registration.stopping());
        loop {
            tokio::select! {
                () = &mut stopping => break,
                () = service.tend_jobs() => {}
            }
            tokio::select! {
                () = &mut stopping => break,
                () = tokio::time::sleep(every) => {}
            }
        }
    });
}

/// Deletes rows that views no longer retain, until jobs stop.
fn spawn_retention(service: &Arc<Tidegate>, config: &Config, shutdown: &Shutdown) {
    let (service, every) = (service.clone(), config.online.retention_every.max(Duration::from_millis(10)));
    let registration = shutdown.register(Stage::Jobs, "retention");
    tokio::spawn(async move {
        let mut stopping = std::pin::pin!(registration.stopping());
        loop {
            tokio::select! {
                () = &mut stopping => break,
                () = tokio::time::sleep(every) => service.retain_all().await,
            }
        }
    });
}

#[cfg(test)]
pub(crate) mod tests;
