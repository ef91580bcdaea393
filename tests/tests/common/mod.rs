//! Caches over a source whose loads can be held.
#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test file uses a part of it")]

use std::time::Duration;

use larder::clock::ManualClock;
use larder::{Cache, CacheBuilder, Quick, Strategy};
pub use larder_testkit::{Hold, Table};

pub const MINUTE: Duration = Duration::from_secs(60);

/// A builder with a table, a minute's TTL and a clock that stands still; the backend is the test's.
pub fn over(table: &Table, clock: &ManualClock) -> CacheBuilder<u64, u64> {
    Cache::builder()
        .namespace("numbers")
        .batch_source(table.clone())
        .clock(clock.clone())
        .strategy(Strategy::aside(MINUTE))
}

/// A cache in this process's memory.
pub fn local(table: &Table) -> Cache<u64, u64> {
    over(table, &ManualClock::new()).backend(Quick::new(1_000)).build().unwrap()
}

/// Lets every other task run until it waits.
pub async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// The first cause of a failed load of loads.
pub fn root(error: &larder::Error) -> &larder::Error {
    error.source_as::<larder::Error>().map_or(error, root)
}
