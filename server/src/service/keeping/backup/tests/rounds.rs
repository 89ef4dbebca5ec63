//! Servers that were put back go on: what was pushed before, meanwhile and afterwards is in the table once and counted once, although a
//! restored server gives the numbers of its pushes anew. `TIDEGATE_RESTORES` rounds.
//!
//! ```text
//! whole      the backup has tables, a little later than the online tier
//! online     the online tier of a backup, beside tables that the first server wrote to afterwards
//! nothing    tables alone; the online tier is rebuilt
//! ```

use super::*;
use crate::service::push::Came;
use crate::service::tests::bench::{Dice, LATE};
use crate::service::{Principal, PushRequest, PushTo};

const ORIGINS: [&str; 3] = ["JFK", "EWR", "LGA"];

/// The view of [`FLIGHTS`] and one that counts all that there ever was.
fn definitions() -> String {
    let counts = "  - name: origin_counts
    entities: [airport]
    source: weather
    features:
      - {name: readings, type: int64, aggregate: {fn: count, window: all}}
      - {name: lately, type: int64, aggregate: {fn: count, window: 30d, hop: 1h}}
feature_services:
";
    FLIGHTS.replace("feature_services:\n", counts)
}

/// What there is of each origin: how many readings, and the newest.
type Model = [(u64, Option<f64>); ORIGINS.len()];

struct Writer {
    dice: Dice,
    /// The hour of the last reading: each is newer than those before.
    hour: i64,
    batches: u64,
    /// All that was written.
    all: Model,
}

impl Writer {
    /// Some readings by a way that is chosen by chance, or something else that servers do.
    async fn step(&mut self, bench: &Bench) {
        match self.dice.roll(0..7) {
            0 => flush(bench).await,
            1 => bring_up(bench, false).await,
            2 => {
                let rows = self.readings();
                self.batches += 1;
                drop(bench.ingest(&format!("batch-{}", self.batches), weather(&rows)).await.unwrap());
            }
            3 => self.push(bench, PushTo::Offline).await,
            _ => self.push(bench, PushTo::Both).await,
        }
    }

    async fn push(&mut self, bench: &Bench, to: PushTo) {
        let request = PushRequest { project: "flights".to_owned(), target: "weather".to_owned(), to, event_ids: None };
        let rows = self.readings();
        let outcome = bench.service.push(&bench.me, request, weather(&rows)).await.unwrap();
        assert_eq!(outcome.accepted, rows.len() as u64, "{outcome:?}");
    }

    fn readings(&mut self) -> Vec<(&'static str, i64, f64)> {
        let mut rows = Vec::new();
        for _ in 0..self.dice.roll(1..4) {
            let nth = self.dice.roll(0..ORIGINS.len() as i64) as usize;
            self.hour += 1;
            let temp = self.dice.roll(0..1_000) as f64;
            self.all[nth] = (self.all[nth].0 + 1, Some(temp));
            rows.push((ORIGINS[nth], self.hour, temp));
        }
        rows
    }
}

async fn flush(bench: &Bench) {
    bench.service.flush(&Principal::local_owner(), "flights", "weather").await.unwrap();
}

async fn bring_up(bench: &Bench, full: bool) {
    bench.materialize_now(full).await.unwrap();
}

/// A feature of all origins, as lookups see it.
fn served(bench: &Bench, feature: &str) -> Vec<Option<f64>> {
    let keys: Vec<(String, ArrayRef)> = vec![("origin".to_owned(), Arc::new(StringArray::from(ORIGINS.to_vec())))];
    let features = Selection::Features(vec![feature.to_owned()]);
    let request = LookupRequest { return_expired: true, ..LookupRequest::new("flights", features, keys) };
    let reply = bench.service.lookup(&bench.me, &request).unwrap();
    let feature = reply.answer.feature(0);
    let value = |row: usize| match feature.values {
        Values::Doubles(values) => values.iter().nth(row),
        Values::Int64s(values) => values.iter().nth(row).map(|value| value as f64),
        other => panic!("{other:?}"),
    };
    (0..ORIGINS.len()).map(|row| value(row).filter(|_| feature.present(row))).collect()
}

const FEATURES: [&str; 3] = ["origin_weather:temp", "origin_counts:readings", "origin_counts:lately"];

fn all_served(bench: &Bench) -> Vec<Vec<Option<f64>>> {
    FEATURES.iter().map(|feature| served(bench, feature)).collect()
}

/// With everything in its table and materialized, the server has what the model has, once.
async fn check(bench: &Bench, model: &Model) {
    flush(bench).await;
    bring_up(bench, false).await;
    let rows: u64 = model.iter().map(|(count, _)| count).sum();
    assert_eq!(bench.sql("SELECT count(*) FROM sources.weather").await.unwrap(), [[rows.to_string()]]);
    assert_eq!(served(bench, FEATURES[0]), model.map(|(_, newest)| newest));
    for feature in &FEATURES[1..] {
        assert_eq!(served(bench, feature), model.map(|(count, _)| Some(count as f64)), "{feature}");
    }
    let parity: Vec<_> = bench.service.parity(&bench.me, "flights", &[]).await.unwrap().try_collect().await.unwrap();
    assert!(parity.iter().all(|view| view.parity.holds() && view.parity.ahead == 0), "{parity:?}");
}

/// Where a topic is read on.
const POSITION: &[u8] = b"topic";

fn position(bench: &Bench) -> i64 {
    let stored = bench.service.online.extra(POSITION).unwrap();
    stored.map_or(0, |stored| i64::from_le_bytes(stored.try_into().unwrap()))
}

/// Takes the message that comes next. While the outbox is full it waits, as in a topic.
async fn take_message(bench: &Bench) {
    let nth = position(bench);
    let rows = weather(&[("JFK", nth, nth as f64)]).collect().await.unwrap().remove(0);
    let next = (nth + 1).to_le_bytes().to_vec();
    let project = bench.service.project("flights").await.unwrap();
    loop {
        let positions = vec![(POSITION.to_vec(), next.clone())];
        let came = Came { origin: "kafka", positions, ..Came::default() };
        match bench.service.take_rows(&project, "weather", rows.clone(), came).await {
            Err(error) if error.kind == ErrorKind::Exhausted => flush(bench).await,
            taken => return drop(taken.unwrap()),
        }
    }
}

/// A topic is read, and its outbox flushed, all the while that backups are made.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_there_once_after_a_restore() {
    const MESSAGES: i64 = 400;
    let bench = Bench::new().await;
    bench.apply(&definitions()).await.unwrap();
    bench.clock.set(LATE);
    bring_up(&bench, true).await;
    let backups = number("TIDEGATE_RESTORES", 3);
    let backup = async {
        let mut made = Vec::new();
        for nth in 0..backups {
            made.push(bench.back_up(&format!("b{nth}"), false).await.unwrap().0);
        }
        made
    };
    let reading = async {
        loop {
            take_message(&bench).await;
        }
    };
    let flushing = async {
        loop {
            flush(&bench).await;
        }
    };
    let made = tokio::select! {
        made = backup => made,
        () = reading => unreachable!("it reads on"),
        () = flushing => unreachable!("it flushes on"),
    };
    for path in made {
        let (restored, _) = Bench::of(&path).await;
        restored.clock.set(LATE);
        let end = position(&restored).max(MESSAGES);
        while position(&restored) < end {
            take_message(&restored).await;
        }
        flush(&restored).await;
        bring_up(&restored, false).await;
        let rows = restored.sql("SELECT count(*), count(DISTINCT temp) FROM sources.weather").await.unwrap();
        assert_eq!(rows, [[end.to_string(), end.to_string()]]);
        assert_eq!(served(&restored, "origin_counts:readings"), [Some(end as f64), Some(0.0), Some(0.0)]);
    }
}

/// The same for any moment: no chunk goes to a table between the checkpoint and the copy of the table's commits.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_waits_for_flushes_and_flushes_for_it() {
    let bench = Bench::new().await;
    bench.apply(&definitions()).await.unwrap();
    bench.clock.set(LATE);
    take_message(&bench).await;
    let patience = Duration::from_millis(300);
    let flushes = bench.service.pushes.outboxes.clone().read_owned().await;
    let mut backup = std::pin::pin!(bench.back_up("b", false));
    assert!(tokio::time::timeout(patience, &mut backup).await.is_err(), "it waits for the chunk under way");
    drop(flushes);
    backup.await.unwrap();
    let held = bench.service.pushes.hold_outboxes().await;
    let mut flushed = std::pin::pin!(flush(&bench));
    assert!(tokio::time::timeout(patience, &mut flushed).await.is_err(), "it waits for the backup");
    take_message(&bench).await;
    drop(held);
    flushed.await;
}

async fn stopped(bench: Bench) -> tempfile::TempDir {
    let Bench { service, shutdown, folder, .. } = bench;
    shutdown.finish(Duration::from_secs(10)).await;
    while Arc::strong_count(&service) > 1 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    drop(service);
    folder
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

async fn round(seed: u64) {
    let bench = Bench::new().await;
    bench.apply(&definitions()).await.unwrap();
    bench.clock.set(LATE);
    let mut writer = Writer { dice: Dice(seed), hour: LATE / HOUR - 600, batches: 0, all: [(0, None); ORIGINS.len()] };
    for _ in 0..writer.dice.roll(1..12) {
        writer.step(&bench).await;
    }
    let (whole, _) = bench.back_up("whole", false).await.unwrap();
    let (online, _) = bench.back_up("online", true).await.unwrap();
    let (before, served_before) = (writer.all, all_served(&bench));
    for _ in 0..writer.dice.roll(1..8) {
        writer.step(&bench).await;
    }
    flush(&bench).await;
    let meanwhile = writer.all;
    let first = stopped(bench).await;

    let (restored, _) = Bench::of(&whole).await;
    restored.clock.set(LATE);
    assert_eq!(all_served(&restored), served_before, "the state at the backup");
    writer.all = before;
    go_on(restored, &mut writer).await;

    let (restored, _) = Bench::of(&online).await;
    let folder = stopped(restored).await;
    std::fs::remove_dir_all(folder.path().join("tables")).ok();
    copy(&first.path().join("tables"), &folder.path().join("tables"));
    let restored = Bench::open(folder, 1024).await;
    restored.clock.set(LATE);
    assert_eq!(all_served(&restored), served_before);
    writer.all = meanwhile;
    go_on(restored, &mut writer).await;

    std::fs::remove_dir_all(first.path().join("online")).unwrap();
    let bare = Bench::open(first, 1024).await;
    bare.clock.set(LATE);
    let rebuilt = bare.service.rebuild(&bare.me, Vec::new()).await.unwrap();
    rebuilt.try_collect::<Vec<RebuildProgress>>().await.unwrap();
    writer.all = meanwhile;
    go_on(bare, &mut writer).await;
}

/// A server that was put back is written to, checked, opened again, and rebuilt.
async fn go_on(bench: Bench, writer: &mut Writer) {
    for _ in 0..writer.dice.roll(0..8) {
        writer.step(&bench).await;
    }
    check(&bench, &writer.all).await;
    let bench = bench.restart().await;
    bench.clock.set(LATE);
    writer.step(&bench).await;
    check(&bench, &writer.all).await;
    bring_up(&bench, true).await;
    check(&bench, &writer.all).await;
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::print_stdout, reason = "the seed repeats a failure")]
async fn pushes_after_a_restore_are_neither_lost_nor_doubled() {
    let (first, rounds) = (number("TIDEGATE_SEED", 1), number("TIDEGATE_RESTORES", 3));
    for seed in first..first + rounds {
        println!("TIDEGATE_SEED={seed}");
        round(seed).await;
    }
}
