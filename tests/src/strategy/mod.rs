//! Scenarios of the strategies, over any backend: the value that a reader gets, and the number of loads.

mod many;
mod processes;
mod stale;
mod tagged;
mod writes;

use std::future::Future;
use std::time::Duration;

use larder::{Cache, CacheBuilder, CachedEntry, Strategy, Tag};

pub use self::many::*;
pub use self::processes::*;
pub use self::stale::*;
pub use self::tagged::*;
pub use self::writes::*;
use crate::{CacheFixture, Process, Table, Time};

/// The maximum time for anything that is expected to end.
const PATIENCE: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(3_600);

/// A fixture's processes over one table.
struct World<'a> {
    time: &'a Time,
    table: Table,
    processes: std::vec::IntoIter<Process>,
    /// A TTL that a test can wait for.
    ttl: Duration,
}

impl<'a> World<'a> {
    async fn new<F: CacheFixture>(fixture: &'a F) -> World<'a> {
        let (time, processes) = (fixture.time(), fixture.open().await.into_iter());
        let table = Table::with([(1, 10), (2, 20), (3, 30), (4, 40)]);
        World { time, table, processes, ttl: time.lease() }
    }

    fn process(&mut self) -> Process {
        self.processes.next().expect("the fixture has a process").clocked(self.time)
    }

    /// Returns a second process, and the locks that it shares with the first. `None` if the store has only one
    /// process.
    fn shared(&mut self) -> Option<[Process; 2]> {
        let one = self.process();
        let two = self.processes.next()?;
        Some([one, two.clocked(self.time)])
    }

    fn cache(&mut self, strategy: impl FnOnce(Strategy<u64>) -> Strategy<u64>) -> Cache<u64, u64> {
        let builder = self.process().builder;
        self.build(builder, strategy)
    }

    fn build(
        &self,
        builder: CacheBuilder<u64, u64>,
        strategy: impl FnOnce(Strategy<u64>) -> Strategy<u64>,
    ) -> Cache<u64, u64> {
        // a clock that is advanced by hand outruns the renewals, which are timed by tokio
        let strategy = strategy(Strategy::aside(self.ttl).lease(LONG));
        builder.batch_source(self.table.clone()).strategy(strategy).build().expect("it can be built")
    }

    /// Lets all fresh entries become stale.
    async fn pass_ttl(&self) {
        self.time.advance(self.ttl + Duration::from_millis(2)).await;
    }
}

async fn fetch(cache: &Cache<u64, u64>, key: u64) -> CachedEntry<u64> {
    soon(cache.get_entry(&key)).await.expect("the read succeeds")
}

async fn get(cache: &Cache<u64, u64>, key: u64) -> Option<u64> {
    fetch(cache, key).await.value.as_deref().copied()
}

async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("nothing hangs")
}

/// Waits for an event in the background.
async fn eventually<Fut: Future<Output = bool>>(what: &str, mut happened: impl FnMut() -> Fut) {
    let waiting = async {
        while !happened().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(waited.is_ok(), "{what}: not within {PATIENCE:?}");
}

async fn idle(cache: &Cache<u64, u64>) {
    eventually("loads end", async || cache.in_flight() == 0).await;
}

fn parity(value: &u64) -> [Tag; 1] {
    [Tag::new("tens", value / 10 % 2)]
}
