//! Many write one table while it is compacted, vacuumed, materialized and read: each acknowledged batch is there once, and so is each
//! application transaction in the log.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tidegate_client::Client;
use tidegate_integration_tests::Server;
use tidegate_integration_tests::orders::{self, PROJECT};
use tidegate_schemas::error::ErrorKind;
use tokio::sync::watch;

use super::shop::{Act, Ledger, Shop};
use super::{number, seed};

const CUSTOMERS: i64 = 200;
const ROWS_PER_BATCH: usize = 300;
const WRITERS: usize = 4;
const BATCHES: usize = 24;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_batch_of_many_writers_is_there_once() {
    let (seed, rounds) = (seed(), number("TIDEGATE_WRITER_ROUNDS", 1));
    for round in 0..rounds {
        let mut rng = StdRng::seed_from_u64(seed + round);
        let folder = tempfile::tempdir().unwrap();
        let shop = Shop::open(folder.path(), &mut rng, CUSTOMERS, ROWS_PER_BATCH, BATCHES, 2).await;
        let data = folder.path().join("data");
        let mut ledger = shop.half.copy(&data);
        let server = Server::start_with(&data, &[], &[("TIDEGATE__MATERIALIZE__BATCH_ROWS", "100")]).await;
        let client = server.client(PROJECT).await;
        let (done, ends) = watch::channel(false);
        let writing = async {
            futures::future::join_all((0..WRITERS).map(|writer| write(&shop, &client, writer))).await;
            let _ = done.send(true);
        };
        tokio::join!(
            writing,
            again(&shop, &client, Act::Compact, &ends),
            again(&shop, &client, Act::Vacuum, &ends),
            again(&shop, &client, Act::Increment, &ends),
            again(&shop, &client, Act::Lookup, &ends),
        );
        ledger.begun = (0..BATCHES).collect();
        ledger.ingested = ledger.begun.clone();
        for act in [Act::Compact, Act::Vacuum, Act::Increment] {
            shop.act(act, &client, &mut ledger).await.unwrap_or_else(|error| panic!("{act:?}: {error:?}"));
        }
        shop.check_whole(&client, &ledger).await;
        shop.finish(&client, &mut ledger).await;
        check_log(&data.join("tables/shop/orders/_delta_log"));
        server.stop().await;
    }
}

/// Every batch is sent by two writers, who race for it.
async fn write(shop: &Shop, client: &Client, writer: usize) {
    for batch in (2..BATCHES).filter(|batch| batch % 2 == writer % 2) {
        orders::ingest(client, &format!("batch-{batch}"), &shop.batches[batch]).await;
    }
}

/// Does something over and over. Who reads a version that is compacted and vacuumed at the same moment is told so, and tries again.
async fn again(shop: &Shop, client: &Client, act: Act, ends: &watch::Receiver<bool>) {
    let mut ledger = Ledger { begun: (0..BATCHES).collect(), ..Ledger::default() };
    let mut succeeded = 0;
    while !*ends.borrow() {
        match shop.act(act, client, &mut ledger).await {
            Ok(()) => succeeded += 1,
            Err(error) => {
                let passing = matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Corrupt | ErrorKind::NotFound);
                assert!(passing, "{act:?}: {error:?}");
            }
        }
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    println!("{act:?} {succeeded} times meanwhile");
}

/// No two commits carry one batch.
fn check_log(log: &Path) {
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in std::fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let name = entry.file_name().unwrap().to_string_lossy().into_owned();
        for line in std::fs::read_to_string(&entry).unwrap().lines() {
            let action: serde_json::Value = serde_json::from_str(line).unwrap();
            if let Some(id) = action["txn"]["appId"].as_str().filter(|id| id.starts_with("tidegate.rows/")) {
                versions.entry(id.to_owned()).or_default().push(name.clone());
            }
        }
    }
    assert_eq!(versions.len(), BATCHES, "{versions:?}");
    assert!(versions.values().all(|commits| commits.len() == 1), "{versions:?}");
}
