//! What a push is for.

use std::sync::Arc;

use tidegate_offline::ingest::Rules;
use tidegate_online::{FeedId, Scope, ViewId};
use tidegate_schemas::catalog::Catalog;
use tidegate_schemas::definition::{FeatureView, Location, Source};
use tidegate_schemas::error::ErrorKind;

use super::{PushRequest, PushTo, QUARANTINE};
use crate::materialize::Columns;
use crate::registry::Versioned;
use crate::service::ingest;
use crate::service::online::ViewIds;
use crate::service::{Error, Result, Tidegate};

/// A push's views and table, and what its rows must have.
#[derive(Debug)]
pub(super) struct Target {
    /// The name that was asked for, for the quarantine table.
    pub(super) name: String,
    /// The project and the source.
    pub(super) of: (String, String),
    /// What rows must have.
    pub(super) rules: Rules,
    /// The views that see the rows at once.
    pub(super) views: Vec<(ViewId, Columns)>,
    /// The table the rows go to.
    pub(super) feed: Option<FeedId>,
    /// The table of rows that can't be taken.
    pub(super) quarantine: FeedId,
    /// Within what event ids are taken once.
    pub(super) scope: Scope,
    /// The column of event ids.
    pub(super) event_id: Option<String>,
    /// What the views are known by, while their definitions are the newest.
    pub(super) ids: Arc<ViewIds>,
}

impl Target {
    pub(super) fn find(service: &Tidegate, project: &Arc<Versioned>, request: &PushRequest) -> Result<Self> {
        let catalog = &project.catalog;
        let source = ingest::target(catalog, &request.target)?;
        let view = catalog.views.get(&request.target).filter(|_| !catalog.sources.contains_key(&request.target));
        let alone = view.filter(|_| request.to == PushTo::Online);
        if request.to != PushTo::Online {
            require_managed(source)?;
        }
        let reads = |view: &Arc<FeatureView>| view.source == source.name && view.online;
        let views = match (alone, request.to) {
            (Some(view), _) => vec![view],
            // Materialization passes over what the outbox brings where windows are concerned: they count it now.
            (None, PushTo::Offline) => {
                catalog.views.values().filter(|view| reads(view) && view.is_windowed()).collect()
            }
            (None, _) => catalog.views.values().filter(|view| reads(view)).collect(),
        };
        if request.to == PushTo::Online {
            require_online(&request.target, &views)?;
        }
        // Also where no view reads the source: one that comes meanwhile must not miss the rows.
        let ids = service.newest_ids(project)?;
        let views = views
            .into_iter()
            .map(|view| Ok((ids.of(&view.name)?, Columns::of(catalog, view, source))))
            .collect::<Result<Vec<_>>>()?;
        let feed = match request.to {
            PushTo::Online => None,
            PushTo::Offline | PushTo::Both => Some(service.online.feed(&catalog.project, &source.name)?),
        };
        let rules = match alone {
            Some(view) => rules_of(catalog, source, view),
            None => Rules::of(catalog, source, false),
        };
        let scope = match (alone, views.first()) {
            (Some(_), Some((id, _))) => Scope::View(*id),
            _ => Scope::Feed(service.online.feed(&catalog.project, &source.name)?),
        };
        Ok(Self {
            name: request.target.clone(),
            of: (catalog.project.clone(), source.name.clone()),
            rules,
            views,
            feed,
            quarantine: service.online.feed(&catalog.project, QUARANTINE)?,
            scope,
            event_id: source.event_id.clone(),
            ids,
        })
    }
}

fn require_managed(source: &Source) -> Result<()> {
    if source.location == Location::Managed {
        return Ok(());
    }
    let message = format!(
        "source `{}` is a table that Tidegate only reads: push to `online` alone, or make the source `table: managed`",
        source.name
    );
    Err(Error::new(ErrorKind::Precondition, message))
}

fn require_online(target: &str, views: &[&Arc<FeatureView>]) -> Result<()> {
    match views.iter().find(|view| !view.online) {
        None if !views.is_empty() => Ok(()),
        _ => {
            let message =
                format!("`{target}` has no view that is served online; set `online: true` in its definition first");
            Err(Error::new(ErrorKind::Precondition, message))
        }
    }
}

/// What rows for one view alone must have: its own columns. The others of the source may be there or not.
fn rules_of(catalog: &Catalog, source: &Source, view: &FeatureView) -> Rules {
    let mut rules = Rules::of(catalog, source, false);
    let keys = catalog.keys(view);
    let keys: Vec<String> =
        keys.into_iter().map(|key| view.key_columns.get(&key.name).cloned().unwrap_or(key.name)).collect();
    let inputs = view.inputs();
    let needed = |name: &str| {
        name == source.event_time
            || source.created_time.as_deref() == Some(name)
            || keys.iter().any(|key| key == name)
            || inputs.iter().any(|input| input.name == name)
    };
    rules.keys.retain(|key| keys.contains(key));
    rules.optional = rules.columns.iter().map(|column| &column.name).filter(|name| !needed(name)).cloned().collect();
    rules
}
