//! Where reading has come, as it is stored: in the same atomic write as the rows before it.
//!
//! ```text
//! name                                                    value
//! kafka/PROJECT/SOURCE/CLUSTER/TOPIC/PARTITION            format u8 = 1 | offset i64 LE of the next message to read
//! ```
//! Cluster and topic are part of the name: a source that is given another topic reads that one from its start.

use tidegate_schemas::definition::KafkaTopic;

use super::Error;

const FORMAT: u8 = 1;

/// The name under which a partition's position is stored.
pub(crate) fn name(project: &str, source: &str, topic: &KafkaTopic, partition: i32) -> Vec<u8> {
    format!("kafka/{project}/{source}/{}/{}/{partition}", topic.cluster, topic.topic).into_bytes()
}

/// A position as stored.
pub(crate) fn encode(next: i64) -> Vec<u8> {
    [[FORMAT].as_slice(), &next.to_le_bytes()].concat()
}

/// Reads what [`encode`] wrote.
///
/// # Errors
/// [`Error::Position`] for anything else.
pub(crate) fn decode(bytes: &[u8]) -> Result<i64, Error> {
    match bytes.split_first() {
        Some((&FORMAT, next)) => Ok(i64::from_le_bytes(next.try_into().map_err(|_| Error::Position)?)),
        _ => Err(Error::Position),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_frozen() {
        let topic = KafkaTopic {
            cluster: "main".to_owned(),
            topic: "orders.v1".to_owned(),
            format: tidegate_schemas::definition::StreamFormat::Json,
            start: tidegate_schemas::definition::StreamStart::Earliest,
        };
        assert_eq!(name("shop", "orders", &topic, 3), b"kafka/shop/orders/main/orders.v1/3");
        assert_eq!(encode(258), [1, 2, 1, 0, 0, 0, 0, 0, 0], "what is stored must stay readable: add a format");
        assert_eq!(decode(&encode(258)).unwrap(), 258);
        assert!(decode(&[2, 0, 0, 0, 0, 0, 0, 0, 0]).is_err() && decode(&[1, 0]).is_err() && decode(&[]).is_err());
    }
}
