//! Request-time features give a lookup and a training set the same.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array,
};
use arrow::compute::{concat_batches, take};
use tidegate_online::Status;

use super::*;

const FARES: &str = r#"
version: 1
project: flights
entities:
  - {name: user, keys: [{name: user_id, type: int64}]}
sources:
  - {name: rides, event_time: at}
feature_views:
  - name: rider
    entities: [user]
    source: rides
    ttl: 3h
    features:
      - {name: rides, type: int64, default: 1}
      - {name: mean, type: float64}
      - {name: city, type: string}
feature_services:
  - name: fares
    views: [{view: rider}]
    request:
      - {name: amount, type: float64}
      - {name: seats, type: int32}
      - {name: asked_at, type: timestamp}
    computed:
      - {name: ratio, type: float64, expression: "amount / rider.mean"}
      - {name: each, type: int64, expression: "1000 / seats"}
      - {name: each_or_null, type: int64, expression: "rides / seats", on_error: "null"}
      - {name: total, type: int64, expression: "rides * 4611686018427387904"}
      - {name: chained, type: float64, expression: "clip(coalesce(computed.ratio, -1), 0, 10) + each"}
      - {name: home, type: bool, expression: "city = 'JFK' AND amount > 10"}
      - {name: label, type: string, expression: "upper(city) || '-' || cast(seats AS VARCHAR)"}
      - {name: place, type: "vector<float32,3>", expression: "one_hot(city, ['JFK', 'LGA'])"}
      - {name: hour, type: int32, expression: "date_part('hour', asked_at)"}
"#;

/// A generator of its own: the values don't matter, that they repeat from run to run does (xorshift, Marsaglia 2003).
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn maybe<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(8) > 0).then(|| value(self))
    }
}

const CITIES: [&str; 3] = ["JFK", "LGA", "EWR"];

fn times(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(values).with_timezone("UTC"))
}

fn rides(draw: &mut Draw) -> RecordBatch {
    let at: Vec<i64> = (0..2_000).map(|_| draw.below(10) as i64 * HOUR).collect();
    let rides: Int64Array = (0..2_000).map(|_| draw.maybe(|draw| draw.below(6) as i64 - 2)).collect();
    let means: Float64Array = (0..2_000).map(|_| draw.maybe(|draw| draw.below(40) as f64 - 5.0)).collect();
    let cities: StringArray = (0..2_000).map(|_| draw.maybe(|draw| CITIES[draw.below(3) as usize])).collect();
    RecordBatch::try_from_iter([
        ("user_id", Arc::new(Int64Array::from_iter_values(0..2_000)) as ArrayRef),
        ("at", times(at.into_iter())),
        ("rides", Arc::new(rides)),
        ("mean", Arc::new(means)),
        ("city", Arc::new(cities)),
    ])
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn computed_features_agree_between_the_tiers() {
    const ROWS: usize = 10_000;
    const NOW: i64 = 10 * HOUR;
    let bench = Bench::new().await;
    bench.apply(FARES).await.unwrap();
    let mut draw = Draw(0x9e37_79b9_7f4a_7c15);
    let rows = rides(&mut draw);
    let request = IngestRequest {
        project: "flights".to_owned(),
        target: "rides".to_owned(),
        batch_id: "b".to_owned(),
        ignore_extra_columns: false,
    };
    bench.service.ingest(&bench.me, request, Batches::from_vec(rows.schema(), vec![rows])).await.unwrap();
    bench.materialize(true).await.unwrap();
    bench.clock.set(NOW);

    let users: ArrayRef = Arc::new(Int64Array::from_iter_values((0..ROWS).map(|_| draw.below(2_200) as i64)));
    let amounts: Float64Array = (0..ROWS).map(|_| draw.maybe(|draw| draw.below(50) as f64)).collect();
    let seats: arrow::array::Int32Array = (0..ROWS).map(|_| draw.maybe(|draw| draw.below(4) as i32)).collect();
    let asked = times((0..ROWS).map(|_| draw.below(48) as i64 * HOUR));
    let (amounts, seats): (ArrayRef, ArrayRef) = (Arc::new(amounts), Arc::new(seats));
    let given = [("amount", &amounts), ("seats", &seats), ("asked_at", &asked)];

    let (fares, keys) = (Selection::Service("fares".to_owned()), vec![("user_id".to_owned(), users.clone())]);
    let lookup = LookupRequest {
        return_expired: true,
        request: given.iter().map(|(name, column)| ((*name).to_owned(), (*column).clone())).collect(),
        ..LookupRequest::new("flights", fares, keys)
    };
    let reply = bench.service.lookup(&bench.me, &lookup).unwrap();

    let now = times((0..ROWS).map(|_| NOW));
    let columns = [("user_id", users.clone()), ("event_timestamp", now)].into_iter();
    let spine = RecordBatch::try_from_iter(columns.chain(given.map(|(name, column)| (name, column.clone())))).unwrap();
    let set = TrainingSetRequest {
        selection: Selection::Service("fares".to_owned()),
        include_statuses: false,
        ..training_set(Spine::Uploaded(String::new()))
    };
    let spine = Batches::from_vec(spine.schema(), vec![spine]);
    let batches = bench.service.exchange(&bench.me, &set, spine).await.unwrap().collect().await.unwrap();
    let trained = concat_batches(&batches[0].schema(), &batches).unwrap();

    let names: Vec<&str> = reply.features().map(|feature| feature.name).collect();
    let computed = ["ratio", "each", "each_or_null", "total", "chained", "home", "label", "place", "hour"];
    assert_eq!(names[3..], computed);
    assert_eq!(trained.schema().fields()[5 + 3..].iter().map(|f| f.name().as_str()).collect::<Vec<_>>(), computed);
    for feature in reply.features() {
        let (looked_up, trained) = (feature.present_to_arrow().unwrap(), &trained[feature.name]);
        for row in 0..ROWS {
            let status = feature.status(row);
            assert_eq!(&looked_up.slice(row, 1), &trained.slice(row, 1), "{}, row {row}, {status}", feature.name);
        }
    }
    let count = |name: &str, status: Status| {
        let feature = reply.features().find(|feature| feature.name == name).unwrap();
        (0..ROWS).filter(|row| feature.status(*row) == status as u8).count()
    };
    // A division by zero where the seats are 0; nowhere else.
    let zeros = seats.as_any().downcast_ref::<arrow::array::Int32Array>().unwrap().iter().filter(|it| *it == Some(0));
    assert_eq!(count("each", Status::Failed), zeros.count());
    assert!(count("each", Status::Failed) > 500 && count("each", Status::Null) > 500);
    assert_eq!(count("each_or_null", Status::Failed), 0);
    assert!(count("total", Status::Failed) > 500, "overflows");
    assert!(count("ratio", Status::Present) > 500);

    // One row alone is what it was among many.
    let row = 17;
    let one = |column: &ArrayRef| take(column, &UInt32Array::from(vec![row]), None).unwrap();
    let alone = LookupRequest {
        keys: vec![("user_id".to_owned(), one(&users))],
        request: lookup.request.iter().map(|(name, column)| (name.clone(), one(column))).collect(),
        ..lookup.clone()
    };
    let alone = bench.service.lookup(&bench.me, &alone).unwrap();
    for (alone, among) in alone.features().zip(reply.features()) {
        assert_eq!(&alone.to_arrow().unwrap(), &one(&among.to_arrow().unwrap()), "{}", alone.name);
        assert_eq!(alone.status(0), among.status(row as usize));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_computed_features_lack_is_named() {
    let bench = Bench::new().await;
    let broken = FARES.replace("amount / rider.mean", "amount / rider.maen");
    let problems = bench.service.plan(&bench.me, &files(&broken), false).await.unwrap().problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].message.contains("`ratio`") && problems[0].line > 20, "{}", problems[0]);
    assert_eq!(bench.apply(&broken).await.unwrap_err().kind, ErrorKind::Invalid);

    bench.apply(FARES).await.unwrap();
    let column = |values: Vec<f64>| Arc::new(Float64Array::from(values)) as ArrayRef;
    let lookup = |request: Vec<(&str, ArrayRef)>| LookupRequest {
        selection: Selection::Service("fares".to_owned()),
        keys: vec![("user_id".to_owned(), Arc::new(Int64Array::from(vec![1])))],
        request: request.into_iter().map(|(name, column)| (name.to_owned(), column)).collect(),
        ..super::lookup(&[])
    };
    let refused = |request| bench.service.lookup(&bench.me, &lookup(request)).unwrap_err().message;
    assert!(refused(vec![]).contains("request column `amount` (float64)"));
    assert!(refused(vec![("amuont", column(vec![1.0]))]).contains("did you mean `amount`?"));
    assert!(refused(vec![("amount", column(vec![1.0, 2.0]))]).contains("2 values for 1 entity rows"));
    let text: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    assert!(refused(vec![("amount", text)]).contains("`amount` is float64, and values of type Utf8"));
    let features = LookupRequest {
        selection: Selection::Features(vec!["rider:mean".to_owned()]),
        ..lookup(vec![("amount", column(vec![1.0]))])
    };
    assert!(bench.service.lookup(&bench.me, &features).unwrap_err().message.contains("not needed"));

    let set = TrainingSetRequest {
        selection: Selection::Service("fares".to_owned()),
        ..training_set(Spine::Sql("SELECT 1 AS user_id, to_timestamp_micros(0) AS event_timestamp".to_owned()))
    };
    let error = bench.service.training_set(&bench.me, &set).await.err().unwrap();
    assert!(error.message.contains("the spine has no column `amount`"), "{}", error.message);
}
