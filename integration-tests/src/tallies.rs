//! Windows over the orders of [`orders`], and the model of what they must answer. All orders are within every window, so an event that
//! is lost or counted twice shows.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array, Int64Array};
use tidegate_client::online::{Lookup, OnlineFeatures};
use tidegate_client::{Client, Result, Selection};

use crate::orders::{self, Order};

/// The view, and the beginning of what follows it in [`orders::DEFINITIONS`].
const VIEW: &str = "  - name: order_tallies
    entities: [customer]
    source: orders
    features:
      - {name: orders, type: int64, aggregate: {fn: count, window: all}}
      - {name: pieces, type: int64, aggregate: {fn: sum, column: items, window: all}}
      - {name: spent, type: float64, aggregate: {fn: sum, column: amount, window: 36500d}}
      - {name: least, type: float64, aggregate: {fn: min, column: amount, window: 36500d}}
      - {name: most, type: float64, aggregate: {fn: max, column: amount, window: 36500d}}
feature_services:
";

/// Its features.
const FEATURES: [&str; 5] = ["orders", "pieces", "spent", "least", "most"];

/// By this share sums may differ that were added up in another order.
const TOLERANCE: f64 = 1e-9;

/// [`orders::DEFINITIONS`] with the view.
#[must_use]
pub fn definitions() -> String {
    orders::DEFINITIONS.replace("feature_services:\n", VIEW)
}

/// What the windows answer for a customer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tally {
    /// How many orders.
    pub orders: i64,
    /// Their items; `None` without an order.
    pub pieces: Option<i64>,
    /// The sum of their amounts; `None` where all are null.
    pub spent: Option<f64>,
    /// The least of them.
    pub least: Option<f64>,
    /// The greatest.
    pub most: Option<f64>,
}

impl Tally {
    fn add(&mut self, order: &Order) {
        let with = |held: Option<f64>, join: fn(f64, f64) -> f64| match (held, order.amount) {
            (Some(held), Some(amount)) => Some(join(held, amount)),
            (held, amount) => held.or(amount),
        };
        self.orders += 1;
        self.pieces = Some(self.pieces.unwrap_or(0) + order.items);
        self.spent = with(self.spent, |sum, amount| sum + amount);
        self.least = with(self.least, f64::min);
        self.most = with(self.most, f64::max);
    }

    /// Whether this is what that must be answered as.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        let near = match (self.spent, other.spent) {
            (Some(a), Some(b)) => (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()),
            (a, b) => a == b,
        };
        near && Self { spent: None, ..self.clone() } == Self { spent: None, ..other.clone() }
    }

    /// Whether this may be answered while the orders of one tally count and those of another may.
    #[must_use]
    pub fn is_between(&self, least: &Self, most: &Self) -> bool {
        let bounds = [(self.orders, least), (self.orders, most)];
        // Who has counted as many as there are has counted the same.
        let exact = bounds.iter().all(|(orders, bound)| *orders != bound.orders || self.is(bound));
        exact && (least.orders..=most.orders).contains(&self.orders)
    }
}

/// What must be answered when these orders count, once each.
#[must_use]
pub fn of<'a>(orders: impl IntoIterator<Item = &'a Order>) -> BTreeMap<i64, Tally> {
    let mut tallies: BTreeMap<i64, Tally> = BTreeMap::new();
    for order in orders {
        tallies.entry(order.customer).or_default().add(order);
    }
    tallies
}

/// Looks the windows of every customer up.
///
/// # Errors
/// The server's.
///
/// # Panics
/// When the answer has not the features asked for.
pub async fn served(client: &Client, customers: i64) -> Result<Vec<Tally>> {
    let keys: ArrayRef = Arc::new((0..customers).collect::<Int64Array>());
    let features = FEATURES.map(|name| format!("order_tallies:{name}")).to_vec();
    let lookup = Lookup::new(Selection::Features(features), vec![("customer_id".into(), keys)]);
    let served = client.get_online_features(&lookup).await?;
    assert_eq!(served.rows, usize::try_from(customers).expect("a count"));
    Ok((0..served.rows).map(|row| served_row(&served, row)).collect())
}

fn served_row(served: &OnlineFeatures, row: usize) -> Tally {
    let [orders, pieces, spent, least, most] = served.features.as_slice() else { panic!("five features") };
    let integer = |values: &ArrayRef| {
        let values = values.as_any().downcast_ref::<Int64Array>().expect("integers");
        values.is_valid(row).then(|| values.value(row))
    };
    let double = |values: &ArrayRef| {
        let values = values.as_any().downcast_ref::<Float64Array>().expect("doubles");
        values.is_valid(row).then(|| values.value(row))
    };
    Tally {
        orders: integer(&orders.values).unwrap_or(0),
        pieces: integer(&pieces.values),
        spent: double(&spent.values),
        least: double(&least.values),
        most: double(&most.values),
    }
}
