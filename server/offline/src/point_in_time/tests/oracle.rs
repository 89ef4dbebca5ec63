//! The rule once more, by brute force: every spine row against every observation, over plain values, in words that share
//! nothing with the code under test. What a column holds is stated anew as well, from the row's id.

use tidegate_schemas::time::{Availability, UpperBound};

use super::world::{File, Seen, SpineRow, Table, Use, World};
use crate::point_in_time::Nulls;

/// What a spine row gets of a view: the winner's row id, or why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::point_in_time) enum Answer {
    Found(i64),
    Expired,
    Nothing,
}

pub(in crate::point_in_time) fn answers(world: &World, used: &Use) -> Vec<Answer> {
    let table = &world.tables[used.table];
    world.spine.iter().map(|row| answer(table, used, row, world.as_of, |_, _| true)).collect()
}

/// The columns that [`values`] knows.
pub(in crate::point_in_time) const COLUMNS: [&str; 5] = ["id", "small", "rare", "text", "part"];

/// What spine rows get of a column, as text; the empty answer where they get a null.
pub(in crate::point_in_time) fn values(world: &World, used: &Use, column: &str) -> Vec<Option<String>> {
    let table = &world.tables[used.table];
    let counts = |file: &File, seen: &Seen| used.nulls == Nulls::Keep || value(column, file, seen).is_some();
    let value = |answer| match answer {
        Answer::Found(id) => {
            let rows = table.files.iter().flat_map(|file| file.rows.iter().map(move |seen| (file, seen)));
            rows.filter(|(_, seen)| seen.id == id).find_map(|(file, seen)| value(column, file, seen))
        }
        Answer::Expired | Answer::Nothing => None,
    };
    world.spine.iter().map(|row| value(answer(table, used, row, world.as_of, counts))).collect()
}

fn value(column: &str, file: &File, seen: &Seen) -> Option<String> {
    let id = seen.id;
    match column {
        "id" => Some(id.to_string()),
        "small" => (id % 4 != 0).then(|| format!("{id}0")),
        "rare" => (id % 6 == 0).then(|| format!("{}.0", id / 2)),
        "text" => (!file.old && id % 5 != 0).then(|| format!("text {id}")),
        _ => Some(file.partition.clone()),
    }
}

/// The newest of the rows that a spine row sees and that count.
fn answer(
    table: &Table,
    used: &Use,
    row: &SpineRow,
    as_of: Option<i64>,
    counts: impl Fn(&File, &Seen) -> bool,
) -> Answer {
    let Some(t) = row.time.map(|nanos| nanos.div_euclid(1_000)) else { return Answer::Nothing };
    let mut best: Option<(i64, i64, i64, u32, usize, i64)> = None;
    for file in &table.files {
        for (at, seen) in file.rows.iter().enumerate() {
            let keys = seen.keys.iter().take(used.keys);
            let same = keys.zip(&row.keys).all(|(a, b)| a.is_some() && a == b);
            let Some(e) = seen.event.map(ceil_micros).filter(|_| same && !seen.deleted) else { continue };
            let c = seen.created.map(ceil_micros).filter(|_| table.has_created);
            let k = match used.availability {
                Availability::Event => Some(e),
                Availability::Created => c.map(|c| c.max(e)),
                Availability::Delay(delay) => Some(e + delay),
                Availability::Commit => file.committed.map(|commit| commit.max(e)),
            };
            let before = if used.upper == UpperBound::Inclusive { e <= t } else { e < t };
            let known = k.is_some_and(|k| k <= t && as_of.is_none_or(|cut| k <= cut));
            let end = seen.until.map(ceil_micros).filter(|_| used.ends && !file.old);
            let over = end.is_some_and(|end| end <= t);
            if before && known && !over && counts(file, seen) {
                let rank = (e, c.unwrap_or(i64::MIN), file.version, file.order, at, seen.id);
                best = best.max(Some(rank));
            }
        }
    }
    match best {
        None => Answer::Nothing,
        Some((e, ..)) if used.ttl.is_some_and(|ttl| t - e > ttl) => Answer::Expired,
        Some((.., id)) => Answer::Found(id),
    }
}

fn ceil_micros(nanos: i64) -> i64 {
    nanos.div_euclid(1_000) + i64::from(nanos.rem_euclid(1_000) > 0)
}
