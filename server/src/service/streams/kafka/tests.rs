//! Topics end to end, on librdkafka's own cluster in this process: what is in a topic is served and in the table once, whatever is
//! killed when, and what is no row is in the quarantine table and holds up nothing.

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, StringArray};
use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use prost_reflect::prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet};
use prost_reflect::{DescriptorPool, DynamicMessage, Value as Field};
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use tidegate_schemas::catalog::Selection;

use super::*;
use crate::service::tests::bench::{Bench, FLIGHTS, HOUR, LATE};
use crate::service::{EraseRequest, LookupRequest, Values};
use crate::shutdown::Stage;

/// A cluster with topics, and who writes to them.
struct Cluster {
    mock: MockCluster<'static, DefaultProducerContext>,
    producer: BaseProducer,
}

impl Cluster {
    fn new(topics: &[(&str, i32)]) -> Self {
        let mock = MockCluster::new(1).unwrap();
        topics.iter().for_each(|(topic, partitions)| mock.create_topic(topic, *partitions, 1).unwrap());
        let producer = ClientConfig::new().set("bootstrap.servers", mock.bootstrap_servers()).create().unwrap();
        Self { mock, producer }
    }

    fn write(&self, topic: &str, partition: i32, payload: &[u8]) {
        let record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).partition(partition).payload(payload);
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
        self.producer.poll(Duration::ZERO);
    }

    fn flush(&self) {
        self.producer.flush(Duration::from_secs(10)).unwrap();
    }

    /// A server that knows the cluster, and reads.
    async fn bench(&self, definitions: &str, more: &[(&str, &str)]) -> Bench {
        let brokers = self.mock.bootstrap_servers();
        let mut settings = vec![("kafka.clusters.main.brokers", brokers.as_str()), ("kafka.batch_wait", "5ms")];
        settings.extend(more);
        let bench = Bench::with_settings(&settings).await;
        bench.clock.set(LATE);
        bench.apply(definitions).await.unwrap();
        read(&bench);
        bench
    }
}

fn read(bench: &Bench) {
    tokio::spawn(bench.service.clone().read_topics(bench.shutdown.register(Stage::Jobs, "topics")));
}

/// The source of readings, fed by a topic, and a view that counts them.
fn definitions(kafka: &str) -> String {
    FLIGHTS
        .replace("    event_time: time_hour\n", &format!("    event_time: time_hour\n    kafka: {kafka}\n"))
        .replace(
            "columns: [{name: wind, type: float64}]",
            "columns: [{name: wind, type: float64}, {name: reading, type: string}]",
        )
        .replace(
            "feature_services:\n",
            "  - name: origin_counts\n    entities: [airport]\n    source: weather\n    features:\n\
             \x20     - {name: readings, type: int64, aggregate: {fn: count, window: all}}\nfeature_services:\n",
        )
}

fn json(origin: &str, hour: i64, temp: f64, reading: &str) -> String {
    serde_json::json!({"origin": origin, "time_hour": hour * HOUR, "temp": temp, "wind": -temp, "reading": reading, "other": [1]})
        .to_string()
}

/// Numbers by chance, the same for the same seed (SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % bound
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..600 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("waited too long until {what}");
}

fn metric(bench: &Bench, line: &str) -> u64 {
    let metrics = bench.service.metrics();
    let found = metrics.lines().find_map(|known| known.strip_prefix(line)?.trim().parse::<f64>().ok());
    found.unwrap_or(0.0) as u64
}

async fn taken(bench: &Bench, messages: u64) {
    let line = "tidegate_kafka_messages_total{project=\"flights\",source=\"weather\"}";
    until(&format!("{messages} messages are taken"), async || metric(bench, line) >= messages).await;
    assert_eq!(metric(bench, line), messages);
}

fn served(bench: &Bench, reference: &str, origin: &str) -> Option<f64> {
    let keys: Vec<(String, ArrayRef)> = vec![("origin".to_owned(), Arc::new(StringArray::from(vec![origin])))];
    let features = Selection::Features(vec![reference.to_owned()]);
    let request = LookupRequest { return_expired: true, ..LookupRequest::new("flights", features, keys) };
    let reply = bench.service.lookup(&bench.me, &request).unwrap();
    let feature = reply.answer.feature(0);
    let value = match feature.values {
        Values::Doubles(values) => values.iter().next().unwrap(),
        Values::Int64s(values) => values.iter().next().unwrap() as f64,
        _ => panic!("{reply:?}"),
    };
    feature.present(0).then_some(value)
}

async fn table(bench: &Bench) -> Vec<Vec<String>> {
    bench.service.flush(&bench.me, "flights", "weather").await.unwrap();
    bench.sql("SELECT origin, temp FROM sources.weather ORDER BY origin, temp").await.unwrap()
}

async fn quarantine(bench: &Bench) -> Vec<Vec<String>> {
    bench.service.flush(&bench.me, "flights", "weather").await.unwrap();
    bench.sql("SELECT reason, detail, row, origin FROM sources._quarantine ORDER BY detail").await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_served_and_in_the_table_and_poison_holds_up_nothing() {
    let cluster = Cluster::new(&[("weather", 2)]);
    let bench = cluster.bench(&definitions("{cluster: main, topic: weather}"), &[]).await;
    cluster.write("weather", 0, json("JFK", 2, 2.0, "a").as_bytes());
    cluster.write("weather", 0, b"{\"origin\": \"JFK\", ");
    cluster.write("weather", 0, json("JFK", 1, 1.0, "late").as_bytes());
    cluster.write("weather", 1, b"[1]");
    cluster.write("weather", 1, b"{\"origin\": \"EWR\", \"time_hour\": \"1970-01-01T03:00:00Z\", \"temp\": \"warm\"}");
    cluster.write("weather", 1, b"{\"origin\": null, \"time_hour\": 5}");
    cluster.write("weather", 1, json("EWR", 3, 3.0, "b").as_bytes());
    cluster.flush();
    taken(&bench, 7).await;
    assert_eq!(served(&bench, "origin_weather:temp", "JFK"), Some(2.0));
    assert_eq!(served(&bench, "origin_weather:temp", "EWR"), Some(3.0));
    assert_eq!(served(&bench, "origin_counts:readings", "JFK"), Some(2.0));
    assert_eq!(table(&bench).await, [["EWR", "3.0"], ["JFK", "1.0"], ["JFK", "2.0"]]);
    let quarantined = quarantine(&bench).await;
    let told =
        ["weather/0/1: ", "weather/1/0: ", "weather/1/1: `temp` is \"warm\"", "weather/1/2: column `origin` is null"];
    assert_eq!(quarantined.len(), told.len(), "{quarantined:?}");
    for (row, told) in quarantined.iter().zip(told) {
        assert!(row[1].starts_with(told) && row[3] == "kafka", "{told} is not in {row:?}");
    }
    assert_eq!(quarantined[0][2], "{\"origin\": \"JFK\", ");
    assert_eq!(metric(&bench, "tidegate_quarantined_rows_total{reason=\"message can't be decoded\"}"), 3);
    let lag = "tidegate_kafka_lag{project=\"flights\",source=\"weather\",partition=\"1\"}";
    assert!(bench.service.metrics().contains(lag));
    until("nothing is left to read", async || metric(&bench, lag) == 0).await;
    assert_eq!(metric(&bench, "tidegate_kafka_reading{project=\"flights\",source=\"weather\"}"), 1);
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::print_stdout, reason = "the seed repeats a failure")]
async fn each_message_counts_once_whatever_is_stopped_when() {
    let seed = std::env::var("TIDEGATE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(5);
    println!("TIDEGATE_SEED={seed}");
    let mut rng = Chance(seed);
    let cluster = Cluster::new(&[("weather", 3)]);
    let mut bench = cluster.bench(&definitions("{cluster: main, topic: weather}"), &[("kafka.batch_rows", "7")]).await;
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut bad = 0;
    for round in 0..4 {
        for at in 0..100 {
            let origin = format!("A{}", rng.below(5));
            let partition = rng.below(3) as i32;
            if rng.below(20) == 0 {
                bad += 1;
                cluster.write("weather", partition, b"?");
            } else {
                // Alike messages are messages of their own.
                cluster.write("weather", partition, json(&origin, at / 10, f64::from(round), "x").as_bytes());
                *counts.entry(origin).or_default() += 1;
            }
        }
        cluster.flush();
        tokio::time::sleep(Duration::from_millis(rng.below(600))).await;
        bench = bench.restart().await;
        bench.clock.set(LATE);
        read(&bench);
    }
    for (origin, count) in &counts {
        let seen = async || served(&bench, "origin_counts:readings", origin).unwrap_or(0.0) as u64 >= *count;
        until(&format!("{origin} has {count} readings"), seen).await;
    }
    until("all poison is quarantined", async || quarantine(&bench).await.len() >= bad).await;
    bench.service.flush(&bench.me, "flights", "weather").await.unwrap();
    let rows = bench.sql("SELECT origin, count(*) FROM sources.weather GROUP BY 1 ORDER BY 1").await.unwrap();
    let expected: Vec<_> = counts.iter().map(|(origin, count)| vec![origin.clone(), count.to_string()]).collect();
    assert_eq!(rows, expected);
    for (origin, count) in &counts {
        assert_eq!(served(&bench, "origin_counts:readings", origin), Some(*count as f64), "{origin}");
    }
    assert_eq!(quarantine(&bench).await.len(), bad);
}

#[tokio::test(flavor = "multi_thread")]
async fn event_ids_tell_messages_apart_where_there_are_any() {
    let cluster = Cluster::new(&[("weather", 2)]);
    let definitions = definitions("{cluster: main, topic: weather}")
        .replace("    event_time: time_hour\n", "    event_time: time_hour\n    event_id: reading\n");
    let bench = cluster.bench(&definitions, &[]).await;
    cluster.write("weather", 0, json("JFK", 1, 1.0, "a").as_bytes());
    cluster.flush();
    taken(&bench, 1).await;
    cluster.write("weather", 1, json("JFK", 1, 1.0, "a").as_bytes());
    cluster.write("weather", 1, json("JFK", 1, 7.0, "a").as_bytes());
    cluster.flush();
    taken(&bench, 3).await;
    assert_eq!(served(&bench, "origin_counts:readings", "JFK"), Some(1.0));
    assert_eq!(quarantine(&bench).await[0][0], "duplicate id with other content");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_an_erased_entity_are_taken_no_more() {
    use futures::TryStreamExt;
    let cluster = Cluster::new(&[("weather", 1)]);
    let bench = cluster.bench(&definitions("{cluster: main, topic: weather}"), &[]).await;
    cluster.write("weather", 0, json("JFK", 1, 1.0, "a").as_bytes());
    cluster.flush();
    taken(&bench, 1).await;
    let keys: Vec<(String, ArrayRef)> = vec![("origin".to_owned(), Arc::new(StringArray::from(vec!["JFK"])))];
    let request = EraseRequest { project: "flights".to_owned(), entity: "airport".to_owned(), keys };
    bench.service.erase(&bench.me, request).await.unwrap().try_collect::<Vec<_>>().await.unwrap();
    cluster.write("weather", 0, json("JFK", 2, 2.0, "b").as_bytes());
    cluster.write("weather", 0, b"{\"origin\": \"JFK\", \"time_hour\": 5, \"temp\": \"warm\"}");
    cluster.write("weather", 0, json("EWR", 2, 3.0, "c").as_bytes());
    cluster.flush();
    taken(&bench, 4).await;
    assert_eq!(served(&bench, "origin_weather:temp", "JFK"), None);
    assert_eq!(served(&bench, "origin_counts:readings", "JFK"), Some(0.0));
    assert_eq!(served(&bench, "origin_counts:readings", "EWR"), Some(1.0));
    assert_eq!(table(&bench).await, [["EWR", "3.0"]]);
    assert_eq!(metric(&bench, "tidegate_quarantined_rows_total{reason=\"entity was erased\"}"), 2);
    let quarantined = bench.service.quarantine_table("flights").await.unwrap();
    assert!(quarantined.is_none(), "nothing of them is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_starts_where_the_definition_says_and_stops_with_it() {
    let cluster = Cluster::new(&[("weather", 1), ("weather.v2", 1)]);
    cluster.write("weather", 0, json("JFK", 1, 1.0, "old").as_bytes());
    cluster.write("weather.v2", 0, json("EWR", 2, 2.0, "old").as_bytes());
    cluster.flush();
    let mut bench = cluster.bench(&definitions("{cluster: main, topic: weather, start: latest}"), &[]).await;
    let reading = "tidegate_kafka_reading{project=\"flights\",source=\"weather\"}";
    until("the topic is read", async || metric(&bench, reading) == 1).await;
    // What comes while nobody reads is read later: the end that reading started from is known.
    bench = bench.restart().await;
    bench.clock.set(LATE);
    cluster.write("weather", 0, json("JFK", 2, 5.0, "new").as_bytes());
    cluster.flush();
    read(&bench);
    taken(&bench, 1).await;
    assert_eq!(table(&bench).await, [["JFK", "5.0"]]);
    bench.apply_breaking(&definitions("{cluster: main, topic: weather.v2}")).await.unwrap();
    taken(&bench, 2).await;
    assert_eq!(table(&bench).await, [["EWR", "2.0"], ["JFK", "5.0"]]);
    bench
        .apply_breaking(
            &definitions("{cluster: main, topic: weather}").replace("    kafka: {cluster: main, topic: weather}\n", ""),
        )
        .await
        .unwrap();
    until("nothing is read", async || metric(&bench, reading) == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_wait_in_the_topic_while_too_much_waits_for_the_table() {
    let cluster = Cluster::new(&[("weather", 1)]);
    let bench = cluster.bench(&definitions("{cluster: main, topic: weather}"), &[("kafka.batch_rows", "500")]).await;
    let long = "x".repeat(1_000);
    for at in 0..3_000 {
        cluster.write("weather", 0, json("JFK", at, 1.0, &long).as_bytes());
    }
    cluster.flush();
    let line = "tidegate_kafka_messages_total{project=\"flights\",source=\"weather\"}";
    until("the outbox is full", async || metric(&bench, line) >= 500).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(metric(&bench, line) < 3_000, "the outbox of a test holds one mebibyte");
    until("all is taken", async || {
        bench.service.flush(&bench.me, "flights", "weather").await.unwrap();
        metric(&bench, line) == 3_000
    })
    .await;
    assert_eq!(table(&bench).await.len(), 3_000);
    assert_eq!(served(&bench, "origin_counts:readings", "JFK"), Some(3_000.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_t_be_read_is_refused_when_it_is_applied() {
    let cluster = Cluster::new(&[]);
    let bench = cluster.bench(FLIGHTS, &[]).await;
    let lake = bench.folder.path().join("lake");
    let check = async |kafka: String, word: &str| {
        let error = bench.apply(&definitions(&kafka)).await.unwrap_err();
        assert!(error.message.contains(word) && error.message.contains("source `weather`"), "{error}");
        let planned =
            bench.service.plan(&bench.me, &crate::service::tests::bench::files(&definitions(&kafka)), false).await;
        assert!(planned.unwrap().warnings.iter().any(|warning| warning.contains(word)), "{word}");
    };
    check("{cluster: mian, topic: weather}".to_owned(), "did you mean `main`").await;
    let avro = |path: &str| format!("{{cluster: main, topic: weather, format: {{avro: {{schemas: {path}}}}}}}");
    check(avro("/etc/schemas"), "outside the folders").await;
    check(avro(&lake.join("none.json").display().to_string()), "nothing at").await;
    std::fs::write(lake.join("bad.json"), "{\"one\": {}}").unwrap();
    check(avro(&lake.join("bad.json").display().to_string()), "`one` is not the number of a schema").await;
    std::fs::write(lake.join("empty.bin"), "").unwrap();
    let protobuf = format!(
        "{{cluster: main, topic: weather, format: {{protobuf: {{descriptors: {}, message: w.Reading}}}}}}",
        lake.join("empty.bin").display()
    );
    check(protobuf, "no message `w.Reading`").await;
}

/// A reading in Avro, by the first schema or the second, which has the fields in another order and one more.
fn avro(number: u32, origin: &str, hour: i64, temp: f64) -> Vec<u8> {
    let long = |value: i64, bytes: &mut Vec<u8>| {
        let mut rest = ((value << 1) ^ (value >> 63)) as u64;
        while rest > 0x7f {
            bytes.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
    };
    let mut bytes = vec![0];
    bytes.extend(number.to_be_bytes());
    let text = |bytes: &mut Vec<u8>| {
        long(origin.len() as i64, bytes);
        bytes.extend(origin.as_bytes());
    };
    match number {
        1 => {
            text(&mut bytes);
            long(hour * HOUR, &mut bytes);
            bytes.extend(temp.to_le_bytes());
        }
        _ => {
            bytes.extend([2]);
            bytes.extend(temp.to_le_bytes());
            long(hour * HOUR / 1_000, &mut bytes);
            text(&mut bytes);
            long(7, &mut bytes);
        }
    }
    bytes
}

const AVRO_1: &str = r#"{"type": "record", "name": "R", "fields": [{"name": "origin", "type": "string"},
    {"name": "time_hour", "type": {"type": "long", "logicalType": "timestamp-micros"}}, {"name": "temp", "type": "double"}]}"#;
const AVRO_2: &str = r#"{"type": "record", "name": "R", "fields": [{"name": "temp", "type": ["null", "double"]},
    {"name": "time_hour", "type": {"type": "long", "logicalType": "timestamp-millis"}}, {"name": "origin", "type": "string"},
    {"name": "station", "type": "int"}]}"#;

#[tokio::test(flavor = "multi_thread")]
async fn avro_is_read_by_the_schema_that_each_message_names() {
    let cluster = Cluster::new(&[("weather", 1)]);
    let bench = cluster.bench(FLIGHTS, &[]).await;
    let path = bench.folder.path().join("lake/schemas.json");
    std::fs::write(&path, format!("{{\"1\": {AVRO_1}}}")).unwrap();
    let kafka = format!("{{cluster: main, topic: weather, format: {{avro: {{schemas: {}}}}}}}", path.display());
    bench.apply_breaking(&definitions(&kafka)).await.unwrap();
    cluster.write("weather", 0, &avro(1, "JFK", 1, 1.0));
    cluster.write("weather", 0, &avro(2, "JFK", 2, 2.0));
    cluster.write("weather", 0, &avro(1, "EWR", 3, 3.0)[..12]);
    cluster.write("weather", 0, b"plain text");
    cluster.write("weather", 0, &[avro(1, "EWR", 3, 9.0), vec![1]].concat());
    cluster.write("weather", 0, &avro(1, "EWR", 3, 3.0));
    cluster.flush();
    taken(&bench, 6).await;
    assert_eq!(table(&bench).await, [["EWR", "3.0"], ["JFK", "1.0"]]);
    let quarantined = quarantine(&bench).await;
    let reasons: Vec<_> = quarantined.iter().map(|row| row[0].as_str()).collect();
    let unreadable = "message can't be decoded";
    assert_eq!(reasons, ["unknown schema", unreadable, unreadable, unreadable], "{quarantined:?}");
    assert!(quarantined[0][1].contains("has no schema 2; add it"), "{quarantined:?}");
    std::fs::write(&path, format!("{{\"1\": {AVRO_1}, \"2\": {AVRO_2}}}")).unwrap();
    cluster.write("weather", 0, &avro(2, "LGA", 4, 4.0));
    cluster.write("weather", 0, &avro(1, "LGA", 5, 5.0));
    cluster.write("weather", 0, &avro(2, "LGA", 5, 6.0));
    cluster.flush();
    taken(&bench, 9).await;
    assert_eq!(served(&bench, "origin_weather:temp", "LGA"), Some(6.0), "of two alike the later one counts");
    assert_eq!(table(&bench).await.len(), 5);
}

fn descriptors() -> FileDescriptorSet {
    let field = |name: &str, number: i32, of: Type| FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        label: Some(Label::Optional.into()),
        r#type: Some(of.into()),
        ..FieldDescriptorProto::default()
    };
    let fields = vec![
        field("origin", 1, Type::String),
        field("time_hour", 2, Type::Int64),
        field("temp", 3, Type::Double),
        field("station", 4, Type::Int32),
    ];
    let message = DescriptorProto { name: Some("Reading".to_owned()), field: fields, ..DescriptorProto::default() };
    let file = FileDescriptorProto {
        name: Some("w.proto".to_owned()),
        package: Some("w".to_owned()),
        message_type: vec![message],
        syntax: Some("proto3".to_owned()),
        ..FileDescriptorProto::default()
    };
    FileDescriptorSet { file: vec![file] }
}

#[tokio::test(flavor = "multi_thread")]
async fn protobuf_is_read_by_its_descriptors() {
    let cluster = Cluster::new(&[("weather", 1)]);
    let bench = cluster.bench(FLIGHTS, &[]).await;
    let path = bench.folder.path().join("lake/w.bin");
    std::fs::write(&path, descriptors().encode_to_vec()).unwrap();
    let kafka = format!(
        "{{cluster: main, topic: weather, format: {{protobuf: {{descriptors: {}, message: w.Reading}}}}}}",
        path.display()
    );
    bench.apply_breaking(&definitions(&kafka)).await.unwrap();
    let pool = DescriptorPool::from_file_descriptor_set(descriptors()).unwrap();
    let reading = |origin: &str, hour: i64, temp: f64| {
        let mut message = DynamicMessage::new(pool.get_message_by_name("w.Reading").unwrap());
        message.set_field_by_name("origin", Field::String(origin.to_owned()));
        message.set_field_by_name("time_hour", Field::I64(hour * HOUR));
        message.set_field_by_name("temp", Field::F64(temp));
        message.set_field_by_name("station", Field::I32(7));
        message.encode_to_vec()
    };
    cluster.write("weather", 0, &reading("JFK", 1, 1.0));
    cluster.write("weather", 0, &[0xff, 0xff]);
    cluster.write("weather", 0, &[vec![0, 0, 0, 0, 9, 0], reading("EWR", 2, 0.0)].concat());
    cluster.write("weather", 0, &[reading("LGA", 3, f64::NAN), vec![0x50, 1]].concat());
    cluster.flush();
    taken(&bench, 4).await;
    assert_eq!(table(&bench).await, [["EWR", "0.0"], ["JFK", "1.0"], ["LGA", "NaN"]]);
    let quarantined = quarantine(&bench).await;
    assert_eq!((quarantined.len(), quarantined[0][2].as_str()), (1, "//8="), "{quarantined:?}");
}
