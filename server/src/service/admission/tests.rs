//! Places are given out, waited for and refused; a reader that takes nothing loses its result, not others' places.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

use super::*;
use crate::service::tests::bench::Bench;

fn class(count: usize, wait_max: Duration) -> Class {
    Class {
        what: "queries",
        setting: "plans.queries",
        count,
        places: Arc::new(Semaphore::new(count)),
        waiting: AtomicUsize::new(0),
        wait_max,
    }
}

#[tokio::test]
async fn so_many_run_and_others_wait() {
    let class = class(2, Duration::from_millis(20));
    let (first, second) = (class.place().await.unwrap(), class.place().await.unwrap());
    let error = class.place().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert_eq!(error.message, "2 queries run already and others wait; try again in a moment, or raise `plans.queries`");
    drop(first);
    assert!(class.place().await.is_ok());
    drop(second);
    let class = super::tests::class(1, Duration::from_secs(3600));
    let first = class.place().await.unwrap();
    let (second, ()) = tokio::join!(class.place(), async { drop(first) });
    assert!(second.is_ok(), "a place came free in time");
    drop(second);
    assert!(class.place().await.is_ok());
    assert_eq!(class.waiting.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn only_so_many_wait() {
    let class = class(1, Duration::from_secs(3600));
    let _held = class.place().await.unwrap();
    let mut waiting: Vec<_> = (0..WAITING_PER_PLACE).map(|_| Box::pin(class.place())).collect();
    for place in &mut waiting {
        assert!(futures::poll!(place).is_pending());
    }
    assert_eq!(class.place().await.unwrap_err().kind, ErrorKind::Unavailable, "at once");
    waiting.clear();
    assert_eq!(class.waiting.load(Ordering::Relaxed), 0);
}

fn endless() -> Batches {
    let schema = Arc::new(Schema::empty());
    let batch = RecordBatch::new_empty(schema.clone());
    Batches::new(schema, futures::stream::repeat_with(move || Ok(batch.clone())))
}

/// What breaks off is told from what ends.
#[tokio::test(flavor = "multi_thread")]
async fn only_a_whole_result_ends() {
    let bench = Bench::new().await;
    let class = class(1, Duration::from_secs(20));
    let attend = async |batches| {
        let place = class.place().await.unwrap();
        attended(place, &bench.service.plans, batches, Duration::from_secs(3600)).collect().await
    };
    let Batches { schema, stream, .. } = endless();
    let whole = Batches::new(schema.clone(), stream.take(3));
    assert_eq!(attend(whole).await.unwrap().len(), 3);
    let mut left = 3;
    let breaks = endless().stream.inspect(move |_| {
        left -= 1;
        assert!(left > 0, "as a kernel may");
    });
    assert_eq!(attend(Batches::new(schema, breaks)).await.unwrap_err().kind, ErrorKind::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_takes_nothing_is_cut_off() {
    let bench = Bench::new().await;
    let class = class(1, Duration::from_secs(20));
    let patient = attended(class.place().await.unwrap(), &bench.service.plans, endless(), Duration::from_secs(3600));
    let mut stream = patient.stream;
    for _ in 0..100 {
        stream.next().await.unwrap().unwrap();
    }
    // Dropping a result frees its place too.
    drop(stream);
    let place = class.place().await.unwrap();
    let mut stream = attended(place, &bench.service.plans, endless(), Duration::from_millis(20)).stream;
    // Nobody reads until the place is free.
    let _place = class.place().await.unwrap();
    let mut taken = 0;
    let error = loop {
        match stream.next().await.expect("it does not end as if it were whole") {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(taken <= 1, "{taken} batches were ahead");
    assert_eq!(error.kind, ErrorKind::Deadline);
    assert!(stream.next().await.is_none());
}
