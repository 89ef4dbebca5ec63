//! Settings of Kafka. The names of its clusters are free, and so are their options: they are librdkafka's.
//!
//! A key is `kafka.clusters.NAME.OPTION`, where the option may have dots of its own: `kafka.clusters.main.sasl.password`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use toml::Value;

use super::units;

/// What the keys of clusters begin with.
const PREFIX: &str = "kafka.clusters.";

/// Topics and their clusters.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Kafka {
    /// Messages that become rows in one write.
    pub batch_rows: usize,
    /// Bytes of them, about.
    #[serde(deserialize_with = "units::bytes")]
    pub batch_bytes: usize,
    /// How long the first of them waits for others.
    #[serde(deserialize_with = "units::duration")]
    pub batch_wait: Duration,
    /// The clusters by name.
    #[serde(default)]
    pub clusters: BTreeMap<String, Cluster>,
}

/// How to reach a cluster. Its options may hold secrets: they are not shown.
#[derive(Clone, PartialEq, Default, Deserialize)]
#[serde(transparent)]
pub struct Cluster(BTreeMap<String, String>);

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Cluster {
    /// A cluster with these options.
    #[must_use]
    pub fn new(options: BTreeMap<String, String>) -> Self {
        Self(options)
    }

    /// One option.
    #[must_use]
    pub fn get(&self, option: &str) -> Option<&str> {
        self.0.get(option).map(String::as_str)
    }

    /// All options by name.
    pub fn options(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(option, value)| (option.as_str(), value.as_str()))
    }
}

/// The cluster and the option that a key names; `None` for a key of anything else.
pub(super) fn parts(key: &str) -> Option<(&str, &str)> {
    let (name, option) = key.strip_prefix(PREFIX)?.split_once('.')?;
    (!name.is_empty() && !option.is_empty()).then_some((name, option))
}

/// An option's value as text; a list is joined with commas. `None` where it is neither.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => Some(value.to_string()),
        Value::Array(items) => {
            let items = items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()?;
            Some(items.join(","))
        }
        Value::Datetime(_) | Value::Table(_) => None,
    }
}
