//! kill -9 at random moments of whatever moves rows: after a restart that is in time, nothing acknowledged is missing, nothing is
//! doubled, nothing went back; the work is resumed and ends where a run that was never killed ends.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidegate_integration_tests::Server;
use tidegate_integration_tests::orders::PROJECT;

use super::shop::{Act, Ledger, Shop, State, start_again};
use super::{number, seed};

const CUSTOMERS: i64 = 5_000;
const BATCHES: usize = 14;
const INGESTED: usize = 12;
const ROWS_PER_BATCH: usize = 10_000;

/// What runs when the process is killed, one after the other: the next kill takes the next line.
fn works(shop: &Shop) -> [(&State, Vec<Act>); 5] {
    use Act::{Compact, Increment, Ingest, Lookup, Refresh, Vacuum};
    [
        (&shop.fresh, vec![Increment]),
        (&shop.half, vec![Increment]),
        (&shop.half, vec![Refresh]),
        (&shop.half, vec![Increment, Refresh, Refresh]),
        (
            &shop.half,
            vec![Ingest(INGESTED), Compact, Ingest(INGESTED + 1), Increment, Compact, Vacuum, Lookup, Refresh],
        ),
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
        let (state, acts) = &works[usize::try_from(kill).unwrap() % works.len()];
        let after = Duration::from_millis(rng.random_range(1..250));
        let data = folder.path().join(format!("kill-{kill}"));
        let mut ledger = state.copy(&data);
        println!("kill {kill} after {after:?} of {acts:?}");
        let server = Server::start_with(&data, &[], &[("TIDEGATE__MATERIALIZE__BATCH_ROWS", "500")]).await;
        interrupted += usize::from(killed_in_the_middle(server, &shop, acts, after, &mut ledger).await);

        let server = start_again(&data).await;
        let client = server.client(PROJECT).await;
        shop.check_kept(&client, &ledger).await;
        shop.finish(&client, &mut ledger).await;
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
async fn killed_in_the_middle(server: Server, shop: &Shop, acts: &[Act], after: Duration, ledger: &mut Ledger) -> bool {
    let client = server.client(PROJECT).await;
    let work = async {
        for act in acts {
            shop.act(*act, &client, ledger).await.unwrap_or_else(|error| panic!("{act:?}: {error:?}"));
        }
    };
    let running = tokio::time::timeout(after, work).await.is_err();
    server.kill();
    running
}
