//! What feeds a managed source by itself: a topic of Kafka.
//!
//! How to reach a cluster, and with which credentials, is the server's configuration; definitions name it alone.

/// A topic whose messages become rows of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaTopic {
    /// The cluster's name in the server's configuration.
    pub cluster: String,
    /// The topic's name.
    pub topic: String,
    /// What its messages are.
    pub format: StreamFormat,
    /// Where reading starts when nothing was read yet.
    pub start: StreamStart,
}

/// What the messages of a topic are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum StreamFormat {
    /// One JSON object each.
    #[default]
    Json,
    /// Avro, each with the number of its schema.
    Avro {
        /// The folder or file of the schemas, in one of the server's roots.
        schemas: String,
    },
    /// Protobuf.
    Protobuf {
        /// The file of the descriptors, in one of the server's roots.
        descriptors: String,
        /// The full name of the message, such as `shop.v1.Order`.
        message: String,
    },
}

/// Where reading a topic starts when nothing was read yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum StreamStart {
    /// At the oldest message there is.
    #[default]
    Earliest,
    /// After the newest.
    Latest,
}
