//! Counts calls: every answered call is one observation of its door, its method and its outcome.

use std::future::Future;

use crate::service::{Result, Tidegate};

/// Answers a call and counts it. For a stream, the answer is its beginning.
pub(super) async fn metered<T>(
    service: &Tidegate,
    door: &'static str,
    method: &'static str,
    call: impl Future<Output = Result<T>>,
) -> Result<T> {
    let watch = service.clock().stopwatch();
    let result = call.await;
    let failure = result.as_ref().err().map(|error| error.kind);
    service.telemetry().call(door, method, failure, watch.elapsed());
    result
}
