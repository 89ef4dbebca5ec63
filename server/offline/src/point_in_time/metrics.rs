//! What a join counts, per view; EXPLAIN ANALYZE shows each as `view.name`.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder, MetricValue, Time};

use super::PointInTimeExec;

/// What the point-in-time joins of a plan count while it runs.
#[derive(Debug, Clone)]
pub struct Counts(Arc<dyn ExecutionPlan>);

impl Counts {
    /// Of this plan and all below it.
    pub(crate) fn of(plan: Arc<dyn ExecutionPlan>) -> Self {
        Self(plan)
    }

    /// Counts so far, by view (its alias) and name; complete when the plan's last batch is out. Times are not counted.
    #[must_use]
    pub fn by_view(&self) -> BTreeMap<String, BTreeMap<String, u64>> {
        let mut counts = BTreeMap::new();
        add(self.0.as_ref(), &mut counts);
        counts
    }
}

fn add(plan: &dyn ExecutionPlan, counts: &mut BTreeMap<String, BTreeMap<String, u64>>) {
    plan.children().into_iter().for_each(|child| add(child.as_ref(), counts));
    let Some(metrics) = plan.downcast_ref::<PointInTimeExec>().and_then(ExecutionPlan::metrics) else { return };
    for metric in metrics.iter() {
        if let MetricValue::Count { name, count } = metric.value()
            && let Some((view, name)) = name.rsplit_once('.')
        {
            *counts.entry(view.to_owned()).or_default().entry(name.to_owned()).or_default() += count.value() as u64;
        }
    }
}

/// What the join as a whole counts.
#[derive(Debug, Clone)]
pub(super) struct JoinMetrics {
    /// Pieces the spine was joined in; more than one where it did not fit the memory pool.
    pub(super) pieces: Count,
    /// Wall time of indexing the spine.
    pub(super) index_time: Time,
    /// Wall time of decoding payload and putting it in order.
    pub(super) gather_time: Time,
}

impl JoinMetrics {
    pub(super) fn new(set: &ExecutionPlanMetricsSet, partition: usize) -> Self {
        Self {
            pieces: MetricBuilder::new(set).global_counter("pieces"),
            index_time: MetricBuilder::new(set).subset_time("index_time", partition),
            gather_time: MetricBuilder::new(set).subset_time("gather_time", partition),
        }
    }
}

/// Counters of one view. Each adds up over threads; none depends on their number or on the order of work, except that
/// pruning decides how many rows are looked at.
#[derive(Debug, Clone)]
pub(super) struct ViewMetrics {
    /// Wall time of finding the winners.
    pub(super) scan_time: Time,
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
    /// Observations that windows may count, held while their rows' values are made; more than once where they did not fit
    /// the memory pool together.
    pub(super) events: Count,
    /// Pages of payload chunks that hold winners.
    pub(super) pages: Count,
    /// Of these the pages without a winner, passed over without decompressing them.
    pub(super) pages_pruned: Count,
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
            scan_time: MetricBuilder::new(set).subset_time(format!("{view}.scan_time"), 0),
            files: count("files"),
            files_pruned: count("files_pruned"),
            row_groups: count("row_groups"),
            row_groups_pruned: count("row_groups_pruned"),
            rows_decoded: count("rows_decoded"),
            events: count("events"),
            pages: count("pages"),
            pages_pruned: count("pages_pruned"),
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
