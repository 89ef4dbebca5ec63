//! Orders on disk in several states, what can be done to them, and what must be there afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use arrow::array::{Array, Int64Array};
use futures::{StreamExt, TryStreamExt};
use rand::rngs::StdRng;
use tidegate_client::lifecycle::{EraseProgress, KeyValue};
use tidegate_client::{Client, Error, Result};
use tidegate_integration_tests::Server;
use tidegate_integration_tests::orders::{self, Order, PROJECT};
use tidegate_integration_tests::tallies::{self, Tally};
use tidegate_schemas::error::ErrorKind;

use super::ledger::{Known, Ledger, Way};

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
    by_note: BTreeMap<String, Order>,
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

    async fn ingest(&self, batch: usize, client: &Client, ledger: &Ledger) -> Result<()> {
        ledger.sends(batch, Way::Ingest);
        orders::try_ingest(client, &format!("batch-{batch}"), &self.batches[batch]).await?;
        ledger.arrived(batch, Way::Ingest);
        Ok(())
    }

    /// Once it is acknowledged it is served. If it came before it came whole, and its events are known by their ids.
    async fn push(&self, batch: usize, client: &Client, ledger: &Ledger) -> Result<()> {
        let came_before = ledger.sends(batch, Way::Push);
        let orders = &self.batches[batch];
        let pushed = orders::try_push(client, &format!("batch-{batch}"), orders).await?;
        let (all, taken) = (orders.len() as u64, (pushed.accepted, pushed.duplicates));
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

    /// Looks everybody up: whatever was served is, and nothing that was never sent.
    pub(super) async fn look(&self, client: &Client, ledger: &Ledger) -> Result<()> {
        let before = ledger.known();
        let served = orders::served(client, self.customers).await?;
        let tallies = tallies::served(client, self.customers).await?;
        let after = ledger.known();
        // Of who is being erased all may be there, or nothing.
        let passed = &after.to_erase - &before.erased;
        let least = || self.orders(&before.served, &after.to_erase);
        self.check_newest(&served, &orders::newest(least()), &passed);
        let (least, most) = (tallies::of(least()), tallies::of(self.orders(&after.sent(), &before.erased)));
        check_tallies(&tallies, &least, &most, &passed);
        Ok(())
    }

    /// The orders of batches, without those of some customers.
    fn orders(&self, batches: &BTreeSet<usize>, without: &BTreeSet<i64>) -> impl Iterator<Item = &Order> {
        let orders = batches.iter().flat_map(|&batch| &self.batches[batch]);
        orders.filter(|order| !without.contains(&order.customer))
    }

    /// Nothing is served that was never ordered, and nothing older than what was acknowledged.
    fn check_newest(&self, served: &[Option<orders::Served>], least: &BTreeMap<i64, Order>, passed: &BTreeSet<i64>) {
        for (customer, served) in (0..).zip(served).filter(|(customer, _)| !passed.contains(customer)) {
            let least = least.get(&customer);
            let Some(served) = served else {
                assert_eq!(least, None, "customer {customer} was served before");
                continue;
            };
            let known = self.by_note.get(&served.note).filter(|order| order.customer == customer && served.is(order));
            let order = known.unwrap_or_else(|| panic!("customer {customer}: {served:?} was never ordered"));
            let times = |order: &Order| (order.ordered_at, order.recorded_at);
            assert!(
                least.is_none_or(|least| times(order) >= times(least)),
                "customer {customer}: {served:?} is served after {least:?} was"
            );
        }
    }

    /// What a server that was interrupted has: all that it acknowledged, and of what it did not each batch whole or not at all.
    pub(super) async fn check_kept(&self, client: &Client, ledger: &Ledger) {
        self.look(client, ledger).await.expect("the lookup is answered");
        self.act(Act::Flush, client, ledger).await.expect("what is in the outbox comes to its table");
        let (known, rows) = (ledger.known(), self.rows_without(client, &ledger.known().to_erase).await);
        let orders = |batches: &BTreeSet<usize>| self.orders(batches, &known.to_erase).count() as i64;
        let acknowledged = orders(&known.arrived);
        let others: Vec<i64> =
            (&known.sent() - &known.arrived).into_iter().map(|batch| orders(&[batch].into())).collect();
        assert!(
            some_come_to(rows - acknowledged, &others),
            "{rows} rows in the table, {acknowledged} were acknowledged, and batches of {others:?} sent"
        );
    }

    /// Rows of the table of orders that are of none of these customers.
    async fn rows_without(&self, client: &Client, customers: &BTreeSet<i64>) -> i64 {
        let mut rows = count(client, "orders").await;
        for customer in customers {
            rows -= count(client, &format!("orders WHERE customer_id = {customer}")).await;
        }
        rows
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

    /// Every row is in the table once, and what is served is what the model and the table say.
    pub(super) async fn check_whole(&self, client: &Client, ledger: &Ledger) {
        let known = ledger.known();
        let rows = self.orders(&known.arrived, &known.erased).count();
        assert_eq!(count(client, "orders").await, rows as i64, "rows in the table");
        let served = || self.orders(&known.served, &known.erased);
        let model = orders::newest(served());
        orders::check_served(client, self.customers, &model).await;
        let tallies = tallies::served(client, self.customers).await.expect("the lookup is answered");
        let right = tallies::of(served());
        check_tallies(&tallies, &right, &right, &BTreeSet::new());
        let mut reports = client.parity(&[]).await.expect("a comparison");
        while let Some(report) = reports.next().await {
            let report = report.expect("a report");
            assert!(report.holds(), "{report:?}");
            assert_eq!(report.equal, model.len() as u64, "{}", report.view);
        }
        let refused = known.refused();
        if *refused.start() > 0 {
            let quarantined = count(client, "_quarantine").await;
            assert!(refused.contains(&quarantined), "{quarantined} rows in quarantine, not {refused:?}");
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

/// The rows of a table.
pub(super) async fn count(client: &Client, table: &str) -> i64 {
    let counted = client.sql(&format!("SELECT count(*) AS n FROM sources.{table}"), None).await.expect("a query");
    let counted = counted.collect().await.expect("an answer");
    counted[0].column(0).as_any().downcast_ref::<Int64Array>().expect("a count").value(0)
}

/// Windows count what was acknowledged, and nothing that was never sent or is counted already.
fn check_tallies(served: &[Tally], least: &BTreeMap<i64, Tally>, most: &BTreeMap<i64, Tally>, passed: &BTreeSet<i64>) {
    let of = |tallies: &BTreeMap<i64, Tally>, customer| tallies.get(&customer).cloned().unwrap_or_default();
    for (customer, tally) in (0..).zip(served).filter(|(customer, _)| !passed.contains(customer)) {
        let (least, most) = (of(least, customer), of(most, customer));
        assert!(tally.is_between(&least, &most), "customer {customer}: {tally:?} is not from {least:?} to {most:?}");
    }
}

/// Whether some of the numbers, or none, add up to a sum.
fn some_come_to(sum: i64, numbers: &[i64]) -> bool {
    match numbers.split_first() {
        None => sum == 0,
        Some((first, others)) => some_come_to(sum, others) || some_come_to(sum - first, others),
    }
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
