//! Backups of a busy server become servers that answer the same; a server that is stopped under load loses nothing and fails no call
//! that is tried again; an entity that is erased, with the server killed at random moments in between, is in no file afterwards.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use futures::{StreamExt, TryStreamExt};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidegate_client::flight::Ingest;
use tidegate_client::lifecycle::{EraseProgress, KeyValue, Receipt};
use tidegate_client::push::Push;
use tidegate_client::registry::Apply;
use tidegate_client::{Client, Result};
use tidegate_integration_tests::{Server, binary, orders};
use tidegate_schemas::error::ErrorKind;
use tidegate_schemas::file::SourceFile;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn materialize(client: &Client) {
    client.materialize(&[], false).await.unwrap().try_collect::<Vec<_>>().await.unwrap();
}

fn restore(backup: &str, data: &Path) -> String {
    let output = Command::new(binary()).args(["restore", backup, "--data-dir"]).arg(data).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backups_of_a_busy_server_become_servers() {
    let (seed, backups) = (number("TIDEGATE_SEED", 20_260_301), number("TIDEGATE_RESTORES", 3));
    println!("seed {seed}, {backups} backups");
    let (mut rng, folder) = (StdRng::seed_from_u64(seed), tempfile::tempdir().unwrap());
    let server = Server::start(&folder.path().join("data")).await;
    let client = server.client(orders::PROJECT).await;
    orders::apply(&client).await;
    let batches: Vec<_> = (0..12).map(|_| orders::random(&mut rng, 2_000, 500, 24 * 90)).collect();
    orders::ingest(&client, "batch-0", &batches[0]).await;
    materialize(&client).await;
    let writing = {
        let (client, batches) = (client.clone(), batches.clone());
        tokio::spawn(async move {
            for (nth, batch) in batches.iter().enumerate().skip(1) {
                orders::ingest(&client, &format!("batch-{nth}"), batch).await;
                materialize(&client).await;
            }
        })
    };
    let mut made = Vec::new();
    for nth in 0..backups {
        let output = server.cli(&["backup", &format!("b{nth}"), "--json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        made.push(told);
    }
    writing.await.unwrap();
    for (nth, told) in made.iter().enumerate() {
        let path = told["path"].as_str().unwrap();
        let checked = Command::new(binary()).args(["restore", path, "--check"]).output().unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        let data = folder.path().join(format!("restored-{nth}"));
        restore(path, &data);
        let restored = Server::start(&data).await;
        let client = restored.client(orders::PROJECT).await;
        // The table's version counts the batches that it has: version 0 made it.
        let version = told["tables"][0]["version"].as_i64().unwrap();
        assert!(told["views"][0]["version"].as_i64().unwrap() <= version, "{told}");
        materialize(&client).await;
        let there = batches.iter().take(usize::try_from(version).unwrap()).flatten();
        let expected = orders::newest(there);
        orders::check_served(&client, 500, &expected).await;
        // And from the tables alone.
        restored.stop().await;
        std::fs::remove_dir_all(data.join("online")).unwrap();
        let restored = Server::start(&data).await;
        let rebuilt = restored.cli(&["rebuild", "--json"]);
        assert!(rebuilt.status.success(), "{}", String::from_utf8_lossy(&rebuilt.stderr));
        orders::check_served(&restored.client(orders::PROJECT).await, 500, &expected).await;
    }
    let taken = server.cli(&["backup", "b0"]);
    assert!(!taken.status.success() && String::from_utf8_lossy(&taken.stderr).contains("already"));
}

/// How long callers try again.
const PATIENCE: Duration = Duration::from_secs(60);

/// Calls until it is answered; only what says that it may be tried again is.
async fn retried<T>(what: &str, mut call: impl AsyncFnMut() -> Result<T>) -> T {
    let begun = tokio::time::Instant::now();
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(error) if error.kind() == ErrorKind::Unavailable && begun.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{what} failed with {:?}: {error}", error.kind()),
        }
    }
}

/// Orders as a push with an id for each.
fn push_of(orders: &[orders::Order], first: u64) -> Push {
    let ids: ArrayRef =
        Arc::new(StringArray::from_iter_values((first..).take(orders.len()).map(|id| format!("o{id}"))));
    let ids = RecordBatch::try_from_iter([("id", ids)]).unwrap();
    Push { event_ids: Some(ids), ..Push::new("orders", orders::batch(orders)) }
}

/// Random orders that no two of have the same times.
fn apart(rng: &mut StdRng, rows: usize, nth: &mut i64) -> Vec<orders::Order> {
    let mut orders = orders::random(rng, rows, 100, 24);
    for order in &mut orders {
        *nth += 1;
        order.recorded_at += *nth;
    }
    orders
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_stopped_under_load_fails_no_call_that_is_tried_again() {
    let (seed, stops) = (number("TIDEGATE_SEED", 20_260_304), number("TIDEGATE_RESTORES", 3));
    println!("seed {seed}, {stops} stops");
    let (mut rng, folder) = (StdRng::seed_from_u64(seed), tempfile::tempdir().unwrap());
    let data = folder.path().join("data");
    let mut server = Server::start(&data).await;
    let client = server.client(orders::PROJECT).await;
    orders::apply(&client).await;
    let over = AtomicBool::new(false);
    let goes_on = || !over.load(Ordering::Relaxed);
    let (mut push_rng, mut ingest_rng) = (StdRng::seed_from_u64(rng.random()), StdRng::seed_from_u64(rng.random()));
    let pushing = async {
        let (mut pushed, mut nth) = (Vec::new(), 0);
        while goes_on() {
            let orders = apart(&mut push_rng, 5, &mut nth);
            let push = push_of(&orders, pushed.len() as u64);
            let answer = retried("a push", async || client.push(&push).await).await;
            assert_eq!(answer.accepted + answer.duplicates, 5, "{answer:?}");
            pushed.extend(orders);
        }
        pushed
    };
    let ingesting = async {
        let (mut ingested, mut nth, mut batch) = (Vec::new(), 10_000_000, 0);
        while goes_on() {
            let orders = apart(&mut ingest_rng, 20, &mut nth);
            batch += 1;
            let id = format!("batch-{batch}");
            retried("an ingest", async || orders::try_ingest(&client, &id, &orders).await).await;
            ingested.extend(orders);
        }
        ingested
    };
    let looking = async {
        let mut answered = 0_u64;
        while goes_on() {
            retried("a lookup", async || orders::served(&client, 100).await).await;
            answered += 1;
        }
        answered
    };
    let stopping = async {
        for _ in 0..stops {
            tokio::time::sleep(Duration::from_millis(rng.random_range(200..900))).await;
            let grpc = server.grpc.clone();
            server.stop().await;
            server = Server::start_at(&grpc, &data, &[], &[]).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        over.store(true, Ordering::Relaxed);
        server
    };
    let (pushed, ingested, answered, server) = tokio::join!(pushing, ingesting, looking, stopping);
    println!("{} pushed, {} ingested, {answered} lookups", pushed.len(), ingested.len());
    client.flush("orders").await.unwrap();
    let counted = client.sql("SELECT count(*) AS n FROM sources.orders", None).await.unwrap().collect().await.unwrap();
    let counted = arrow::util::display::array_value_to_string(counted[0].column(0), 0).unwrap();
    assert_eq!(counted, (pushed.len() + ingested.len()).to_string(), "each row is in the table once");
    materialize(&client).await;
    orders::check_served(&client, 100, &orders::newest(pushed.iter().chain(&ingested))).await;
    let parity: Vec<_> = client.parity(&[]).await.unwrap().try_collect().await.unwrap();
    assert!(parity.iter().all(|view| view.holds() && view.ahead == 0), "{parity:?}");
    server.stop().await;
}

const SECRET: &str = "erase-me-0d7a4e61";

const PEOPLE: &str = "\
version: 1
project: people
entities: [{name: person, keys: [{name: who, type: string}]}]
sources: [{name: visits, table: managed, event_time: at}]
feature_views: [{name: last_visit, entities: [person], source: visits, features: [{name: length, type: float64}]}]
feature_services: [{name: greeting, views: [{view: last_visit}]}]
";

fn visits(rng: &mut StdRng, rows: usize) -> RecordBatch {
    let people: Vec<String> = (0..rows)
        .map(|_| match rng.random_range(0..20) {
            0 => SECRET.to_owned(),
            nth => format!("person-{}", nth * rng.random_range(1..200)),
        })
        .collect();
    let who: ArrayRef = Arc::new(StringArray::from_iter_values(&people));
    let times = TimestampMicrosecondArray::from_iter_values((0..rows).map(|_| rng.random_range(0..1_000_000_000)));
    let at: ArrayRef = Arc::new(times.with_timezone("UTC"));
    let length: ArrayRef = Arc::new(Float64Array::from_iter_values((0..rows).map(|nth| nth as f64)));
    RecordBatch::try_from_iter([("who", who), ("at", at), ("length", length)]).unwrap()
}

async fn visit(client: &Client, batch_id: &str, rows: RecordBatch) -> Result<()> {
    let ingest = Ingest { target: "visits".into(), batch_id: batch_id.into(), ..Ingest::default() };
    let schema = rows.schema();
    let rows = futures::stream::iter([Ok::<_, std::convert::Infallible>(rows)]);
    client.ingest(&ingest, schema, rows).await.map(drop)
}

async fn erase(client: &Client) -> Result<Receipt> {
    let keys = vec![("who".to_owned(), KeyValue::StringValue(SECRET.to_owned()))];
    let steps: Vec<EraseProgress> = client.erase("person", keys).await?.try_collect().await?;
    match steps.into_iter().last() {
        Some(EraseProgress::Done(receipt)) => Ok(*receipt),
        other => panic!("the last report is the receipt: {other:?}"),
    }
}

/// The files below a folder that hold the key.
fn holding(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path));
        } else if std::fs::read(&path).unwrap().windows(SECRET.len()).any(|bytes| bytes == SECRET.as_bytes()) {
            found.push(path);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_that_is_killed_is_finished_by_the_next() {
    let (seed, cases) = (number("TIDEGATE_SEED", 20_260_302), number("TIDEGATE_ERASURES", 1));
    println!("seed {seed}, {cases} cases");
    let mut rng = StdRng::seed_from_u64(seed);
    for case in 0..cases {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let server = Server::start(&data).await;
        let client = server.client("people").await;
        let files = vec![SourceFile { path: "people.yaml".into(), content: PEOPLE.into() }];
        let applied = client.apply(&Apply { files, ..Apply::default() }).await.unwrap();
        assert!(applied.problems.is_empty(), "{:?}", applied.problems);
        for nth in 0..8 {
            visit(&client, &format!("b{nth}"), visits(&mut rng, 5_000)).await.unwrap();
            if nth % 3 == 0 {
                materialize(&client).await;
            }
        }
        assert!(!holding(&data).is_empty(), "case {case}: it is there before");
        let steps = client.erase("person", vec![("who".to_owned(), KeyValue::StringValue(SECRET.to_owned()))]).await;
        let mut steps = steps.unwrap();
        let finished = async { while let Some(Ok(_)) = steps.next().await {} };
        let after = Duration::from_millis(rng.random_range(1..150));
        let killed = tokio::time::timeout(after, finished).await.is_err();
        server.kill();
        println!("case {case}: killed {}", if killed { "in the middle" } else { "after it was done" });

        let server = Server::start(&data).await;
        let client = server.client("people").await;
        erase(&client).await.unwrap();
        assert_eq!(holding(&data), Vec::<PathBuf>::new(), "case {case}");
        let late = visit(&client, "late", visits(&mut rng, 1_000)).await.unwrap_err();
        assert!(late.to_string().contains("was erased"), "{late}");
        materialize(&client).await;
        let parity: Vec<_> = client.parity(&[]).await.unwrap().try_collect().await.unwrap();
        assert!(parity.iter().all(|view| view.holds() && view.equal > 1_000), "{parity:?}");
        assert_eq!(holding(&data), Vec::<PathBuf>::new(), "case {case}");
        server.stop().await;
        assert_eq!(holding(&data), Vec::<PathBuf>::new(), "case {case}");
    }
}
