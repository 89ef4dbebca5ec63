//! Data types of keys and features, their names in definition files, and their Arrow counterparts.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow_schema::{DataType as Arrow, Field, Fields, TimeUnit};

/// The type of a key or a feature.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DataType {
    /// True or false.
    Bool,
    /// 32-bit signed integer.
    Int32,
    /// 64-bit signed integer.
    Int64,
    /// IEEE 754 single precision.
    Float32,
    /// IEEE 754 double precision.
    Float64,
    /// UTF-8 text.
    String,
    /// Bytes.
    Bytes,
    /// UTC microseconds.
    Timestamp,
    /// Days since 1970-01-01.
    Date,
    /// Decimal with a precision of 1 to 38 digits and a scale not above it.
    Decimal(u8, i8),
    /// A list of any length.
    List(Box<DataType>),
    /// A `float32` vector of fixed length.
    Vector(u32),
    /// Named fields.
    Struct(Vec<(String, DataType)>),
    /// A map from strings.
    Map(Box<DataType>),
    /// JSON text.
    Json,
}

impl DataType {
    /// The Arrow type this type has in tables, training sets and lookups.
    #[must_use]
    pub fn to_arrow(&self) -> Arrow {
        match self {
            Self::Bool => Arrow::Boolean,
            Self::Int32 => Arrow::Int32,
            Self::Int64 => Arrow::Int64,
            Self::Float32 => Arrow::Float32,
            Self::Float64 => Arrow::Float64,
            Self::String | Self::Json => Arrow::Utf8,
            Self::Bytes => Arrow::Binary,
            Self::Timestamp => Arrow::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Date => Arrow::Date32,
            Self::Decimal(precision, scale) => Arrow::Decimal128(*precision, *scale),
            Self::List(item) => Arrow::List(Arc::new(Field::new("element", item.to_arrow(), true))),
            // Delta has no fixed-size list; a vector is stored as a list and its length checked on the way in.
            Self::Vector(_) => Arrow::List(Arc::new(Field::new("element", Arrow::Float32, true))),
            Self::Struct(fields) => {
                Arrow::Struct(fields.iter().map(|(name, of)| Field::new(name, of.to_arrow(), true)).collect())
            }
            Self::Map(value) => {
                let entry: Fields =
                    vec![Field::new("key", Arrow::Utf8, false), Field::new("value", value.to_arrow(), true)].into();
                Arrow::Map(Arc::new(Field::new("key_value", Arrow::Struct(entry), false)), false)
            }
        }
    }

    /// The type of an Arrow column that loses nothing when read as this type, or `None`.
    ///
    /// Narrow integers widen, dictionaries and large or view layouts unwrap, timestamps of any unit become microseconds.
    #[must_use]
    pub fn from_arrow(arrow: &Arrow) -> Option<Self> {
        Some(match arrow {
            Arrow::Boolean => Self::Bool,
            Arrow::Int8 | Arrow::Int16 | Arrow::Int32 | Arrow::UInt8 | Arrow::UInt16 => Self::Int32,
            Arrow::Int64 | Arrow::UInt32 => Self::Int64,
            Arrow::Float16 | Arrow::Float32 => Self::Float32,
            Arrow::Float64 => Self::Float64,
            Arrow::Utf8 | Arrow::LargeUtf8 | Arrow::Utf8View => Self::String,
            Arrow::Binary | Arrow::LargeBinary | Arrow::BinaryView => Self::Bytes,
            Arrow::Timestamp(..) => Self::Timestamp,
            Arrow::Date32 | Arrow::Date64 => Self::Date,
            Arrow::Decimal128(precision, scale) => Self::Decimal(*precision, *scale),
            Arrow::Dictionary(_, value) => return Self::from_arrow(value),
            Arrow::List(item) | Arrow::LargeList(item) => Self::List(Box::new(Self::from_arrow(item.data_type())?)),
            Arrow::FixedSizeList(item, length) if item.data_type() == &Arrow::Float32 => {
                Self::Vector(u32::try_from(*length).ok()?)
            }
            Arrow::Struct(fields) => Self::Struct(
                fields
                    .iter()
                    .map(|field| Some((field.name().clone(), Self::from_arrow(field.data_type())?)))
                    .collect::<Option<_>>()?,
            ),
            _ => return None,
        })
    }

    /// Whether values of this type can be entity keys: they compare exactly and have one encoding.
    #[must_use]
    pub fn is_key_type(&self) -> bool {
        matches!(
            self,
            Self::Bool | Self::Int32 | Self::Int64 | Self::String | Self::Bytes | Self::Timestamp | Self::Date
        )
    }

    /// The width in bytes of a value in the online tier's fixed part, or `None` for a type of varying length.
    #[must_use]
    pub fn fixed_width(&self) -> Option<usize> {
        match self {
            Self::Bool => Some(1),
            Self::Int32 | Self::Float32 | Self::Date => Some(4),
            Self::Int64 | Self::Float64 | Self::Timestamp => Some(8),
            Self::Decimal(..) => Some(16),
            Self::Vector(length) => Some(4 * *length as usize),
            Self::String | Self::Bytes | Self::List(_) | Self::Struct(_) | Self::Map(_) | Self::Json => None,
        }
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("bool"),
            Self::Int32 => f.write_str("int32"),
            Self::Int64 => f.write_str("int64"),
            Self::Float32 => f.write_str("float32"),
            Self::Float64 => f.write_str("float64"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Date => f.write_str("date"),
            Self::Json => f.write_str("json"),
            Self::Decimal(precision, scale) => write!(f, "decimal({precision},{scale})"),
            Self::List(item) => write!(f, "list<{item}>"),
            Self::Vector(length) => write!(f, "vector<float32,{length}>"),
            Self::Map(value) => write!(f, "map<string,{value}>"),
            Self::Struct(fields) => {
                f.write_str("struct<")?;
                for (i, (name, of)) in fields.iter().enumerate() {
                    write!(f, "{}{name}:{of}", if i == 0 { "" } else { "," })?;
                }
                f.write_str(">")
            }
        }
    }
}

/// A type name that is not one of the language's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a type; the types are {NAMES}")]
pub struct UnknownType(pub String);

/// The names shown where a type is not understood.
pub const NAMES: &str = "bool, int32, int64, float32, float64, string, bytes, timestamp, date, decimal(p,s), list<T>, \
                         vector<float32,N>, struct<name:T,…>, map<string,T>, json";

impl FromStr for DataType {
    type Err = UnknownType;

    fn from_str(text: &str) -> Result<Self, UnknownType> {
        parse(text.trim(), DEPTH_MAX).ok_or_else(|| UnknownType(text.to_owned()))
    }
}

/// Types inside one another, as in `list<struct<a:list<int64>>>`.
const DEPTH_MAX: usize = 8;

/// Fields of a struct.
const FIELDS_MAX: usize = 1_000;

/// Reads a type with at most `depth` more types inside it.
fn parse(text: &str, depth: usize) -> Option<DataType> {
    let simple = match text {
        "bool" => DataType::Bool,
        "int32" => DataType::Int32,
        "int64" => DataType::Int64,
        "float32" => DataType::Float32,
        "float64" => DataType::Float64,
        "string" => DataType::String,
        "bytes" => DataType::Bytes,
        "timestamp" => DataType::Timestamp,
        "date" => DataType::Date,
        "json" => DataType::Json,
        _ => return parse_compound(text, depth.checked_sub(1)?),
    };
    Some(simple)
}

fn parse_compound(text: &str, depth: usize) -> Option<DataType> {
    if let Some(inner) = between(text, "decimal(", ")") {
        let (precision, scale) = inner.split_once(',')?;
        let (precision, scale): (u8, i8) = (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
        let valid = (1..=38).contains(&precision) && (0..=precision.cast_signed()).contains(&scale);
        return valid.then_some(DataType::Decimal(precision, scale));
    }
    if let Some(inner) = between(text, "list<", ">") {
        return Some(DataType::List(Box::new(parse(inner.trim(), depth)?)));
    }
    if let Some(inner) = between(text, "vector<", ">") {
        let (item, length) = inner.split_once(',')?;
        let length: u32 = length.trim().parse().ok()?;
        return (item.trim() == "float32" && (1..=65_536).contains(&length)).then_some(DataType::Vector(length));
    }
    if let Some(inner) = between(text, "map<", ">") {
        let (key, value) = inner.split_once(',')?;
        return (key.trim() == "string").then_some(DataType::Map(Box::new(parse(value.trim(), depth)?)));
    }
    let mut fields: Vec<(String, DataType)> = Vec::new();
    for field in split_top_level(between(text, "struct<", ">")?) {
        let (name, of) = field.split_once(':')?;
        let (name, of) = (name.trim(), parse(of.trim(), depth)?);
        let plain = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
        if !plain || fields.len() == FIELDS_MAX || fields.iter().any(|(other, _)| other == name) {
            return None;
        }
        fields.push((name.to_owned(), of));
    }
    (!fields.is_empty()).then_some(DataType::Struct(fields))
}

fn between<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    text.strip_prefix(open)?.strip_suffix(close)
}

/// Splits at the commas that no bracket encloses.
fn split_top_level(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (at, c) in text.char_indices() {
        match c {
            '<' | '(' => depth += 1,
            '>' | ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_reads_back_as_itself() {
        for text in [
            "bool",
            "int32",
            "int64",
            "float32",
            "float64",
            "string",
            "bytes",
            "timestamp",
            "date",
            "json",
            "decimal(38,0)",
            "decimal(10,10)",
            "list<int64>",
            "list<list<string>>",
            "vector<float32,128>",
            "map<string,list<float64>>",
            "struct<a:int64,b:struct<c:decimal(5,2),d:map<string,bool>>>",
        ] {
            let read: DataType = text.parse().expect(text);
            assert_eq!(read.to_string(), text);
        }
        let spaced: DataType = " struct< a : int64 , b : decimal( 5 , 2 ) > ".parse().expect("spaces are no matter");
        assert_eq!(spaced.to_string(), "struct<a:int64,b:decimal(5,2)>");
    }

    #[test]
    fn other_texts_are_no_types() {
        let deep = format!("{}int64{}", "list<".repeat(9), ">".repeat(9));
        let very_deep = "list<".repeat(100_000);
        for text in [
            "",
            "int",
            "Int64",
            "list",
            "list<>",
            "list<int64",
            "list<int64>>",
            "decimal(39,0)",
            "decimal(0,0)",
            "decimal(5,6)",
            "decimal(5)",
            "vector<float64,3>",
            "vector<float32,0>",
            "vector<float32,65537>",
            "map<int64,string>",
            "struct<>",
            "struct<a>",
            "struct<:int64>",
            "struct<a:int64,a:string>",
            "struct<a:int64,>",
            deep.as_str(),
            very_deep.as_str(),
        ] {
            let shown: String = text.chars().take(40).collect();
            assert!(text.parse::<DataType>().is_err(), "`{shown}` is not a type");
        }
    }

    #[test]
    fn arrow_and_back() {
        for text in ["bool", "int32", "int64", "float32", "float64", "string", "bytes", "timestamp", "date"] {
            let of: DataType = text.parse().expect(text);
            assert_eq!(DataType::from_arrow(&of.to_arrow()), Some(of));
        }
        let nested: DataType = "struct<a:list<decimal(5,2)>>".parse().expect("a type");
        assert_eq!(DataType::from_arrow(&nested.to_arrow()), Some(nested));
        let dictionary = Arrow::Dictionary(Box::new(Arrow::Int8), Box::new(Arrow::Utf8));
        assert_eq!(DataType::from_arrow(&dictionary), Some(DataType::String));
        assert_eq!(DataType::from_arrow(&Arrow::UInt64), None);
    }

    #[test]
    fn keys_compare_exactly() {
        for (text, key) in [("int64", true), ("string", true), ("date", true), ("float64", false), ("json", false)] {
            assert_eq!(text.parse::<DataType>().expect(text).is_key_type(), key, "{text}");
        }
    }
}
