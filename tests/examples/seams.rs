//! The time of an operation while failures pile up: keys whose loads fail, tag invalidations that are pending, write
//! guards that are in place.
//!
//! `cargo run --release -p larder-testkit --example seams` prints a table: nanoseconds an operation in each tenth of a
//! run, and the memory that the process took. It fails if the last tenth takes [`MOST`] times as long as the first.

use std::time::{Duration, Instant};

use larder::codec::Json;
use larder::{Cache, Quick, Strategy, Tag, source_fn};
use larder_memory::{Fault, MemoryServer, OperationKind};

const MINUTE: Duration = Duration::from_secs(60);
const TENTHS: usize = 10;
/// An operation under one lock that looks at all that has piled up takes tens of times as long.
const MOST: f64 = 6.0;

/// The resident memory of this process in MiB.
fn resident() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = pages.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok());
    pages.unwrap_or_default() * 4_096.0 / 1_048_576.0
}

/// Runs an operation `count` times and prints a row.
async fn row<const N: u64>(what: &str, mut operation: impl AsyncFnMut(u64)) -> bool {
    let (before, tenth) = (resident(), N / TENTHS as u64);
    let mut nanos = [0.0; TENTHS];
    for (number, nanos) in (0..).zip(&mut nanos) {
        let began = Instant::now();
        for key in number * tenth..(number + 1) * tenth {
            operation(key).await;
        }
        *nanos = began.elapsed().as_nanos() as f64 / tenth as f64;
    }
    let cells: Vec<String> = nanos.iter().map(|nanos| format!("{nanos:.0}")).collect();
    println!("| {what} | {N} | {} | {:+.0} |", cells.join(" | "), resident() - before);
    // the first tenth warms up: its time, or the second's if that is longer
    nanos[TENTHS - 1] < MOST * nanos[0].max(nanos[1])
}

fn failing(strategy: Strategy<u64>) -> Cache<u64, u64> {
    Cache::builder()
        .backend(Quick::new(100_000))
        .source(source_fn(|_key: u64| async { Err::<Option<u64>, _>(std::io::Error::other("down")) }))
        .strategy(strategy)
        .build()
        .expect("a sound configuration")
}

fn shared(server: &MemoryServer) -> Cache<u64, u64> {
    Cache::builder()
        .namespace("seams")
        .backend(server.connect("one").encoded(Json))
        .source(source_fn(|key: u64| async move { Ok::<_, std::io::Error>(Some(key)) }))
        .strategy(Strategy::aside(MINUTE).tagged(|value: &u64| [Tag::new("number", *value)]))
        .build()
        .expect("a sound configuration")
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let tenths: Vec<String> = (1..=TENTHS).map(|tenth| format!("{tenth}0 %")).collect();
    println!("| what | operations | {} | MiB |", tenths.join(" | "));
    println!("|---|--:|{}--:|", "--:|".repeat(TENTHS));
    let mut flat = true;

    let cache = failing(Strategy::aside(MINUTE).stale_if_error(MINUTE));
    flat &= row::<1_000_000>("a load that fails, each of another key", async |key| {
        assert!(cache.get(&key).await.is_err());
    })
    .await;

    let server = MemoryServer::new();
    let cache = shared(&server);
    cache.get(&7).await.expect("it loads");
    server.faults().when(|operation| operation.kind == OperationKind::LedgerInvalidate, Fault::Error);
    flat &= row::<100_000>("a tag invalidation that fails", async |key| {
        assert!(cache.invalidate_tag(&Tag::new("other", key)).await.is_err());
    })
    .await;
    flat &= row::<100_000>("a read of a tagged entry meanwhile", async |_| {
        cache.get(&7).await.expect("it is there");
    })
    .await;

    let cache = failing(Strategy::aside(MINUTE));
    let mut guards = Vec::new();
    flat &= row::<100_000>("a write guard that stays", async |key| {
        guards.push(cache.write_guard(&[key], 10 * MINUTE).await.expect("it is placed"));
    })
    .await;
    flat &= row::<100_000>("an insert meanwhile", async |key| {
        cache.insert(&(1_000_000 + key % 1_000), 7).await.expect("acknowledged");
    })
    .await;
    flat &= row::<100_000>("the end of a write guard", async |_| {
        let guard = guards.pop().expect("one is left");
        guard.finish().await.expect("acknowledged");
    })
    .await;
    assert!(flat, "an operation takes longer the more there is of what failed");
}
