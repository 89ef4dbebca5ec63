//! Logs and metrics.
//!
//! Logs go to standard error, as text or JSON. Metrics are counted in [`Telemetry`] by the use cases and the doors and printed in the
//! OpenMetrics text format by [`Telemetry::encode`]. No label carries a value from a table, a query or a secret.

mod freshness;

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use tidegate_online::{FeedStatus, Stats};
use tidegate_schemas::error::ErrorKind;
use tidegate_schemas::time::Micros;

use crate::config::{Log, LogFormat};
use crate::jobs::ViewKey;
use crate::service::Freshness;
use freshness::FreshnessMetrics;

mod kafka;
mod push;

use kafka::KafkaMetrics;
use push::PushMetrics;

/// The content type of what [`Telemetry::encode`] gives.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// From 50 µs, where lookups are, to minutes, where training sets are.
const SECONDS: [f64; 16] =
    [5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 60.0, 300.0];

/// Names of the statuses, by their number in `online.proto`.
const STATUSES: [&str; 7] = ["unspecified", "present", "null", "not_found", "expired", "defaulted", "failed"];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    door: &'static str,
    method: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabels {
    door: &'static str,
    method: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabels {
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProjectLabels {
    project: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabels {
    project: String,
    source: String,
}

/// How a materialization of one view ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobOutcome {
    /// The cursor reached the target.
    Done,
    /// It stopped at a batch because the caller went away or the server stops.
    Stopped,
    /// It failed.
    Failed,
}

/// The process's metrics.
#[derive(Debug)]
pub struct Telemetry {
    registry: Registry,
    calls: Family<CallLabels, Counter>,
    call_seconds: Family<MethodLabels, Histogram, fn() -> Histogram>,
    lookup_rows: Counter,
    lookup_values: [Counter; 7],
    ingest_rows: Family<SourceLabels, Counter>,
    training_rows: Counter,
    sql_rows: Counter,
    jobs: Family<ResultLabels, Counter>,
    jobs_running: Gauge,
    materialize_rows: Family<ResultLabels, Counter>,
    cache: Family<ResultLabels, Counter>,
    cache_evictions: Counter,
    refused_erased: Counter,
    cache_entities: Gauge<u64, AtomicU64>,
    cache_bytes: Gauge<u64, AtomicU64>,
    catalog_version: Family<ProjectLabels, Gauge<u64, AtomicU64>>,
    push: PushMetrics,
    kafka: KafkaMetrics,
    freshness: FreshnessMetrics,
}

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

impl Default for Telemetry {
    fn default() -> Self {
        Self::new()
    }
}

impl Telemetry {
    /// Metrics at zero.
    #[must_use]
    pub fn new() -> Self {
        let values: Family<StatusLabels, Counter> = Family::default();
        let mut telemetry = Self {
            registry: Registry::with_prefix("tidegate"),
            calls: Family::default(),
            call_seconds: Family::new_with_constructor(seconds),
            lookup_rows: Counter::default(),
            lookup_values: STATUSES.map(|status| values.get_or_create_owned(&StatusLabels { status })),
            ingest_rows: Family::default(),
            training_rows: Counter::default(),
            sql_rows: Counter::default(),
            jobs: Family::default(),
            jobs_running: Gauge::default(),
            materialize_rows: Family::default(),
            cache: Family::default(),
            cache_evictions: Counter::default(),
            refused_erased: Counter::default(),
            cache_entities: Gauge::default(),
            cache_bytes: Gauge::default(),
            catalog_version: Family::default(),
            push: PushMetrics::default(),
            kafka: KafkaMetrics::default(),
            freshness: FreshnessMetrics::default(),
        };
        telemetry.register_calls();
        telemetry.register_work(values);
        telemetry.push.register(&mut telemetry.registry);
        telemetry.kafka.register(&mut telemetry.registry);
        telemetry.freshness.register(&mut telemetry.registry);
        telemetry
    }

    fn register_calls(&mut self) {
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        let registry = &mut self.registry;
        registry.register("build", "The server's version", build);
        registry.register("calls", "Calls answered, by door, method and outcome", self.calls.clone());
        let seconds = self.call_seconds.clone();
        registry.register_with_unit(
            "call",
            "Time from a call's arrival to its reply or first batch",
            Unit::Seconds,
            seconds,
        );
        registry.register("catalog_version", "Newest version of a project's definitions", self.catalog_version.clone());
    }

    fn register_work(&mut self, values: Family<StatusLabels, Counter>) {
        let registry = &mut self.registry;
        registry.register("lookup_rows", "Entity rows looked up", self.lookup_rows.clone());
        registry.register("lookup_values", "Values answered, by status", values);
        registry.register("ingest_rows", "Rows appended to managed tables", self.ingest_rows.clone());
        registry.register("training_set_rows", "Rows of training sets sent", self.training_rows.clone());
        registry.register("sql_rows", "Rows of queries sent", self.sql_rows.clone());
        registry.register("materialize_jobs", "Materializations of one view that ended, by outcome", self.jobs.clone());
        registry.register("materialize_jobs_running", "Materializations running", self.jobs_running.clone());
        registry.register(
            "materialize_rows",
            "Rows read by materialization, by what became of them",
            self.materialize_rows.clone(),
        );
        registry.register("entity_cache", "Entities looked for in the cache", self.cache.clone());
        let refused = self.refused_erased.clone();
        registry.register("online_refused_erased", "Observations of erased entities that were refused", refused);
        let evictions = self.cache_evictions.clone();
        registry.register("entity_cache_evictions", "Entities that made room for others in the cache", evictions);
        registry.register("entity_cache_entities", "Entities in the cache", self.cache_entities.clone());
        let bytes = self.cache_bytes.clone();
        registry.register_with_unit("entity_cache", "Size of the cache of entities", Unit::Bytes, bytes);
    }

    /// Counts an answered call: `door` is `grpc`, `flight` or `http`, `outcome` is absent on success.
    pub fn call(&self, door: &'static str, method: &'static str, outcome: Option<ErrorKind>, took: Duration) {
        let outcome = outcome.map_or("ok", kind_name);
        self.calls.get_or_create(&CallLabels { door, method, outcome }).inc();
        self.call_seconds.get_or_create(&MethodLabels { door, method }).observe(took.as_secs_f64());
    }

    /// Counts a lookup; `statuses` is absent where all `rows` values of a column are present.
    pub(crate) fn lookup<'a>(&self, rows: usize, columns: impl Iterator<Item = Option<&'a [u8]>>) {
        self.lookup_rows.inc_by(rows as u64);
        let mut counts = [0_u64; STATUSES.len()];
        for statuses in columns {
            match statuses {
                None => counts[1] += rows as u64,
                Some(statuses) => {
                    for status in statuses {
                        counts[usize::from(*status).min(STATUSES.len() - 1)] += 1;
                    }
                }
            }
        }
        for (counter, count) in self.lookup_values.iter().zip(counts).filter(|(_, count)| *count > 0) {
            counter.inc_by(count);
        }
    }

    /// Counts rows appended to a managed table.
    pub(crate) fn ingested(&self, project: &str, source: &str, rows: u64) {
        let labels = SourceLabels { project: project.to_owned(), source: source.to_owned() };
        self.ingest_rows.get_or_create(&labels).inc_by(rows);
    }

    /// Counts rows of a training set.
    pub(crate) fn training_rows(&self, rows: usize) {
        self.training_rows.inc_by(rows as u64);
    }

    /// Counts rows of a query's result.
    pub(crate) fn sql_rows(&self, rows: usize) {
        self.sql_rows.inc_by(rows as u64);
    }

    /// A job starts.
    pub(crate) fn job_started(&self) {
        self.jobs_running.inc();
    }

    /// A job ended.
    pub(crate) fn job_ended(&self, outcome: JobOutcome) {
        self.jobs_running.dec();
        let result = match outcome {
            JobOutcome::Done => "done",
            JobOutcome::Stopped => "stopped",
            JobOutcome::Failed => "failed",
        };
        self.jobs.get_or_create(&ResultLabels { result }).inc();
    }

    /// Notes how far a view is behind.
    pub(crate) fn freshness(&self, project: &str, view: &str, freshness: &Freshness) {
        self.freshness.set(project, view, freshness);
    }

    /// Forgets how far all views were behind but these.
    pub(crate) fn freshness_of_none_but(&self, views: &BTreeSet<ViewKey>) {
        self.freshness.forget_others(views);
    }

    /// Notes how many jobs wait.
    pub(crate) fn jobs_waiting(&self, queued: usize, retrying: usize) {
        self.freshness.waiting(queued, retrying);
    }

    /// Counts rows of a materialized batch.
    pub(crate) fn materialized(&self, written: u64, kept: u64, skipped: u64) {
        for (result, rows) in [("written", written), ("kept", kept), ("skipped", skipped)] {
            self.materialize_rows.get_or_create(&ResultLabels { result }).inc_by(rows);
        }
    }

    /// Counts keys that were put right after rows of them were removed or changed.
    pub(crate) fn corrected(&self, replaced: u64, deleted: u64) {
        for (result, keys) in [("corrected", replaced), ("deleted", deleted)] {
            self.materialize_rows.get_or_create(&ResultLabels { result }).inc_by(keys);
        }
    }

    /// Sets the cache's figures to what the store has counted.
    pub(crate) fn cache(&self, stats: &Stats) {
        let up_to = |counter: &Counter, total: u64| {
            counter.inc_by(total.saturating_sub(counter.get()));
        };
        up_to(&self.cache.get_or_create(&ResultLabels { result: "hit" }), stats.cache_hits);
        up_to(&self.cache.get_or_create(&ResultLabels { result: "miss" }), stats.cache_misses);
        up_to(&self.cache_evictions, stats.cache_evictions);
        up_to(&self.refused_erased, stats.refused_erased);
        self.cache_entities.set(stats.cache_entries);
        self.cache_bytes.set(stats.cache_bytes);
    }

    /// Counts pushed rows, and by reason those that could not be taken.
    pub(crate) fn pushed(&self, accepted: u64, duplicates: u64, refused: impl Iterator<Item = (&'static str, u64)>) {
        self.push.pushed(accepted, duplicates, refused);
    }

    /// Notes whether a source's topic is read.
    pub(crate) fn topic_read(&self, project: &str, source: &str, reads: bool) {
        self.kafka.reading(project, source, reads);
    }

    /// Counts messages of a source's topic.
    pub(crate) fn topic_messages(&self, project: &str, source: &str, count: u64) {
        self.kafka.messages(project, source, count);
    }

    /// Sets how many messages of each partition are not read yet.
    pub(crate) fn topic_lag(&self, project: &str, source: &str, lag: &[(i32, u64)]) {
        self.kafka.lag(project, source, lag);
    }

    /// Counts rows that became due.
    pub(crate) fn released(&self, rows: u64) {
        self.push.released.inc_by(rows);
    }

    /// Counts pushed rows that reached their table.
    pub(crate) fn flushed(&self, rows: u64) {
        self.push.flushed.inc_by(rows);
    }

    /// Sets what waits in the outboxes.
    pub(crate) fn outbox(&self, feeds: &[FeedStatus], now: Micros) {
        self.push.outbox(feeds, now);
    }

    /// Notes a project's newest version.
    pub(crate) fn catalog_version(&self, project: &str, version: u64) {
        self.catalog_version.get_or_create(&ProjectLabels { project: project.to_owned() }).set(version);
    }

    /// All metrics in the OpenMetrics text format.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// The name of a kind of failure, in metrics and records.
pub(crate) fn kind_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Invalid => "invalid",
        ErrorKind::NotFound => "not_found",
        ErrorKind::AlreadyExists => "already_exists",
        ErrorKind::Conflict => "conflict",
        ErrorKind::Precondition => "precondition",
        ErrorKind::Unauthenticated => "unauthenticated",
        ErrorKind::Forbidden => "forbidden",
        ErrorKind::Exhausted => "exhausted",
        ErrorKind::Unavailable => "unavailable",
        ErrorKind::Deadline => "deadline",
        ErrorKind::Cancelled => "cancelled",
        ErrorKind::Unsupported => "unsupported",
        ErrorKind::Corrupt => "corrupt",
        ErrorKind::Internal => "internal",
    }
}

/// Starts logging to standard error. A second call in one process changes nothing.
///
/// # Errors
/// The level is not a filter.
pub fn start_logging(log: &Log) -> Result<(), String> {
    let filter = tracing_subscriber::EnvFilter::try_new(&log.level)
        .map_err(|error| format!("log.level = \"{}\" is not a filter such as \"info\": {error}", log.level))?;
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    // The second of two servers in one process keeps the first one's log.
    let _ = match log.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_show_in_the_text() {
        let telemetry = Telemetry::new();
        telemetry.lookup(3, [None, Some([1_u8, 3, 4].as_slice())].into_iter());
        telemetry.call("grpc", "GetOnlineFeatures", None, Duration::from_micros(80));
        let stats = |cache_hits| Stats { cache_hits, cache_misses: 2, cache_bytes: 640, ..Stats::default() };
        telemetry.cache(&stats(5));
        telemetry.cache(&stats(7));
        let text = telemetry.encode();
        for line in [
            "tidegate_lookup_values_total{status=\"present\"} 4",
            "tidegate_lookup_values_total{status=\"expired\"} 1",
            "tidegate_calls_total{door=\"grpc\",method=\"GetOnlineFeatures\",outcome=\"ok\"} 1",
            "tidegate_entity_cache_total{result=\"hit\"} 7",
            "tidegate_entity_cache_bytes 640",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
