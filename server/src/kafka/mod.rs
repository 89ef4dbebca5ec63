//! Topics of Kafka: from a cluster's partitions to rows of a source, and where reading has come.
//!
//! [`cluster`] makes clients from the configuration · [`reader`] reads all partitions of a topic from given offsets, outside of any
//! group's assignment · [`decode`] makes rows of messages and tells apart what is none · [`offsets`] is how a position is stored.
//!
//! ```text
//! partitions ─ reader ─> messages ─ decode ─┬─> rows  ─┐
//!                                           └─> poison ┴─ service: one write with the offsets behind them
//! ```
//! Nothing here writes or decides what becomes of a row, and the brokers' committed offsets decide nothing: a position is where the
//! store says it is.

pub(crate) mod cluster;
pub(crate) mod decode;
pub(crate) mod offsets;
pub(crate) mod reader;

pub use cluster::check;

use tidegate_schemas::error::ErrorKind;

/// A message of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// The partition.
    pub(crate) partition: i32,
    /// Its place there.
    pub(crate) offset: i64,
    /// What it says; `None` for a message that deletes its key from a compacted topic.
    pub(crate) payload: Option<Vec<u8>>,
}

/// Why a topic can't be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The configuration has no such cluster.
    #[error("the server's configuration has no cluster `{name}`{}; add [kafka.clusters.{name}] with its `brokers`", .near.as_ref().map_or_else(String::new, |near| format!(", did you mean `{near}`")))]
    NoCluster {
        /// The name.
        name: String,
        /// The nearest one there is.
        near: Option<String>,
    },
    /// The client can't be made of the options.
    #[error("no client of cluster `{cluster}` can be made; mend its options in the server's configuration")]
    Client {
        /// The cluster's name.
        cluster: String,
        /// Why.
        source: rdkafka::error::KafkaError,
    },
    /// The brokers don't answer, or refuse.
    #[error("the cluster does not answer while {doing}; it is tried again")]
    Brokers {
        /// What was asked.
        doing: &'static str,
        /// Why.
        source: rdkafka::error::KafkaError,
    },
    /// The topic is not there.
    #[error("the cluster has no topic `{topic}`; create it, or name another in the definitions")]
    NoTopic {
        /// The topic.
        topic: String,
    },
    /// The position lies behind the last message.
    #[error(
        "topic `{topic}` ends at {high} in partition {partition}, and was read up to {next} before: it was made anew or has lost messages. \
         Write to a topic of another name, and name that one in the definitions"
    )]
    Beyond {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// Where reading was to go on.
        next: i64,
        /// Where the partition ends.
        high: i64,
    },
    /// What is to be read next is not there any more: where reading goes on is looked up anew.
    #[error("messages of topic `{topic}` are gone that were to be read next; it is read from where it begins now")]
    Gone {
        /// The topic.
        topic: String,
    },
    /// The file of schemas or descriptors can't be used.
    #[error("{path} can't be used: {why}; {remedy}")]
    Schemas {
        /// The file or folder.
        path: String,
        /// What is wrong.
        why: String,
        /// What it has to be.
        remedy: &'static str,
    },
    /// Rows of messages that don't fit together.
    #[error("rows could not be made of messages; please report it")]
    Rows(#[source] arrow::error::ArrowError),
    /// A stored position is damaged.
    #[error("the stored position of a topic is damaged; restore the data folder from a backup")]
    Position,
}

impl Error {
    /// What the caller should do.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::NoCluster { .. }
            | Self::Client { .. }
            | Self::NoTopic { .. }
            | Self::Beyond { .. }
            | Self::Schemas { .. } => ErrorKind::Precondition,
            Self::Brokers { .. } | Self::Gone { .. } => ErrorKind::Unavailable,
            Self::Rows(_) => ErrorKind::Internal,
            Self::Position => ErrorKind::Corrupt,
        }
    }
}
