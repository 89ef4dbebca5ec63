//! The disk fills up while something runs: lookups go on, what needs room is refused with RESOURCE_EXHAUSTED, and once there is room
//! again everything works without a restart. On a file system of its own in memory, which only root can make.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tidegate_client::Client;
use tidegate_integration_tests::Server;
use tidegate_integration_tests::orders::PROJECT;
use tidegate_schemas::error::ErrorKind;
use tokio::sync::watch;

use super::ledger::Ledger;
use super::shop::{Act, Shop, State};
use super::{number, seed};

const CUSTOMERS: i64 = 2_000;
const BATCHES: usize = 7;
const INGESTED: usize = 6;
const ROWS_PER_BATCH: usize = 5_000;

/// The store sets 40 MiB aside for its logs.
const DISK: &str = "192m";

/// How long there is no room, and how soon everything must work again after.
const FULL: Duration = Duration::from_secs(10);
const RECOVERY: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(250);

/// What needs room, and how much the store keeps in reserve meanwhile: without any it runs into the full disk itself.
const PHASES: [(Act, &str); 5] = [
    (Act::Increment, "online.disk_reserve=16MiB"),
    (Act::Refresh, "online.disk_reserve=0B"),
    (Act::Ingest(INGESTED), "online.disk_reserve=16MiB"),
    (Act::Push(INGESTED), "online.disk_reserve=16MiB"),
    (Act::Refresh, "online.disk_reserve=16MiB"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_writes_and_nothing_else_until_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    if SmallDisk::mount(&folder.path().join("try"), DISK).is_none() {
        println!("SKIPPED: no file system can be mounted here; run as root to test a full disk");
        eprintln!("warning: the tests of a full disk are SKIPPED: they mount a tmpfs, which needs root");
        return;
    }
    let (mut rng, runs) = (StdRng::seed_from_u64(seed()), number("TIDEGATE_FULL_DISKS", 5));
    let shop = Shop::open(folder.path(), &mut rng, CUSTOMERS, ROWS_PER_BATCH, BATCHES, INGESTED).await;
    let runs: Vec<u64> = (0..runs).collect();
    for together in runs.chunks(PHASES.len()) {
        let run = |run: u64| {
            let (act, reserve) = PHASES[usize::try_from(run).unwrap() % PHASES.len()];
            fill(&shop, &shop.half, folder.path().join(format!("disk-{run}")), act, reserve)
        };
        futures::future::join_all(together.iter().map(|&nth| run(nth))).await;
    }
}

async fn fill(shop: &Shop, state: &State, data: PathBuf, act: Act, reserve: &str) {
    let disk = SmallDisk::mount(&data, DISK).expect("it could be mounted before");
    let ledger = state.copy(&data);
    let environment = [("TIDEGATE__MATERIALIZE__BATCH_ROWS", "500")];
    let server = Server::start_with(&data, &["--set", reserve], &environment).await;
    let client = server.client(PROJECT).await;
    let (over, ends) = watch::channel(false);
    let write = async {
        disk.fill();
        for _ in 0..FULL.as_secs() {
            let error = shop.act(act, &client, &ledger).await.expect_err("there is no room");
            assert_eq!(error.kind(), ErrorKind::Exhausted, "{act:?}, {reserve}: {error:?}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        disk.free();
        // What runs in the background may have hit the full disk as well, and is over it as soon.
        let again = async {
            for act in [act, Act::Increment] {
                while let Err(error) = shop.act(act, &client, &ledger).await {
                    assert_eq!(error.kind(), ErrorKind::Exhausted, "{act:?}, {reserve}: {error:?}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        };
        let recovered = tokio::time::timeout(RECOVERY, again).await;
        recovered
            .unwrap_or_else(|_| panic!("{act:?}, {reserve}: not writable again in {RECOVERY:?}\n{}", server.log()));
        let _ = over.send(true);
    };
    tokio::join!(write, read(shop, &client, &ledger, &ends));
    shop.finish(&client, &ledger).await;
    server.stop().await;
}

/// Lookups are answered, and rightly, all the time.
async fn read(shop: &Shop, client: &Client, ledger: &Ledger, ends: &watch::Receiver<bool>) {
    while !*ends.borrow() {
        shop.look(client, ledger).await.expect("lookups go on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A small file system in memory; gone when dropped.
struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// `None` where that is not allowed.
    fn mount(folder: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        let options = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self { folder: folder.to_owned() })
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }

    /// Writes until nothing more goes in.
    fn fill(&self) {
        let mut file = File::create(self.ballast()).unwrap();
        for size in [1 << 20, 4 << 10] {
            let zeros = vec![0; size];
            while file.write_all(&zeros).is_ok() {}
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server that is being killed may still hold files.
        let _ = Command::new("umount").arg("-l").arg(&self.folder).status();
    }
}
