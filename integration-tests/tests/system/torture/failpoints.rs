//! The server ends itself at each named point of [`Failpoint::ALL`], while it does everything there is to do; afterwards all is as
//! after a kill. `TIDEGATE_ABORTS` times for each point: the first time it is reached, then at random times.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidegate_integration_tests::Server;
use tidegate_integration_tests::orders::PROJECT;
use tidegate_schemas::failpoint::{Failpoint, VARIABLE};

use super::shop::{Act, Shop, start_again};
use super::{number, seed};

const CUSTOMERS: i64 = 300;
const BATCHES: usize = 9;
const INGESTED: usize = 4;
const ROWS_PER_BATCH: usize = 1_000;

/// Everything that reaches a failpoint.
const ALL_ACTS: [Act; 19] = [
    Act::Ingest(INGESTED),
    Act::Increment,
    Act::Lookup,
    Act::Push(INGESTED + 2),
    Act::Compact,
    Act::Ingest(INGESTED + 1),
    Act::Refresh,
    Act::Push(INGESTED + 3),
    Act::Flush,
    Act::Vacuum,
    Act::Erase(CUSTOMERS / 2),
    Act::Lookup,
    Act::Backup,
    Act::Widen,
    Act::Increment,
    // Another result of the query takes the place of the one that is served: its keys are put right.
    Act::Ingest(INGESTED + 4),
    Act::Increment,
    Act::Flush,
    Act::Refresh,
];

/// The server merges files some seconds after a refresh, and has points to end at then.
const TIDY: Duration = Duration::from_secs(10);

/// Times of reaching a point that are chosen from, after the first.
const NTH_MAX: u64 = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abort_at_any_failpoint_loses_and_doubles_nothing() {
    let (mut rng, aborts) = (StdRng::seed_from_u64(seed()), number("TIDEGATE_ABORTS", 1));
    let folder = tempfile::tempdir().unwrap();
    let shop = Shop::open(folder.path(), &mut rng, CUSTOMERS, ROWS_PER_BATCH, BATCHES, INGESTED).await;
    for point in Failpoint::ALL {
        // Some are reached a few times only, which is found out.
        let mut most = NTH_MAX;
        for abort in 0..aborts {
            let mut nth = if abort == 0 { 1 } else { rng.random_range(1..=most) };
            while !aborted(&shop, &folder.path().join(point.name()), *point, nth).await {
                assert!(nth > 1, "`{}` is never reached", point.name());
                nth /= 2;
                most = nth;
            }
        }
    }
}

/// Works until the server ends itself, and checks what the next one finds; `false` when it did not end.
async fn aborted(shop: &Shop, data: &std::path::Path, point: Failpoint, nth: u64) -> bool {
    let armed = format!("{}:{nth}", point.name());
    println!("abort at {armed}");
    let ledger = shop.half.copy(data);
    let environment = [(VARIABLE, armed.as_str()), ("TIDEGATE__MATERIALIZE__BATCH_ROWS", "100")];
    let mut server = Server::start_with(data, &[], &environment).await;
    let client = server.client(PROJECT).await;
    let mut failed = None;
    for act in ALL_ACTS {
        if let Err(error) = shop.act(act, &client, &ledger).await {
            failed = Some((act, error));
            break;
        }
    }
    let patience = if failed.is_some() || point == Failpoint::BeforePurgeNoted { TIDY } else { Duration::ZERO };
    let ended = server.ended(patience).await;
    let signal = ended.map(|status| (status.signal(), server.log().contains("failpoint `")));
    match (&failed, signal) {
        (_, Some((signal, told))) => assert!(signal == Some(6) && told, "{armed}: {ended:?}\n{}", server.log()),
        (Some((act, error)), None) => panic!("{armed}: {act:?} failed and the server lives: {error:?}"),
        (None, None) => {}
    }
    drop(server);
    if ended.is_some() {
        let server = start_again(data).await;
        let client = server.client(PROJECT).await;
        shop.check_kept(&client, &ledger).await;
        for act in ALL_ACTS {
            shop.act(act, &client, &ledger).await.unwrap_or_else(|error| panic!("{armed}: {act:?}: {error:?}"));
        }
        shop.finish(&client, &ledger).await;
        drop(server);
    }
    std::fs::remove_dir_all(data).unwrap();
    ended.is_some()
}
