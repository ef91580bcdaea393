//! Refreshes in the background of a source, or a store, that fails.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use common::{Table, settle};
use larder::clock::ManualClock;
use larder::codec::Json;
use larder::strategy::EarlyRefresh;
use larder::{Cache, Strategy};
use larder_memory::{Fault, MemoryServer, OperationKind as Kind};

const SECOND: Duration = Duration::from_secs(1);

struct World {
    table: Table,
    clock: ManualClock,
    server: MemoryServer,
    cache: Cache<u64, u64>,
}

impl World {
    fn new(strategy: Strategy<u64>) -> Self {
        let (table, clock) = (Table::with([(1, 10), (2, 20)]), ManualClock::new());
        let server = MemoryServer::with_clock(clock.clone());
        let cache = Cache::builder()
            .namespace("numbers")
            .backend(server.connect("one").encoded(Json))
            .batch_source(table.clone())
            .clock(clock.clone())
            .strategy(strategy.jitter(0.0))
            .build()
            .unwrap();
        Self { table, clock, server, cache }
    }

    /// Loads take a second, from then on the entries are due.
    async fn load(&self) {
        let hold = self.table.hold();
        let load = {
            let cache = self.cache.clone();
            tokio::spawn(async move { cache.get_many(&[1, 2]).await.map(|_| ()) })
        };
        hold.arrived().await;
        self.clock.advance(SECOND);
        hold.release();
        load.await.unwrap().unwrap();
        self.table.unhold();
        self.clock.advance(10 * SECOND);
    }

    /// A thousand reads in ten seconds.
    async fn read_for_ten_seconds(&self) {
        for read in 0..1_000 {
            assert_eq!(self.cache.get(&1).await.unwrap().as_deref(), Some(&10));
            if read % 10 == 0 {
                self.cache.get_many(&[1, 2]).await.unwrap();
            }
            settle().await;
            self.clock.advance(SECOND / 100);
        }
    }
}

/// 1 s after the first failure, then 2, 4, ..: the defaults.
const LOADS_IN_TEN_SECONDS: std::ops::RangeInclusive<usize> = 3..=10;

fn strategies() -> [Strategy<u64>; 3] {
    [
        Strategy::aside(60 * SECOND).early_refresh(EarlyRefresh::after(0.1)),
        Strategy::aside(60 * SECOND).early_refresh(EarlyRefresh::probabilistic(1e9)),
        Strategy::aside(SECOND).stale_while_revalidate(60 * SECOND),
    ]
}

#[tokio::test]
async fn a_source_that_fails_is_left_alone_between_refreshes() {
    for strategy in strategies() {
        let world = World::new(strategy.clone());
        world.load().await;
        let before = world.table.queries();
        world.table.fail(Some("down"));
        world.read_for_ten_seconds().await;
        let loads = world.table.queries() - before;
        assert!(LOADS_IN_TEN_SECONDS.contains(&loads), "{strategy:?}: {loads} loads");
        world.table.fail(None);
        world.clock.advance(10 * SECOND);
        world.cache.get(&1).await.unwrap();
        settle().await;
        assert_eq!(world.table.queries() - before, loads + 1, "and asked again afterwards");
    }
}

/// The entry is still due, so every hit would load.
#[tokio::test]
async fn a_refresh_that_cannot_be_stored_is_not_repeated_at_every_hit() {
    for strategy in strategies() {
        let world = World::new(strategy.clone());
        world.load().await;
        let before = world.table.queries();
        world.server.faults().when(|operation| operation.kind == Kind::Fill, Fault::Error);
        world.read_for_ten_seconds().await;
        let loads = world.table.queries() - before;
        assert!(LOADS_IN_TEN_SECONDS.contains(&loads), "{strategy:?}: {loads} loads");
    }
}
