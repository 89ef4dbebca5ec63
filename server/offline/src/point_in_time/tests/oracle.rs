//! The rule once more, by brute force: every spine row against every observation, over plain values, in words that share
//! nothing with the code under test.

use tidegate_schemas::time::{Availability, UpperBound};

use super::world::{SpineRow, Table, Use, World};

/// What a spine row gets of a view: the winner's row id, or why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Found(i64),
    Expired,
    Nothing,
}

pub(super) fn answers(world: &World, used: &Use) -> Vec<Answer> {
    world.spine.iter().map(|row| answer(&world.tables[used.table], used, row, world.as_of)).collect()
}

fn answer(table: &Table, used: &Use, row: &SpineRow, as_of: Option<i64>) -> Answer {
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
            if before && known {
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
