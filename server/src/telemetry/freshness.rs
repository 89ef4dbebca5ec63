//! Metrics of how far views are behind, and of jobs that wait.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::ResultLabels;
use crate::jobs::ViewKey;
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
    /// Views that any of them shows.
    shown: Mutex<BTreeSet<ViewKey>>,
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

    /// What is not known is not shown, rather than as it was.
    pub(super) fn set(&self, project: &str, view: &str, freshness: &Freshness) {
        let labels = ViewLabels { project: project.to_owned(), view: view.to_owned() };
        let seconds = |micros: i64| micros as f64 / 1e6;
        let versions = freshness.versions.map(|versions| i64::try_from(versions).unwrap_or(i64::MAX));
        put(&self.versions, &labels, versions, Gauge::set);
        put(&self.behind, &labels, freshness.behind.map(seconds), Gauge::set);
        put(&self.objective, &labels, freshness.objective.map(seconds), Gauge::set);
        put(&self.missed, &labels, freshness.is_met().map(|met| i64::from(!met)), Gauge::set);
        self.shown.lock().insert((labels.project, labels.view));
    }

    /// Shows nothing of any view but these.
    pub(super) fn forget_others(&self, views: &BTreeSet<ViewKey>) {
        let mut shown = self.shown.lock();
        for (project, view) in shown.difference(views) {
            let labels = ViewLabels { project: project.clone(), view: view.clone() };
            self.behind.remove(&labels);
            self.objective.remove(&labels);
            self.versions.remove(&labels);
            self.missed.remove(&labels);
        }
        shown.retain(|view| views.contains(view));
    }

    pub(super) fn waiting(&self, queued: usize, retrying: usize) {
        for (result, count) in [("queued", queued), ("retrying", retrying)] {
            self.waiting.get_or_create(&ResultLabels { result }).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

/// Sets a view's gauge, or takes it away.
fn put<G: Default, T>(
    family: &Family<ViewLabels, G>,
    labels: &ViewLabels,
    value: Option<T>,
    set: impl FnOnce(&G, T) -> T,
) {
    match value {
        Some(value) => {
            set(&family.get_or_create(labels), value);
        }
        None => {
            family.remove(labels);
        }
    }
}
