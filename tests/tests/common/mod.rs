//! A source whose loads can be held, and caches over it.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use larder::{BatchSource, Cache, CacheBuilder, ManualClock, Source, Strategy};
use larder_quick::Quick;
use tokio::sync::Semaphore;

/// A table of numbers that counts its loads. A load reads first, and then waits if loads are held: what it returns is what
/// stood there when it began.
#[derive(Clone, Default)]
pub struct Table(Arc<Inner>);

#[derive(Default)]
struct Inner {
    rows: Mutex<HashMap<u64, u64>>,
    failing: Mutex<Option<String>>,
    loads: AtomicUsize,
    queries: AtomicUsize,
    hold: Mutex<Option<Arc<Hold>>>,
}

/// Loads that have read their row and wait.
pub struct Hold {
    arrived: Semaphore,
    released: Semaphore,
}

impl Hold {
    /// Waits until one more load has read its row.
    pub async fn arrived(&self) {
        self.arrived.acquire().await.unwrap().forget();
    }

    /// Lets one load go on.
    pub fn release_one(&self) {
        self.released.add_permits(1);
    }

    /// Lets all loads go on, now and later.
    pub fn release(&self) {
        self.released.add_permits(Semaphore::MAX_PERMITS / 2);
    }
}

impl Table {
    pub fn with(rows: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let table = Self::default();
        table.0.rows.lock().unwrap().extend(rows);
        table
    }

    pub fn set(&self, key: u64, value: u64) {
        self.0.rows.lock().unwrap().insert(key, value);
    }

    pub fn fail(&self, message: Option<&str>) {
        *self.0.failing.lock().unwrap() = message.map(str::to_owned);
    }

    /// From now on loads wait after they have read.
    pub fn hold(&self) -> Arc<Hold> {
        let hold = Arc::new(Hold { arrived: Semaphore::new(0), released: Semaphore::new(0) });
        *self.0.hold.lock().unwrap() = Some(Arc::clone(&hold));
        hold
    }

    /// Loads wait no more (those that wait still do).
    pub fn unhold(&self) {
        *self.0.hold.lock().unwrap() = None;
    }

    /// How many keys were loaded.
    pub fn loads(&self) -> usize {
        self.0.loads.load(Ordering::SeqCst)
    }

    /// How many calls there were, each of one key or of many.
    pub fn queries(&self) -> usize {
        self.0.queries.load(Ordering::SeqCst)
    }

    async fn query(&self, keys: &[u64]) -> Result<Vec<Option<u64>>, std::io::Error> {
        self.0.queries.fetch_add(1, Ordering::SeqCst);
        self.0.loads.fetch_add(keys.len(), Ordering::SeqCst);
        let rows: Vec<_> = keys.iter().map(|key| self.0.rows.lock().unwrap().get(key).copied()).collect();
        let failing = self.0.failing.lock().unwrap().clone();
        let hold = self.0.hold.lock().unwrap().clone();
        if let Some(hold) = hold {
            hold.arrived.add_permits(1);
            hold.released.acquire().await.unwrap().forget();
        }
        failing.map_or(Ok(rows), |message| Err(std::io::Error::other(message)))
    }
}

impl Source<u64> for Table {
    type Value = u64;
    type Error = std::io::Error;

    async fn load(&self, key: &u64) -> Result<Option<u64>, std::io::Error> {
        Ok(self.query(&[*key]).await?.remove(0))
    }
}

impl BatchSource<u64> for Table {
    async fn load_many(&self, keys: &[u64]) -> Result<Vec<Option<u64>>, std::io::Error> {
        self.query(keys).await
    }
}

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
