//! Single words: names, column names, types.

use std::str::FromStr;

use crate::catalog::nearest;
use crate::file::structure::did_you_mean;
use crate::types::{DataType, NAMES};

/// A message, and what to do about it.
pub(super) type Fault = (String, Option<String>);

/// The length of a name, as in most SQL engines.
pub(super) const NAME_MAX: usize = 63;

/// The length of a column's name in a table.
const COLUMN_MAX: usize = 255;

/// Why a name can't be one, if it can't.
///
/// Names become SQL identifiers and, joined by `__`, columns of training sets.
pub(crate) fn name_fault(name: &str) -> Option<Fault> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let shown = name.escape_debug();
    if name.is_empty() {
        Some(("a name can't be empty".to_owned(), None))
    } else if name.len() > NAME_MAX {
        Some((format!("`{shown}` has {} characters; {NAME_MAX} is the limit", name.chars().count()), None))
    } else if !name.chars().all(plain) || !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        let message = format!("`{shown}` can't be a name: names are letters, digits and `_`, and start with a letter");
        Some((message, spelled(name)))
    } else if name.contains("__") {
        let help = name.split('_').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_");
        let message = format!("`{shown}` can't be a name: `__` separates view and feature in full names");
        Some((message, Some(format!("write `{help}`"))))
    } else {
        None
    }
}

/// The nearest name to a text that is none, if one is left.
fn spelled(name: &str) -> Option<String> {
    let mapped: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let name = mapped.split('_').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_");
    name.starts_with(|c: char| c.is_ascii_alphabetic()).then(|| format!("write `{name}`"))
}

/// Why a text can't be a column's name, if it can't. Existing tables have names of all kinds.
pub(super) fn column_fault(name: &str) -> Option<String> {
    if name.trim().is_empty() || name.trim() != name {
        Some("a column's name can't be empty, or start or end with a space".to_owned())
    } else if name.chars().any(char::is_control) {
        Some(format!("`{}` can't be a column's name", name.escape_debug()))
    } else if name.len() > COLUMN_MAX {
        Some(format!("a column's name of {} bytes is too long; {COLUMN_MAX} is the limit", name.len()))
    } else {
        None
    }
}

/// Reads a type.
pub(super) fn data_type(text: &str) -> Result<DataType, Fault> {
    DataType::from_str(text).map_err(|_| {
        let shown: String = text.chars().take(60).flat_map(char::escape_debug).collect();
        let help = match foreign_type(text.trim()) {
            Some(ours) => did_you_mean(ours),
            None => nearest(text, SIMPLE).map_or_else(|| format!("the types are {NAMES}"), did_you_mean),
        };
        (format!("`{shown}` is not a type"), Some(help))
    })
}

const SIMPLE: [&str; 10] =
    ["bool", "int32", "int64", "float32", "float64", "string", "bytes", "timestamp", "date", "json"];

/// Our name for a type that is called otherwise elsewhere.
fn foreign_type(name: &str) -> Option<&'static str> {
    Some(match name.to_ascii_lowercase().as_str() {
        "boolean" => "bool",
        "int" | "integer" | "long" | "bigint" => "int64",
        "int8" | "int16" | "smallint" | "tinyint" | "uint8" | "uint16" => "int32",
        "uint32" => "int64",
        "float" | "double" | "number" | "real" => "float64",
        "str" | "text" | "varchar" | "utf8" => "string",
        "binary" | "blob" | "bytea" => "bytes",
        "datetime" | "timestamptz" | "time" => "timestamp",
        "date32" => "date",
        "jsonb" | "object" => "json",
        "decimal" | "numeric" => "decimal(18,2)",
        "list" | "array" => "list<float64>",
        "vector" | "embedding" => "vector<float32,128>",
        _ => return None,
    })
}
