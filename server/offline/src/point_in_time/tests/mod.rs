//! The fast path against the naive reference and a brute-force oracle, on random worlds; the bugs other stores had, by
//! name; and what a user sees of errors, plans and metrics.

pub(super) mod named;
pub(super) mod oracle;
pub(super) mod random;
mod rules;
pub(super) mod world;

use arrow::array::RecordBatch;

use super::Spec;
use super::plan::refuse_not_yet;

/// The operator's answer, where it takes what is asked. REMOVE the first line with `refuse_not_yet`.
async fn operator(spec: &Spec, run: impl Future<Output = RecordBatch>) -> Option<RecordBatch> {
    spec.views.iter().try_for_each(refuse_not_yet).ok()?;
    Some(run.await)
}
