//! Keys are typed by the definitions, and answers say for each value what it is and how old.

use super::*;
use arrow::array::{AsArray, Float64Array, Int64Array};
use std::sync::Arc;
use tidegate_schemas::file::{self, SourceFile};

fn catalog() -> Catalog {
    let yaml = "version: 1
project: shop
entities:
  - name: order
    keys: [{name: customer, type: string}, {name: number, type: int64}]
sources:
  - {name: orders, table: managed, event_time: at}
feature_views:
  - name: last_order
    entities: [order]
    source: orders
    features: [{name: amount, type: float64}]
feature_services:
  - {name: reorder, views: [{view: last_order}]}
";
    let files = [SourceFile { path: "a.yaml".into(), content: yaml.into() }];
    file::check(&files).unwrap_or_else(|it| panic!("{}", tidegate_schemas::problem::render(&it)))
}

fn pairs(given: &[&str]) -> Vec<(String, String)> {
    given.iter().map(|text| key(text).unwrap()).collect()
}

fn resolved() -> Resolved {
    catalog().resolve(&Selection::Service("reorder".into()), false).unwrap()
}

#[test]
fn one_name_is_a_service_where_there_is_one() {
    let check = |names: &[&str]| selection(&names.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>(), &catalog());
    assert_eq!(check(&["reorder"]), Selection::Service("reorder".into()));
    assert_eq!(check(&["last_order"]), Selection::Features(vec!["last_order".into()]));
    assert_eq!(check(&["last_order:amount"]), Selection::Features(vec!["last_order:amount".into()]));
    assert_eq!(check(&["nothing"]), Selection::Service("nothing".into()));
}

#[test]
fn keys_take_the_types_of_their_definitions() {
    let got = keys(&pairs(&["number=7", "customer=ann", "customer=bob", "number=8"]), &resolved()).unwrap();
    assert_eq!(got[0].0, "customer");
    assert_eq!(got[1].1.as_primitive::<arrow::datatypes::Int64Type>().values(), &[7, 8]);
}

#[test]
fn wrong_keys_are_named() {
    let check = |given: &[&str], expect: &str| {
        let failure = keys(&pairs(given), &resolved()).unwrap_err();
        let text = crate::output::render(&failure);
        assert!(text.contains(expect), "{text}");
    };
    check(&["customer=ann"], "missing keys: number");
    check(&["custmer=ann", "number=1"], "did you mean `customer`?");
    check(&["customer=ann", "number=one"], "key `number`: `one` is no int64");
    check(&["customer=ann", "customer=bob", "number=1"], "fewer values of number");
    assert!(key("ann").is_err() && key("=ann").is_err());
    assert_eq!(key("a=b=c"), Ok(("a".into(), "b=c".into())));
}

#[test]
fn answers_carry_status_reason_and_age() {
    let column = Column {
        name: "amount".into(),
        data_type: "float64".into(),
        values: Arc::new(Float64Array::from(vec![Some(25.5), Some(0.0)])),
        statuses: vec![Status::Present, Status::Defaulted],
        reasons: vec![None, Some(Status::NotFound)],
    };
    let times = ViewTimes {
        view: "last_order".into(),
        event_times: vec![Some(1_357_016_400_000_000), None],
        ages: vec![Some(90_000_000), None],
    };
    let reply = OnlineFeatures { rows: 2, features: vec![column], views: vec![times], catalog_version: 1, as_of: None };
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![7, 8]));
    let answer = Answer { keys: vec![("number".into(), numbers)], reply, views: views_of_outputs(&resolved()) };
    let rows = answer.to_json().unwrap();
    assert_eq!(rows[0]["keys"]["number"], 7);
    assert_eq!(rows[0]["features"]["amount"]["value"], 25.5);
    assert_eq!(rows[0]["features"]["amount"]["age_seconds"], 90.0);
    assert_eq!(rows[0]["features"]["amount"]["event_time"], "2013-01-01T05:00:00Z");
    assert_eq!(rows[1]["features"]["amount"]["status"], "DEFAULTED");
    assert_eq!(rows[1]["features"]["amount"]["reason"], "NOT_FOUND");
    assert_eq!(status(&answer.reply.features[0], 1), "DEFAULTED (NOT_FOUND)");
}
