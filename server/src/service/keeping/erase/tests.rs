//! An entity is erased from everything that a project keeps, its receipt says from what, and nothing of it comes back.
//!
//! The data folder is searched for the key's bytes, and for its values in Arrow streams.

use std::path::{Path, PathBuf};

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::util::display::array_value_to_string;
use futures::TryStreamExt;
use tidegate_schemas::catalog::Selection;

use super::*;
use crate::service::tests::bench::{Bench, HOUR};
use crate::service::{
    Batches, IngestRequest, LookupRequest, PushOutcome, PushRequest, PushTo, SealProgress, SealRequest, Spine,
    TrainingSetRequest, Values, VerifyProgress,
};

mod everywhere;
mod rounds;

const SECRET: &str = "erase-me-93be0c57";

/// Purchases by user and by shop, from one table; a second table of users, and a view of users and shops together.
const SHOP: &str = "\
version: 1
project: shop
entities:
  - name: user
    keys: [{name: user_id, type: string}]
  - name: place
    keys: [{name: shop_id, type: string}]
sources:
  - {name: purchases, table: managed, event_time: at}
  - {name: profiles, table: managed, event_time: at}
feature_views:
  - {name: by_user, entities: [user], source: purchases, features: [{name: spent, type: float64, column: amount}]}
  - {name: by_shop, entities: [place], source: purchases, features: [{name: earned, type: float64, column: amount}]}
  - {name: by_both, entities: [place, user], source: purchases, features: [{name: amount, type: float64}]}
  - {name: profile, entities: [user], source: profiles, key_columns: {user_id: who}, features: [{name: score, type: float64}]}
feature_services:
  - name: spending
    views:
      - {view: by_user, keys: {user_id: buyer}}
";

fn rows(columns: [&str; 2], rows: &[(&str, &str, i64, f64)], value: &str) -> Batches {
    let text = |at: fn(&(&str, &str, i64, f64)) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(at)))
    };
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.2 * HOUR)).with_timezone("UTC");
    let values: ArrayRef = Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.3)));
    let mut named: Vec<(&str, ArrayRef)> = vec![(columns[0], text(|row| row.0.to_owned()))];
    if !columns[1].is_empty() {
        named.push((columns[1], text(|row| row.1.to_owned())));
    }
    named.extend([("at", Arc::new(times) as ArrayRef), (value, values)]);
    let batch = RecordBatch::try_from_iter(named).unwrap();
    Batches::from_vec(batch.schema(), vec![batch])
}

impl Bench {
    async fn put(&self, target: &str, batch_id: &str, batches: Batches) -> Result<crate::service::Ingested> {
        let request = IngestRequest {
            project: "shop".to_owned(),
            target: target.to_owned(),
            batch_id: batch_id.to_owned(),
            ignore_extra_columns: false,
        };
        self.service.ingest(&self.me, request, batches).await
    }

    async fn bring_up(&self, full: bool) {
        let request = MaterializeRequest { project: "shop".to_owned(), views: Vec::new(), full, detach: false };
        let reports = self.service.materialize(&self.me, request).await.unwrap();
        reports.try_collect::<Vec<_>>().await.unwrap();
    }

    async fn erase(&self, user: &str) -> Receipt {
        let keys: Vec<(String, ArrayRef)> =
            vec![("user_id".to_owned(), Arc::new(StringArray::from(vec![user.to_owned()])))];
        let request = EraseRequest { project: "shop".to_owned(), entity: "user".to_owned(), keys };
        let steps: Vec<_> = self.service.erase(&self.me, request).await.unwrap().try_collect().await.unwrap();
        match steps.into_iter().last() {
            Some(EraseProgress::Done(receipt)) => *receipt,
            other => panic!("the last report is the receipt: {other:?}"),
        }
    }

    fn value(&self, feature: &str, keys: &[(&str, &str)]) -> Option<f64> {
        let keys: Vec<(String, ArrayRef)> = keys
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Arc::new(StringArray::from(vec![*value])) as ArrayRef))
            .collect();
        let request = LookupRequest::new("shop", Selection::Features(vec![feature.to_owned()]), keys);
        let reply = self.service.lookup(&self.me, &request).unwrap();
        let feature = reply.answer.feature(0);
        let value = match feature.values {
            Values::Doubles(values) => values.iter().next().unwrap(),
            Values::Int64s(values) => values.iter().next().unwrap() as f64,
            other => panic!("{other:?}"),
        };
        feature.present(0).then_some(value)
    }

    /// Pushes rows with an event id for each.
    async fn push(&self, to: PushTo, ids: &[&str], batches: Batches) -> PushOutcome {
        self.try_push(to, ids, batches).await.unwrap()
    }

    async fn try_push(&self, to: PushTo, ids: &[&str], batches: Batches) -> Result<PushOutcome> {
        let ids: ArrayRef = Arc::new(StringArray::from(ids.to_vec()));
        let request =
            PushRequest { project: "shop".to_owned(), target: "purchases".to_owned(), to, event_ids: Some(ids) };
        self.service.push(&self.me, request, batches).await
    }

    async fn flush(&self, source: &str) {
        self.service.flush(&self.me, "shop", source).await.unwrap();
    }

    async fn seal_buyers(&self, name: &str, buyers: &[&str]) {
        let batch = rows(["buyer", ""], &buyers.iter().map(|buyer| (*buyer, "", 40, 1.0)).collect::<Vec<_>>(), "label");
        let kept = self.service.upload_spine(&self.me, "shop", batch).await.unwrap();
        let training_set = TrainingSetRequest {
            project: "shop".to_owned(),
            selection: Selection::Service("spending".to_owned()),
            spine: Spine::Uploaded(kept.spine_id),
            event_time_column: "at".to_owned(),
            full_names: false,
            as_of: None,
            include_event_times: false,
            include_statuses: false,
            split: None,
            sample: None,
        };
        let request = SealRequest { name: name.to_owned(), training_set };
        let steps = self.service.seal(&self.me, request).await.unwrap().try_collect::<Vec<_>>().await.unwrap();
        assert!(matches!(steps.last(), Some(SealProgress::Done(_))));
    }

    async fn verifies(&self, name: &str) -> Result<bool> {
        let steps: Vec<_> = self.service.verify(&self.me, "shop", name).await?.try_collect().await?;
        match steps.into_iter().last() {
            Some(VerifyProgress::Done(verdict)) => Ok(verdict.differences.is_empty()),
            other => panic!("the last report is the verdict: {other:?}"),
        }
    }
}

/// The files below a folder that hold a text: as bytes, or as a value of an Arrow stream. One that goes while it is looked for, as files
/// do that were merged, holds nothing.
fn holding(folder: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path, text));
            continue;
        }
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            bytes => bytes.unwrap(),
        };
        let in_stream = || {
            let reader = arrow::ipc::reader::StreamReader::try_new(bytes.as_slice(), None);
            reader.is_ok_and(|mut batches| batches.any(|batch| batch.is_ok_and(|batch| in_batch(&batch, text))))
        };
        let is = |kind: &str| path.extension().is_some_and(|extension| extension == kind);
        if bytes.windows(text.len()).any(|window| window == text.as_bytes()) || is("arrow") && in_stream() {
            found.push(path);
        }
    }
    found
}

fn in_batch(batch: &RecordBatch, text: &str) -> bool {
    let mut columns = batch.columns().iter();
    columns.any(|column| (0..batch.num_rows()).any(|row| array_value_to_string(column, row).unwrap().contains(text)))
}

async fn shop() -> Bench {
    let bench = Bench::new().await;
    bench.apply(SHOP).await.unwrap();
    let bought =
        [("ann", "north", 1, 10.0), (SECRET, "north", 2, 20.0), (SECRET, "south", 3, 30.0), ("bob", "south", 1, 5.0)];
    bench.put("purchases", "b1", rows(["user_id", "shop_id"], &bought, "amount")).await.unwrap();
    bench.put("purchases", "b2", rows(["user_id", "shop_id"], &[("ann", "south", 4, 7.0)], "amount")).await.unwrap();
    bench
        .put("profiles", "p1", rows(["who", ""], &[("ann", "", 1, 0.1), (SECRET, "", 1, 0.9)], "score"))
        .await
        .unwrap();
    bench.clock.set(50 * HOUR);
    bench.bring_up(false).await;
    bench
}

#[tokio::test(flavor = "multi_thread")]
async fn its_bytes_are_in_no_file_and_a_late_event_for_it_is_refused() {
    let bench = shop().await;
    bench.seal_buyers("with", &["ann", SECRET]).await;
    bench.seal_buyers("without", &["bob"]).await;
    assert_eq!(bench.value("by_user:spent", &[("user_id", SECRET)]), Some(30.0));
    assert_eq!(bench.value("by_shop:earned", &[("shop_id", "north")]), Some(20.0));
    let folder = bench.folder.path().to_owned();
    let before = holding(&folder, SECRET);
    for place in ["online", "tables", "sealed"] {
        let place = folder.join(place);
        assert!(before.iter().any(|path| path.starts_with(&place)), "{} is not in {before:?}", place.display());
    }

    let receipt = bench.erase(SECRET).await;
    let told: Vec<_> = receipt.views.iter().map(|view| (view.view.as_str(), view.rows)).collect();
    assert_eq!(told, [("by_both", 2), ("by_user", 1), ("profile", 1)]);
    let told: Vec<_> = receipt.tables.iter().map(|table| (table.source.as_str(), table.rows)).collect();
    assert_eq!(told, [("profiles", 1), ("purchases", 2)]);
    assert_eq!((receipt.refreshed.as_slice(), receipt.spines), (["by_shop".to_owned()].as_slice(), 2));
    let lost: Vec<&str> = receipt.sealed.iter().map(|set| set.name.as_str()).collect();
    assert_eq!(lost, ["with", "without"], "both need the versions that held it: {receipt:?}");
    assert!(receipt.left.is_empty(), "{receipt:?}");
    assert_eq!(holding(&folder, SECRET), Vec::<PathBuf>::new());

    assert_eq!(bench.value("by_user:spent", &[("user_id", SECRET)]), None);
    assert_eq!(bench.value("by_user:spent", &[("user_id", "ann")]), Some(7.0));
    assert_eq!(bench.value("by_shop:earned", &[("shop_id", "north")]), Some(10.0), "computed anew without it");
    assert_eq!(bench.value("by_shop:earned", &[("shop_id", "south")]), Some(7.0));
    bench.verifies("with").await.unwrap_err();

    let late = || rows(["user_id", "shop_id"], &[("ann", "north", 9, 1.0), (SECRET, "north", 49, 1.0)], "amount");
    let refused = bench.put("purchases", "b3", late()).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Invalid);
    assert!(refused.message.contains("row 2 of source `purchases`"), "{refused}");
    assert!(!refused.message.contains(SECRET), "an error names no key: {refused}");

    // Nothing comes back, by whichever way and after whatever.
    let bench = bench.restart().await;
    bench.clock.set(51 * HOUR);
    bench.put("purchases", "b4", late()).await.unwrap_err();
    bench.bring_up(true).await;
    assert_eq!(bench.value("by_user:spent", &[("user_id", SECRET)]), None);
    assert_eq!(holding(&folder, SECRET), Vec::<PathBuf>::new());
    let after = rows(["user_id", "shop_id"], &[(SECRET, "north", 50, 2.0)], "amount");
    bench.put("purchases", "b5", after).await.unwrap();
    bench.bring_up(false).await;
    assert_eq!(bench.value("by_user:spent", &[("user_id", SECRET)]), Some(2.0), "what comes after is a new entity's");
    let receipts = bench.service.erasures(&bench.me, "shop").await.unwrap();
    assert_eq!(receipts, [receipt]);
}

#[tokio::test(flavor = "multi_thread")]
async fn increments_go_on_after_an_erasure_without_a_refresh() {
    let bench = shop().await;
    let more = [(SECRET, "north", 5, 1.0), ("cid", "north", 6, 2.0)];
    bench.put("purchases", "b3", rows(["user_id", "shop_id"], &more, "amount")).await.unwrap();
    // Not materialized yet: the new file is rewritten by the erasure, and read by the next increment.
    bench.erase(SECRET).await;
    let request = MaterializeRequest {
        project: "shop".to_owned(),
        views: vec!["by_user".to_owned()],
        full: false,
        detach: false,
    };
    let reports: Vec<_> = bench.service.materialize(&bench.me, request).await.unwrap().try_collect().await.unwrap();
    let last = reports.last().unwrap();
    assert!(!last.full && last.rows_written == 1, "{last:?}");
    assert_eq!(bench.value("by_user:spent", &[("user_id", "cid")]), Some(2.0));
    let parity: Vec<_> = bench
        .service
        .parity(&bench.me, "shop", &["by_user".to_owned(), "profile".to_owned()])
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert!(parity.iter().all(|view| view.parity.holds()), "{parity:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_erased_stays_so_where_the_online_tier_is_begun_anew() {
    let bench = shop().await;
    bench.erase(SECRET).await;
    let folder = bench.folder.path().to_owned();
    let Bench { service, shutdown, folder: kept, .. } = bench;
    shutdown.finish(std::time::Duration::from_secs(10)).await;
    while Arc::strong_count(&service) > 1 {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    drop(service);
    std::fs::remove_dir_all(folder.join("online")).unwrap();
    let bench = Bench::open(kept, 1024).await;
    bench.clock.set(50 * HOUR);
    let late = rows(["user_id", "shop_id"], &[(SECRET, "north", 49, 1.0)], "amount");
    bench.put("purchases", "b3", late).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_erase_nothing() {
    let bench = shop().await;
    let ask = |entity: &str, keys: Vec<(&str, ArrayRef)>| EraseRequest {
        project: "shop".to_owned(),
        entity: entity.to_owned(),
        keys: keys.into_iter().map(|(name, values)| (name.to_owned(), values)).collect(),
    };
    let text = |values: &[&str]| Arc::new(StringArray::from(values.to_vec())) as ArrayRef;
    let check = async |request: EraseRequest, expect: &str| {
        let error = match bench.service.erase(&bench.me, request).await {
            Err(error) => error,
            Ok(_) => panic!("`{expect}` should be refused"),
        };
        assert!(error.message.contains(expect), "{error}");
    };
    check(ask("usr", vec![]), "did you mean `user`?").await;
    check(ask("user", vec![]), "user_id").await;
    check(ask("user", vec![("user_id", text(&["a", "b"]))]), "erase one entity at a time").await;
    check(ask("user", vec![("id", text(&["a"]))]), "`id` is not a key").await;
    assert!(bench.service.erasures(&bench.me, "shop").await.unwrap().is_empty());
    // A claimed view is waited for, then told; nothing is half done.
    let _claim = bench.service.claims.claim("shop", "by_user").unwrap();
    let steps = bench.service.erase(&bench.me, ask("user", vec![("user_id", text(&[SECRET]))])).await.unwrap();
    let error = steps.try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Precondition);
    assert_eq!(bench.value("by_user:spent", &[("user_id", SECRET)]), Some(30.0));
}
