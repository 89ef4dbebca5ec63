//! Tables that queries fill: whatever came in what steps, they hold what the query gives over everything; what can't be followed
//! is computed anew; what would not come out the same twice is refused.

use std::path::Path;

use futures::TryStreamExt;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tidegate_schemas::error::ErrorKind;

use super::*;
use crate::fixtures::{append, chain, column, draw, rows, runtime, table, weather, weather_rules};
use crate::ingest::Rules;
use crate::query::{Limits, Namespace};
use crate::table::snapshot::Snapshot;
use crate::table::{Layout, Location, Table};

/// What queries read: `weather` and `other`, tables of one shape, and `by_airport`, a view of the first.
struct World {
    folder: tempfile::TempDir,
    runtime: Arc<Runtime>,
    weather: Table,
    other: Table,
    batches: usize,
}

fn rules(name: &str) -> Rules {
    Rules { table: name.to_owned(), ..weather_rules() }
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (weather, other) = (open(folder.path(), "weather").await, open(folder.path(), "other").await);
        Self { runtime: runtime(folder.path()), folder, weather, other, batches: 0 }
    }

    async fn append(&mut self, to_other: bool, rows: &[(&str, i64, f64)]) {
        self.batches += 1;
        let (name, table) = if to_other { ("other", &self.other) } else { ("weather", &self.weather) };
        let id = format!("b{}", self.batches);
        append(table, &self.runtime, &rules(name), &id, vec![weather(rows)]).await.unwrap();
    }

    async fn inputs(&self) -> Vec<Input> {
        let (weather, other) = (self.weather.snapshot(None).await.unwrap(), self.other.snapshot(None).await.unwrap());
        let input = |namespace, name: &str, table: &Table, snapshot: &Arc<Snapshot>, columns| Input {
            shown: ShownTable { namespace, name: name.to_owned(), snapshot: snapshot.clone(), columns },
            table: table.clone(),
        };
        let shown = [("origin", "airport"), ("at", "at"), ("temp", "temperature")];
        let shown = Some(shown.map(|(from, to)| (from.to_owned(), to.to_owned())).to_vec());
        vec![
            input(Namespace::Sources, "weather", &self.weather, &weather, None),
            input(Namespace::Sources, "other", &self.other, &other, None),
            input(Namespace::Views, "by_airport", &self.weather, &weather, shown),
        ]
    }

    async fn plan(&self, sql: &str) -> Result<Refresh> {
        let recipe = Recipe {
            project: "p".to_owned(),
            sql: sql.to_owned(),
            needed: vec![column("origin", "string"), column("at", "timestamp")],
            order: vec!["origin".to_owned(), "at".to_owned()],
        };
        Refresh::plan(&self.runtime, recipe, self.inputs().await).await
    }

    /// The table of a query, found by its name alone.
    async fn target(&self, name: &str, refresh: &Refresh) -> Table {
        let location = Location::Delta(self.folder.path().join("queries").join(name));
        Table::open_filled(name, &location, Some(refresh.columns())).await.unwrap()
    }

    async fn refresh(&self, name: &str, sql: &str, full: bool) -> Result<Refreshed> {
        let refresh = self.plan(sql).await?;
        let table = self.target(name, &refresh).await;
        refresh.run(&table, full, &Arc::default()).await
    }

    /// What the query gives over everything, and what the table holds.
    async fn both(&self, name: &str, sql: &str) -> (String, String) {
        let shown = self.inputs().await.into_iter().map(|input| input.shown).collect();
        let whole = Sql::over(&self.runtime, "p", shown).unwrap();
        let stream = whole.execute(sql, None, &Limits::default()).await.unwrap();
        let whole = sorted(&stream.try_collect::<Vec<_>>().await.unwrap());
        let table = self.target(name, &self.plan(sql).await.unwrap()).await;
        (whole, sorted(&rows(&table.snapshot(None).await.unwrap()).await.unwrap()))
    }
}

async fn open(folder: &Path, name: &str) -> Table {
    table(&folder.join(name), &rules(name)).await.unwrap()
}

/// The lines of a drawn table, in order of their text.
fn sorted(batches: &[arrow::array::RecordBatch]) -> String {
    let drawn = draw(batches);
    let mut lines: Vec<&str> = drawn.lines().filter(|line| !line.starts_with('+')).skip(1).collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// Queries, and whether they can be followed row by row.
const QUERIES: &[(&str, bool)] = &[
    ("SELECT * FROM weather", true),
    ("SELECT origin, at, temp * 2 AS twice, upper(origin) AS shouted FROM weather WHERE temp > 3", true),
    ("SELECT airport AS origin, at, temperature FROM by_airport WHERE temperature IS NOT NULL", true),
    ("SELECT origin, at, temp FROM weather UNION ALL SELECT origin, at, -temp FROM other WHERE temp < 8", true),
    ("SELECT origin, at, unnest([temp, temp + 1]) AS x FROM (SELECT * FROM weather WHERE origin <> 'A')", true),
    ("SELECT origin, max(at) AS at, sum(temp) AS total, count(*) AS n FROM weather GROUP BY origin", false),
    ("SELECT w.origin, w.at, w.temp, o.temp AS of_other FROM weather w JOIN other o ON w.origin = o.origin", false),
    ("SELECT DISTINCT origin, at FROM weather", false),
    (
        "SELECT origin, at, CAST(row_number() OVER (PARTITION BY origin ORDER BY at, temp) AS BIGINT) AS nth FROM weather",
        false,
    ),
    ("SELECT origin, at, temp FROM weather WHERE origin IN (SELECT origin FROM other)", false),
    ("SELECT origin, at, (SELECT max(temp) FROM other) AS highest FROM weather", false),
    ("SELECT origin, at FROM weather UNION SELECT origin, at FROM other", false),
    ("SELECT origin, at, temp FROM weather ORDER BY at, temp, origin LIMIT 5", false),
];

#[tokio::test]
async fn increments_add_up_to_what_the_whole_gives() {
    let seed = std::env::var("TIDEGATE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(5_u64);
    let cases = std::env::var("TIDEGATE_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(6_u64);
    for case in seed..seed + cases.min(60) {
        let mut rng = StdRng::seed_from_u64(case);
        let mut world = World::new().await;
        world.append(false, &[("A", 1, 1.0)]).await;
        world.append(true, &[("A", 1, 1.0)]).await;
        let mut full = vec![0; QUERIES.len()];
        for _ in 0..rng.random_range(2..5) {
            for _ in 0..rng.random_range(0..3) {
                // Late rows and repeated ones are rows like any other.
                let row = |rng: &mut StdRng| {
                    let origin = ["A", "B", "C"][rng.random_range(0..3)];
                    (origin, rng.random_range(0..20), f64::from(rng.random_range(0..12)))
                };
                let rows: Vec<_> = (0..rng.random_range(1..6)).map(|_| row(&mut rng)).collect();
                let to_other = rng.random_bool(0.4);
                world.append(to_other, &rows).await;
            }
            for (at, (sql, _)) in QUERIES.iter().enumerate().filter(|_| rng.random_bool(0.7)) {
                let refreshed = world.refresh(&format!("q{at}"), sql, false).await.unwrap();
                full[at] += usize::from(refreshed.full);
            }
            if rng.random_bool(0.3) {
                // Nothing but what every query has read: a compaction then moves rows that nobody has yet to read.
                for (at, (sql, _)) in QUERIES.iter().enumerate() {
                    full[at] += usize::from(world.refresh(&format!("q{at}"), sql, false).await.unwrap().full);
                }
                let layout = Layout { keys: vec!["origin".to_owned()], event_time: "at".to_owned(), up_to: None };
                world.weather.compact(&world.runtime, layout).await.unwrap();
            }
        }
        for (at, (sql, row_by_row)) in QUERIES.iter().enumerate() {
            let name = format!("q{at}");
            full[at] += usize::from(world.refresh(&name, sql, false).await.unwrap().full);
            let (whole, found) = world.both(&name, sql).await;
            assert_eq!(found, whole, "TIDEGATE_SEED={case}: {sql}");
            assert!(!row_by_row || full[at] == 1, "TIDEGATE_SEED={case}: {sql} was computed anew {} times", full[at]);
            let again = world.refresh(&name, sql, false).await.unwrap();
            assert!(!again.changed && !again.full, "TIDEGATE_SEED={case}: {sql}: {again:?}");
        }
    }
}

#[tokio::test]
async fn a_repeat_does_nothing_and_a_crash_in_between_is_no_matter() {
    let mut world = World::new().await;
    world.append(false, &[("A", 1, 1.0), ("B", 2, 2.0)]).await;
    let sql = "SELECT * FROM weather WHERE temp > 1";
    let first = world.refresh("q", sql, false).await.unwrap();
    assert!(first.changed && first.full && first.rows == 1 && first.inputs["sources.weather"] == 1, "{first:?}");

    // Files of a fill that never got to its commit are in the folder and in no version.
    std::fs::copy(
        std::fs::read_dir(world.folder.path().join("queries/q"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.extension().is_some_and(|it| it == "parquet"))
            .unwrap(),
        world.folder.path().join("queries/q/part-lost.parquet"),
    )
    .unwrap();
    world.append(false, &[("C", 0, 9.0), ("D", 0, 0.0)]).await;
    let second = world.refresh("q", sql, false).await.unwrap();
    assert!(second.changed && !second.full && second.rows == 1 && second.version == first.version + 1, "{second:?}");
    // Rows that the query leaves out move the record, so that they are read once.
    world.append(false, &[("E", 0, 0.0)]).await;
    let third = world.refresh("q", sql, false).await.unwrap();
    assert!(third.changed && third.rows == 0 && third.inputs["sources.weather"] == 3, "{third:?}");
    let fourth = world.refresh("q", sql, false).await.unwrap();
    assert!(!fourth.changed && fourth.version == third.version, "{fourth:?}");
    let (whole, found) = world.both("q", sql).await;
    assert_eq!(found, whole);

    let anew = world.refresh("q", sql, true).await.unwrap();
    assert!(anew.changed && anew.full && anew.rows == 2, "{anew:?}");
    assert_eq!(world.both("q", sql).await.1, whole);
}

/// A table that was replaced is read whole by the query over it; one of other columns is given those.
#[tokio::test]
async fn rewritten_inputs_and_other_columns_are_computed_anew() {
    let mut world = World::new().await;
    world.append(false, &[("A", 1, 1.0), ("B", 2, 2.0)]).await;
    let totals = "SELECT origin, max(at) AS at, sum(temp) AS temp FROM weather GROUP BY origin";
    world.refresh("totals", totals, false).await.unwrap();
    let table = world.target("totals", &world.plan(totals).await.unwrap()).await;
    let over = |snapshot: Arc<Snapshot>| Input {
        shown: ShownTable { namespace: Namespace::Sources, name: "totals".to_owned(), snapshot, columns: None },
        table: table.clone(),
    };
    let refresh = async |sql: &str| {
        let recipe =
            Recipe { project: "p".to_owned(), sql: sql.to_owned(), needed: Vec::new(), order: vec!["at".to_owned()] };
        let input = over(table.snapshot(None).await.unwrap());
        let refresh = Refresh::plan(&world.runtime, recipe, vec![input]).await.unwrap();
        let target = world.target("warm", &refresh).await;
        let done = refresh.run(&target, false, &Arc::default()).await.unwrap();
        (done, draw(&rows(&target.snapshot(None).await.unwrap()).await.unwrap()))
    };
    let warm = "SELECT origin, at, temp FROM totals WHERE temp > 1";
    let (first, drawn) = refresh(warm).await;
    assert!(first.full && first.rows == 1 && !drawn.contains('A'), "{first:?}\n{drawn}");
    append(&world.weather, &world.runtime, &rules("weather"), "late", vec![weather(&[("A", 0, 5.0)])]).await.unwrap();
    world.refresh("totals", totals, false).await.unwrap();
    let (second, drawn) = refresh(warm).await;
    assert!(second.full && second.rows == 2 && drawn.contains("6.0"), "{second:?}\n{drawn}");
    assert!(!refresh(warm).await.0.changed);

    let (third, drawn) = refresh("SELECT origin, at, CAST(temp AS BIGINT) AS temp, origin AS name FROM totals").await;
    assert!(third.full && drawn.contains("name") && !drawn.contains("6.0"), "{third:?}\n{drawn}");
    assert!(third.version > second.version);
}

#[tokio::test]
async fn what_would_not_come_out_the_same_is_refused() {
    let world = World::new().await;
    let check = async |sql: &str, kind: ErrorKind, expect: &str| {
        let error = world.plan(sql).await.map(|_| ()).unwrap_err();
        assert!(error.kind() == kind && chain(&error).contains(expect), "{sql}: {:?}: {}", error.kind(), chain(&error));
    };
    let invalid = ErrorKind::Invalid;
    check("SELECT origin, now() AS at FROM weather", invalid, "`now` gives another value each time").await;
    check("SELECT origin, at FROM weather WHERE at < current_timestamp", invalid, "`now`").await;
    check("SELECT origin, at FROM weather WHERE to_date(at) < current_date()", invalid, "`current_date`").await;
    check("SELECT origin, at, random() AS x FROM weather", invalid, "`random`").await;
    check("SELECT origin, at FROM weather WHERE temp > (SELECT random())", invalid, "`random`").await;
    check("SELECT origin, at, uuid() AS x FROM weather", invalid, "`uuid`").await;
    check("SELECT origin, at FROM weather LIMIT 5", invalid, "LIMIT without ORDER BY").await;
    check("SELECT DISTINCT ON (origin) origin, at FROM weather", invalid, "DISTINCT ON without ORDER BY").await;
    check("SELECT origin, max(at) AS at, array_agg(temp) AS x FROM weather GROUP BY origin", invalid, "`array_agg`")
        .await;
    check("SELECT origin, at, row_number() OVER (PARTITION BY origin) AS n FROM weather", invalid, "`row_number`")
        .await;
    check("SELECT table_name AS origin, at FROM information_schema.tables, weather", invalid, "information_schema")
        .await;
    check("SELECT origin, at FROM weather WHERE temp > $1", invalid, "no parameters").await;
    check("EXPLAIN SELECT origin, at FROM weather", invalid, "SELECT").await;
    check("SELECT origin, att AS at FROM weather", invalid, "att").await;
    check("SELECT * FROM wether", ErrorKind::NotFound, "did you mean `weather`?").await;
    check("DROP TABLE weather", ErrorKind::Forbidden, "DROP TABLE").await;
    check("SELECT * FROM training_set('s', 'SELECT 1')", invalid, "training_set").await;
    check("SELECT origin FROM weather", invalid, "it gives no column `at` (timestamp)").await;
    check("SELECT temp AS origin, at FROM weather", invalid, "`origin` as float64, and the definitions need string")
        .await;
    check("SELECT w.origin, w.at, o.at FROM weather w, other o", invalid, "two columns `at`").await;
    check("SELECT origin, at, temp + 1 FROM weather", invalid, "name it with AS").await;
    check("SELECT origin, at, NULL AS x FROM weather", invalid, "`x`").await;
    check("SELECT origin, at, 1 AS __tidegate_committed FROM weather", invalid, "name it with AS").await;
    for fine in [
        "SELECT origin, at, first_value(temp) OVER (PARTITION BY origin ORDER BY at) AS x FROM weather",
        "SELECT origin, max(at) AS at, array_agg(temp ORDER BY temp) AS x FROM weather GROUP BY origin",
        "WITH warm AS (SELECT * FROM weather WHERE temp > 1) SELECT origin, at FROM warm",
        "SELECT DISTINCT ON (origin) origin, at FROM weather ORDER BY origin, at, temp",
    ] {
        if let Err(error) = world.plan(fine).await {
            panic!("{fine}: {}", chain(&error));
        }
    }
}

#[tokio::test]
async fn columns_are_followed_through_queries() {
    let world = World::new().await;
    let check = async |sql: &str, expect: &str| {
        let shown = world.inputs().await.into_iter().map(|input| input.shown).collect();
        let query = Query::plan(&world.runtime, "p", sql, shown)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {}", chain(&error)));
        let lineage = query.lineage().unwrap();
        let told = |origins: &std::collections::BTreeSet<Origin>| {
            let origin = |it: &Origin| format!("{}.{}.{}", it.namespace.as_str(), it.name, it.column);
            origins
                .iter()
                .map(origin)
                .collect::<Vec<_>>()
                .join(" ")
                .replace("sources.weather", "w")
                .replace("sources.other", "o")
        };
        let columns = lineage.columns.iter().map(|it| format!("{} <- {}", it.column, told(&it.from)));
        let rows = (!lineage.rows.is_empty()).then(|| format!("rows <- {}", told(&lineage.rows)));
        let found: Vec<String> = columns.chain(rows).map(|line| line.trim().to_owned()).collect();
        assert_eq!(found.join("\n"), expect, "{sql}");
    };
    check(
        "SELECT origin, at AS t, temp * 2 + 1 AS x, 7 AS c FROM weather",
        "origin <- w.origin\nt <- w.at\nx <- w.temp\nc <-",
    )
    .await;
    check(
        "SELECT CASE WHEN temp > 5 THEN origin ELSE upper(origin) END AS x FROM weather WHERE at IS NOT NULL",
        "x <- w.origin w.temp\nrows <- w.at",
    )
    .await;
    check(
        "SELECT w.origin, o.temp - w.temp AS d, o.* FROM weather w LEFT JOIN other o ON w.origin = o.origin AND o.at < w.at",
        "origin <- w.origin\nd <- o.temp w.temp\norigin <- o.origin\nat <- o.at\ntemp <- o.temp\n\
         rows <- o.at o.origin w.at w.origin",
    )
    .await;
    check(
        "SELECT origin, date_trunc('day', at) AS d, sum(temp) AS s, count(*) AS n, max(temp) FILTER (WHERE at > '2020-01-01') AS m \
         FROM weather GROUP BY origin, date_trunc('day', at) HAVING count(*) > 1",
        "origin <- w.origin\nd <- w.at\ns <- w.temp\nn <-\nm <- w.at w.temp\nrows <- w.at w.origin",
    )
    .await;
    check(
        "SELECT airport, avg(temperature) OVER (PARTITION BY airport ORDER BY at) AS a FROM by_airport b",
        "airport <- views.by_airport.airport\n\
         a <- views.by_airport.airport views.by_airport.at views.by_airport.temperature",
    )
    .await;
    check(
        "WITH both AS (SELECT origin, temp FROM weather UNION ALL SELECT origin, at::BIGINT::DOUBLE FROM other) \
         SELECT temp AS x FROM both ORDER BY origin LIMIT 3",
        "x <- o.at w.temp\nrows <- o.origin w.origin",
    )
    .await;
    check(
        "SELECT origin, (SELECT max(temp) FROM other o WHERE o.origin = w.origin AND o.at < w.at) AS highest FROM weather w",
        "origin <- w.origin\nhighest <- o.at o.origin o.temp w.at w.origin",
    )
    .await;
    check(
        "SELECT unnest([temp, 1.0]) AS x FROM weather WHERE EXISTS (SELECT 1 FROM other o WHERE o.origin = weather.origin)",
        "x <- w.temp\nrows <- o.origin w.origin",
    )
    .await;
}
