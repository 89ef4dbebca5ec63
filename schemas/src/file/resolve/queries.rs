//! What the queries of sources read: rows, and never their own.

use std::collections::{BTreeMap, BTreeSet};

use crate::definition::{Location, Relation};
use crate::file::item::Item;
use crate::file::v1;
use crate::file::yaml::Step::{Field, Index};

use super::Resolver;

/// How deep queries may read queries.
const DEPTH_MAX: usize = 16;

/// Circles told; a set of files with more has been told enough.
const CIRCLES_MAX: usize = 100;

/// The relations that each query reads, by its source.
type Reads = BTreeMap<String, Vec<Relation>>;

impl Resolver<'_> {
    pub(super) fn queries(&mut self) {
        let reads: Reads = self
            .catalog
            .sources
            .values()
            .filter_map(|source| match &source.location {
                Location::Query(query) => Some((source.name.clone(), query.from.clone())),
                Location::Managed | Location::Delta(_) | Location::Parquet(_) => None,
            })
            .collect();
        if reads.is_empty() {
            return;
        }
        let items = self.items;
        let by_name: BTreeMap<&str, &Item<v1::Source>> =
            items.sources.iter().rev().map(|item| (item.value.name.as_str(), item)).collect();
        self.windows_read(&reads, &by_name);
        let before = self.reported;
        self.circles(&reads, &by_name);
        if self.reported == before {
            self.catalog.fill_in_recipes();
        }
    }

    /// The values of windows are there at any time one asks for; they are no rows.
    fn windows_read(&mut self, reads: &Reads, items: &BTreeMap<&str, &Item<v1::Source>>) {
        for (source, relations) in reads {
            let Some(item) = items.get(source.as_str()) else { continue };
            for relation in relations {
                let Relation::View(name) = relation else { continue };
                let Some(view) = self.catalog.views.get(name).filter(|view| view.is_windowed()).cloned() else {
                    continue;
                };
                let of = |written: &String| written == name || *written == relation.to_string();
                let v1::Table::Query(query) = &item.value.table else { continue };
                let index = query.from.iter().position(of).unwrap_or_default();
                let path = [Field("table"), Field("query"), Field("from"), Index(index)];
                let message = format!("feature view `{name}` has windows, which have no rows to read");
                self.report(item, &path, message, Some(format!("read the view's source, `{}`", view.source)));
            }
        }
    }

    /// Takes away, again and again, the sources whose queries read no other that is left; circles stay.
    fn circles(&mut self, reads: &Reads, items: &BTreeMap<&str, &Item<v1::Source>>) {
        let mut left: BTreeSet<&str> = reads.keys().map(String::as_str).collect();
        let (mut depth, mut circles) = (0, 0);
        while !left.is_empty() && circles < CIRCLES_MAX {
            let open = |name: &&str| !self.reads_any(&reads[*name], &left);
            let done: Vec<&str> = left.iter().copied().filter(open).collect();
            if done.is_empty() {
                let mut circle = self.circle(reads, &left);
                // Told where a file can be mended rather than of the registry.
                let in_file =
                    |(name, _): &(String, Relation)| items.get(name.as_str()).is_some_and(|it| it.origin.is_some());
                let start = circle.iter().position(in_file).unwrap_or_default();
                circle.rotate_left(start);
                let Some((first, _)) = circle.first() else { return };
                if let Some(item) = items.get(first.as_str()) {
                    let steps: Vec<String> = circle.iter().map(|(_, relation)| relation.to_string()).collect();
                    let message = format!("source `{first}` reads itself: {first} -> {}", steps.join(" -> "));
                    let path = [Field("table"), Field("query"), Field("from")];
                    self.report(item, &path, message, Some("take one of these out of its query".to_owned()));
                }
                circles += 1;
                circle.iter().for_each(|(name, _)| {
                    left.remove(name.as_str());
                });
                continue;
            }
            depth += 1;
            if depth == DEPTH_MAX + 1
                && let Some(item) = done.first().and_then(|name| items.get(name))
            {
                let message = format!("queries read queries more than {DEPTH_MAX} deep");
                let help = "write what is between into a table".to_owned();
                self.report(item, &[Field("table"), Field("query"), Field("from")], message, Some(help));
                return;
            }
            done.into_iter().for_each(|name| {
                left.remove(name);
            });
        }
    }

    fn reads_any(&self, relations: &[Relation], sources: &BTreeSet<&str>) -> bool {
        relations.iter().any(|relation| self.catalog.source_of(relation).is_some_and(|name| sources.contains(name)))
    }

    /// Follows queries until one comes again: the sources from there, each with what it reads of the next.
    fn circle(&self, reads: &Reads, left: &BTreeSet<&str>) -> Vec<(String, Relation)> {
        let (mut path, mut seen): (Vec<(String, Relation)>, BTreeMap<String, usize>) = Default::default();
        let mut at = left.first().copied().unwrap_or_default().to_owned();
        loop {
            if let Some(start) = seen.insert(at.clone(), path.len()) {
                return path.split_off(start);
            }
            let next = reads.get(&at).into_iter().flatten().find_map(|relation| {
                let name = self.catalog.source_of(relation).filter(|name| left.contains(name))?;
                Some((name.to_owned(), relation.clone()))
            });
            let Some((name, relation)) = next else { return Vec::new() };
            path.push((std::mem::replace(&mut at, name), relation));
        }
    }
}
