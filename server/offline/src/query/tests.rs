//! The gate: what is refused, what passes, and that nothing aborts the process.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{Int64Array, StringArray};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, lit};
use futures::TryStreamExt;
use tidegate_schemas::error::ErrorKind;

use super::*;
use crate::fixtures::{append, chain, draw, runtime, table, weather, weather_rules};

/// A project with a source, a view on it, and a training set function that adds a column naming the service.
async fn sql(folder: &Path) -> Sql {
    let runtime = runtime(folder);
    let rules = weather_rules();
    let weather_table = table(&folder.join("weather"), &rules).await.unwrap();
    let rows = [("JFK", 0, 1.0), ("LGA", 1, 2.0), ("EWR", 2, 3.0)];
    append(&weather_table, &runtime, &rules, "a", vec![weather(&rows)]).await.unwrap();
    let columns = [("origin", "airport"), ("at", "at"), ("temp", "temperature")];
    let columns = columns.map(|(from, to)| (from.to_owned(), to.to_owned())).to_vec();
    let tables = vec![
        NamedTable {
            namespace: Namespace::Sources,
            name: "weather".into(),
            table: weather_table.clone(),
            columns: None,
        },
        NamedTable {
            namespace: Namespace::Views,
            name: "by_airport".into(),
            table: weather_table,
            columns: Some(columns),
        },
    ];
    let training_set: TrainingSet = Arc::new(|call| {
        let plan = move || {
            let all: Vec<Expr> = call.spine.schema().columns().into_iter().map(Expr::Column).collect();
            let named = lit(call.service.clone()).alias(if call.full_names { "view__label" } else { "label" });
            Ok(LogicalPlanBuilder::from(call.spine).project(all.into_iter().chain([named]))?.build()?)
        };
        async move { plan() }.boxed()
    });
    Sql::new(&runtime, "flights", tables, Some(training_set)).unwrap()
}

async fn run(sql: &Sql, query: &str) -> Result<String> {
    let stream = sql.execute(query, None, &Limits::default()).await?;
    Ok(draw(&stream.try_collect::<Vec<_>>().await?))
}

#[tokio::test]
async fn tables_and_views_resolve_with_and_without_their_schema() {
    let folder = tempfile::tempdir().unwrap();
    let sql = sql(folder.path()).await;
    for query in [
        "SELECT count(*) AS n FROM weather",
        "SELECT count(*) AS n FROM sources.weather",
        "SELECT count(*) AS n FROM flights.sources.weather",
        "SELECT count(*) AS n FROM by_airport WHERE temperature > 0 OR airport = 'x'",
        "SELECT count(*) AS n FROM views.by_airport",
        "WITH w AS (SELECT * FROM weather) SELECT count(*) AS n FROM w JOIN by_airport ON airport = origin",
        "SELECT count(*) AS n FROM weather WHERE origin IN (SELECT airport FROM by_airport);",
    ] {
        let answer = run(&sql, query).await.unwrap_or_else(|error| panic!("{query}: {}", chain(&error)));
        assert!(answer.contains("| 3 |"), "{query}\n{answer}");
    }
    let listed = sql.tables().await.unwrap();
    let names: Vec<String> =
        listed.iter().map(|table| format!("{}.{}", table.namespace.as_str(), table.name)).collect();
    assert_eq!(names, ["views.by_airport", "sources.weather"]);
    assert_eq!(listed[0].columns.field(2).name(), "temperature");
}

#[tokio::test]
async fn questions_about_tables_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let sql = sql(folder.path()).await;
    for query in [
        "SHOW TABLES",
        "SHOW COLUMNS FROM weather",
        "DESCRIBE weather",
        "SELECT table_schema, table_name FROM information_schema.tables",
        "EXPLAIN SELECT * FROM weather",
        "EXPLAIN ANALYZE SELECT * FROM weather WHERE temp > 1",
    ] {
        run(&sql, query).await.unwrap_or_else(|error| panic!("{query}: {}", chain(&error)));
    }
    let tables = run(&sql, "SHOW TABLES").await.unwrap();
    assert!(tables.contains("by_airport") && tables.contains("weather"), "{tables}");
}

#[tokio::test]
async fn whatever_is_not_a_query_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let sql = sql(folder.path()).await;
    let secret = folder.path().join("secret.csv");
    std::fs::write(&secret, "a\n1\n").unwrap();
    let path = secret.display();
    let statements = [
        "CREATE TABLE t AS SELECT 1".to_owned(),
        "CREATE VIEW v AS SELECT 1".to_owned(),
        format!("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '{path}'"),
        format!("COPY (SELECT 1) TO '{path}.out'"),
        "INSERT INTO weather VALUES ('x', now(), 1.0)".to_owned(),
        "INSERT INTO sources.weather SELECT * FROM weather".to_owned(),
        "DELETE FROM weather".to_owned(),
        "UPDATE weather SET temp = 0".to_owned(),
        "TRUNCATE TABLE weather".to_owned(),
        "DROP TABLE weather".to_owned(),
        "DROP SCHEMA views".to_owned(),
        "CREATE DATABASE other".to_owned(),
        "CREATE FUNCTION f() RETURNS INT RETURN 1".to_owned(),
        "SET datafusion.execution.batch_size = 1".to_owned(),
        "RESET datafusion.execution.batch_size".to_owned(),
        "SHOW ALL".to_owned(),
        "SHOW datafusion.execution.batch_size".to_owned(),
        "PREPARE p AS SELECT 1".to_owned(),
        "EXECUTE p".to_owned(),
        "BEGIN".to_owned(),
        "EXPLAIN INSERT INTO weather VALUES ('x', now(), 1.0)".to_owned(),
        "EXPLAIN COPY weather TO 'x'".to_owned(),
        "SELECT 1; SELECT 2".to_owned(),
        "SELECT 1 INTO t".to_owned(),
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT * FROM r".to_owned(),
        "SELECT * FROM information_schema.df_settings".to_owned(),
        "SELECT input_file_name() FROM weather".to_owned(),
        "SELECT repeat('x', 2000000000)".to_owned(),
        "SELECT unnest(range(100000000000))".to_owned(),
        "SELECT 1 WHERE EXISTS (SELECT repeat('x', 2000000000))".to_owned(),
        format!("SELECT * FROM '{path}'"),
        format!("SELECT * FROM \"{path}\""),
        format!("SELECT * FROM 'file://{path}'"),
        "SELECT * FROM '/etc/passwd'".to_owned(),
        format!("SELECT * FROM read_csv('{path}')"),
        format!("SELECT * FROM read_parquet('{path}')"),
        "SELECT * FROM parquet_metadata('x')".to_owned(),
        "SELECT * FROM generate_series(1, 10)".to_owned(),
        "SELECT * FROM 'https://example.com/x.parquet'".to_owned(),
        "SELECT * FROM other.sources.weather".to_owned(),
        "SELECT * FROM datafusion.public.weather".to_owned(),
        "SELECT * FROM public.weather".to_owned(),
        String::new(),
        ";".to_owned(),
        "SELECT 'unterminated".to_owned(),
    ];
    for statement in &statements {
        match run(&sql, statement).await {
            Ok(answer) => panic!("`{statement}` was answered:\n{answer}"),
            Err(error) => {
                let kind = error.kind();
                assert!(
                    matches!(
                        kind,
                        ErrorKind::Forbidden | ErrorKind::Invalid | ErrorKind::NotFound | ErrorKind::Unsupported
                    ),
                    "`{statement}`: {kind:?} {}",
                    chain(&error)
                );
            }
        }
    }
    assert!(!folder.path().join("secret.csv.out").exists());
}

/// A query is run, prepared, or taken as the spine of a training set: what one door refuses, all do.
#[tokio::test]
async fn every_door_refuses_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let sql = sql(folder.path()).await;
    for statement in [
        "DELETE FROM weather",
        "SELECT * FROM information_schema.df_settings",
        "SELECT input_file_name() FROM weather",
        "SELECT 1 WHERE EXISTS (SELECT repeat('x', 2000000000))",
        "SELECT * FROM training_set('s', 'SELECT input_file_name() FROM weather')",
    ] {
        let doors = [
            ("execute", run(&sql, statement).await.map(drop)),
            ("prepare", sql.prepare(statement).await.map(drop)),
            ("spine", sql.logical_plan(statement).await.map(drop)),
        ];
        for (door, answer) in doors {
            let kind = answer.map_err(|error| error.kind());
            assert_eq!(kind, Err(ErrorKind::Forbidden), "{door}: {statement}");
        }
    }
}

#[tokio::test]
async fn deep_and_long_expressions_are_refused_or_answered_never_fatal() {
    let folder = tempfile::tempdir().unwrap();
    let sql = sql(folder.path()).await;
    let chained = |operand: &str, operator: &str, count: usize| {
        format!("SELECT {} AS x", vec![operand; count].join(&format!(" {operator} ")))
    };
    assert!(run(&sql, &chained("1", "+", 900)).await.unwrap().contains("900"));
    assert!(run(&sql, &chained("temp", "+", 900).replace("AS x", "AS x FROM weather")).await.is_ok());
    assert!(run(&sql, &chained("true", "OR", 900)).await.is_ok());
    for (operand, operator, count) in
        [("1", "+", 5_000), ("true", "OR", 50_000), ("'a'", "||", 5_000), ("1", "-", 99_000)]
    {
        let error = run(&sql, &chained(operand, operator, count)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{}", chain(&error));
    }
    for deep in [
        format!("SELECT {}1{}", "(".repeat(10_000), ")".repeat(10_000)),
        format!("SELECT {}1{}", "abs(".repeat(5_000), ")".repeat(5_000)),
        format!("SELECT {}1{}", "[".repeat(5_000), "]".repeat(5_000)),
        format!("SELECT {} true", "NOT ".repeat(20_000)),
        format!("SELECT {} 1", "- ".repeat(20_000)),
        format!("SELECT {} 1 {}", "CASE WHEN true THEN ".repeat(3_000), "END ".repeat(3_000)),
        format!("SELECT 1 {}", "UNION ALL SELECT 1 ".repeat(3_000)),
        format!("SELECT * FROM {}weather{}", "(SELECT * FROM ".repeat(1_000), ")".repeat(1_000)),
    ] {
        assert!(run(&sql, &deep).await.is_err(), "{}", &deep[..60]);
    }
    let long_list = (0..10_000).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    assert!(run(&sql, &format!("SELECT count(*) FROM weather WHERE temp IN ({long_list})")).await.is_ok());
}

#[tokio::test]
async fn parameters_are_typed_and_bound() {
    let folder = tempfile::tempdir().unwrap();
    let sql = sql(folder.path()).await;
    for query in [
        "SELECT origin FROM weather WHERE temp > $1 AND origin <> $2 ORDER BY origin",
        "SELECT origin FROM weather WHERE temp > ? AND origin <> ? ORDER BY origin",
    ] {
        let prepared = sql.prepare(query).await.unwrap();
        let types: Vec<String> = prepared
            .parameters
            .fields()
            .iter()
            .map(|field| format!("{} {}", field.name(), field.data_type()))
            .collect();
        assert_eq!(types, ["$1 Float64", "$2 Utf8"]);
        // An integer fits the inferred float.
        let values = RecordBatch::try_from_iter([
            ("a", Arc::new(Int64Array::from(vec![1])) as arrow::array::ArrayRef),
            ("b", Arc::new(StringArray::from(vec!["EWR"])) as _),
        ])
        .unwrap();
        let stream = sql.execute(query, Some(values), &Limits::default()).await.unwrap();
        assert_eq!(stream.schema(), prepared.schema);
        let answer = draw(&stream.try_collect::<Vec<_>>().await.unwrap());
        assert!(answer.contains("LGA") && !answer.contains("EWR") && !answer.contains("JFK"), "{answer}");
        let error = sql.execute(query, None, &Limits::default()).await.err().unwrap();
        assert!(error.to_string().contains("2 parameters and 0 values"), "{error}");
    }
    assert!(sql.prepare("SELECT $1 + ?").await.is_err());
    assert!(sql.prepare("SELECT $name").await.is_err());
}

#[tokio::test]
async fn a_training_set_is_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let sql = sql(folder.path()).await;
    let query = "SELECT * FROM training_set('late', 'SELECT origin FROM weather WHERE temp > 1') t ORDER BY origin";
    let answer = run(&sql, query).await.unwrap();
    assert!(answer.contains("| EWR    | late  |") && answer.contains("label"), "{answer}");
    let both = "SELECT count(*) AS n FROM training_set('a', 'SELECT 1 AS x') a, training_set('b', 'SELECT 2 AS x', true) b \
                WHERE label <> view__label";
    assert!(run(&sql, both).await.unwrap().contains("| 1 |"));
    let nested = "SELECT * FROM training_set('out', 'SELECT * FROM training_set(''in'', ''SELECT 1 AS x'', true)')";
    assert!(run(&sql, nested).await.unwrap().contains("view__label"));
    for refused in [
        "SELECT * FROM training_set('late', 'DROP TABLE weather')",
        "SELECT * FROM training_set('late', 'SELECT * FROM ''/etc/passwd''')",
        "SELECT * FROM training_set('late', 'EXPLAIN SELECT 1')",
        "SELECT * FROM training_set('late', 'SELECT $1')",
        "SELECT * FROM training_set('late')",
        "SELECT * FROM training_set(1, 2)",
    ] {
        assert!(run(&sql, refused).await.is_err(), "{refused}");
    }
}

#[tokio::test]
async fn limits_end_a_stream() {
    let folder = tempfile::tempdir().unwrap();
    let sql = sql(folder.path()).await;
    let many = "SELECT a.origin FROM weather a, weather b, weather c";
    let limited = |limits: Limits| {
        let sql = sql.clone();
        async move { sql.execute(many, None, &limits).await?.try_collect::<Vec<_>>().await.map_err(Error::from) }
    };
    assert_eq!(limited(Limits::default()).await.unwrap().iter().map(RecordBatch::num_rows).sum::<usize>(), 27);
    let rows = limited(Limits { rows: 26, ..Limits::default() }).await.unwrap_err();
    assert!(rows.to_string().contains("26 rows"), "{rows}");
    assert_eq!(rows.kind(), ErrorKind::Exhausted);
    let bytes = limited(Limits { bytes: 10, ..Limits::default() }).await.unwrap_err();
    assert!(bytes.to_string().contains("10 bytes"), "{bytes}");
    let time = limited(Limits { time: Duration::ZERO, ..Limits::default() }).await.unwrap_err();
    assert_eq!(time.kind(), ErrorKind::Deadline);
    let endless =
        format!("SELECT w0.temp FROM {}", (0..24).map(|n| format!("weather w{n}")).collect::<Vec<_>>().join(", "));
    let short = Limits { time: Duration::from_millis(200), ..Limits::default() };
    let stream = sql.execute(&endless, None, &short).await.unwrap();
    let error = Error::from(stream.try_collect::<Vec<_>>().await.unwrap_err());
    assert_eq!(error.kind(), ErrorKind::Deadline, "{}", chain(&error));
}

#[tokio::test]
async fn one_sql_sees_one_version_and_an_error_of_a_value_is_the_callers() {
    let folder = tempfile::tempdir().unwrap();
    let sql = sql(folder.path()).await;
    assert!(run(&sql, "SELECT count(*) AS n FROM weather").await.unwrap().contains("| 3 |"));
    let rules = weather_rules();
    let again = table(&folder.path().join("weather"), &rules).await.unwrap();
    append(&again, &runtime(folder.path()), &rules, "b", vec![weather(&[("JFK", 9, 9.0)])]).await.unwrap();
    assert!(run(&sql, "SELECT count(*) AS n FROM by_airport").await.unwrap().contains("| 3 |"));
    let error = run(&sql, "SELECT 1 / CAST(temp - temp AS BIGINT) FROM weather").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{}", chain(&error));
    let unknown = run(&sql, "SELECT tmp FROM weather").await.unwrap_err();
    assert!(unknown.to_string().contains("temp"), "{unknown}");
}

#[tokio::test]
async fn the_training_set_function_is_resolved_once_per_statement() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime(folder.path());
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let training_set: TrainingSet = Arc::new(move |call| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move { Ok(call.spine) }.boxed()
    });
    let sql = Sql::new(&runtime, "p", Vec::new(), Some(training_set)).unwrap();
    let twice =
        "SELECT * FROM training_set('a', 'SELECT 1 AS x') UNION ALL SELECT * FROM training_set('a', 'SELECT 1 AS x')";
    run(&sql, twice).await.unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    let without = Sql::new(&runtime, "p", Vec::new(), None).unwrap();
    assert!(run(&without, twice).await.is_err());
}

#[tokio::test]
async fn an_unknown_table_is_named_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let sql = sql(folder.path()).await;
    for (query, name) in [("SELECT * FROM wether", "wether"), ("SELECT * FROM sources.wether", "wether")] {
        let refused = run(&sql, query).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotFound, "{query}");
        let said = format!("no table or view named `{name}`; did you mean `weather`?");
        assert!(refused.to_string().contains(&said), "{refused}");
    }
}

#[tokio::test]
async fn what_would_overflow_the_stack_or_the_memory_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let sql = sql(folder.path()).await;
    let tables = |count: usize| (0..count).map(|n| format!("weather t{n}")).collect::<Vec<_>>().join(", ");
    let refused = [
        format!("SELECT 'a'{}", " RLIKE 'a'".repeat(20_000)),
        format!("VALUES (1){}", " MINUS VALUES (1)".repeat(20_000)),
        format!("SELECT 1 FROM {}", tables(500)),
        format!("SELECT 1 FROM weather{}", " CROSS JOIN weather".repeat(500)),
        "SELECT array_repeat(array_repeat(array_repeat(1, 1000), 1000), 900)".to_owned(),
        "SELECT replace(repeat('a', 10000), 'a', repeat('b', 10000))".to_owned(),
    ];
    for query in refused {
        let start: String = query.chars().take(60).collect();
        let kind = run(&sql, &query).await.map(|_| ()).unwrap_err().kind();
        assert!(matches!(kind, ErrorKind::Forbidden | ErrorKind::Invalid), "{start}: {kind:?}");
    }
    let wide = format!("SELECT {} FROM weather w", vec!["w.temp"; 1_500].join(", "));
    let told = run(&sql, &wide).await.map(|_| ()).map_err(|error| error.to_string());
    assert!(!told.is_err_and(|told| told.contains("operators")), "a column's table is no operator");
    assert!(run(&sql, "SELECT a.temp IS DISTINCT FROM 1, b.temp FROM weather a, weather b").await.is_ok());
}
