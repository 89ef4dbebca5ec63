//! What keeps the served rows of a view: when it is materialized, how far it may stay behind, how long rows are kept.

use std::collections::BTreeSet;

use crate::definition::schedule::check_cron;
use crate::definition::{Feature, Location, Schedule};
use crate::duration;
use crate::file::item::Item;
use crate::file::v1;
use crate::file::yaml::Step::{self, Field};
use crate::time::Micros;

use super::{PROBLEMS_KEPT, Resolver};

/// The shortest time between two runs of a schedule.
const EVERY_MIN: Micros = 1_000_000;

/// The three together.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    pub schedule: Option<Schedule>,
    pub freshness: Option<Micros>,
    pub retention: Option<Micros>,
}

impl Resolver<'_> {
    pub(super) fn upkeep(
        &mut self,
        item: &Item<v1::FeatureView>,
        serve_ttl: Option<Micros>,
        features: &[Feature],
    ) -> Upkeep {
        let value = &item.value;
        let given = [
            ("schedule", value.schedule.is_some()),
            ("freshness", value.freshness.is_some()),
            ("retention", value.retention.is_some()),
        ];
        for (field, _) in given.into_iter().filter(|(_, given)| *given && !value.online) {
            let message = format!("`{field}` is about served rows, and this view is not served");
            self.report(item, &[Field(field)], message, Some(format!("leave `{field}` or `online: false` out")));
        }
        let schedule = value.schedule.as_ref().and_then(|schedule| self.schedule(item, schedule));
        let freshness = value.freshness.as_ref().and_then(|text| self.positive(item, &[Field("freshness")], text));
        let retention = value.retention.as_ref().and_then(|text| self.positive(item, &[Field("retention")], text));
        if let Some(retention) = retention {
            self.retention(item, retention, serve_ttl, features);
        }
        Upkeep { schedule, freshness, retention }
    }

    fn schedule(&mut self, item: &Item<v1::FeatureView>, schedule: &v1::Schedule) -> Option<Schedule> {
        match schedule {
            v1::Schedule::OnCommit => Some(Schedule::OnCommit),
            v1::Schedule::Every(text) => {
                let path = [Field("schedule"), Field("every")];
                let every = self.positive(item, &path, text)?;
                if every < EVERY_MIN {
                    let message = format!("every {} is more often than views can be materialized", text.0);
                    self.report(item, &path, message, Some("`1s` is the shortest".to_owned()));
                    return None;
                }
                Some(Schedule::Every(every))
            }
            // What never comes is searched for; a set of files with this many problems has been told enough.
            v1::Schedule::Cron(_) if self.problems.len() >= PROBLEMS_KEPT => None,
            v1::Schedule::Cron(text) => match check_cron(text.trim()) {
                Ok(()) => Some(Schedule::Cron(text.trim().to_owned())),
                Err(why) => {
                    let message = format!("`{text}` is not a cron expression: {why}");
                    let help = "write minute, hour, day, month and weekday, such as `0 4 * * *` for 4 o'clock UTC";
                    self.report(item, &[Field("schedule"), Field("cron")], message, Some(help.to_owned()));
                    None
                }
            },
        }
    }

    /// A folder of Parquet files has no commits: a view that waits for one would be computed anew again and again.
    pub(super) fn commits(&mut self) {
        let items = self.items;
        for item in items.views.iter().filter(|item| matches!(item.value.schedule, Some(v1::Schedule::OnCommit))) {
            let source = &item.value.source;
            let Some(folder) = self.folder_below(source) else { continue };
            let folder = match folder == *source {
                true => format!("source `{source}` is a folder of Parquet files"),
                false => format!("source `{source}` is a query over `{folder}`, a folder of Parquet files"),
            };
            let message = format!("{folder}, which has no commits to wait for");
            let help = "write `{every: …}` or `{cron: …}`, or make the table a Delta table";
            self.report(item, &[Field("schedule")], message, Some(help.to_owned()));
        }
    }

    /// The first folder of Parquet files that a source's rows come from, itself or by queries.
    fn folder_below(&self, source: &str) -> Option<String> {
        let (mut seen, mut next) = (BTreeSet::new(), vec![source.to_owned()]);
        while let Some(name) = next.pop() {
            match self.catalog.sources.get(&name).map(|source| &source.location) {
                Some(Location::Parquet(_)) => return Some(name),
                Some(Location::Query(query)) if seen.insert(name) => {
                    let read = query.from.iter().rev().filter_map(|relation| self.catalog.source_of(relation));
                    next.extend(read.map(str::to_owned));
                }
                _ => {}
            }
        }
        None
    }

    /// Rows may go only when no lookup would use them.
    fn retention(
        &mut self,
        item: &Item<v1::FeatureView>,
        retention: Micros,
        serve_ttl: Option<Micros>,
        features: &[Feature],
    ) {
        let path = [Field("retention")];
        if let Some(serve_ttl) = serve_ttl.filter(|serve_ttl| retention < *serve_ttl) {
            let (retention, serve_ttl) = (duration::format(retention), duration::format(serve_ttl));
            let message = format!("rows would be deleted after {retention}, and lookups use them for {serve_ttl}");
            let help = format!("write `retention: {serve_ttl}` or longer, or a shorter `serve_ttl`");
            self.report(item, &path, message, Some(help));
        }
        let aggregates = features.iter().filter_map(|feature| Some((&feature.name, feature.aggregate.as_ref()?)));
        for (name, aggregate) in aggregates {
            let needed = aggregate.window.map(|window| window.saturating_add(aggregate.hop));
            if needed.is_none_or(|needed| retention < needed) {
                let message = format!("events would be deleted that the window of `{name}` counts");
                let help = match needed {
                    Some(needed) => format!("write `retention: {}` or longer", duration::format(needed)),
                    None => "leave `retention` out: `window: all` counts every event".to_owned(),
                };
                self.report(item, &path, message, Some(help));
                return;
            }
        }
    }

    /// A length of time above zero; `path` ends with the field's name.
    pub(super) fn positive(
        &mut self,
        item: &Item<v1::FeatureView>,
        path: &[Step<'_>],
        text: &v1::DurationText,
    ) -> Option<Micros> {
        let field = match path.last() {
            Some(Field(field)) => field,
            _ => "duration",
        };
        match duration::parse(&text.0) {
            Ok(0) => {
                self.report(item, path, format!("{field}: {} is no time at all", text.0), None);
                None
            }
            Ok(micros) => Some(micros),
            Err(error) => {
                self.report(item, path, format!("{field}: {error}"), None);
                None
            }
        }
    }
}
