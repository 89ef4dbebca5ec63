//! Ending the life of a view's rows: dropping it with what it has online, and deleting what its definition no longer retains.
//!
//! A view's *cut* is now less its `retention`: rows with event times before it are deleted and not taken again. It moves with time,
//! at the keeper's turns, and back only where the `retention` gets longer; where a definition no longer has one, the cut goes and
//! what comes is kept. A materialization does not wait for the keeper: it takes in what the definition retains by now.

use std::sync::Arc;

use tidegate_schemas::definition::FeatureView;
use tidegate_schemas::error::ErrorKind;
use tidegate_schemas::time::Micros;

use crate::registry::Versioned;
use crate::service::erase::blocking;
use crate::service::materialize::online_views;
use crate::service::{Error, Principal, Result, Tidegate};

/// What dropping a view removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropped {
    /// The version of the definitions without it; `None` where they had none of that name.
    pub version: Option<u64>,
    /// Its online rows.
    pub rows: u64,
    /// Their bytes, before compression: what goes from the disk in the background.
    pub bytes: u64,
}

/// What was deleted of a view that retains its rows for a limited time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retained {
    /// The view.
    pub view: String,
    /// Rows with event times before this, in UTC microseconds, are gone.
    pub cut: Micros,
    /// Rows deleted now; tiles of a windowed view.
    pub rows: u64,
    /// Their bytes, before compression.
    pub bytes: u64,
}

impl Tidegate {
    /// Deletes the online rows that views (none named: all that have a `retention`) no longer retain.
    ///
    /// # Errors
    /// `NotFound` for the project or a view; `Precondition` for a view that retains its rows for ever, or is being materialized.
    pub async fn retain(&self, principal: &Principal, project: &str, views: &[String]) -> Result<Vec<Retained>> {
        let project = self.project(project).await?;
        let mut done = Vec::new();
        for view in online_views(&project.catalog, views)? {
            let Some(retention) = view.retention else {
                if views.is_empty() {
                    continue;
                }
                let message = format!(
                    "feature view `{}` keeps its rows for ever; give it a `retention` in its definition first",
                    view.name
                );
                return Err(Error::new(ErrorKind::Precondition, message));
            };
            let claim = self.claim(&project.catalog.project, &view.name).await.ok_or_else(|| {
                let message =
                    format!("feature view `{}` is being materialized; try again when that is done", view.name);
                Error::new(ErrorKind::Precondition, message)
            })?;
            done.push(self.cut(&project, view, retention).await?);
            drop(claim);
        }
        tracing::info!(principal = principal.name(), project = project.catalog.project, views = done.len(), "retain");
        Ok(done)
    }

    /// The keeper's turn: every view of every project that no job has at the moment.
    pub async fn retain_all(&self) {
        for name in self.registry.known() {
            let Some(project) = self.registry.cached(&name) else { continue };
            for view in project.catalog.views.values().filter(|view| view.online) {
                let Some(_claim) = self.claims.claim(&name, &view.name) else { continue };
                let outcome = match view.retention {
                    Some(retention) => self.cut(&project, view, retention).await.map(drop),
                    None => self.keep_all(&project, view).await,
                };
                if let Err(error) = outcome {
                    tracing::warn!(project = name, view = view.name, error = error.chain(), "old rows stay");
                }
            }
        }
    }

    /// Lets a view take what its definition retains, where it took less before.
    pub(in crate::service) async fn retain_as_defined(&self, project: &Versioned, view: &FeatureView) -> Result<()> {
        let Some(cut) = self.online.retained(self.view_id(project, view)?)? else { return Ok(()) };
        match view.retention {
            Some(retention) if self.clock.now().saturating_sub(retention) >= cut => Ok(()),
            Some(retention) => self.cut(project, view, retention).await.map(drop),
            None => self.keep_all(project, view).await,
        }
    }

    async fn cut(&self, project: &Versioned, view: &FeatureView, retention: Micros) -> Result<Retained> {
        let (store, id) = (self.online.clone(), self.view_id(project, view)?);
        let cut = self.clock.now().saturating_sub(retention);
        let freed = blocking(move || Ok(store.retain(id, cut, retention)?)).await?;
        if freed.rows > 0 {
            let project = &project.catalog.project;
            tracing::info!(project, view = view.name, rows = freed.rows, bytes = freed.bytes, "old rows deleted");
        }
        Ok(Retained { view: view.name.clone(), cut, rows: freed.rows, bytes: freed.bytes })
    }

    async fn keep_all(&self, project: &Versioned, view: &FeatureView) -> Result<()> {
        let (store, id) = (self.online.clone(), self.view_id(project, view)?);
        match store.retained(id)? {
            Some(_) => blocking(move || Ok(store.retain_all(id)?)).await,
            None => Ok(()),
        }
    }

    /// Removes a view: its definition, where there is one, and its online rows and cursor. The source's table stays.
    ///
    /// # Errors
    /// `NotFound` where neither is there; `Precondition` names the services that use it, or the job that runs.
    pub async fn drop_view(self: &Arc<Self>, principal: &Principal, project: &str, view: &str) -> Result<Dropped> {
        let known = self.project(project).await?;
        let project = known.catalog.project.clone();
        let version = match known.catalog.views.contains_key(view) {
            true => Some(self.delete(principal, &project, "feature_view", view).await?.version),
            false => None,
        };
        let Some(id) = self.online.find(&project, view) else {
            return match version {
                Some(_) => Ok(Dropped { version, rows: 0, bytes: 0 }),
                None => Err(Error::not_found(format!(
                    "project `{project}` has no feature view `{view}`, neither defined nor online"
                ))),
            };
        };
        let _claim = self.claim(&project, view).await.ok_or_else(|| {
            let message = format!("feature view `{view}` is being materialized; drop it again when that is done");
            Error::new(ErrorKind::Precondition, message)
        })?;
        let (store, owner, name) = (self.online.clone(), project.clone(), view.to_owned());
        let freed = blocking(move || {
            let freed = store.size(id)?;
            store.remove(&owner, &name)?;
            Ok(freed)
        })
        .await?;
        tracing::info!(principal = principal.name(), project, view, rows = freed.rows, bytes = freed.bytes, "dropped");
        Ok(Dropped { version, rows: freed.rows, bytes: freed.bytes })
    }
}

#[cfg(test)]
mod tests;
