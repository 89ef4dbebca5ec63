//! Metrics of how far views are behind, and of jobs that wait.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::ResultLabels;
use crate::service::Freshness;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ViewLabels {
    project: String,
    view: String,
}

type Seconds = Family<ViewLabels, Gauge<f64, AtomicU64>>;

/// Set each time the server looks at its views.
#[derive(Debug, Default)]
pub(super) struct FreshnessMetrics {
    behind: Seconds,
    objective: Seconds,
    versions: Family<ViewLabels, Gauge>,
    missed: Family<ViewLabels, Gauge>,
    waiting: Family<ResultLabels, Gauge>,
}

impl FreshnessMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "view_behind",
            "Time since the oldest commit to the view's table that is not served yet was made",
            Unit::Seconds,
            self.behind.clone(),
        );
        registry.register_with_unit(
            "view_freshness_objective",
            "How far behind the view may be",
            Unit::Seconds,
            self.objective.clone(),
        );
        registry.register(
            "view_versions_behind",
            "Versions of the view's table that changed rows and are not served yet",
            self.versions.clone(),
        );
        registry.register(
            "view_freshness_missed",
            "1 where a view is further behind than it may be",
            self.missed.clone(),
        );
        registry.register("jobs_waiting", "Jobs that wait, by what for", self.waiting.clone());
    }

    pub(super) fn set(&self, project: &str, view: &str, freshness: &Freshness) {
        let labels = ViewLabels { project: project.to_owned(), view: view.to_owned() };
        let seconds = |micros: i64| micros as f64 / 1e6;
        if let Some(versions) = freshness.versions {
            self.versions.get_or_create(&labels).set(i64::try_from(versions).unwrap_or(i64::MAX));
        }
        if let Some(behind) = freshness.behind {
            self.behind.get_or_create(&labels).set(seconds(behind));
        }
        if let Some(objective) = freshness.objective {
            self.objective.get_or_create(&labels).set(seconds(objective));
        }
        if let Some(met) = freshness.is_met() {
            self.missed.get_or_create(&labels).set(i64::from(!met));
        }
    }

    pub(super) fn waiting(&self, queued: usize, retrying: usize) {
        for (result, count) in [("queued", queued), ("retrying", retrying)] {
            self.waiting.get_or_create(&ResultLabels { result }).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}
