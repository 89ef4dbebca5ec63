//! What a join counts, per view; EXPLAIN ANALYZE shows each as `view.name`.

use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder};

/// Counters of one view. Each adds up over threads; none depends on their number or on the order of work, except that
/// pruning decides how many rows are looked at.
#[derive(Debug, Clone)]
pub(super) struct ViewMetrics {
    /// Files of the snapshot.
    pub(super) files: Count,
    /// Files skipped by the log's statistics.
    pub(super) files_pruned: Count,
    /// Row groups of the files opened.
    pub(super) row_groups: Count,
    /// Row groups skipped by their statistics.
    pub(super) row_groups_pruned: Count,
    /// Observations whose keys and times were decoded.
    pub(super) rows_decoded: Count,
    /// Payload rows decoded: distinct winners, once per chunk of the output.
    pub(super) winners_decoded: Count,
    /// Spine rows that got a value.
    pub(super) matched: Count,
    /// Spine rows whose winner was older than the ttl.
    pub(super) expired: Count,
    /// Observations of a spine key that happened in time and were known too late, or never.
    pub(super) not_yet_known: Count,
    /// Observations without a key.
    pub(super) null_keys: Count,
    /// Observations without an event time.
    pub(super) null_event_times: Count,
    /// Observations without a created time where knowledge needs one; never known.
    pub(super) null_created_times: Count,
    /// Observations that tied with a winner in event and created time and lost by address.
    pub(super) conflicts: Count,
}

impl ViewMetrics {
    pub(super) fn new(set: &ExecutionPlanMetricsSet, view: &str) -> Self {
        let count = |name: &str| MetricBuilder::new(set).global_counter(format!("{view}.{name}"));
        Self {
            files: count("files"),
            files_pruned: count("files_pruned"),
            row_groups: count("row_groups"),
            row_groups_pruned: count("row_groups_pruned"),
            rows_decoded: count("rows_decoded"),
            winners_decoded: count("winners_decoded"),
            matched: count("matched"),
            expired: count("expired"),
            not_yet_known: count("not_yet_known"),
            null_keys: count("null_keys"),
            null_event_times: count("null_event_times"),
            null_created_times: count("null_created_times"),
            conflicts: count("conflicts"),
        }
    }
}
