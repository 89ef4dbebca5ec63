//! Load on an online door and its peers, for `make bench-online`.
//!
//! ```text
//! online_load grpc  --address HOST:PORT --requests FILE [--connections N] [--in-flight N] [--rate R] [--seconds S] [--warm S]
//! online_load redis --address HOST:PORT --requests FILE …
//! online_load echo  --address HOST:PORT --bytes N
//! ```
//! `FILE` holds requests, each after its length (u32, little-endian): protobuf messages for `grpc`, commands as Redis reads them
//! for `redis`, where one request may be several commands. They are sent in turn, over all connections. With `--rate` the load
//! is an open loop: a request is due every 1/R seconds whether or not earlier ones were answered, and its latency counts from
//! when it was due. Without it, every connection keeps `--in-flight` requests under way, which finds the capacity.
//!
//! The result is one line of JSON: requests answered and refused, requests a second, latencies in microseconds.
//! `echo` is what everything is measured against: a gRPC server that answers each call with the same bytes and looks nothing up.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a bench prints figures and reads the clock")]

#[path = "online_load/grpc.rs"]
mod grpc;
#[path = "online_load/redis.rs"]
mod redis;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::error::Error;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use serde_json::json;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Latencies up to a minute, to three digits.
const LATENCY_MAX_US: u64 = 60_000_000;

/// How long unanswered requests are waited for after the last one was sent.
const DRAIN: Duration = Duration::from_secs(5);

/// A connection to a server under load.
trait Target: Clone + 'static {
    /// Sends a request and waits for its whole answer: the bytes of it, or the code of a refusal.
    fn send(&self, request: Bytes) -> impl Future<Output = Result<usize, String>>;
}

struct Arguments {
    address: String,
    requests: Vec<Bytes>,
    connections: usize,
    in_flight: usize,
    rate: Option<f64>,
    seconds: f64,
    warm: f64,
    bytes: usize,
    method: String,
}

fn arguments() -> Outcome<(String, Arguments)> {
    let mut given = std::env::args().skip(1);
    let verb = given.next().ok_or("usage: online_load grpc|redis|echo --address HOST:PORT …")?;
    let mut it = Arguments {
        address: String::new(),
        requests: Vec::new(),
        connections: 4,
        in_flight: 16,
        rate: None,
        seconds: 5.0,
        warm: 1.0,
        bytes: 0,
        method: "/tidegate.online.v1.OnlineService/GetOnlineFeatures".to_owned(),
    };
    while let Some(option) = given.next() {
        let value = given.next().ok_or_else(|| format!("{option} needs a value"))?;
        match option.as_str() {
            "--address" => it.address = value,
            "--requests" => it.requests = requests(&std::fs::read(&value)?)?,
            "--connections" => it.connections = value.parse()?,
            "--in-flight" => it.in_flight = value.parse()?,
            "--rate" => it.rate = Some(value.parse()?),
            "--seconds" => it.seconds = value.parse()?,
            "--warm" => it.warm = value.parse()?,
            "--bytes" => it.bytes = value.parse()?,
            "--method" => it.method = value,
            _ => return Err(format!("unknown option {option}").into()),
        }
    }
    Ok((verb, it))
}

fn requests(mut bytes: &[u8]) -> Outcome<Vec<Bytes>> {
    let mut requests = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let (request, rest) =
            rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or("a request is cut off")?;
        requests.push(Bytes::copy_from_slice(request));
        bytes = rest;
    }
    if requests.is_empty() { Err("no requests".into()) } else { Ok(requests) }
}

fn main() -> Outcome<()> {
    let (verb, arguments) = arguments()?;
    // One thread: the load stays on its core, and a request is sent by whoever is awake when it is due.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().event_interval(13).build()?;
    let local = tokio::task::LocalSet::new();
    match verb.as_str() {
        "echo" => runtime.block_on(grpc::echo(&arguments.address, arguments.bytes)),
        "grpc" => local.block_on(&runtime, async {
            let mut targets = Vec::new();
            for _ in 0..arguments.connections {
                targets.push(grpc::connect(&arguments.address, &arguments.method).await?);
            }
            load(targets, arguments).await
        }),
        "redis" => local.block_on(&runtime, async {
            let mut targets = Vec::new();
            for _ in 0..arguments.connections {
                targets.push(redis::connect(&arguments.address).await?);
            }
            load(targets, arguments).await
        }),
        other => Err(format!("unknown verb {other}").into()),
    }
}

/// What a run found.
struct Found {
    latencies: RefCell<Histogram<u64>>,
    refusals: RefCell<Histogram<u64>>,
    codes: RefCell<BTreeMap<String, u64>>,
    bytes: Cell<u64>,
    /// Requests due from here on count.
    from: Instant,
    /// Requests due from here on don't.
    until: Instant,
}

impl Found {
    fn note(&self, due: Instant, answer: Result<usize, String>) {
        if due < self.from || due >= self.until {
            return;
        }
        let took = u64::try_from(due.elapsed().as_micros()).unwrap_or(LATENCY_MAX_US);
        match answer {
            Ok(bytes) => {
                self.latencies.borrow_mut().saturating_record(took);
                self.bytes.set(self.bytes.get() + bytes as u64);
            }
            Err(code) => {
                self.refusals.borrow_mut().saturating_record(took);
                *self.codes.borrow_mut().entry(code).or_default() += 1;
            }
        }
    }
}

async fn load<T: Target>(targets: Vec<T>, arguments: Arguments) -> Outcome<()> {
    let histogram = || Histogram::new_with_max(LATENCY_MAX_US, 3);
    let from = Instant::now() + Duration::from_secs_f64(arguments.warm);
    let found = Rc::new(Found {
        latencies: RefCell::new(histogram()?),
        refusals: RefCell::new(histogram()?),
        codes: RefCell::default(),
        bytes: Cell::new(0),
        from,
        until: from + Duration::from_secs_f64(arguments.seconds),
    });
    let requests: Rc<[Bytes]> = arguments.requests.into();
    let sent = match arguments.rate {
        Some(rate) => open_loop(&targets, &requests, &found, rate).await,
        None => closed_loop(&targets, &requests, &found, arguments.in_flight).await,
    };
    print(&found, sent, arguments.seconds);
    Ok(())
}

/// Sends each request when it is due. Gives how many were due in the measured time.
async fn open_loop<T: Target>(targets: &[T], requests: &Rc<[Bytes]>, found: &Rc<Found>, rate: f64) -> u64 {
    let (start, pause) = (Instant::now(), Duration::from_secs_f64(1.0 / rate));
    let (mut next, mut due_in_time) = (0_u32, 0);
    let under_way = Rc::new(Cell::new(0_u64));
    loop {
        let due = start + pause * next;
        if due >= found.until {
            break;
        }
        if Instant::now() < due {
            // A timer is too coarse: the core is this program's own.
            tokio::task::yield_now().await;
            continue;
        }
        let (target, request) =
            (targets[next as usize % targets.len()].clone(), requests[next as usize % requests.len()].clone());
        due_in_time += u64::from(due >= found.from);
        next += 1;
        under_way.set(under_way.get() + 1);
        let (found, under_way) = (found.clone(), under_way.clone());
        tokio::task::spawn_local(async move {
            let answer = target.send(request).await;
            found.note(due, answer);
            under_way.set(under_way.get() - 1);
        });
    }
    let patience = Instant::now() + DRAIN;
    while under_way.get() > 0 && Instant::now() < patience {
        tokio::task::yield_now().await;
    }
    due_in_time
}

/// Keeps each connection busy with as many requests as it may have under way.
async fn closed_loop<T: Target>(targets: &[T], requests: &Rc<[Bytes]>, found: &Rc<Found>, in_flight: usize) -> u64 {
    let next = Rc::new(Cell::new(0_usize));
    let mut running = Vec::new();
    for target in targets {
        for _ in 0..in_flight {
            let (target, requests, found, next) = (target.clone(), requests.clone(), found.clone(), next.clone());
            running.push(tokio::task::spawn_local(async move {
                let mut sent = 0;
                loop {
                    let due = Instant::now();
                    if due >= found.until {
                        return sent;
                    }
                    let request = requests[next.get() % requests.len()].clone();
                    next.set(next.get() + 1);
                    sent += u64::from(due >= found.from);
                    let answer = target.send(request).await;
                    found.note(due, answer);
                }
            }));
        }
    }
    let mut sent = 0;
    for one in running {
        sent += one.await.unwrap_or(0);
    }
    sent
}

fn print(found: &Found, sent: u64, seconds: f64) {
    let (latencies, refusals) = (found.latencies.borrow(), found.refusals.borrow());
    let at = |histogram: &Histogram<u64>, quantile: f64| histogram.value_at_quantile(quantile);
    println!(
        "{}",
        json!({
            "sent": sent,
            "answered": latencies.len(),
            "refused": refusals.len(),
            "unanswered": sent.saturating_sub(latencies.len() + refusals.len()),
            "per_second": latencies.len() as f64 / seconds,
            "bytes_each": found.bytes.get() as f64 / latencies.len().max(1) as f64,
            "p50_us": at(&latencies, 0.5),
            "p90_us": at(&latencies, 0.9),
            "p99_us": at(&latencies, 0.99),
            "p999_us": at(&latencies, 0.999),
            "max_us": latencies.max(),
            "refused_p99_us": at(&refusals, 0.99),
            "refused_max_us": refusals.max(),
            "codes": *found.codes.borrow(),
        })
    );
}
