//! Many write one table while it is compacted, vacuumed, materialized and read: each acknowledged batch is there once, and so is each
//! application transaction in the log.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tidegate_client::Client;
use tidegate_integration_tests::Server;
use tidegate_integration_tests::orders::PROJECT;
use tokio::sync::watch;

use super::ledger::{Ledger, Way};
use super::shop::{Act, Shop, is_passing};
use super::{number, seed};

const CUSTOMERS: i64 = 200;
const ROWS_PER_BATCH: usize = 300;
const WRITERS: usize = 4;
const BATCHES: usize = 32;

/// Batches from this one on are pushed, those before it ingested.
const FIRST_PUSHED: usize = 24;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_batch_of_many_writers_is_there_once() {
    let (seed, rounds) = (seed(), number("TIDEGATE_WRITER_ROUNDS", 1));
    for round in 0..rounds {
        let mut rng = StdRng::seed_from_u64(seed + round);
        let folder = tempfile::tempdir().unwrap();
        let shop = Shop::open(folder.path(), &mut rng, CUSTOMERS, ROWS_PER_BATCH, BATCHES, 2).await;
        let data = folder.path().join("data");
        let ledger = shop.half.copy(&data);
        let server = Server::start_with(&data, &[], &[("TIDEGATE__MATERIALIZE__BATCH_ROWS", "100")]).await;
        let client = server.client(PROJECT).await;
        let (done, ends) = watch::channel(false);
        let writing = async {
            futures::future::join_all((0..WRITERS).map(|writer| write(&shop, &client, &ledger, writer))).await;
            let _ = done.send(true);
        };
        tokio::join!(
            writing,
            again(&shop, &client, &ledger, Act::Flush, &ends),
            again(&shop, &client, &ledger, Act::Compact, &ends),
            again(&shop, &client, &ledger, Act::Vacuum, &ends),
            again(&shop, &client, &ledger, Act::Increment, &ends),
            again(&shop, &client, &ledger, Act::Lookup, &ends),
        );
        assert_eq!(ledger.known().arrived.len(), BATCHES);
        for act in [Act::Flush, Act::Compact, Act::Vacuum, Act::Increment] {
            shop.act(act, &client, &ledger).await.unwrap_or_else(|error| panic!("{act:?}: {error:?}"));
        }
        shop.check_whole(&client, &ledger).await;
        shop.finish(&client, &ledger).await;
        check_log(&data.join("tables/shop/orders/_delta_log"));
        server.stop().await;
    }
}

/// Every batch is sent by two writers, who race for it; one in four is a push.
async fn write(shop: &Shop, client: &Client, ledger: &Ledger, writer: usize) {
    let (ingested, pushed) = ((2..FIRST_PUSHED), (FIRST_PUSHED..BATCHES));
    let mut pushed = pushed.filter(|batch| batch % 2 == writer % 2);
    for (nth, batch) in ingested.filter(|batch| batch % 2 == writer % 2).enumerate() {
        let push = (nth % 3 == 0).then(|| pushed.next()).flatten();
        for (batch, way) in std::iter::once((batch, Way::Ingest)).chain(push.map(|batch| (batch, Way::Push))) {
            let act = way.act(batch);
            shop.act(act, client, ledger).await.unwrap_or_else(|error| panic!("{act:?}: {error:?}"));
        }
    }
}

/// Does something over and over.
async fn again(shop: &Shop, client: &Client, ledger: &Ledger, act: Act, ends: &watch::Receiver<bool>) {
    let mut succeeded = 0;
    while !*ends.borrow() {
        match shop.act(act, client, ledger).await {
            Ok(()) => succeeded += 1,
            Err(error) => assert!(is_passing(&error), "{act:?}: {error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    println!("{act:?} {succeeded} times meanwhile");
}

/// No two commits carry one batch, or one chunk of an outbox.
fn check_log(log: &Path) {
    let mut versions: BTreeMap<(String, i64), Vec<String>> = BTreeMap::new();
    for entry in std::fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let name = entry.file_name().unwrap().to_string_lossy().into_owned();
        for line in std::fs::read_to_string(&entry).unwrap().lines() {
            let action: serde_json::Value = serde_json::from_str(line).unwrap();
            let Some(id) = action["txn"]["appId"].as_str() else { continue };
            let number = match id.split_once('/') {
                Some(("tidegate.rows", _)) => 0,
                Some(("tidegate.outbox", _)) => action["txn"]["version"].as_i64().unwrap(),
                _ => continue,
            };
            versions.entry((id.to_owned(), number)).or_default().push(name.clone());
        }
    }
    let ingested = versions.keys().filter(|(id, _)| id.starts_with("tidegate.rows/")).count();
    assert_eq!(ingested, FIRST_PUSHED, "{versions:?}");
    assert!(versions.values().all(|commits| commits.len() == 1), "{versions:?}");
}
