//! One loader among processes: elected by a lock, awaited by the others, replaced when it fails or dies.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use async_trait::async_trait;
use common::{MINUTE, Table, over, settle};
use larder::cache::Origin;
use larder::clock::ManualClock;
use larder::codec::Json;
use larder::lock::{Acquired, LockTimeout, LockToken, Locking};
use larder::{Cache, Error, ErrorKind, LockProvider, Result, Strategy};
use larder_memory::{Fault, MemoryServer, OperationKind as Kind};
use tokio::time::Instant;

/// Shorter than the re-check of a waiter: who is answered within it was woken.
const WOKEN: Duration = Duration::from_millis(10);

struct World {
    table: Table,
    clock: ManualClock,
    server: MemoryServer,
}

impl World {
    fn new() -> Self {
        let clock = ManualClock::new();
        let server = MemoryServer::with_clock(clock.clone());
        Self { table: Table::with([(1, 10), (2, 20), (3, 30)]), server, clock }
    }

    fn process(&self, name: &str) -> Cache<u64, u64> {
        self.process_with(name, |locking| locking)
    }

    fn process_with(&self, name: &str, set: impl FnOnce(Locking) -> Locking) -> Cache<u64, u64> {
        let memory = self.server.connect(name);
        self.locked_by(name, set(Locking::new(memory.locks())))
    }

    fn locked_by(&self, name: &str, locking: Locking) -> Cache<u64, u64> {
        over(&self.table, &self.clock)
            .backend(self.server.connect(name).encoded(Json))
            .strategy(Strategy::aside(MINUTE).locked(locking))
            .build()
            .unwrap()
    }
}

fn get(cache: &Cache<u64, u64>, key: u64) -> tokio::task::JoinHandle<Result<(Option<u64>, Origin)>> {
    let cache = cache.clone();
    tokio::spawn(async move {
        let fetched = cache.get_entry(&key).await?;
        Ok((fetched.value.as_deref().copied(), fetched.origin))
    })
}

#[tokio::test(start_paused = true)]
async fn one_process_loads_and_the_others_get_its_value_at_once() {
    let world = World::new();
    let caches = ["one", "two", "three"].map(|name| world.process(name));
    let hold = world.table.hold();
    let mut gets: Vec<_> = caches.iter().flat_map(|cache| [get(cache, 1), get(cache, 1)]).collect();
    hold.arrived().await;
    settle().await;
    let released = Instant::now();
    hold.release();
    for get in &mut gets {
        assert_eq!(get.await.unwrap().unwrap().0, Some(10));
    }
    assert!(released.elapsed() < WOKEN, "{:?} after the load", released.elapsed());
    assert_eq!(world.table.loads(), 1);
    let loads: u64 = caches.iter().map(|cache| cache.stats().loads).sum();
    assert_eq!(loads, 1);
    let asked = world.server.record();
    let polls = asked.iter().filter(|operation| operation.kind == Kind::LockAcquire).count();
    assert!(polls <= 3 + 2, "one try for each process, and no storm of them: {polls}");
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_fails_lets_the_next_one_load_at_once() {
    let world = World::new();
    let (one, two) = (world.process("one"), world.process("two"));
    let hold = world.table.hold();
    world.table.fail(Some("down"));
    let first = get(&one, 1);
    hold.arrived().await;
    world.table.fail(None);
    world.table.unhold();
    let second = get(&two, 1);
    settle().await;
    let released = Instant::now();
    hold.release();
    assert_eq!(first.await.unwrap().unwrap_err().kind(), ErrorKind::Source);
    assert_eq!(second.await.unwrap().unwrap(), (Some(10), Origin::Loaded));
    assert!(released.elapsed() < WOKEN, "{:?} after the failure", released.elapsed());
    assert_eq!(two.get_entry(&1).await.unwrap().origin, Origin::Far);
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_dies_is_replaced_when_its_lease_ends() {
    let world = World::new();
    let (one, two) = (world.process("one"), world.process("two"));
    let hold = world.table.hold();
    let first = get(&one, 1);
    hold.arrived().await;
    world.server.connect("one").disconnect(); // no renewal arrives any more
    world.table.unhold();
    let second = get(&two, 1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!second.is_finished());
    world.clock.advance(Duration::from_secs(10));
    assert_eq!(second.await.unwrap().unwrap(), (Some(10), Origin::Loaded));
    hold.release();
    assert_eq!(first.await.unwrap().unwrap().0, Some(10), "cut off, it answers its own caller");
}

#[tokio::test(start_paused = true)]
async fn waiting_in_vain_ends_by_the_named_policy() {
    let wait = Duration::from_secs(2);
    for fails in [false, true] {
        let world = World::new();
        let one = world.process("one");
        let two = world.process_with("two", |locking| {
            let locking = locking.max_wait(wait);
            if fails { locking.on_timeout(LockTimeout::Fail) } else { locking.on_timeout(LockTimeout::Load) }
        });
        let hold = world.table.hold();
        let first = get(&one, 1);
        hold.arrived().await;
        world.table.unhold();
        let began = Instant::now();
        let answer = get(&two, 1).await.unwrap();
        assert!(
            began.elapsed() >= wait && began.elapsed() < wait + Duration::from_millis(100),
            "{:?}",
            began.elapsed()
        );
        match answer {
            Ok(answer) => assert_eq!((fails, answer), (false, (Some(10), Origin::Loaded))),
            Err(error) => {
                assert_eq!((fails, error.kind()), (true, ErrorKind::Timeout));
                assert!(error.is_transient() && error.to_string().contains("another process"), "{error}");
            }
        }
        assert_eq!(two.stats().fills, 0, "who was not elected stores nothing");
        hold.release();
        first.await.unwrap().unwrap();
        assert_eq!(two.get_entry(&1).await.unwrap().origin, Origin::Far, "the elected one did");
    }
}

/// Found by the simulation: a stale entry had expired when the wait was over, and the read failed although
/// the policy is to load.
#[tokio::test(start_paused = true)]
async fn who_has_waited_until_the_stale_value_ended_loads() {
    let world = World::new();
    let locking = Locking::new(world.server.connect("two").locks()).max_wait(Duration::from_secs(2));
    let two = over(&world.table, &world.clock)
        .backend(world.server.connect("two").encoded(Json))
        .strategy(Strategy::aside(MINUTE).stale_if_error(MINUTE).locked(locking))
        .build()
        .unwrap();
    two.get(&1).await.unwrap();
    world.clock.advance(2 * MINUTE - Duration::from_secs(1));
    let hold = world.table.hold();
    let first = get(&world.process("one"), 1);
    hold.arrived().await;
    world.table.unhold();
    let second = get(&two, 1);
    settle().await;
    world.clock.advance(Duration::from_secs(2));
    assert_eq!(second.await.unwrap().unwrap(), (Some(10), Origin::Loaded));
    hold.release();
    first.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_must_not_wait_loads_at_once() {
    let world = World::new();
    let (one, two) =
        (world.process("one"), world.process_with("two", |locking| locking.max_wait(Duration::ZERO)));
    let hold = world.table.hold();
    let first = get(&one, 1);
    hold.arrived().await;
    world.table.unhold();
    let began = Instant::now();
    assert_eq!(get(&two, 1).await.unwrap().unwrap(), (Some(10), Origin::Loaded));
    assert_eq!(began.elapsed(), Duration::ZERO);
    hold.release();
    first.await.unwrap().unwrap();
}

/// Two processes ask for the same keys in other orders: neither holds a lock while it waits for another.
#[tokio::test(start_paused = true)]
async fn overlapping_batches_do_not_deadlock() {
    let world = World::new();
    let (one, two) = (world.process("one"), world.process("two"));
    let many = |cache: &Cache<u64, u64>, keys: [u64; 3]| {
        let cache = cache.clone();
        tokio::spawn(async move { cache.get_many(&keys).await })
    };
    let hold = world.table.hold();
    let (first, second) = (many(&one, [1, 2, 3]), many(&two, [3, 2, 1]));
    settle().await;
    hold.release();
    let began = Instant::now();
    let values = |many: Vec<Option<std::sync::Arc<u64>>>| {
        many.into_iter().map(|value| *value.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(values(first.await.unwrap().unwrap()), [10, 20, 30]);
    assert_eq!(values(second.await.unwrap().unwrap()), [30, 20, 10]);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(world.table.loads(), 3, "each key once");
}

/// An invalidation while others wait wins: no waiter gets a value that was loaded before it.
#[tokio::test(start_paused = true)]
async fn an_invalidation_while_others_wait_is_seen_by_them() {
    let world = World::new();
    let (one, two, three) = (world.process("one"), world.process("two"), world.process("three"));
    let hold = world.table.hold();
    let first = get(&one, 1);
    hold.arrived().await;
    world.table.set(1, 11);
    three.invalidate(&1).await.unwrap();
    let second = get(&two, 1); // begins after the acknowledgement
    settle().await;
    world.table.unhold();
    hold.release();
    assert_eq!(first.await.unwrap().unwrap().0, Some(10), "it began before");
    assert_eq!(second.await.unwrap().unwrap().0, Some(11));
}

/// The load before it can store nothing any more, and so holds up no reader. Only one of the loads is useful.
#[tokio::test(start_paused = true)]
async fn a_reader_after_an_invalidation_does_not_wait_for_the_load_before_it() {
    for by_holder in [true, false] {
        let world = World::new();
        let [one, two] = ["one", "two"]
            .map(|name| world.process_with(name, |locking| locking.max_wait(Duration::from_secs(30))));
        let hold = world.table.hold();
        let first = get(&one, 1);
        hold.arrived().await;
        world.table.unhold();
        world.table.set(1, 11);
        let reader = if by_holder { &one } else { &two };
        reader.invalidate(&1).await.unwrap();
        let invalidated = Instant::now();
        assert_eq!(get(reader, 1).await.unwrap().unwrap(), (Some(11), Origin::Loaded));
        assert!(invalidated.elapsed() <= Duration::from_millis(150), "{:?}", invalidated.elapsed());
        hold.release();
        first.await.unwrap().unwrap();
        for cache in [&one, &two] {
            let read = get(cache, 1).await.unwrap().unwrap();
            assert_eq!(read, (Some(11), Origin::Far), "the first load stored nothing");
            assert_eq!(cache.stats().locks_lost, 0);
        }
        assert_eq!(world.table.loads(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_lock_is_visible() {
    let world = World::new();
    let cache = world.process("one");
    let hold = world.table.hold();
    let load = get(&cache, 1);
    hold.arrived().await;
    world.clock.advance(Duration::from_secs(60)); // the lease is over before the next renewal
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(cache.stats().locks_lost, 1);
    hold.release();
    assert_eq!(load.await.unwrap().unwrap().0, Some(10));
}

/// The user's own locks, with any fault: the worst case is a load without a lock.
#[tokio::test(start_paused = true)]
async fn a_provider_of_the_users_own_may_fail_or_hang() {
    #[derive(Debug)]
    struct Bad {
        hangs: bool,
    }

    #[async_trait]
    impl LockProvider for Bad {
        async fn try_acquire(&self, _name: &str, _lease: Duration) -> Result<Acquired> {
            if self.hangs {
                std::future::pending::<()>().await;
            }
            Err(Error::backend("lock", "no quorum"))
        }
        async fn renew(&self, _name: &str, _token: LockToken, _lease: Duration) -> Result<bool> {
            Ok(true)
        }
        async fn release(&self, _name: &str, _token: LockToken) -> Result<bool> {
            Err(Error::backend("release", "no quorum"))
        }
        async fn released(&self, _name: &str, _at_most: Duration) -> Result<()> {
            Err(Error::backend("wait", "no quorum"))
        }
    }

    for hangs in [false, true] {
        let world = World::new();
        let cache = world.locked_by("one", Locking::new(Bad { hangs }).on_timeout(LockTimeout::Fail));
        let began = Instant::now();
        assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&10));
        assert!(began.elapsed() <= Duration::from_secs(10), "{:?}", began.elapsed());
        assert_eq!(cache.get_entry(&1).await.unwrap().origin, Origin::Far, "stored, since the fence stood");
        assert!(cache.stats().backend_errors > 0);
    }
}

/// A store that failed the read is not asked for a lock on top of it.
#[tokio::test(start_paused = true)]
async fn a_failed_read_loads_alone() {
    let world = World::new();
    let cache = world.process("one");
    world.server.faults().when(|operation| operation.kind == Kind::Get, Fault::Error);
    assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&10));
    let kinds: Vec<Kind> = world.server.record().iter().map(|operation| operation.kind).collect();
    assert_eq!(kinds, [Kind::Get], "neither lock nor announcement: the caller waits for the store once");
}
