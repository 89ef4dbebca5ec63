//! What an entity left by pushes, in windows, in tables of queries and among quarantined rows is erased too, and nothing of it is taken
//! by any way in afterwards.

use std::time::Duration;

use super::*;
use crate::service::push::{Came, Entry};

/// The shop with a windowed view, and a query that has a view of its own.
pub(super) fn market() -> String {
    let more = "  - name: large
    event_time: at
    table:
      query:
        sql: SELECT user_id, at, amount FROM purchases WHERE amount > 4
        from: [purchases]
feature_views:
  - {name: large_purchase, entities: [user], source: large, features: [{name: large, type: float64, column: amount}]}
  - name: lately
    entities: [user]
    source: purchases
    features: [{name: bought, type: int64, aggregate: {fn: count, window: 30d, hop: 1h}}]
";
    SHOP.replace("feature_views:\n", more)
}

/// A purchase: user, shop, hour, amount.
pub(super) type Purchase<'a> = (&'a str, &'a str, i64, f64);

pub(super) fn purchases(of: &[Purchase<'_>]) -> Batches {
    rows(["user_id", "shop_id"], of, "amount")
}

/// Rows that can't be taken: their times are none.
pub(super) fn misfits(users: &[&str]) -> Batches {
    let text = |values: Vec<&str>| -> ArrayRef { Arc::new(StringArray::from(values)) };
    let batch = RecordBatch::try_from_iter([
        ("user_id", text(users.to_vec())),
        ("shop_id", text(vec!["north"; users.len()])),
        ("at", text(vec!["someday"; users.len()])),
        ("amount", Arc::new(Float64Array::from(vec![1.0; users.len()])) as ArrayRef),
    ])
    .unwrap();
    Batches::from_vec(batch.schema(), vec![batch])
}

/// Two users in the table and online, with pushes on their way.
async fn busy() -> Bench {
    let bench = Bench::new().await;
    bench.apply(&market()).await.unwrap();
    bench.clock.set(50 * HOUR);
    bench.put("purchases", "b1", purchases(&[("ann", "north", 1, 10.0), (SECRET, "north", 2, 20.0)])).await.unwrap();
    bench.bring_up(false).await;
    let ids = [format!("{SECRET}:1"), format!("{SECRET}:2")];
    bench
        .push(PushTo::Both, &[&ids[0], "a1"], purchases(&[(SECRET, "south", 10, 5.0), ("ann", "south", 10, 6.0)]))
        .await;
    bench.push(PushTo::Offline, &[&ids[1]], purchases(&[(SECRET, "south", 11, 7.0)])).await;
    bench
}

async fn secret_key(bench: &Bench) -> EntityKey {
    let values = vec![Arc::new(StringArray::from(vec![SECRET])) as ArrayRef];
    let project = bench.service.project("shop").await.unwrap();
    let keys = project.catalog.entities["user"].keys.clone();
    EntityKey { project: "shop".to_owned(), entity: "user".to_owned(), keys, values }
}

fn quarantined(receipt: &Receipt) -> Vec<u64> {
    receipt.tables.iter().filter(|table| table.source == QUARANTINE).map(|table| table.rows).collect()
}

fn told(outcome: &PushOutcome) -> Vec<(&'static str, u64)> {
    let mut told: Vec<_> = outcome.quarantined.iter().map(|bad| (bad.reason, bad.rows)).collect();
    told.sort_unstable();
    told
}

impl Bench {
    async fn sql_of(&self, query: &str) -> Vec<Vec<String>> {
        let batches = self.service.sql(&self.me, "shop", query, None).await.unwrap().collect().await.unwrap();
        let mut rows = Vec::new();
        for batch in &batches {
            let text = |row| batch.columns().iter().map(|column| array_value_to_string(column, row).unwrap()).collect();
            rows.extend((0..batch.num_rows()).map(text));
        }
        rows
    }

    /// What comes from a topic and is no row.
    async fn poison(&self, entries: &[(&str, &str)]) -> PushOutcome {
        self.try_poison(entries).await.unwrap()
    }

    async fn try_poison(&self, entries: &[(&str, &str)]) -> Result<PushOutcome> {
        let entry = |(content, detail): &(&str, &str)| Entry {
            reason: "message can't be decoded",
            detail: (*detail).to_owned(),
            content: (*content).to_owned(),
        };
        let poison = (0..).zip(entries).map(|(offset, it)| ((0, offset), entry(it))).collect();
        let came = Came { origin: "kafka", topic: "t".to_owned(), poison, ..Came::default() };
        let none = purchases(&[]).collect().await.unwrap().remove(0);
        let project = self.service.project("shop").await.unwrap();
        self.service.take_rows(&project, "purchases", none, came).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_pushed_counted_queried_or_quarantined_goes_too() {
    let bench = busy().await;
    let folder = bench.folder.path().to_owned();
    // Quarantined and in the table, quarantined and on its way, not due yet.
    assert_eq!(bench.push(PushTo::Both, &["x1", "x2"], misfits(&[SECRET, "ann"])).await.quarantined[0].rows, 2);
    bench.flush("profiles").await;
    bench.push(PushTo::Both, &["x3", "x4"], misfits(&[SECRET, "bob"])).await;
    assert_eq!(bench.push(PushTo::Both, &["f1"], purchases(&[(SECRET, "north", 51, 1.0)])).await.waiting, 1);
    assert_eq!(bench.value("lately:bought", &[("user_id", SECRET)]), Some(3.0));
    assert_eq!(bench.value("large_purchase:large", &[("user_id", SECRET)]), Some(20.0));
    for place in ["online", "tables/shop/_quarantine", "tables/shop/_queries", "tables/shop/purchases"] {
        assert!(!holding(&folder.join(place), SECRET).is_empty(), "{place}");
    }

    let receipt = bench.erase(SECRET).await;
    assert!(receipt.left.is_empty(), "all of it can be told: {receipt:?}");
    assert_eq!(quarantined(&receipt), [2]);
    let rows = |source: &str| receipt.tables.iter().find(|table| table.source == source).map(|table| table.rows);
    assert_eq!((rows("purchases"), rows("large")), (Some(2), Some(1)), "late ones were kept out: {receipt:?}");
    assert!(receipt.views.iter().any(|view| view.view == "lately" && view.rows > 0), "{receipt:?}");
    assert_eq!(holding(&folder, SECRET), Vec::<PathBuf>::new());
    assert_eq!(bench.value("lately:bought", &[("user_id", SECRET)]), Some(0.0));
    assert_eq!(bench.value("lately:bought", &[("user_id", "ann")]), Some(2.0), "others count what they did");
    assert_eq!(bench.sql_of("SELECT count(*) FROM sources._quarantine").await, [["2"]], "others' rows stay");
    // The id of another's event is known still.
    let again = bench.push(PushTo::Both, &["a1"], purchases(&[("ann", "south", 10, 6.0)])).await;
    assert_eq!(again.duplicates, 1);

    bench.clock.set(60 * HOUR);
    bench.service.release_due().await.unwrap();
    let bench = bench.restart().await;
    bench.clock.set(60 * HOUR);
    bench.bring_up(true).await;
    assert_eq!(bench.value("lately:bought", &[("user_id", SECRET)]), Some(0.0));
    assert_eq!(bench.value("large_purchase:large", &[("user_id", SECRET)]), None);
    assert_eq!(bench.value("large_purchase:large", &[("user_id", "ann")]), Some(6.0));
    assert_eq!(holding(&folder, SECRET), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_which_it_cannot_be_told_whose_they_are_go_and_are_told() {
    let bench = busy().await;
    let folder = bench.folder.path().to_owned();
    let (cut_off, named) = (format!("{{\"user_id\": \"{SECRET}"), format!("not as {SECRET} has it"));
    let ann = "{\"user_id\": \"ann\"}";
    bench.poison(&[(&cut_off, "cut off"), (ann, &named), (ann, "of ann")]).await;
    let receipt = bench.erase(SECRET).await;
    assert_eq!(quarantined(&receipt), [2]);
    let [left] = receipt.left.as_slice() else { panic!("{receipt:?}") };
    assert!(left.contains("2 of its rows went"), "{left}");
    assert_eq!(holding(&folder, SECRET), Vec::<PathBuf>::new());
    assert_eq!(bench.sql_of("SELECT detail FROM sources._quarantine").await, [["t/0/2: of ann"]]);
    // A message that is no row and says whose it is.
    let whole = format!("{{\"user_id\": \"{SECRET}\", \"amount\": []}}");
    let outcome = bench.poison(&[(&whole, "a list"), (ann, "of ann")]).await;
    assert_eq!(told(&outcome), [("entity was erased", 1), ("message can't be decoded", 1)]);
    assert_eq!(holding(&folder, SECRET), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_event_is_refused_by_every_way_in() {
    let bench = busy().await;
    let folder = bench.folder.path().to_owned();
    bench.erase(SECRET).await;
    for (nth, to) in (0..).zip([PushTo::Both, PushTo::Online, PushTo::Offline]) {
        let ids = [format!("{SECRET}:late{nth}"), format!("l{nth}")];
        let late = purchases(&[(SECRET, "north", 49, 1.0), ("bob", "north", 40 + nth, 8.0)]);
        let outcome = bench.push(to, &[&ids[0], &ids[1]], late).await;
        assert_eq!((outcome.accepted, told(&outcome)), (1, vec![("entity was erased", 1)]));
        assert!(!outcome.quarantined[0].example.contains(SECRET), "an answer names no key: {outcome:?}");
    }
    let outcome = bench.push(PushTo::Both, &["m1", "m2"], misfits(&[SECRET, "ann"])).await;
    assert_eq!(told(&outcome), [("entity was erased", 1), ("value does not fit", 1)], "quarantined neither");
    bench.flush("purchases").await;
    bench.service.refresh(&bench.me, "shop", "large", true).await.unwrap();
    bench.bring_up(true).await;
    assert_eq!(bench.value("by_user:spent", &[("user_id", SECRET)]), None);
    assert_eq!(bench.value("lately:bought", &[("user_id", SECRET)]), Some(0.0));
    assert_eq!(bench.value("large_purchase:large", &[("user_id", "bob")]), Some(8.0));
    assert_eq!(holding(&folder, SECRET), Vec::<PathBuf>::new());
    // What happens from now on is a new entity's.
    let outcome = bench.push(PushTo::Both, &["n1"], purchases(&[(SECRET, "north", 50, 2.0)])).await;
    assert_eq!((outcome.accepted, outcome.quarantined.len()), (1, 0));
    assert_eq!(bench.value("lately:bought", &[("user_id", SECRET)]), Some(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outbox_brings_no_row_that_was_pushed_before_its_entity_was_erased() {
    let bench = busy().await;
    let key = secret_key(&bench).await;
    bench.service.online.bury(&key.grave(50 * HOUR).unwrap()).unwrap();
    bench.flush("purchases").await;
    let count = format!("SELECT count(*) FROM sources.purchases WHERE user_id = '{SECRET}'");
    assert_eq!(bench.sql_of(&count).await, [["1"]], "the one that was there");
    assert_eq!(bench.sql_of("SELECT count(*) FROM sources.purchases").await, [["3"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_was_cut_short_computes_views_of_others_when_it_is_asked_for_again() {
    let bench = shop().await;
    let project = bench.service.project("shop").await.unwrap();
    let key = secret_key(&bench).await;
    let value = key.values[0].clone();
    // Up to where the table is done.
    bench.service.online.bury(&key.grave(50 * HOUR).unwrap()).unwrap();
    let told_by = ToldBy::Keys(vec![vec![("user_id".to_owned(), value)]]);
    let table = bench.service.tables.open("shop", &project.catalog.sources["purchases"]).await.unwrap();
    let done = table.erase(&bench.service.plans, Erasure { id: "first".to_owned(), told_by }).await.unwrap();
    assert_eq!(done.rows, 2);
    assert_eq!(bench.value("by_shop:earned", &[("shop_id", "north")]), Some(20.0), "of the erased");
    let receipt = bench.erase(SECRET).await;
    assert_eq!(receipt.refreshed, ["by_shop"]);
    assert_eq!(bench.value("by_shop:earned", &[("shop_id", "north")]), Some(10.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entity_that_is_being_erased_takes_no_row() {
    let bench = busy().await;
    let key = secret_key(&bench).await;
    let erasing = bench.service.online.begin_erasure(key.grave(50 * HOUR).unwrap()).unwrap();
    let of = |user: &'static str| purchases(&[("ann", "north", 50, 1.0), (user, "north", 50, 2.0)]);
    for to in [PushTo::Both, PushTo::Online, PushTo::Offline] {
        let refused = bench.try_push(to, &["n1", "n2"], of(SECRET)).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Unavailable, "{refused}");
        let told = refused.to_string();
        assert!(told.contains("row 1 ") && told.contains("being erased") && !told.contains(SECRET), "{told}");
    }
    assert_eq!(bench.put("purchases", "b2", of(SECRET)).await.unwrap_err().kind, ErrorKind::Unavailable);
    assert_eq!(bench.value("lately:bought", &[("user_id", "ann")]), Some(2.0), "nothing of it was written");
    let whole = format!("{{\"user_id\": \"{SECRET}\", \"at\": {}, \"amount\": []}}", 50 * HOUR);
    assert_eq!(bench.try_poison(&[(&whole, "a list")]).await.unwrap_err().kind, ErrorKind::Unavailable);
    // Others push on, and what happened before is left out as ever.
    let late = purchases(&[("bob", "north", 50, 1.0), (SECRET, "north", 49, 2.0)]);
    let outcome = bench.push(PushTo::Both, &["b1", "b2"], late).await;
    assert_eq!((outcome.accepted, told(&outcome)), (1, vec![("entity was erased", 1)]));
    drop(erasing);
    assert_eq!(bench.push(PushTo::Both, &["n1", "n2"], of(SECRET)).await.accepted, 2);
    assert_eq!(bench.value("by_user:spent", &[("user_id", SECRET)]), Some(2.0));
}

/// Each push of an entity that is erased meanwhile is either gone everywhere or counted everywhere.
#[tokio::test(flavor = "multi_thread")]
async fn pushes_that_race_with_an_erasure_are_everywhere_or_nowhere() {
    let bench = busy().await;
    let pushes = async {
        let mut pushed = 0;
        loop {
            let ids = [format!("race:{pushed}")];
            match bench.try_push(PushTo::Both, &[&ids[0]], purchases(&[(SECRET, "north", 50, f64::from(pushed))])).await
            {
                Ok(_) => pushed += 1,
                Err(error) => assert_eq!(error.kind, ErrorKind::Unavailable, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        _ = bench.erase(SECRET) => {}
        () = pushes => unreachable!("it goes on"),
    }
    bench.push(PushTo::Both, &["after"], purchases(&[(SECRET, "north", 50, 1.0)])).await;
    bench.flush("purchases").await;
    bench.bring_up(false).await;
    let rows = bench.sql_of(&format!("SELECT count(*) FROM sources.purchases WHERE user_id = '{SECRET}'")).await;
    let counted = bench.value("lately:bought", &[("user_id", SECRET)]).unwrap();
    assert_eq!(rows, [[counted.to_string()]]);
    assert!(counted >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_waits_for_pushes_under_way() {
    let bench = busy().await;
    let (let_go, held) = std::sync::mpsc::channel::<()>();
    let (begun, has_begun) = std::sync::mpsc::channel();
    let under_way = bench.service.pushes.under_way.clone();
    let push = std::thread::spawn(move || {
        let _under_way = under_way.read();
        begun.send(()).unwrap();
        held.recv().unwrap();
    });
    has_begun.recv().unwrap();
    let mut erased = std::pin::pin!(bench.erase(SECRET));
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut erased).await.is_err(), "it waits");
    let_go.send(()).unwrap();
    erased.await;
    push.join().unwrap();
}

/// Another's table still has the entity; nothing that Tidegate makes of it does.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_computed_from_tables_of_others_stays_without_it() {
    let bench = shop().await;
    let lake = bench.folder.path().join("lake/profiles");
    copy(&bench.folder.path().join("tables/shop/profiles"), &lake);
    let theirs = format!(
        "version: 1
project: theirs
entities: [{{name: user, keys: [{{name: user_id, type: string}}]}}]
sources:
  - {{name: people, table: {{delta: {}}}, event_time: at}}
  - name: fans
    event_time: at
    table:
      query:
        sql: SELECT who AS user_id, at, score FROM people
        from: [people]
feature_views:
  - name: person
    entities: [user]
    source: people
    key_columns: {{user_id: who}}
    features: [{{name: score, type: float64}}]
  - {{name: fan, entities: [user], source: fans, features: [{{name: love, type: float64, column: score}}]}}
",
        lake.display()
    );
    bench.apply(&theirs).await.unwrap();
    let bring_up = async |full| {
        let request = MaterializeRequest { project: "theirs".to_owned(), views: Vec::new(), full, detach: false };
        let reports = bench.service.materialize(&bench.me, request).await.unwrap();
        reports.try_collect::<Vec<_>>().await.unwrap();
    };
    let is_there = |feature: &str| {
        let keys: Vec<(String, ArrayRef)> = vec![("user_id".to_owned(), Arc::new(StringArray::from(vec![SECRET])))];
        let request = LookupRequest::new("theirs", Selection::Features(vec![feature.to_owned()]), keys);
        bench.service.lookup(&bench.me, &request).unwrap().answer.feature(0).present(0)
    };
    bring_up(false).await;
    assert!(is_there("person:score") && is_there("fan:love"));
    let keys = vec![("user_id".to_owned(), Arc::new(StringArray::from(vec![SECRET])) as ArrayRef)];
    for project in ["shop", "theirs"] {
        let request = EraseRequest { project: project.to_owned(), entity: "user".to_owned(), keys: keys.clone() };
        let steps: Vec<_> = bench.service.erase(&bench.me, request).await.unwrap().try_collect().await.unwrap();
        let Some(EraseProgress::Done(receipt)) = steps.last() else { panic!("{steps:?}") };
        assert_eq!(receipt.left.len(), usize::from(project == "theirs"), "{receipt:?}");
    }
    bench.service.refresh(&bench.me, "theirs", "fans", true).await.unwrap();
    bring_up(true).await;
    assert!(!is_there("person:score") && !is_there("fan:love"));
    for place in ["tables", "online"] {
        assert_eq!(holding(&bench.folder.path().join(place), SECRET), Vec::<PathBuf>::new());
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}
