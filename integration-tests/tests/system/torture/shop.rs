//! Orders on disk in several states, and what can be done to them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use futures::TryStreamExt;
use rand::rngs::StdRng;
use tidegate_client::lifecycle::{EraseProgress, KeyValue};
use tidegate_client::{Client, Error, Result};
use tidegate_integration_tests::Server;
use tidegate_integration_tests::orders::{self, Order, PROJECT};
use tidegate_integration_tests::tallies;
use tidegate_schemas::error::ErrorKind;

use super::ledger::{Known, Ledger, Way};

/// What a push says of rows of an entity that was erased.
const ERASED: &str = "entity was erased";

/// A server is ready again in this time, and once more for each gigabyte it holds.
const READY: Duration = Duration::from_secs(5);

/// One more view of the same orders, and one of a query over them, whose rows are replaced whenever it is computed.
const MORE_VIEWS: &str = "  - name: last_note
    entities: [customer]
    source: orders
    features:
      - {name: text, type: string, column: note}
  - name: totals
    entities: [customer]
    source: totals
    features:
      - {name: placed, type: int64}
feature_services:
";
const MORE_SOURCES: &str = "  - name: totals
    table:
      query:
        sql: SELECT customer_id, max(ordered_at) AS at, count(*) AS placed FROM orders GROUP BY customer_id
        from: [orders]
    event_time: at
feature_views:
";

/// Orders in batches, and data folders of servers that have some of them.
pub(super) struct Shop {
    pub(super) customers: i64,
    pub(super) batches: Vec<Vec<Order>>,
    /// Every order by its note, which is unique.
    pub(super) by_note: BTreeMap<String, Order>,
    /// The first batches ingested, nothing materialized.
    pub(super) fresh: State,
    /// The first batches ingested, half of those materialized.
    pub(super) half: State,
}

/// A data folder of a stopped server, and what it holds.
#[derive(Clone)]
pub(super) struct State {
    folder: PathBuf,
    known: Known,
}

/// What is asked of a server. Each may be done again and changes nothing then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// The batch of that number comes into the table.
    Ingest(usize),
    /// The batch of that number comes to lookups and into the outbox. A batch comes in one way, always the same.
    Push(usize),
    /// What is in the outbox comes to its table.
    Flush,
    /// What came since the cursor.
    Increment,
    /// Everything anew.
    Refresh,
    Lookup,
    Compact,
    Vacuum,
    /// Everything of a customer, for ever.
    Erase(i64),
    Backup,
    /// Definitions with more views.
    Widen,
}

impl Shop {
    /// Orders of `customers` in `batches` batches of as many rows; the states have those up to `ingested`.
    pub(super) async fn open(
        folder: &Path,
        rng: &mut StdRng,
        customers: i64,
        rows: usize,
        batches: usize,
        ingested: usize,
    ) -> Self {
        let batches: Vec<Vec<Order>> = (0..batches).map(|_| orders::random(rng, rows, customers, 24 * 90)).collect();
        let by_note: BTreeMap<String, Order> =
            batches.iter().flatten().map(|order| (order.note.clone(), order.clone())).collect();
        let nothing = |name: &str| State { folder: folder.join(name), known: Known::default() };
        let mut shop = Self { customers, batches, by_note, fresh: nothing("fresh"), half: nothing("half") };
        shop.fresh.known = shop.fill(&shop.fresh.folder, ingested, 0).await;
        shop.half.known = shop.fill(&shop.half.folder, ingested, ingested / 2).await;
        shop
    }

    /// Ingests the first batches, and materializes when so many are there.
    async fn fill(&self, folder: &Path, ingested: usize, materialized: usize) -> Known {
        let (server, ledger) = (Server::start(folder).await, Ledger::default());
        let client = server.client(PROJECT).await;
        orders::try_apply(&client, &tallies::definitions()).await.expect("the definitions apply");
        for batch in 0..ingested {
            self.act(Act::Ingest(batch), &client, &ledger).await.expect("an ingest");
            if batch + 1 == materialized {
                self.act(Act::Increment, &client, &ledger).await.expect("a materialization");
            }
        }
        server.stop().await;
        ledger.known()
    }

    /// Does one thing and notes what the server says of it.
    pub(super) async fn act(&self, act: Act, client: &Client, ledger: &Ledger) -> Result<()> {
        match act {
            Act::Ingest(batch) => self.ingest(batch, client, ledger).await?,
            Act::Push(batch) => self.push(batch, client, ledger).await?,
            Act::Flush => drop(client.flush("orders").await?),
            Act::Increment => self.materialize(client, ledger, false).await?,
            Act::Refresh => self.materialize(client, ledger, true).await?,
            Act::Lookup => self.look(client, ledger).await?,
            Act::Compact => drop(client.compact_table("orders").await?),
            Act::Vacuum => drop(client.vacuum_table("orders", Some(0), false).await?),
            Act::Erase(customer) => erase(customer, client, ledger).await?,
            Act::Backup => drop(client.backup("", false).await?.try_collect::<Vec<_>>().await?),
            Act::Widen => widen(client).await?,
        }
        Ok(())
    }

    /// Without customers who were erased: rows of those are refused, and all others with them.
    async fn ingest(&self, batch: usize, client: &Client, ledger: &Ledger) -> Result<()> {
        ledger.sends(batch, Way::Ingest);
        let orders: Vec<Order> = self.orders(&[batch].into(), &ledger.known().to_erase).cloned().collect();
        orders::try_ingest(client, &format!("batch-{batch}"), &orders).await?;
        ledger.arrived(batch, Way::Ingest);
        Ok(())
    }

    /// Once it is acknowledged it is served. If it came before it came whole, and its events are known by their ids.
    async fn push(&self, batch: usize, client: &Client, ledger: &Ledger) -> Result<()> {
        let came_before = ledger.sends(batch, Way::Push);
        let orders = &self.batches[batch];
        let pushed = orders::try_push(client, &format!("batch-{batch}"), orders).await?;
        // Of who was erased nothing is taken again.
        let erased: u64 = pushed.reasons.iter().filter(|bad| bad.reason == ERASED).map(|bad| bad.rows).sum();
        let of_erased = |order: &&Order| ledger.known().to_erase.contains(&order.customer);
        assert!(erased == 0 || erased == orders.iter().filter(of_erased).count() as u64, "batch {batch}: {pushed:?}");
        let (all, taken) = (orders.len() as u64 - erased, (pushed.accepted, pushed.duplicates));
        assert!(taken == (0, all) || taken == (all, 0) && !came_before, "batch {batch}: {pushed:?}");
        ledger.arrived(batch, Way::Push);
        self.look(client, ledger).await
    }

    async fn materialize(&self, client: &Client, ledger: &Ledger, full: bool) -> Result<()> {
        let there = ledger.known().arrived;
        let steps: Vec<_> = client.materialize(&[], full).await?.try_collect().await?;
        assert!(steps.last().is_some_and(|step| step.done), "the stream ends with a finished view");
        ledger.serves(there);
        Ok(())
    }

    /// Everything that was begun is brought to its end, twice; then all is as if nothing had happened in between.
    pub(super) async fn finish(&self, client: &Client, ledger: &Ledger) {
        let known = ledger.known();
        let sent = known.sent.iter().map(|(&batch, way)| way.act(batch));
        for act in sent.chain(known.half_erased().into_iter().map(Act::Erase)) {
            self.act(act, client, ledger).await.unwrap_or_else(|error| panic!("{act:?} again: {error:?}"));
        }
        for _ in 0..2 {
            for act in [Act::Flush, Act::Increment] {
                self.act(act, client, ledger).await.unwrap_or_else(|error| panic!("{act:?}: {error:?}"));
            }
            self.check_whole(client, ledger).await;
        }
    }
}

impl State {
    /// A copy of the folder with a ledger of what it holds.
    pub(super) fn copy(&self, to: &Path) -> Ledger {
        std::fs::create_dir_all(to).expect("a folder");
        let status = Command::new("cp").arg("-r").arg(self.folder.join(".")).arg(to).status().expect("cp runs");
        assert!(status.success());
        self.known.clone().into()
    }
}

/// Whether others got in the way: who reads a version that is compacted and vacuumed at the same moment is told so, and tries again.
pub(super) fn is_passing(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Corrupt | ErrorKind::NotFound)
}

/// Starts a server on a folder whose last one was ended, in time.
pub(super) async fn start_again(data: &Path) -> Server {
    start_again_with(data, &[]).await
}

/// The same with flags.
pub(super) async fn start_again_with(data: &Path, flags: &[&str]) -> Server {
    let times = u32::try_from(bytes(data) >> 30).expect("a small folder") + 2;
    let started = tokio::time::timeout(READY * times, Server::start_with(data, flags, &[])).await;
    started.expect("the server is ready in time after it was ended")
}

fn bytes(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

async fn erase(customer: i64, client: &Client, ledger: &Ledger) -> Result<()> {
    ledger.erases(customer);
    let key = vec![("customer_id".to_owned(), KeyValue::Int64Value(customer))];
    let steps: Vec<_> = client.erase("customer", key).await?.try_collect().await?;
    assert!(matches!(steps.last(), Some(EraseProgress::Done(_))), "the stream ends with a receipt");
    ledger.erased(customer);
    Ok(())
}

async fn widen(client: &Client) -> Result<()> {
    let wider = tallies::definitions().replace("feature_services:\n", MORE_VIEWS);
    orders::try_apply(client, &wider.replace("feature_views:\n", MORE_SOURCES)).await
}
