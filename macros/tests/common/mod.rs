//! The common parts of the decorator's tests.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use larder::cache::Value;
use larder::clock::ManualClock;
use larder::key::CallKey;
use larder::{Cache, Quick, Strategy};

/// A cache of calls over a store in memory, for a minute.
pub(crate) fn calls<V: Value>() -> Cache<CallKey, V> {
    calls_by(Strategy::aside(minutes(1)))
}

/// The same by another strategy.
pub(crate) fn calls_by<V: Value>(strategy: Strategy<V>) -> Cache<CallKey, V> {
    Cache::builder().backend(Quick::new(1_000)).strategy(strategy).build().unwrap()
}

/// The same by a clock that stands still.
pub(crate) fn calls_at<V: Value>(clock: &ManualClock) -> Cache<CallKey, V> {
    let strategy = Strategy::aside(minutes(1)).negative_ttl(Duration::from_secs(1));
    Cache::builder().backend(Quick::new(1_000)).strategy(strategy).clock(clock.clone()).build().unwrap()
}

pub(crate) fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

/// The number of runs of a function.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }
    pub(crate) fn count(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// A value that cannot be copied.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unique(pub(crate) u64);

/// An error of the user's own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ShopError {
    #[error("no product {0}")]
    NoSuch(u64),
    #[error("the cache: {0}")]
    Cache(String),
}

impl From<larder::Error> for ShopError {
    fn from(error: larder::Error) -> Self {
        Self::Cache(error.to_string())
    }
}

/// Text that several tasks write to.
#[derive(Debug, Default)]
pub(crate) struct Log(Mutex<Vec<String>>);

impl Log {
    pub(crate) fn push(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}
