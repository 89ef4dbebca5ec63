//! Metrics of topics: whether they are read, what came, how far reading is behind.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::SourceLabels;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartitionLabels {
    project: String,
    source: String,
    partition: i32,
}

/// The metrics.
#[derive(Debug, Default)]
pub(super) struct KafkaMetrics {
    reading: Family<SourceLabels, Gauge>,
    messages: Family<SourceLabels, Counter>,
    lag: Family<PartitionLabels, Gauge<u64, AtomicU64>>,
}

impl KafkaMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "kafka_reading",
            "1 where a source's topic is read, 0 where it should be and is not",
            self.reading.clone(),
        );
        registry.register("kafka_messages", "Messages taken from a source's topic", self.messages.clone());
        registry.register("kafka_lag", "Messages of a partition that are not read yet", self.lag.clone());
    }

    pub(super) fn reading(&self, project: &str, source: &str, reads: bool) {
        self.reading.get_or_create(&labels(project, source)).set(i64::from(reads));
    }

    pub(super) fn messages(&self, project: &str, source: &str, count: u64) {
        self.messages.get_or_create(&labels(project, source)).inc_by(count);
    }

    pub(super) fn lag(&self, project: &str, source: &str, lag: &[(i32, u64)]) {
        for &(partition, messages) in lag {
            let labels = PartitionLabels { project: project.to_owned(), source: source.to_owned(), partition };
            self.lag.get_or_create(&labels).set(messages);
        }
    }
}

fn labels(project: &str, source: &str) -> SourceLabels {
    SourceLabels { project: project.to_owned(), source: source.to_owned() }
}
