//! kill -9 while a topic is read: each message counts once, in windows and in the table, and one that is no row is in quarantine once.
//! The cluster is librdkafka's own, in this process, and outlives the servers.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer};
use tidegate_client::Client;
use tidegate_integration_tests::Server;
use tidegate_integration_tests::orders::{self, Order, PROJECT};
use tidegate_integration_tests::tallies::{self, Tally};

use super::checks::count;
use super::shop::start_again_with;
use super::{number, seed};

const TOPIC: &str = "orders";
const PARTITIONS: i32 = 3;
const CUSTOMERS: i64 = 100;
/// Messages that come before each kill, and which share of those is no row.
const MESSAGES: usize = 1_000;
const POISON: f64 = 0.02;

/// How long the last server may take for what its predecessors left.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

/// A cluster with a topic, and all that was written to it.
struct Topic {
    mock: MockCluster<'static, DefaultProducerContext>,
    producer: BaseProducer,
    orders: Vec<Order>,
    poison: i64,
}

impl Topic {
    fn new() -> Self {
        let mock = MockCluster::new(1).unwrap();
        mock.create_topic(TOPIC, PARTITIONS, 1).unwrap();
        let producer = ClientConfig::new().set("bootstrap.servers", mock.bootstrap_servers()).create().unwrap();
        Self { mock, producer, orders: Vec::new(), poison: 0 }
    }

    /// More orders, and among them what is none.
    fn write(&mut self, rng: &mut StdRng) {
        for order in orders::random(rng, MESSAGES, CUSTOMERS, 24 * 90) {
            if rng.random_bool(POISON) {
                self.send(rng, "{\"customer_id\": ");
                self.poison += 1;
            } else {
                self.send(rng, &message(&order));
                self.orders.push(order);
            }
        }
        self.producer.flush(Duration::from_secs(10)).unwrap();
    }

    fn send(&self, rng: &mut StdRng, payload: &str) {
        let partition = rng.random_range(0..PARTITIONS);
        let record: BaseRecord<'_, str, str> = BaseRecord::to(TOPIC).partition(partition).payload(payload);
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
        self.producer.poll(Duration::ZERO);
    }

    /// The flags of a server that reads it, a few messages at a time.
    fn flags(&self) -> [String; 3] {
        let brokers = format!("kafka.clusters.main.brokers={}", self.mock.bootstrap_servers());
        [brokers, "kafka.batch_rows=10".to_owned(), "kafka.batch_wait=5ms".to_owned()]
    }

    fn right(&self) -> Vec<Tally> {
        let tallies = tallies::of(&self.orders);
        (0..CUSTOMERS).map(|customer| tallies.get(&customer).cloned().unwrap_or_default()).collect()
    }
}

fn message(order: &Order) -> String {
    let Order { customer, ordered_at, recorded_at, amount, items, note } = order;
    serde_json::json!({
        "customer_id": customer, "ordered_at": ordered_at, "recorded_at": recorded_at, "amount": amount, "items": items,
        "note": note,
    })
    .to_string()
}

fn definitions() -> String {
    let kafka = format!("    created_time: recorded_at\n    kafka: {{cluster: main, topic: {TOPIC}}}\n");
    tallies::definitions().replace("    created_time: recorded_at\n", &kafka)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_counts_once_whatever_is_killed_when() {
    let (mut rng, kills) = (StdRng::seed_from_u64(seed()), number("TIDEGATE_KAFKA_KILLS", 10));
    let (folder, mut topic) = (tempfile::tempdir().unwrap(), Topic::new());
    let data = folder.path().join("data");
    let flags = topic.flags();
    let flags: Vec<&str> = flags.iter().flat_map(|flag| ["--set", flag.as_str()]).collect();
    let server = Server::start_with(&data, &flags, &[]).await;
    orders::try_apply(&server.client(PROJECT).await, &definitions()).await.unwrap();
    server.stop().await;
    let (mut read, mut cut_short) = (0, 0);
    for kill in 0..kills {
        topic.write(&mut rng);
        let server = start_again_with(&data, &flags).await;
        let client = server.client(PROJECT).await;
        let before = check_between(&client, &topic, read).await;
        let after = Duration::from_millis(rng.random_range(1..250));
        println!("kill {kill} after {after:?}, {before} of {} messages read", topic.orders.len());
        tokio::time::sleep(after).await;
        read = check_between(&client, &topic, before).await;
        cut_short += usize::from(read < topic.orders.len() as i64);
        if rng.random_bool(0.3) {
            client.flush("orders").await.unwrap();
        }
        server.kill();
    }
    println!("{cut_short} of {kills} kills left messages to read");
    assert!(
        kills < 10 || cut_short as u64 * 10 > kills,
        "the kills came too late to prove anything: {cut_short} of {kills}"
    );
    let server = start_again_with(&data, &flags).await;
    check_whole(&server.client(PROJECT).await, &topic).await;
    server.stop().await;
}

/// Whatever was counted is, and nothing twice; gives how many messages are.
async fn check_between(client: &Client, topic: &Topic, least: i64) -> i64 {
    let tallies = tallies::served(client, CUSTOMERS).await.expect("the lookup is answered");
    for (customer, (tally, most)) in tallies.iter().zip(topic.right()).enumerate() {
        assert!(tally.is_between(&Tally::default(), &most), "customer {customer}: {tally:?} of {most:?}");
    }
    let counted = tallies.iter().map(|tally| tally.orders).sum();
    assert!(counted >= least, "{least} messages were counted, and now {counted} are");
    counted
}

/// All that was written is read in the end, and is where it belongs once.
async fn check_whole(client: &Client, topic: &Topic) {
    let all = async {
        while check_between(client, topic, 0).await < topic.orders.len() as i64 {
            tokio::time::sleep(PAUSE).await;
        }
        loop {
            client.flush("orders").await.unwrap();
            if topic.poison == 0 || count(client, "_quarantine").await >= topic.poison {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("all messages are read");
    assert_eq!(count(client, "orders").await, topic.orders.len() as i64, "rows in the table");
    assert_eq!(count(client, "_quarantine").await, topic.poison, "rows in quarantine");
    orders::check_served(client, CUSTOMERS, &orders::newest(&topic.orders)).await;
    let tallies = tallies::served(client, CUSTOMERS).await.expect("the lookup is answered");
    for (customer, (tally, right)) in tallies.iter().zip(topic.right()).enumerate() {
        assert!(tally.is(&right), "customer {customer}: {tally:?} instead of {right:?}");
    }
}
