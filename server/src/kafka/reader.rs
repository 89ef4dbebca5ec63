//! Reads all partitions of a topic, from offsets that the caller names.
//!
//! No group assigns partitions: one reader has all of them, and begins where the caller's store says. What has been written is told
//! to the brokers afterwards, for tools that show how far a group is; it is never read back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::statistics::Statistics;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tidegate_schemas::definition::{KafkaTopic, StreamStart};

use super::{Error, Message};
use crate::clock::Clock;

/// How long the brokers may take to answer a question.
const ANSWER: Duration = Duration::from_secs(5);

/// How much is read at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Messages.
    pub(crate) rows: usize,
    /// Bytes of them, about.
    pub(crate) bytes: usize,
    /// How long the first message waits for others.
    pub(crate) wait: Duration,
}

/// Reads a topic.
pub(crate) struct Reader {
    consumer: BaseConsumer<Context>,
    context: Arc<Shared>,
    topic: KafkaTopic,
    /// The offset of the next message to come, by partition.
    next: BTreeMap<i32, i64>,
    /// What came after messages that were to be given first.
    failed: Option<Error>,
    clock: Clock,
}

/// What librdkafka tells of its own accord.
#[derive(Debug, Default)]
struct Shared {
    /// Where each partition ends.
    ends: Mutex<BTreeMap<i32, i64>>,
    topic: String,
}

struct Context(Arc<Shared>);

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                tracing::warn!(topic = self.0.topic, facility, message, "librdkafka");
            }
            _ => tracing::debug!(topic = self.0.topic, facility, message, "librdkafka"),
        }
    }

    fn stats(&self, statistics: Statistics) {
        let Some(topic) = statistics.topics.get(&self.0.topic) else { return };
        let mut ends = self.0.ends.lock();
        let known = topic.partitions.values().filter(|partition| partition.partition >= 0 && partition.hi_offset >= 0);
        ends.extend(known.map(|partition| (partition.partition, partition.hi_offset)));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(topic = self.0.topic, %error, reason, "librdkafka");
    }
}

impl ConsumerContext for Context {}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("topic", &self.topic).field("next", &self.next).finish_non_exhaustive()
    }
}

impl Reader {
    /// Begins to read. `stored` says where a partition was left, where it was read before; what has no position yet is found with
    /// [`Self::positions`] and is to be stored, so that a start after the newest message is the same one after a restart.
    ///
    /// # Errors
    /// The cluster does not answer, has no such topic, or a position lies behind its end.
    pub(crate) fn open(
        options: &ClientConfig,
        topic: &KafkaTopic,
        clock: &Clock,
        stored: impl Fn(i32) -> Result<Option<i64>, Error>,
    ) -> Result<Self, Error> {
        let context = Arc::new(Shared { topic: topic.topic.clone(), ends: Mutex::default() });
        let consumer: BaseConsumer<Context> = options
            .create_with_context(Context(context.clone()))
            .map_err(|source| Error::Client { cluster: topic.cluster.clone(), source })?;
        let mut reader =
            Self { consumer, context, topic: topic.clone(), next: BTreeMap::new(), failed: None, clock: clock.clone() };
        let partitions = reader.partitions()?;
        let known = partitions.iter().map(|&partition| Ok((partition, stored(partition)?)));
        let known = known.collect::<Result<Vec<_>, Error>>()?;
        // A partition that was added later is read whole: what it has came after the start.
        let start = match known.iter().any(|(_, stored)| stored.is_some()) {
            true => StreamStart::Earliest,
            false => topic.start,
        };
        for (partition, stored) in known {
            let next = reader.begin(partition, stored, start)?;
            reader.next.insert(partition, next);
        }
        reader.assign()?;
        Ok(reader)
    }

    /// The offset of the next message of each partition.
    pub(crate) fn positions(&self) -> &BTreeMap<i32, i64> {
        &self.next
    }

    /// The partitions that the topic has now.
    pub(crate) fn partitions(&self) -> Result<Vec<i32>, Error> {
        let doing = "naming its topic's partitions";
        let topic = &self.topic.topic;
        let metadata = self.consumer.fetch_metadata(Some(topic), ANSWER);
        let metadata = metadata.map_err(|source| Error::Brokers { doing, source })?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let mut partitions: Vec<i32> =
            found.map_or_else(Vec::new, |found| found.partitions().iter().map(|partition| partition.id()).collect());
        if partitions.is_empty() {
            return Err(Error::NoTopic { topic: topic.clone() });
        }
        partitions.sort_unstable();
        Ok(partitions)
    }

    /// Where to begin with a partition.
    fn begin(&self, partition: i32, stored: Option<i64>, start: StreamStart) -> Result<i64, Error> {
        let topic = &self.topic.topic;
        let (low, high) = self
            .consumer
            .fetch_watermarks(topic, partition, ANSWER)
            .map_err(|source| Error::Brokers { doing: "naming its oldest and newest messages", source })?;
        self.context.ends.lock().insert(partition, high);
        match (stored, start) {
            (Some(next), _) if next > high => Err(Error::Beyond { topic: topic.clone(), partition, next, high }),
            (Some(next), _) if next < low => {
                tracing::warn!(
                    topic,
                    partition,
                    lost = low - next,
                    "messages were deleted before they were read; the topic keeps them too short a time"
                );
                Ok(low)
            }
            (Some(next), _) => Ok(next),
            (None, StreamStart::Earliest) => Ok(low),
            (None, StreamStart::Latest) => Ok(high),
        }
    }

    fn assign(&self) -> Result<(), Error> {
        let partitions = self.list(&self.next)?;
        self.consumer.assign(&partitions).map_err(|source| Error::Brokers { doing: "beginning to read", source })
    }

    /// Waits for messages, and for others once there is one. Empty where none came.
    ///
    /// # Errors
    /// The topic can't be read any further from here; what came before that is given first.
    pub(crate) fn gather(&mut self, limits: Limits, patience: Duration) -> Result<Vec<Message>, Error> {
        if let Some(failed) = self.failed.take() {
            return Err(failed);
        }
        let (mut messages, mut bytes) = (Vec::new(), 0);
        let (mut watch, mut wait) = (self.clock.stopwatch(), patience);
        while messages.len() < limits.rows && bytes < limits.bytes {
            let Some(left) = wait.checked_sub(watch.elapsed()) else { break };
            match self.consumer.poll(left) {
                None => break,
                Some(Ok(message)) => {
                    if messages.is_empty() {
                        (watch, wait) = (self.clock.stopwatch(), limits.wait);
                    }
                    let payload = message.payload().map(<[u8]>::to_vec);
                    bytes += payload.as_ref().map_or(0, Vec::len);
                    messages.push(Message { partition: message.partition(), offset: message.offset(), payload });
                }
                Some(Err(error)) => {
                    if let Some(failed) = self.judge(error) {
                        self.failed = Some(failed);
                        break;
                    }
                }
            }
        }
        for message in &messages {
            self.next.insert(message.partition, message.offset + 1);
        }
        match (messages.is_empty(), self.failed.take()) {
            (true, Some(failed)) => Err(failed),
            (_, failed) => {
                self.failed = failed;
                Ok(messages)
            }
        }
    }

    /// What an error means for the reader; `None` where librdkafka gets over it by itself.
    fn judge(&self, error: KafkaError) -> Option<Error> {
        let topic = || self.topic.topic.clone();
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                Some(Error::Gone { topic: topic() })
            }
            Some(RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition) => {
                Some(Error::NoTopic { topic: topic() })
            }
            Some(
                RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::RequestTimedOut
                | RDKafkaErrorCode::NotLeaderForPartition
                | RDKafkaErrorCode::LeaderNotAvailable
                | RDKafkaErrorCode::Resolve,
            ) => {
                tracing::debug!(topic = self.topic.topic, %error, "the cluster is out of reach; librdkafka goes on trying");
                None
            }
            _ => Some(Error::Brokers { doing: "reading", source: error }),
        }
    }

    /// How many messages lie between what has been read and the end, by partition.
    pub(crate) fn lag(&self) -> Vec<(i32, u64)> {
        let ends = self.context.ends.lock();
        let behind = |(partition, next): (&i32, &i64)| {
            let end = ends.get(partition).copied().unwrap_or(*next);
            (*partition, u64::try_from(end - next).unwrap_or(0))
        };
        self.next.iter().map(behind).collect()
    }

    /// Tells the brokers what has been written, for tools alone: nobody waits for it, and it may fail.
    pub(crate) fn tell(&self, written: &BTreeMap<i32, i64>) {
        let told = self.list(written).map(|list| self.consumer.commit(&list, CommitMode::Async));
        if !matches!(told, Ok(Ok(()))) {
            tracing::debug!(topic = self.topic.topic, ?told, "the brokers were not told how far the topic was read");
        }
    }

    fn list(&self, offsets: &BTreeMap<i32, i64>) -> Result<TopicPartitionList, Error> {
        let mut list = TopicPartitionList::new();
        for (&partition, &next) in offsets {
            list.add_partition_offset(&self.topic.topic, partition, Offset::Offset(next))
                .map_err(|source| Error::Brokers { doing: "naming an offset", source })?;
        }
        Ok(list)
    }
}
