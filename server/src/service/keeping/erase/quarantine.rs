//! Whose the rows of the quarantine table are.
//!
//! A quarantined row is text: what came, as JSON where it could be read at all.
//!
//! ```text
//! an object with the columns of the key     the entity's where they say so, another's where they don't
//! an object without them, or with nulls     of nobody
//! anything else                             maybe the entity's, as is what a key was told of that has no one form as text
//! what is wrong with it names the key       maybe the entity's: it may speak of another row that came along
//! ```

use std::collections::BTreeMap;

use arrow::array::{AsArray, RecordBatch};
use arrow::util::display::array_value_to_string;
use serde_json::{Map, Value};
use tidegate_online::EntityKey;
use tidegate_schemas::catalog::Catalog;
use tidegate_schemas::types::DataType;

use crate::service::erasures::{text, ways};
use crate::service::{Error, Result};

/// Shorter texts are in everything.
const TELLING: usize = 4;

/// Whether a row is of the entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// It is.
    Its,
    /// It can't be told.
    Unclear,
    /// It is not.
    Others,
}

/// Tells rows of the quarantine table that are an entity's.
#[derive(Debug, Clone)]
pub(super) struct Suspects {
    /// By what rows were for: the ways in which their columns name the entity. What is not here is for something that is gone.
    ways: BTreeMap<String, Vec<Vec<String>>>,
    /// The key's values.
    values: Vec<String>,
    /// Whether values have one form as text.
    plain: bool,
}

impl Suspects {
    /// The columns that tell.
    pub(super) const COLUMNS: [&'static str; 3] = ["target", "detail", "row"];

    pub(super) fn new(catalog: &Catalog, key: &EntityKey) -> Result<Self> {
        let of = |source: &str| ways(catalog, source, &key.entity, &key.keys);
        let sources = catalog.sources.keys().map(|name| (name.clone(), of(name)));
        // A source and a view may have one name: rows are then for the source.
        let views = catalog.views.values().map(|view| (view.name.clone(), of(&view.source)));
        let plain = |data_type: &DataType| {
            matches!(data_type, DataType::String | DataType::Int32 | DataType::Int64 | DataType::Bool)
        };
        let values = key.values.iter().map(|values| array_value_to_string(values, 0));
        Ok(Self {
            ways: views.chain(sources).collect(),
            values: values.collect::<std::result::Result<_, _>>()?,
            plain: key.keys.iter().all(|key| plain(&key.data_type)),
        })
    }

    /// Which rows of a batch are `whose`.
    pub(super) fn find(&self, batch: &RecordBatch, whose: Whose) -> Result<Vec<bool>> {
        let column = |name: &str| {
            let column = batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
            column.ok_or_else(|| Error::internal(format!("quarantined rows have no `{name}`")))
        };
        let [target, detail, row] = Self::COLUMNS;
        let (target, detail, row) = (column(target)?, column(detail)?, column(row)?);
        let at = |nth: usize| self.whose(target.value(nth), detail.value(nth), row.value(nth)) == whose;
        Ok((0..batch.num_rows()).map(at).collect())
    }

    fn whose(&self, target: &str, detail: &str, row: &str) -> Whose {
        let object = serde_json::from_str::<Map<String, Value>>(row);
        let of_row = match (self.ways.get(target), object) {
            (Some(ways), _) if ways.is_empty() => Whose::Others,
            (Some(ways), Ok(object)) => self.by_columns(ways, &object),
            (None, Ok(object)) if !object.values().any(|value| self.values.iter().any(|of| is(value, of))) => {
                Whose::Others
            }
            _ => Whose::Unclear,
        };
        match of_row {
            Whose::Others if self.is_named_in(detail) => Whose::Unclear,
            told => told,
        }
    }

    fn by_columns(&self, ways: &[Vec<String>], object: &Map<String, Value>) -> Whose {
        let there = |name: &String| object.get(name).filter(|value| !value.is_null());
        let mut found = Whose::Others;
        for way in ways {
            let Some(values) = way.iter().map(there).collect::<Option<Vec<_>>>() else { continue };
            if values.iter().zip(&self.values).all(|(value, of)| is(value, of)) {
                return Whose::Its;
            }
            if !self.plain {
                found = Whose::Unclear;
            }
        }
        found
    }

    fn is_named_in(&self, text: &str) -> bool {
        self.values.iter().all(|value| value.len() >= TELLING && text.contains(value))
    }
}

/// Whether a value of JSON says the same as a value of a key.
fn is(value: &Value, of: &str) -> bool {
    let Some(text) = text(value) else { return false };
    let number = |text: &str| text.trim().parse::<i64>().ok();
    text == of || number(&text).is_some_and(|value| number(of) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suspects(plain: bool) -> Suspects {
        let ways = BTreeMap::from([
            ("visits".to_owned(), vec![vec!["who".to_owned()]]),
            ("weather".to_owned(), Vec::new()),
            ("pairs".to_owned(), vec![vec!["from".to_owned()], vec!["to".to_owned()]]),
        ]);
        Suspects { ways, values: vec!["4711".to_owned()], plain }
    }

    #[test]
    fn rows_are_told_by_the_columns_of_their_key() {
        let check = |target: &str, detail: &str, row: &str, expect: Whose| {
            assert_eq!(suspects(true).whose(target, detail, row), expect, "{target} {detail} {row}");
        };
        check("visits", "", r#"{"who": 4711, "n": "x"}"#, Whose::Its);
        check("visits", "", r#"{"who": " 4711 "}"#, Whose::Its);
        check("visits", "", r#"{"who": 47110, "n": 4711}"#, Whose::Others);
        check("visits", "", r#"{"who": null}"#, Whose::Others);
        check("visits", "", r#"{"n": 1}"#, Whose::Others);
        check("pairs", "", r#"{"from": 1, "to": 4711}"#, Whose::Its);
        // What can't be read may be of anybody.
        check("visits", "", r#"{"who": 47"#, Whose::Unclear);
        check("visits", "", "AAECAw==", Whose::Unclear);
        check("weather", "", "?", Whose::Others);
        check("visits", "row 3 of 4711 does not fit", r#"{"who": 1}"#, Whose::Unclear);
        // What it was for is gone: any column may be a key.
        check("old", "", r#"{"any": "4711"}"#, Whose::Unclear);
        check("old", "", r#"{"any": "4712"}"#, Whose::Others);
        check("old", "", "?", Whose::Unclear);
    }

    #[test]
    fn a_key_of_many_forms_is_never_ruled_out() {
        assert_eq!(suspects(false).whose("visits", "", r#"{"who": "1970-01-01"}"#), Whose::Unclear);
        assert_eq!(suspects(false).whose("visits", "", r#"{"n": 1}"#), Whose::Others);
    }
}
