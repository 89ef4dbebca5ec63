//! Metrics of pushes: what came, what was refused and why, what waits for its table.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use tidegate_online::FeedStatus;
use tidegate_schemas::time::Micros;

use super::{ResultLabels, SourceLabels};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

/// The metrics.
#[derive(Debug, Default)]
pub(super) struct PushMetrics {
    rows: Family<ResultLabels, Counter>,
    quarantined: Family<ReasonLabels, Counter>,
    pub(super) released: Counter,
    pub(super) flushed: Counter,
    outbox_rows: Family<SourceLabels, Gauge<u64, AtomicU64>>,
    outbox_bytes: Family<SourceLabels, Gauge<u64, AtomicU64>>,
    outbox_age: Family<SourceLabels, Gauge<f64, AtomicU64>>,
}

impl PushMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("push_rows", "Rows pushed, by what became of them", self.rows.clone());
        registry.register("quarantined_rows", "Rows that could not be taken, by reason", self.quarantined.clone());
        registry.register("released_rows", "Rows that were served once they were due", self.released.clone());
        registry.register("outbox_flushed_rows", "Pushed rows that reached their table", self.flushed.clone());
        registry.register("outbox_rows", "Pushed rows that wait for their table", self.outbox_rows.clone());
        let bytes = self.outbox_bytes.clone();
        registry.register_with_unit("outbox", "Size of pushed rows that wait for their table", Unit::Bytes, bytes);
        let age = self.outbox_age.clone();
        registry.register_with_unit("outbox_age", "How long the oldest of them waits", Unit::Seconds, age);
    }

    pub(super) fn pushed(&self, accepted: u64, duplicates: u64, refused: impl Iterator<Item = (&'static str, u64)>) {
        let mut quarantined = 0;
        for (reason, rows) in refused {
            self.quarantined.get_or_create(&ReasonLabels { reason }).inc_by(rows);
            quarantined += rows;
        }
        for (result, rows) in [("accepted", accepted), ("duplicate", duplicates), ("quarantined", quarantined)] {
            self.rows.get_or_create(&ResultLabels { result }).inc_by(rows);
        }
    }

    pub(super) fn outbox(&self, feeds: &[FeedStatus], now: Micros) {
        for feed in feeds {
            let labels = SourceLabels { project: feed.project.clone(), source: feed.name.clone() };
            self.outbox_rows.get_or_create(&labels).set(feed.rows);
            self.outbox_bytes.get_or_create(&labels).set(feed.bytes);
            let age = feed.oldest.map_or(0, |oldest| now.saturating_sub(oldest).max(0));
            self.outbox_age.get_or_create(&labels).set(age as f64 / 1e6);
        }
    }
}
