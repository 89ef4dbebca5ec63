//! kill -9 during materialize, at random moments: after a restart and a re-run, what is served equals the model, which a run
//! that was never killed also equals.

use std::path::Path;
use std::time::Duration;

use futures::StreamExt;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidegate_client::Client;
use tidegate_integration_tests::{Server, orders};

const CUSTOMERS: i64 = 5_000;
const BATCHES: usize = 12;
const ROWS_PER_BATCH: usize = 10_000;

struct Template {
    batches: Vec<Vec<orders::Order>>,
    /// Nothing materialized yet.
    fresh: std::path::PathBuf,
    /// Half of the versions materialized.
    half: std::path::PathBuf,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_during_materialize_loses_and_doubles_nothing() {
    let seed = number("TIDEGATE_SEED", 20_251_121);
    let kills = number("TIDEGATE_KILLS", 30);
    println!("seed {seed}, {kills} kills");
    let mut rng = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let template = template(folder.path(), &mut rng).await;
    let expected = orders::newest(template.batches.iter().map(Vec::as_slice));

    let mut interrupted = 0;
    for kill in 0..kills {
        let from = if kill % 2 == 0 { &template.fresh } else { &template.half };
        let data = folder.path().join(format!("kill-{kill}"));
        copy(from, &data);
        let after = Duration::from_millis(rng.random_range(1..250));
        interrupted += usize::from(killed_in_the_middle(&data, after).await);

        let server = Server::start(&data).await;
        let client = server.client(orders::PROJECT).await;
        materialize(&client).await;
        orders::check_served(&client, CUSTOMERS, &expected).await;
        materialize(&client).await;
        orders::check_served(&client, CUSTOMERS, &expected).await;
        drop(server);
        std::fs::remove_dir_all(&data).unwrap();
    }
    println!("{interrupted} of {kills} kills hit a running materialization");
    assert!(
        kills < 10 || interrupted * 10 > kills as usize,
        "the kills came too late to prove anything: {interrupted} of {kills}"
    );
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Two folders with the same table: one never materialized, one materialized up to the half.
async fn template(folder: &Path, rng: &mut StdRng) -> Template {
    let batches: Vec<_> = (0..BATCHES).map(|_| orders::random(rng, ROWS_PER_BATCH, CUSTOMERS, 24 * 90)).collect();
    let (fresh, half) = (folder.join("fresh"), folder.join("half"));
    for (data, materialized) in [(&fresh, 0), (&half, BATCHES / 2)] {
        let server = Server::start(data).await;
        let client = server.client(orders::PROJECT).await;
        orders::apply(&client).await;
        for (i, batch) in batches.iter().enumerate() {
            orders::ingest(&client, &format!("batch-{i}"), batch).await;
            if i + 1 == materialized {
                materialize(&client).await;
            }
        }
        server.stop().await;
    }
    Template { batches, fresh, half }
}

/// Starts a materialization and kills the server after a while; whether it was still running then.
async fn killed_in_the_middle(data: &Path, after: Duration) -> bool {
    // Small steps, so that there are many moments to be killed at.
    let server = Server::start_with(data, &[], &[("TIDEGATE__MATERIALIZE__BATCH_ROWS", "500")]).await;
    let client = server.client(orders::PROJECT).await;
    let mut progress = client.materialize(&[], false).await.unwrap();
    let finished = async { while let Some(Ok(_)) = progress.next().await {} };
    let running = tokio::time::timeout(after, finished).await.is_err();
    server.kill();
    running
}

async fn materialize(client: &Client) {
    let mut progress = client.materialize(&[], false).await.unwrap();
    let mut done = false;
    while let Some(step) = progress.next().await {
        done = step.unwrap().done;
    }
    assert!(done, "the stream ends with a finished view");
}

fn copy(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}
