//! The answer of a lookup: one column for each feature, one slot for each entity row.

use arrow_array::ArrayRef;
use tidegate_schemas::time::Micros;
use tidegate_schemas::types::DataType;

/// What is known about one slot. The numbers are those of the protocol's `Status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Status {
    /// The value is there.
    Present = 1,
    /// The stored value is null, or was stored before the view had the feature.
    Null = 2,
    /// No row for this entity.
    NotFound = 3,
    /// Older than the view's time to live for serving.
    Expired = 4,
    /// A default stands in for one of the three above.
    Defaulted = 5,
    /// The stored value has a type that the feature no longer has.
    Failed = 6,
}

/// The answer to a lookup.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Entity rows answered.
    pub rows: usize,
    /// One for each feature, in the order of the spec: view by view.
    pub features: Vec<FeatureReply>,
    /// One for each view used, where times were asked for; else empty.
    pub views: Vec<ViewTimes>,
}

/// One feature's column.
#[derive(Debug, Clone)]
pub struct FeatureReply {
    /// The output's name.
    pub name: String,
    /// The feature's type.
    pub data_type: DataType,
    /// One slot for each row; a slot without a value holds zero or the empty string.
    pub values: Values,
    /// Bit i (least significant first) says whether slot i holds a value. `None`: all do.
    pub presence: Option<Vec<u8>>,
    /// One [`Status`] for each row. `None`: all present.
    pub statuses: Option<Vec<u8>>,
    /// Where a status is DEFAULTED, the status that the default stands in for, zero elsewhere. `None`: no defaults.
    pub reasons: Option<Vec<u8>>,
}

/// The values of one column.
#[derive(Debug, Clone)]
pub enum Values {
    /// float64.
    Doubles(Vec<f64>),
    /// float32.
    Floats(Vec<f32>),
    /// int64 and timestamp (microseconds).
    Int64s(Vec<i64>),
    /// int32 and date (days).
    Int32s(Vec<i32>),
    /// bool.
    Bools(Vec<bool>),
    /// string and json.
    Strings(Vec<String>),
    /// bytes.
    Bytes(Vec<Vec<u8>>),
    /// Any other type; a slot without a value is null.
    Arrow(ArrayRef),
}

/// When a view's stored observations were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewTimes {
    /// The view's alias, or its name.
    pub view: String,
    /// Event time for each row; `i64::MIN` where there is no row.
    pub event_times: Vec<Micros>,
    /// Microseconds from the event time to `now`; -1 where there is no row.
    pub ages: Vec<Micros>,
}

impl FeatureReply {
    /// The status of a row.
    #[must_use]
    pub fn status(&self, row: usize) -> u8 {
        self.statuses.as_ref().map_or(Status::Present as u8, |statuses| statuses[row])
    }

    /// Whether a row's slot holds a value.
    #[must_use]
    pub fn present(&self, row: usize) -> bool {
        self.presence.as_ref().is_none_or(|bits| bits[row / 8] & (1 << (row % 8)) != 0)
    }
}
