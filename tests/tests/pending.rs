//! Pending invalidations: each is delivered as soon as it can be, even if others keep failing.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use common::{MINUTE, Table, over};
use larder::clock::ManualClock;
use larder::codec::Json;
use larder::{Cache, Strategy, Tag};
use larder_memory::{Fault, MemoryServer, Operation, OperationKind as Kind};
use tokio::time::{sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);

struct World {
    table: Table,
    server: MemoryServer,
    clock: ManualClock,
}

impl World {
    fn new() -> Self {
        let clock = ManualClock::new();
        let table = Table::with((0..5_000).map(|key| (key, key)));
        Self { table, server: MemoryServer::with_clock(clock.clone()), clock }
    }

    fn process(&self, name: &str) -> Cache<u64, u64> {
        let strategy = Strategy::aside(MINUTE).tagged(|value: &u64| [Tag::new("number", *value)]);
        let backend = self.server.connect(name).encoded(Json);
        over(&self.table, &self.clock).backend(backend).strategy(strategy).build().unwrap()
    }

    /// Makes what changes the store fail until it is back, and then still what `which` says.
    async fn fail_and_recover(
        &self,
        which: impl Fn(&Operation) -> bool + Send + Sync + 'static,
        failing: impl AsyncFnOnce(),
    ) {
        let changes = |operation: &Operation| {
            matches!(operation.kind, Kind::Remove | Kind::RemoveMany | Kind::LedgerInvalidate)
        };
        let down = self.server.faults().when(changes, Fault::Error);
        failing().await;
        self.server.faults().when(which, Fault::Error);
        self.server.faults().remove(down);
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let holding = async {
        while !holds().await {
            sleep(SECOND / 20).await;
        }
    };
    timeout(5 * SECOND, holding).await.unwrap_or_else(|_| panic!("not within 5 s: {what}"));
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_cannot_be_invalidated_holds_up_no_key_and_no_other_tag() {
    let world = World::new();
    let (writer, reader) = (world.process("writer"), world.process("reader"));
    assert_eq!(reader.get_many(&[1, 2]).await.unwrap().len(), 2);
    let bad = |operation: &Operation| {
        operation.kind == Kind::LedgerInvalidate && operation.keys.iter().any(|tag| tag.contains('9'))
    };
    world
        .fail_and_recover(bad, async || {
            assert!(writer.invalidate_tag(&Tag::new("number", 9)).await.is_err());
            assert!(writer.invalidate_tag(&Tag::new("number", 2)).await.is_err());
            world.table.set(1, 100);
            world.table.set(2, 200);
            assert!(writer.invalidate(&1).await.is_err());
        })
        .await;
    until("the key", async || reader.get(&1).await.unwrap().as_deref() == Some(&100)).await;
    until("the other tag", async || reader.get(&2).await.unwrap().as_deref() == Some(&200)).await;
    assert_eq!(writer.unacknowledged(), 1, "the tag that fails is still tried");
}

#[tokio::test(start_paused = true)]
async fn keys_that_cannot_be_removed_hold_up_no_others() {
    let world = World::new();
    let (writer, reader) = (world.process("writer"), world.process("reader"));
    let keys: Vec<u64> = (0..3_000).collect();
    reader.get_many(&keys).await.unwrap();
    // a batch with a key of a dead shard fails as a whole, and so does that key by itself: every third
    let bad = |operation: &Operation| {
        matches!(operation.kind, Kind::Remove | Kind::RemoveMany)
            && operation.keys.iter().any(|key| key.parse::<u64>().is_ok_and(|key| key % 3 == 0))
    };
    world
        .fail_and_recover(bad, async || {
            keys.iter().for_each(|key| world.table.set(*key, 10_000 + key));
            assert!(writer.invalidate_many(&keys).await.is_err());
        })
        .await;
    until("two of three keys", async || writer.unacknowledged() == 1_000).await;
    let fresh = reader.get_many(&keys).await.unwrap();
    let fresh = fresh.iter().zip(&keys).filter(|(value, key)| value.as_deref() == Some(&(10_000 + **key)));
    assert_eq!(fresh.count(), 2_000);
}

#[tokio::test]
async fn a_hundred_thousand_pending_tags_cost_a_read_nothing() {
    let world = World::new();
    let cache = world.process("one");
    world.server.faults().when(|operation| operation.kind == Kind::LedgerInvalidate, Fault::Error);
    let mut times = Vec::new();
    for round in 0..10u64 {
        for tag in 0..10_000 {
            assert!(cache.invalidate_tag(&Tag::new("t", round * 10_000 + tag)).await.is_err());
        }
        let began = std::time::Instant::now();
        for key in 0..200 {
            cache.get(&(round * 200 + key)).await.unwrap();
        }
        times.push(began.elapsed());
    }
    assert!(times[9] < 5 * times[0].max(Duration::from_millis(2)), "{times:?}");
}
