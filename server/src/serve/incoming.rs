//! The accept loop of the gRPC port.
//!
//! It never ends by itself: running out of file descriptors is a reason to wait a moment, not to stop serving. tonic's own loop
//! ends at such an error and takes the server with it.

use std::io;
use std::time::Duration;

use futures::stream::{self, Stream};
use tokio::net::{TcpListener, TcpStream};

/// How long the loop waits after a failed accept; connections queue in the kernel meanwhile.
const PAUSE: Duration = Duration::from_millis(50);

/// Accepted connections, with `TCP_NODELAY` set: replies are small and written at once.
pub(super) fn connections(listener: TcpListener) -> impl Stream<Item = io::Result<TcpStream>> {
    stream::unfold(listener, |listener| async move {
        loop {
            match listener.accept().await {
                Ok((connection, _)) => {
                    if let Err(error) = connection.set_nodelay(true) {
                        tracing::debug!(%error, "could not set TCP_NODELAY");
                    }
                    return Some((Ok(connection), listener));
                }
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection; trying again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    })
}
