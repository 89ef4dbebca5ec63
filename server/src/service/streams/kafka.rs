//! Topics: each source that has one reads it, from its first definition to its last, while the server runs.
//!
//! ```text
//! read_topics   looks which sources have a topic, and starts a reader for each that has none
//!   read_topic  begins anew after failures, with pauses
//!     follow    open where the store says ─> gather ─> decode ─> take_rows with the offsets behind the messages ─┐
//!                                               ^──────────────────────────────────────────────────────────┘
//! ```
//! Rows go the way of pushes: views, outbox and event ids, and the offsets in the same atomic write. So a message counts once,
//! wherever the server was killed, and needs no id for that. A message that is no row is quarantined in that write too. When too much
//! waits for the tables, messages wait in Kafka.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tidegate_offline::ingest::Rules;
use tidegate_online::{Extra, Push, Store};
use tidegate_schemas::catalog::Catalog;
use tidegate_schemas::definition::{KafkaTopic, Source};
use tidegate_schemas::error::ErrorKind;
use tokio::task::JoinHandle;

use crate::kafka::decode::{Decoded, Decoder, content};
use crate::kafka::reader::{Limits, Reader};
use crate::kafka::{self, Message, cluster, offsets};
use crate::registry::Versioned;
use crate::service::push::{Came, Entry, Place};
use crate::service::{Error, PushOutcome, Result, Tidegate};
use crate::shutdown::Registration;

/// How often it is looked which sources have topics.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// How long a reader waits for a message before it looks around.
const PATIENCE: Duration = Duration::from_millis(200);

/// How often it is asked whether a topic has more partitions.
const PARTITIONS_EVERY: Duration = Duration::from_secs(30);

/// The pauses after failures: each is twice as long as the one before.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A source with a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Name {
    project: String,
    source: String,
}

/// A reader that is closed off the threads that must not wait: taking leave of the brokers takes a while.
struct Held(Option<Reader>);

impl Drop for Held {
    fn drop(&mut self) {
        if let (Some(reader), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn_blocking(move || drop(reader));
        }
    }
}

/// A topic that is being read, and what makes rows of its messages.
struct Open {
    topic: KafkaTopic,
    reader: Held,
    decoder: Decoder,
}

impl Tidegate {
    /// Reads the topics of all sources until jobs stop.
    pub async fn read_topics(self: Arc<Self>, registration: Registration) {
        let registration = Arc::new(registration);
        let mut stopping = std::pin::pin!(registration.stopping());
        let mut readers: HashMap<Name, JoinHandle<()>> = HashMap::new();
        loop {
            readers.retain(|_, reader| !reader.is_finished());
            for name in self.sources_with_topics() {
                let start = || tokio::spawn(self.clone().read_topic(name.clone(), registration.clone()));
                readers.entry(name.clone()).or_insert_with(start);
            }
            tokio::select! {
                () = &mut stopping => break,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
        for reader in readers.into_values() {
            // One that panicked has said so.
            let _ = reader.await;
        }
    }

    /// Refuses topics whose cluster the configuration lacks, or whose files can't be used.
    ///
    /// # Errors
    /// Names the source and what to do.
    pub(in crate::service) fn check_topics(&self, old: &Catalog, new: &Catalog) -> Result<()> {
        for source in new.sources.values() {
            let Some(topic) = &source.kafka else { continue };
            if old.sources.get(&source.name).is_some_and(|before| before.kafka == source.kafka) {
                continue;
            }
            let checked = cluster::find(&self.settings.kafka, &topic.cluster).map_err(Error::from);
            checked.and_then(|_| self.decoder(source, topic)).map_err(|error| {
                let message = format!("the topic of source `{}` can't be read: {}", source.name, error.chain());
                Error::new(error.kind, message)
            })?;
        }
        Ok(())
    }

    fn decoder(&self, source: &Source, topic: &KafkaTopic) -> Result<Decoder> {
        Decoder::open(&topic.format, |uri| self.tables.inside_roots(source, uri))
    }

    fn sources_with_topics(&self) -> Vec<Name> {
        let mut names = Vec::new();
        for project in self.registry.known() {
            let Some(known) = self.registry.cached(&project) else { continue };
            let with_topics = known.catalog.sources.values().filter(|source| source.kafka.is_some());
            names.extend(with_topics.map(|source| Name { project: project.clone(), source: source.name.clone() }));
        }
        names
    }

    /// The definitions as they are now, where the source still has a topic.
    fn topic(&self, name: &Name) -> Option<(Arc<Versioned>, Arc<Source>, KafkaTopic)> {
        let project = self.registry.cached(&name.project)?;
        let source = project.catalog.sources.get(&name.source)?.clone();
        let topic = source.kafka.clone()?;
        Some((project, source, topic))
    }

    async fn read_topic(self: Arc<Self>, name: Name, registration: Arc<Registration>) {
        let mut pause = PAUSE_MIN;
        loop {
            let outcome = self.follow(&name, &registration, &mut pause).await;
            self.telemetry.topic_read(&name.project, &name.source, false);
            let Err(error) = outcome else { return };
            if registration.is_stopping() {
                return;
            }
            tracing::warn!(
                project = name.project,
                source = name.source,
                error = error.chain(),
                again_in = ?pause,
                "a topic is not read"
            );
            tokio::select! {
                () = registration.stopping() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Reads a topic until its definition changes, its partitions do, or something fails.
    async fn follow(&self, name: &Name, registration: &Registration, pause: &mut Duration) -> Result<()> {
        let Some((_, source, topic)) = self.topic(name) else { return Ok(()) };
        let mut open = tokio::select! {
            () = registration.stopping() => return Ok(()),
            open = self.open_topic(name, &source, &topic) => open?,
        };
        tracing::info!(
            project = name.project,
            source = name.source,
            topic = topic.topic,
            positions = ?open.reader.0.as_ref().map(Reader::positions),
            "reading a topic"
        );
        let mut looked = self.clock.stopwatch();
        while !registration.is_stopping() {
            let Some((project, _, now)) = self.topic(name) else { return Ok(()) };
            if now != topic {
                return Ok(());
            }
            self.telemetry.topic_read(&name.project, &name.source, true);
            let ask = looked.elapsed() >= PARTITIONS_EVERY;
            let (reader, gathered) = self.gather(open.reader, ask).await?;
            open.reader = reader;
            let Some(messages) = gathered else { return Ok(()) };
            if ask {
                looked = self.clock.stopwatch();
            }
            if !messages.is_empty() {
                open = self.take_messages(&project, name, open, messages, registration).await?;
                *pause = PAUSE_MIN;
            }
            if let Some(reader) = &open.reader.0 {
                self.telemetry.topic_lag(&name.project, &name.source, &reader.lag());
            }
        }
        Ok(())
    }

    /// Begins to read where the store says.
    async fn open_topic(&self, name: &Name, source: &Source, topic: &KafkaTopic) -> Result<Open> {
        let decoder = self.decoder(source, topic)?;
        let cluster = cluster::find(&self.settings.kafka, &topic.cluster)?;
        let options = cluster::consumer(cluster, &format!("tidegate.{}.{}", name.project, name.source));
        let (name, read, store, clock) = (name.clone(), topic.clone(), self.online.clone(), self.clock.clone());
        let opened = tokio::task::spawn_blocking(move || {
            let stored = |partition| {
                let position = offsets::name(&name.project, &name.source, &read, partition);
                // A store that can't be read fails at the first write anyway: it must not look like a topic that was never read.
                let stored = store.extra(&position).map_err(|_| kafka::Error::Position)?;
                stored.map(|bytes| offsets::decode(&bytes)).transpose()
            };
            let reader = Reader::open(&options, &read, &clock, stored)?;
            keep_positions(&store, &name, &read, reader.positions(), clock.now())?;
            Ok::<_, Error>(reader)
        });
        let reader = opened.await.map_err(|error| Error::internal("opening a topic panicked").with_source(error))??;
        Ok(Open { topic: topic.clone(), reader: Held(Some(reader)), decoder })
    }

    /// The next messages; `None` where the topic has other partitions than it had.
    async fn gather(&self, mut held: Held, ask: bool) -> Result<(Held, Option<Vec<Message>>)> {
        let Some(mut reader) = held.0.take() else { return Err(Error::internal("a topic has no reader")) };
        let settings = &self.settings.kafka;
        let limits =
            Limits { rows: settings.batch_rows.max(1), bytes: settings.batch_bytes.max(1), wait: settings.batch_wait };
        let gathered = tokio::task::spawn_blocking(move || {
            if ask && reader.partitions()?.len() != reader.positions().len() {
                return Ok((reader, None));
            }
            let messages = reader.gather(limits, PATIENCE)?;
            Ok::<_, kafka::Error>((reader, Some(messages)))
        });
        let (reader, messages) =
            gathered.await.map_err(|error| Error::internal("reading a topic panicked").with_source(error))??;
        Ok((Held(Some(reader)), messages))
    }

    /// Writes what messages say, and where reading has come. While there is no room they wait, and the topic with them.
    async fn take_messages(
        &self,
        project: &Arc<Versioned>,
        name: &Name,
        open: Open,
        messages: Vec<Message>,
        registration: &Registration,
    ) -> Result<Open> {
        let Open { topic, reader, mut decoder } = open;
        let source = project.catalog.sources.get(&name.source);
        let source = source.ok_or_else(|| Error::internal("a topic's source is gone"))?;
        let rules = Rules::of(&project.catalog, source, true);
        let next = next_offsets(&messages);
        let decoded = tokio::task::spawn_blocking(move || {
            let decoded = decoder.decode(&messages, &rules);
            decoded.map(|decoded| (decoder, decoded, messages))
        });
        let (decoder, decoded, messages) =
            decoded.await.map_err(|error| Error::internal("decoding messages panicked").with_source(error))??;
        let mut pause = PAUSE_MIN;
        let outcome = loop {
            let came = came(name, &topic, &messages, &decoded, &next);
            match self.take_rows(project, &name.source, decoded.rows.clone(), came).await {
                // Refused before anything was written. After any other failure it is not known what was: the store is asked again.
                Err(error) if error.kind == ErrorKind::Exhausted && !registration.is_stopping() => {
                    tracing::warn!(source = name.source, error = error.chain(), "messages wait for room");
                    tokio::select! {
                        () = registration.stopping() => {}
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                outcome => break outcome?,
            }
        };
        self.note_taken(name, &messages, &outcome);
        if let Some(reader) = &reader.0 {
            reader.tell(&next);
        }
        Ok(Open { topic, reader, decoder })
    }

    fn note_taken(&self, name: &Name, messages: &[Message], outcome: &PushOutcome) {
        self.telemetry.topic_messages(&name.project, &name.source, messages.len() as u64);
        for bad in &outcome.quarantined {
            tracing::warn!(
                project = name.project,
                source = name.source,
                reason = bad.reason,
                messages = bad.rows,
                example = bad.example,
                "messages were quarantined"
            );
        }
    }
}

/// Stores where reading begins, so that a topic read from its end is read from there also after a restart.
fn keep_positions(
    store: &Store,
    name: &Name,
    topic: &KafkaTopic,
    positions: &BTreeMap<i32, i64>,
    now: tidegate_schemas::time::Micros,
) -> Result<()> {
    let named = encoded(name, topic, positions);
    let extras: Vec<Extra<'_>> = named.iter().map(|(name, value)| Extra { name, value }).collect();
    store.push(&Push { extras: &extras, now, ..Push::default() })?;
    Ok(())
}

fn encoded(name: &Name, topic: &KafkaTopic, positions: &BTreeMap<i32, i64>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let one = |(&partition, &next): (&i32, &i64)| {
        (offsets::name(&name.project, &name.source, topic, partition), offsets::encode(next))
    };
    positions.iter().map(one).collect()
}

/// Where reading goes on after these messages.
fn next_offsets(messages: &[Message]) -> BTreeMap<i32, i64> {
    messages.iter().map(|message| (message.partition, message.offset + 1)).collect()
}

/// What comes along with the rows of messages.
fn came(name: &Name, topic: &KafkaTopic, messages: &[Message], decoded: &Decoded, next: &BTreeMap<i32, i64>) -> Came {
    let place = |at: usize| -> Place { (messages[at].partition, messages[at].offset) };
    let poison = |poison: &crate::kafka::decode::Poison| {
        let content = content(messages[poison.message].payload.as_deref());
        let entry = Entry { reason: poison.reason, detail: poison.detail.clone(), content };
        (place(poison.message), entry)
    };
    Came {
        origin: "kafka",
        places: decoded.messages.iter().map(|&at| place(at)).collect(),
        topic: topic.topic.clone(),
        poison: decoded.poison.iter().map(poison).collect(),
        positions: encoded(name, topic, next),
    }
}

#[cfg(test)]
mod tests;
