//! kill -9 at random moments of whatever moves rows: after a restart that is in time, nothing acknowledged is missing, nothing is
//! doubled, nothing went back; the work is resumed and ends where a run that was never killed ends.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidegate_integration_tests::Server;
use tidegate_integration_tests::orders::PROJECT;

use super::ledger::Ledger;
use super::shop::{Act, Shop, State, is_passing, start_again};
use super::{number, seed};

const CUSTOMERS: i64 = 5_000;
const BATCHES: usize = 16;
const INGESTED: usize = 12;
const ROWS_PER_BATCH: usize = 10_000;

/// Batches that come while it runs, the last two as pushes.
const MORE: [usize; 4] = [INGESTED, INGESTED + 1, INGESTED + 2, INGESTED + 3];

/// What runs when the process is killed: on what, one thing after the other, and beside that.
type Work<'s> = (&'s State, Vec<Act>, Vec<Act>);

/// The next kill takes the next line.
fn works(shop: &Shop) -> [Work<'_>; 9] {
    use Act::{Compact, Flush, Increment, Ingest, Lookup, Push, Refresh, Vacuum};
    let [third, fourth, pushed, last] = MORE;
    [
        (&shop.fresh, vec![Increment], vec![]),
        (&shop.half, vec![Increment], vec![]),
        (&shop.half, vec![Refresh], vec![]),
        (&shop.half, vec![Increment, Refresh, Refresh], vec![]),
        (&shop.half, vec![Ingest(third), Compact, Ingest(fourth), Increment, Compact, Vacuum, Lookup, Refresh], vec![]),
        (&shop.half, vec![Push(pushed), Flush, Push(last), Flush, Increment], vec![]),
        (&shop.half, vec![Increment, Refresh, Refresh], vec![Push(pushed), Flush, Push(last), Lookup]),
        (&shop.half, vec![Push(pushed), Refresh, Ingest(third), Compact, Increment], vec![Push(last), Flush, Flush]),
        (&shop.fresh, vec![Push(pushed), Push(last), Increment, Flush, Increment], vec![Ingest(third), Vacuum]),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_loses_and_doubles_nothing() {
    let (mut rng, kills) = (StdRng::seed_from_u64(seed()), number("TIDEGATE_KILLS", 30));
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::open(folder.path(), &mut rng, CUSTOMERS, ROWS_PER_BATCH, BATCHES, INGESTED).await;
    let works = works(&shop);
    let mut interrupted = 0;
    for kill in 0..kills {
        let (state, acts, beside) = &works[usize::try_from(kill).unwrap() % works.len()];
        let after = Duration::from_millis(rng.random_range(1..500));
        let data = folder.path().join(format!("kill-{kill}"));
        let ledger = state.copy(&data);
        println!("kill {kill} after {after:?} of {acts:?} beside {beside:?}");
        let server = Server::start_with(&data, &[], &[("TIDEGATE__MATERIALIZE__BATCH_ROWS", "500")]).await;
        interrupted += usize::from(killed_in_the_middle(server, &shop, [acts, beside], after, &ledger).await);

        let server = start_again(&data).await;
        let client = server.client(PROJECT).await;
        shop.check_kept(&client, &ledger).await;
        if rng.random_bool(0.5) {
            // What was materialized is put together, and the files that had it are gone: what was broken off can't go on.
            for act in [Act::Compact, Act::Vacuum] {
                shop.act(act, &client, &ledger).await.unwrap_or_else(|error| panic!("{act:?}: {error:?}"));
            }
        }
        shop.finish(&client, &ledger).await;
        drop(server);
        std::fs::remove_dir_all(&data).unwrap();
    }
    println!("{interrupted} of {kills} kills hit work under way");
    assert!(
        kills < 10 || interrupted as u64 * 10 > kills,
        "the kills came too late to prove anything: {interrupted} of {kills}"
    );
}

/// Lets a server work for a while and kills it; whether it was not done by then.
async fn killed_in_the_middle(
    server: Server,
    shop: &Shop,
    [acts, beside]: [&Vec<Act>; 2],
    after: Duration,
    ledger: &Ledger,
) -> bool {
    let client = server.client(PROJECT).await;
    let works = [acts, beside].map(async |acts| {
        for act in acts {
            while let Err(error) = shop.act(*act, &client, ledger).await {
                assert!(!beside.is_empty() && is_passing(&error), "{act:?}: {error:?}");
            }
        }
    });
    let running = tokio::time::timeout(after, futures::future::join_all(works)).await.is_err();
    server.kill();
    running
}
