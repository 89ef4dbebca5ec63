//! Which feature of one layout is which of another: by number, not by name.
//!
//! Every feature of a view gets a number when it first appears and keeps it while it stays, also under another name (`renamed_from`)
//! or with another type. A feature that was dropped and comes back under its old name is another feature with another number: rows
//! that were written before never answer for it.
//!
//! ```text
//! key 'n' layout u32 BE   value: format u8 = 1 · count u32 · the number u32 of each feature of the layout
//! ```
//! Layouts of stores that have no such records go by name, as they did.

use std::sync::Arc;

use ahash::{HashMap, HashMapExt};
use tidegate_schemas::definition::{Aggregate, Column};

use crate::codec::{Reader, put_length};
use crate::layout::{Layout, LayoutRecord};
use crate::{Error, Result};

/// The format byte of a record.
const FORMAT: u8 = 1;

/// The numbers of features that follow those of `present`; `renamed` pairs new names with old ones, `next` is a number never used.
pub(super) fn follow(present: &Layout, features: &[Column], renamed: &[(String, String)], next: u32) -> Vec<u32> {
    let number = |name: &str| {
        let at = present.features.iter().position(|feature| feature.name == name)?;
        present.numbers.get(at).copied()
    };
    let stays = |name: &String| features.iter().any(|feature| feature.name == *name);
    let (mut next, mut numbers) = (next, Vec::with_capacity(features.len()));
    for feature in features {
        let old = renamed.iter().find(|(new, _)| *new == feature.name).map(|(_, old)| old).filter(|old| !stays(old));
        let known = number(&feature.name).or_else(|| number(old?)).filter(|known| !numbers.contains(known));
        numbers.push(known.unwrap_or_else(|| {
            next += 1;
            next - 1
        }));
    }
    numbers
}

/// The numbers of a new view's features.
pub(super) fn first(features: &[Column]) -> Vec<u32> {
    (1..).take(features.len()).collect()
}

/// A number that no feature of a view has had.
pub(super) fn unused<'a>(layouts: impl Iterator<Item = &'a Arc<Layout>>) -> u32 {
    layouts.flat_map(|layout| layout.numbers.iter()).max().map_or(1, |number| number + 1)
}

/// Numbers as stored.
pub(super) fn encode(numbers: &[u32]) -> Vec<u8> {
    let mut out = vec![FORMAT];
    put_length(&mut out, numbers.len());
    numbers.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
    out
}

/// Reads what [`encode`] wrote.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<u32>> {
    let mut reader = Reader::new(bytes, "the numbers of features");
    let format = reader.u8()?;
    if format != FORMAT {
        return Err(Error::corrupt(format!("the numbers of features have format {format}, expected {FORMAT}")));
    }
    let count = reader.u32()?;
    let numbers = (0..count).map(|_| reader.u32()).collect::<Result<_>>()?;
    reader.end()?;
    Ok(numbers)
}

/// All layouts with their numbers. Those without a record go by name.
pub(super) fn assemble(
    records: HashMap<u32, LayoutRecord>,
    mut numbered: HashMap<u32, Vec<u32>>,
    mut aggregates: HashMap<u32, Vec<Aggregate>>,
) -> Result<HashMap<u32, Arc<Layout>>> {
    let mut ids: Vec<u32> = records.keys().copied().collect();
    ids.sort_unstable();
    // Numbers are a view's own, for the layouts of a view go together.
    let mut by_name: HashMap<u32, HashMap<String, u32>> = HashMap::new();
    let mut layouts: HashMap<u32, Arc<Layout>> = HashMap::new();
    let mut records = records;
    for id in ids {
        let Some(record) = records.remove(&id) else { continue };
        let numbers = match numbered.remove(&id) {
            Some(numbers) if numbers.len() == record.features.len() => numbers,
            Some(numbers) => {
                let (given, features) = (numbers.len(), record.features.len());
                return Err(Error::corrupt(format!("layout {id} has {features} features and numbers for {given}")));
            }
            None => {
                let known = by_name.entry(record.view).or_default();
                let named = record.features.iter().map(|feature| {
                    let next = known.len() as u32 + 1;
                    *known.entry(feature.name.clone()).or_insert(next)
                });
                named.collect()
            }
        };
        layouts.insert(id, Arc::new(Layout::new(id, record, numbers, aggregates.remove(&id))?));
    }
    Ok(layouts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::columns;

    fn layout(features: &[(&str, &str)], numbers: &[u32]) -> Layout {
        let record = LayoutRecord { view: 1, features: columns(features) };
        Layout::new(1, record, numbers.to_vec(), None).expect("a layout")
    }

    #[test]
    fn numbers_follow_features_and_not_names() {
        let present = layout(&[("a", "int64"), ("b", "string")], &[1, 2]);
        let renamed = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(new, old)| ((*new).to_owned(), (*old).to_owned())).collect()
        };
        let check = |features: &[(&str, &str)], pairs: &[(&str, &str)]| {
            follow(&present, &columns(features), &renamed(pairs), 3)
        };
        assert_eq!(check(&[("b", "string"), ("a", "float64")], &[]), [2, 1]);
        assert_eq!(check(&[("a", "int64"), ("c", "string"), ("d", "bool")], &[]), [1, 3, 4]);
        assert_eq!(check(&[("a", "int64"), ("c", "string")], &[("c", "b")]), [1, 2]);
        // What an old name still stands for is not given away, and a rename that was done is no rename any more.
        assert_eq!(check(&[("a", "int64"), ("b", "string"), ("c", "string")], &[("c", "b")]), [1, 2, 3]);
        assert_eq!(check(&[("a", "int64"), ("b", "string")], &[("b", "z")]), [1, 2]);
        assert_eq!(check(&[("c", "int64"), ("d", "int64")], &[("c", "a"), ("d", "a")]), [1, 3]);
    }

    #[test]
    fn numbers_are_frozen() {
        let bytes = [1, 2, 0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0];
        assert_eq!(encode(&[7, 1]), bytes, "a change needs a new format");
        assert_eq!(decode(&bytes).expect("numbers"), [7, 1]);
        assert!(decode(&bytes[..8]).is_err() && decode(&[2]).is_err());
    }

    #[test]
    fn layouts_without_numbers_go_by_name() {
        let record = |features: &[(&str, &str)]| LayoutRecord { view: 1, features: columns(features) };
        let records = [(1, record(&[("a", "int64"), ("b", "int64")])), (2, record(&[("b", "int64"), ("c", "int64")]))];
        let layouts = assemble(records.into_iter().collect(), HashMap::new(), HashMap::new()).expect("layouts");
        assert_eq!(layouts[&1].numbers[1], layouts[&2].numbers[0]);
        assert_ne!(layouts[&1].numbers[0], layouts[&2].numbers[1]);
    }
}
