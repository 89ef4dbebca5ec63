//! Why the server does not start. Each message names the cause and the remedy; causes are printed below it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config;

/// Why the server does not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Settings.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// The log filter.
    #[error("{0}")]
    Log(String),
    /// A port is taken.
    #[error(
        "{door} can't listen on {address}: another process does; stop it, or choose another address with {flag} (port 0 takes \
         a free one)"
    )]
    PortInUse {
        /// `gRPC` or `HTTP`.
        door: &'static str,
        /// The address.
        address: SocketAddr,
        /// The flag that sets it.
        flag: &'static str,
    },
    /// An address can't be bound for another reason.
    #[error("{door} can't listen on {address}; choose an address of this machine with {flag}")]
    Bind {
        /// `gRPC` or `HTTP`.
        door: &'static str,
        /// The address.
        address: SocketAddr,
        /// The flag that sets it.
        flag: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The data folder can't be used.
    #[error("the data folder {path} can't be used; give --data-dir a folder that is writable and has space")]
    DataDir {
        /// The folder or a file in it.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A restore was cut short.
    #[error(
        "the data folder {0} was being restored and is not whole: delete it and run `tidegate restore` again, or use another with \
         --data-dir"
    )]
    HalfRestored(PathBuf),
    /// A backup can't be checked or restored.
    #[error(transparent)]
    Backup(#[from] crate::backup::Error),
    /// Another server owns the data folder.
    #[error(
        "the data folder {path} is in use by another server (pid {pid}); stop that one, or give this one a folder of its own \
         with --data-dir"
    )]
    Locked {
        /// The folder.
        path: PathBuf,
        /// The other server.
        pid: String,
    },
    /// A failpoint that there is none of.
    #[error(transparent)]
    Failpoint(#[from] tidegate_schemas::failpoint::Unknown),
    /// The registry.
    #[error(transparent)]
    Registry(#[from] crate::registry::Error),
    /// The sealed sets.
    #[error(transparent)]
    Sealed(#[from] crate::sealed::Error),
    /// The plan runtime.
    #[error(transparent)]
    Offline(#[from] tidegate_offline::Error),
    /// The online tier.
    #[error(transparent)]
    Online(#[from] tidegate_online::Error),
    /// A use case.
    #[error(transparent)]
    Service(#[from] crate::service::Error),
    /// Threads, signals, doors.
    #[error("{doing} failed")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Why.
        source: io::Error,
    },
}
