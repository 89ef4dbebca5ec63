//! Orders on disk in several states, what can be done to them, and what the server said it did.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use arrow::array::{Array, Int64Array};
use futures::{StreamExt, TryStreamExt};
use rand::rngs::StdRng;
use tidegate_client::registry::Apply;
use tidegate_client::{Client, Result};
use tidegate_integration_tests::Server;
use tidegate_integration_tests::orders::{self, Order, PROJECT};
use tidegate_schemas::file::SourceFile;

/// A server is ready again in this time, and once more for each gigabyte it holds.
const READY: Duration = Duration::from_secs(5);

/// One more view of the same orders.
const ANOTHER_VIEW: &str = "  - name: last_note
    entities: [customer]
    source: orders
    features:
      - {name: text, type: string, column: note}
feature_services:
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
    ledger: Ledger,
}

/// What is asked of a server. Each may be done again and changes nothing then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// The batch of that number.
    Ingest(usize),
    /// What came since the cursor.
    Increment,
    /// Everything anew.
    Refresh,
    Lookup,
    Compact,
    Vacuum,
    /// Definitions with one more view.
    Widen,
}

/// What the server acknowledged, by numbers of batches.
#[derive(Debug, Clone, Default)]
pub(super) struct Ledger {
    /// Ingests that were begun; those that were not acknowledged may have happened.
    pub(super) begun: BTreeSet<usize>,
    pub(super) ingested: BTreeSet<usize>,
    pub(super) served: BTreeSet<usize>,
}

impl Shop {
    /// Orders of `customers` in `batches` batches; the states have those up to `ingested`.
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
        let nothing = |name: &str| State { folder: folder.join(name), ledger: Ledger::default() };
        let mut shop = Self { customers, batches, by_note, fresh: nothing("fresh"), half: nothing("half") };
        for (name, materialized) in [("fresh", 0), ("half", ingested / 2)] {
            let mut state = nothing(name);
            let server = Server::start(&state.folder).await;
            let client = server.client(PROJECT).await;
            orders::apply(&client).await;
            for batch in 0..ingested {
                shop.act(Act::Ingest(batch), &client, &mut state.ledger).await.expect("an ingest");
                if batch + 1 == materialized {
                    shop.act(Act::Increment, &client, &mut state.ledger).await.expect("a materialization");
                }
            }
            server.stop().await;
            if name == "fresh" { shop.fresh = state } else { shop.half = state }
        }
        shop
    }

    /// Does one thing and notes what the server says of it.
    pub(super) async fn act(&self, act: Act, client: &Client, ledger: &mut Ledger) -> Result<()> {
        match act {
            Act::Ingest(batch) => {
                ledger.begun.insert(batch);
                orders::try_ingest(client, &format!("batch-{batch}"), &self.batches[batch]).await?;
                ledger.ingested.insert(batch);
            }
            Act::Increment => self.materialize(client, ledger, false).await?,
            Act::Refresh => self.materialize(client, ledger, true).await?,
            Act::Lookup => self.check_between(&orders::served(client, self.customers).await?, ledger),
            Act::Compact => drop(client.compact_table("orders").await?),
            Act::Vacuum => drop(client.vacuum_table("orders", Some(0), false).await?),
            Act::Widen => widen(client).await?,
        }
        Ok(())
    }

    async fn materialize(&self, client: &Client, ledger: &mut Ledger, full: bool) -> Result<()> {
        let there = ledger.ingested.clone();
        let steps: Vec<_> = client.materialize(&[], full).await?.try_collect().await?;
        assert!(steps.last().is_some_and(|step| step.done), "the stream ends with a finished view");
        ledger.served = there;
        Ok(())
    }

    /// What is right when these batches have been materialized.
    pub(super) fn model(&self, batches: &BTreeSet<usize>) -> BTreeMap<i64, Order> {
        orders::newest(batches.iter().map(|&batch| self.batches[batch].as_slice()))
    }

    /// Nothing is served that was never ingested, and nothing older than what was acknowledged.
    pub(super) fn check_between(&self, served: &[Option<orders::Served>], ledger: &Ledger) {
        let least = self.model(&ledger.served);
        for (customer, served) in (0..).zip(served) {
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

    /// What a server that was interrupted has: all that it acknowledged, and of what it did not each thing whole or not at all.
    pub(super) async fn check_kept(&self, client: &Client, ledger: &Ledger) {
        let rows =
            |batches: &BTreeSet<usize>| batches.iter().map(|&batch| self.batches[batch].len() as i64).sum::<i64>();
        let count = count(client).await;
        let (least, most) = (rows(&ledger.ingested), rows(&ledger.begun));
        assert!(count == least || count == most, "{count} rows in the table, {least} were acknowledged, {most} sent");
        let served = orders::served(client, self.customers).await.expect("the lookup is answered");
        self.check_between(&served, ledger);
    }

    /// Everything that was begun is brought to its end, twice; then all is as if nothing had happened in between.
    pub(super) async fn finish(&self, client: &Client, ledger: &mut Ledger) {
        for batch in ledger.begun.clone() {
            self.act(Act::Ingest(batch), client, ledger).await.expect("the same batch again");
        }
        for _ in 0..2 {
            self.act(Act::Increment, client, ledger).await.expect("a materialization");
            self.check_whole(client, ledger).await;
        }
    }

    /// Every row is in the table once, and what is served is what the model and the table say.
    pub(super) async fn check_whole(&self, client: &Client, ledger: &Ledger) {
        let model = self.model(&ledger.served);
        let rows: usize = ledger.ingested.iter().map(|&batch| self.batches[batch].len()).sum();
        assert_eq!(count(client).await, rows as i64, "rows in the table");
        orders::check_served(client, self.customers, &model).await;
        let mut reports = client.parity(&[]).await.expect("a comparison");
        while let Some(report) = reports.next().await {
            let report = report.expect("a report");
            assert!(report.holds(), "{report:?}");
            assert_eq!(report.equal, model.len() as u64, "{}", report.view);
        }
    }
}

impl State {
    /// What the folder holds.
    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// A copy of the folder with the ledger that belongs to it.
    pub(super) fn copy(&self, to: &Path) -> Ledger {
        std::fs::create_dir_all(to).expect("a folder");
        let status = Command::new("cp").arg("-r").arg(self.folder.join(".")).arg(to).status().expect("cp runs");
        assert!(status.success());
        self.ledger.clone()
    }
}

/// Starts a server on a folder whose last one was ended, in time.
pub(super) async fn start_again(data: &Path) -> Server {
    let times = u32::try_from(bytes(data) >> 30).expect("a small folder") + 2;
    let started = tokio::time::timeout(READY * times, Server::start(data)).await;
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

async fn count(client: &Client) -> i64 {
    let counted = client.sql("SELECT count(*) AS n FROM sources.orders", None).await.expect("a query");
    let counted = counted.collect().await.expect("an answer");
    counted[0].column(0).as_any().downcast_ref::<Int64Array>().expect("a count").value(0)
}

async fn widen(client: &Client) -> Result<()> {
    let content = orders::DEFINITIONS.replace("feature_services:\n", ANOTHER_VIEW);
    let files = vec![SourceFile { path: "shop.yaml".into(), content: content.into() }];
    let applied = client.apply(&Apply { files, ..Apply::default() }).await?;
    assert!(applied.problems.is_empty(), "{:?}", applied.problems);
    Ok(())
}
