//! Rebuilding the whole online tier from the tables alone: every online view of every project, one after the other.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use tidegate_schemas::error::ErrorKind;

use crate::service::{Error, MaterializeProgress, MaterializeRequest, Principal, Result, Tidegate};

/// How far a rebuild is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebuildProgress {
    /// The project.
    pub project: String,
    /// The view.
    pub view: String,
    /// Which view it is at, from 1.
    pub nth: u64,
    /// How many views there are.
    pub views: u64,
    /// How far that view is; `None` where it failed.
    pub progress: Option<MaterializeProgress>,
    /// Why the view failed; the rebuild goes on with the others and fails at the end.
    pub failed: Option<String>,
}

impl Tidegate {
    /// Rebuilds every online view from its table, in a new epoch beside what is served; `projects` empty for all. Pushes that the
    /// tables do not have yet are kept. A view that fails is told and left as it was; the stream's last item is then an error.
    ///
    /// # Errors
    /// `NotFound` for a project.
    pub async fn rebuild(
        self: &Arc<Self>,
        principal: &Principal,
        projects: Vec<String>,
    ) -> Result<BoxStream<'static, Result<RebuildProgress>>> {
        let projects = if projects.is_empty() { self.registry.projects().await? } else { projects };
        let mut views = Vec::new();
        for name in projects {
            let project = self.project(&name).await?;
            let online = project.catalog.views.values().filter(|view| view.online);
            views.extend(online.map(|view| (name.clone(), view.name.clone())));
        }
        tracing::info!(principal = principal.name(), views = views.len(), "rebuild");
        let (service, principal, total) = (self.clone(), principal.clone(), views.len() as u64);
        let each = futures::stream::iter((1..).zip(views)).then(move |(nth, (project, view))| {
            let (service, principal) = (service.clone(), principal.clone());
            async move { service.rebuild_view(&principal, project, view, nth, total).await }
        });
        let mut failed = Vec::new();
        let told = each.flatten().map(Some).chain(futures::stream::iter([None])).filter_map(move |step| {
            let item = match step {
                Some(step) => {
                    failed.extend(step.failed.is_some().then(|| format!("{}/{}", step.project, step.view)));
                    Some(Ok(step))
                }
                None if failed.is_empty() => None,
                None => {
                    let message = format!("{} could not be rebuilt and are as they were", failed.join(", "));
                    Some(Err(Error::new(ErrorKind::Unavailable, message)))
                }
            };
            async move { item }
        });
        Ok(told.boxed())
    }

    async fn rebuild_view(
        self: &Arc<Self>,
        principal: &Principal,
        project: String,
        view: String,
        nth: u64,
        views: u64,
    ) -> BoxStream<'static, RebuildProgress> {
        let request =
            MaterializeRequest { project: project.clone(), views: vec![view.clone()], full: true, detach: false };
        let started = self.materialize(principal, request).await;
        let report = move |step: Result<MaterializeProgress>| {
            let (progress, failed) = match step {
                Ok(progress) => (Some(progress), None),
                Err(error) => (None, Some(error.chain())),
            };
            RebuildProgress { project: project.clone(), view: view.clone(), nth, views, progress, failed }
        };
        match started {
            Ok(steps) => steps.map(report).boxed(),
            Err(error) => futures::stream::iter([report(Err(error))]).boxed(),
        }
    }
}
