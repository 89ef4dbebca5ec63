//! What must be there at any time, after an interruption, and in the end.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, Int64Array};
use futures::StreamExt;
use tidegate_client::{Client, Result};
use tidegate_integration_tests::orders::{self, Order};
use tidegate_integration_tests::tallies::{self, Tally};

use super::ledger::Ledger;
use super::shop::{Act, Shop};

impl Shop {
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
    pub(super) fn orders(&self, batches: &BTreeSet<usize>, without: &BTreeSet<i64>) -> impl Iterator<Item = &Order> {
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
