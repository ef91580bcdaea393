//! Two tiers: a change by another process is noticed at once if its notification arrives, and within the bound
//! otherwise.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use common::{MINUTE, Table, over, settle};
use larder::backend::Placement;
use larder::cache::Origin;
use larder::clock::{CLOCK_LAG, ManualClock};
use larder::codec::Json;
use larder::{Cache, Quick, Strategy, Tag, Tiered};
use larder_memory::{Fault, Gate, Memory, MemoryServer, OperationKind};

const BOUND: Duration = Duration::from_secs(1);

fn tens(value: &u64) -> [Tag; 1] {
    [Tag::new("tens", value / 10)]
}

/// One process with two tiers, another without, and the server between them.
struct World {
    clock: ManualClock,
    table: Table,
    server: MemoryServer,
    one: Memory,
    cache: Cache<u64, u64>,
    other: Cache<u64, u64>,
}

impl World {
    async fn new() -> Self {
        Self::with(|tiers| tiers).await
    }

    /// With both keys near, and proven.
    async fn with(tiers: impl FnOnce(Tiered<Quick, Far>) -> Tiered<Quick, Far>) -> Self {
        let (table, clock) = (Table::with([(1, 10), (2, 20)]), ManualClock::new());
        let server = MemoryServer::with_clock(clock.clone());
        let (one, two) = (server.connect("one"), server.connect("two"));
        let strategy = || Strategy::aside(10 * MINUTE).tagged(tens);
        let tiers = tiers(Tiered::new(Quick::new(100), one.encoded(Json)).max_staleness(BOUND));
        let cache = over(&table, &clock).backend(tiers).strategy(strategy()).build().unwrap();
        let other = over(&table, &clock).backend(two.encoded(Json)).strategy(strategy()).build().unwrap();
        let world = Self { clock, table, server, one, cache, other };
        world.cache.get(&1).await.unwrap();
        world.beat().await;
        world.cache.clear().await.unwrap();
        world.cache.get_many(&[1, 2]).await.unwrap();
        settle().await;
        assert_eq!(world.origins().await, [Origin::Near; 2]);
        world
    }

    /// Long enough for another proof. The clock of the caches stands.
    async fn beat(&self) {
        tokio::time::sleep(BOUND / 2).await;
        settle().await;
    }

    async fn read(&self, key: u64) -> (u64, Origin) {
        let fetched = self.cache.get_entry(&key).await.unwrap();
        (*fetched.value.unwrap(), fetched.origin)
    }

    async fn origins(&self) -> [Origin; 2] {
        [self.read(1).await.1, self.read(2).await.1]
    }

    /// Another process's write of the first key.
    async fn write(&self, value: u64) {
        self.table.set(1, value);
        self.other.invalidate(&1).await.unwrap();
    }

    fn lose_pushes(&self) {
        self.server.faults().when(|operation| operation.kind == OperationKind::Remove, Fault::DropPushes);
    }
}

type Far = larder::backend::Encoded<Memory, Json>;

#[tokio::test(start_paused = true)]
async fn what_another_process_invalidates_is_told() {
    let world = World::new().await;
    world.write(11).await;
    settle().await;
    assert_eq!(world.read(1).await, (11, Origin::Loaded));
    assert_eq!(world.origins().await, [Origin::Near; 2], "the other key, and what was filled");
    world.other.insert(&1, 12).await.unwrap();
    settle().await;
    assert_eq!(world.read(1).await, (12, Origin::Far));
    assert_eq!(world.read(1).await, (12, Origin::Near));
    world.other.clear().await.unwrap();
    settle().await;
    assert_eq!(world.origins().await, [Origin::Loaded; 2]);
    assert!(world.cache.stats().pushes >= 2, "{}", world.cache.stats());
}

#[tokio::test(start_paused = true)]
async fn what_is_not_told_is_noticed_within_the_bound() {
    let world = World::new().await;
    world.lose_pushes();
    world.write(11).await;
    settle().await;
    assert_eq!(world.read(1).await, (10, Origin::Near), "nobody told");
    world.clock.advance(BOUND - CLOCK_LAG);
    assert_eq!(world.read(1).await, (10, Origin::Near), "the last proof still counts");
    world.clock.advance(Duration::from_nanos(1));
    assert_eq!(world.read(1).await, (11, Origin::Loaded), "and now it may not: a reading of the clock lags");
}

#[tokio::test(start_paused = true)]
async fn a_lost_push_is_noticed_by_the_next_proof() {
    let world = World::new().await;
    world.lose_pushes();
    world.write(11).await;
    world.beat().await;
    assert_eq!(world.read(1).await, (11, Origin::Loaded));
    assert_eq!(world.cache.stats().near_flushes, 1);
}

#[tokio::test(start_paused = true)]
async fn while_nothing_is_proven_a_near_entry_lives_for_a_bound() {
    let world = World::new().await;
    // the beats fail, and the clock goes on
    world.clock.advance(BOUND * 3);
    assert_eq!(world.read(1).await, (10, Origin::Far), "near is older than any proof");
    assert_eq!(world.read(1).await, (10, Origin::Near), "it was read far a moment ago");
    world.clock.advance(BOUND - Duration::from_nanos(1));
    assert_eq!(world.read(1).await, (10, Origin::Near));
    world.clock.advance(Duration::from_nanos(1));
    assert_eq!(world.read(1).await, (10, Origin::Far));
    world.beat().await;
    world.beat().await;
    world.cache.invalidate(&1).await.unwrap();
    assert_eq!(world.read(1).await, (10, Origin::Loaded));
    world.clock.advance(BOUND / 2);
    world.beat().await;
    world.clock.advance(BOUND / 2);
    assert_eq!(world.read(1).await, (10, Origin::Near), "proven again: it lives on");
    let unverified = world.cache.stats().unverified;
    assert!(unverified >= BOUND * 2 && unverified <= BOUND * 3, "{unverified:?}");
}

/// The far reply is held until after the push: the near tier must not take it.
#[tokio::test(start_paused = true)]
async fn a_reply_that_was_overtaken_by_a_push_is_not_placed() {
    for kind in [OperationKind::Get, OperationKind::GetMany] {
        let world = World::new().await;
        world.cache.clear().await.unwrap();
        world.other.get_many(&[1, 2]).await.unwrap();
        settle().await;
        let gate = Gate::new();
        world.server.faults().when(move |operation| operation.kind == kind, Fault::GateReply(gate.clone()));
        let cache = world.cache.clone();
        let early = tokio::spawn(async move {
            match kind {
                OperationKind::GetMany => cache.get_many(&[1, 2]).await.unwrap()[0].as_deref().copied(),
                _ => cache.get(&1).await.unwrap().as_deref().copied(),
            }
        });
        gate.arrived().await;
        world.write(11).await;
        settle().await;
        gate.open();
        world.server.faults().clear();
        assert_eq!(early.await.unwrap(), Some(10), "{kind:?}: it began before the invalidation");
        assert_eq!(world.read(1).await.0, 11, "{kind:?}");
        assert!(world.cache.stats().near_refused > 0, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fill_that_was_overtaken_by_a_push_is_not_placed() {
    let world = World::new().await;
    world.cache.invalidate(&1).await.unwrap();
    settle().await;
    let gate = Gate::new();
    world
        .server
        .faults()
        .when(|operation| operation.kind == OperationKind::Fill, Fault::GateReply(gate.clone()));
    let cache = world.cache.clone();
    let early = tokio::spawn(async move { cache.get(&1).await.unwrap() });
    gate.arrived().await;
    world.write(11).await;
    settle().await;
    gate.open();
    world.server.faults().clear();
    assert_eq!(early.await.unwrap().as_deref(), Some(&10));
    assert_eq!(world.read(1).await.0, 11);
}

#[tokio::test(start_paused = true)]
async fn whatever_may_have_hidden_a_change_empties_the_near_tier() {
    type Act = fn(&World);
    let acts: [(&str, Act); 3] = [
        ("a flush", |world| world.server.flush()),
        ("a cut", |world| {
            world.one.disconnect();
            world.one.reconnect();
        }),
        ("a restart with old data", |world| world.server.restart_from(&world.server.snapshot())),
    ];
    for (name, act) in acts {
        let world = World::new().await;
        act(&world);
        settle().await;
        assert!(!world.origins().await.contains(&Origin::Near), "{name}");
        world.write(11).await;
        settle().await;
        assert_eq!(world.read(1).await.0, 11, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_cut_off_serves_near_for_a_bound_and_then_from_the_source() {
    let world = World::new().await;
    world.one.disconnect();
    world.write(11).await;
    world.beat().await;
    assert_eq!(world.read(1).await, (10, Origin::Near));
    world.clock.advance(BOUND + Duration::from_nanos(1));
    assert_eq!(world.read(1).await, (11, Origin::Loaded));
    world.one.reconnect();
    settle().await;
    assert_eq!(world.read(1).await.0, 11);
}

#[tokio::test(start_paused = true)]
async fn while_the_server_is_down_near_is_served_for_a_bound_and_then_the_source() {
    let world = World::new().await;
    world.server.down();
    world.table.set(1, 11);
    world.beat().await;
    assert_eq!(world.read(1).await, (10, Origin::Near), "the last heartbeat still counts");
    // long enough for heartbeats that would confirm the near tier
    for _ in 0..4 {
        world.clock.advance(BOUND / 2);
        world.beat().await;
    }
    assert_eq!(world.read(1).await, (11, Origin::Loaded));
    assert!(world.cache.stats().backend_errors > 0);
    world.server.up();
    world.beat().await;
    assert_eq!(world.origins().await, [Origin::Far; 2], "the server has kept what it held");
    assert_eq!(world.origins().await, [Origin::Near; 2], "heartbeats confirm again");
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_another_process_invalidates_ends_its_own_entries_only() {
    let world = World::new().await;
    world.table.set(1, 11);
    world.other.invalidate_tags(&[Tag::new("tens", 1), Tag::new("tens", 7)]).await.unwrap();
    settle().await;
    assert_eq!(world.origins().await, [Origin::Loaded, Origin::Near]);
    // far judges by what has been invalidated so far: a hit need not look again
    world.other.invalidate_tag(&Tag::new("tens", 9)).await.unwrap();
    settle().await;
    assert_eq!(world.origins().await, [Origin::Near; 2], "nobody carries it");
    // what is read again is placed as of now, and ends with what comes after
    world.one.disconnect();
    world.one.reconnect();
    settle().await;
    assert_eq!(world.read(2).await.1, Origin::Far);
    world.other.invalidate_tag(&Tag::new("tens", 8)).await.unwrap();
    settle().await;
    assert_eq!(world.read(2).await.1, Origin::Near);
    world.other.invalidate_tag(&Tag::new("tens", 2)).await.unwrap();
    settle().await;
    assert_eq!(world.read(2).await.1, Origin::Loaded);
    // more at once than any log holds
    for number in 100..400 {
        world.other.invalidate_tag(&Tag::new("tens", number)).await.unwrap();
    }
    world.other.invalidate_tag(&Tag::new("tens", 2)).await.unwrap();
    settle().await;
    assert_eq!(world.read(2).await.1, Origin::Loaded);
    assert_eq!(world.cache.stats().near_flushes, 1, "the cut");
}

#[tokio::test(start_paused = true)]
async fn a_near_entry_lives_no_longer_than_it_may() {
    let world = World::with(|tiers| tiers.near_ttl(MINUTE)).await;
    for _ in 0..59 {
        world.clock.advance(Duration::from_secs(1));
        world.beat().await;
    }
    assert_eq!(world.origins().await, [Origin::Near; 2]);
    world.clock.advance(Duration::from_secs(1));
    world.beat().await;
    assert_eq!(world.origins().await, [Origin::Far; 2], "the near life is over");
    let world = World::new().await;
    world.clock.advance(10 * MINUTE);
    world.beat().await;
    assert_eq!(world.origins().await, [Origin::Loaded; 2], "dead with the far entry");
}

#[tokio::test(start_paused = true)]
async fn over_a_store_that_tells_nothing_a_near_entry_lives_for_a_bound() {
    let (table, clock) = (Table::with([(1, 10)]), ManualClock::new());
    let tiers = Tiered::new(Quick::new(10), Quick::new(100));
    let three = || Tiered::new(Quick::new(10), tiers.clone());
    for cache in [
        over(&table, &clock).backend(tiers.clone()).build().unwrap(),
        over(&table, &clock).backend(three()).build().unwrap(),
    ] {
        let origin = async || cache.get_entry(&1).await.unwrap().origin;
        assert_eq!(origin().await, Origin::Loaded);
        clock.advance(BOUND - Duration::from_nanos(1));
        assert_eq!(origin().await, Origin::Near);
        clock.advance(Duration::from_nanos(1));
        assert_eq!(origin().await, Origin::Far);
    }
}

#[tokio::test(start_paused = true)]
async fn a_rule_says_which_tier_has_a_key() {
    let (table, clock) = (Table::with((1..=30).map(|key| (key, key))), ManualClock::new());
    let server = MemoryServer::with_clock(clock.clone());
    let tiers =
        Tiered::new(Quick::new(100), server.connect("one").encoded(Json)).placement(|key: &u64| match key {
            1..=9 => Placement::NearOnly,
            10..=19 => Placement::FarOnly,
            _ => Placement::Both,
        });
    let strategy = Strategy::aside(MINUTE).tagged(tens);
    let cache = over(&table, &clock).backend(tiers).strategy(strategy).build().unwrap();
    cache.get(&30).await.unwrap();
    tokio::time::sleep(BOUND).await;
    let keys: Vec<u64> = (1..=29).collect();
    cache.get_many(&keys).await.unwrap();
    assert_eq!(server.len(), 21, "those that are only near are not far");
    settle().await;
    let origin = async |key: u64| cache.get_entry(&key).await.unwrap().origin;
    assert_eq!(
        (origin(1).await, origin(10).await, origin(20).await),
        (Origin::Near, Origin::Far, Origin::Near)
    );
    assert_eq!(origin(10).await, Origin::Far, "it is never placed near");
    let found = cache.get_many(&keys).await.unwrap();
    assert!(found.iter().zip(&keys).all(|(value, key)| value.as_deref() == Some(key)), "aligned");
    for key in [1, 10, 20] {
        table.set(key, key + 100);
        cache.invalidate(&key).await.unwrap();
        assert_eq!(cache.get(&key).await.unwrap().as_deref(), Some(&(key + 100)));
        table.set(key, key + 200);
        cache.invalidate_tag(&tens(&(key + 100))[0]).await.unwrap();
        assert_eq!(cache.get(&key).await.unwrap().as_deref(), Some(&(key + 200)));
        cache.insert(&key, key + 300).await.unwrap();
        assert_eq!(cache.get(&key).await.unwrap().as_deref(), Some(&(key + 300)));
    }
    cache.invalidate_many(&keys).await.unwrap();
    assert_eq!(
        (origin(2).await, origin(12).await, origin(22).await),
        (Origin::Loaded, Origin::Loaded, Origin::Loaded)
    );
    cache.clear().await.unwrap();
    assert_eq!(
        (origin(2).await, origin(12).await, origin(22).await),
        (Origin::Loaded, Origin::Loaded, Origin::Loaded)
    );
    let guard = cache.write_guard(&[3, 13, 23], MINUTE).await.unwrap();
    assert_eq!(
        (origin(3).await, origin(3).await),
        (Origin::Loaded, Origin::Loaded),
        "nothing is stored meanwhile"
    );
    guard.finish().await.unwrap();
    assert_eq!((origin(3).await, origin(3).await), (Origin::Loaded, Origin::Near));
}

/// Two caches of one process on one namespace: what one fills is news to the other.
#[tokio::test(start_paused = true)]
async fn two_caches_of_one_process_tell_each_other() {
    let (table, clock) = (Table::with([(1, 10)]), ManualClock::new());
    let server = MemoryServer::with_clock(clock.clone());
    let memory = server.connect("one");
    let cache = || {
        let tiers = Tiered::new(Quick::new(10), memory.encoded(Json));
        over(&table, &clock).backend(tiers).build().unwrap()
    };
    let (first, second) = (cache(), cache());
    first.get(&1).await.unwrap();
    second.get(&1).await.unwrap();
    tokio::time::sleep(BOUND).await;
    table.set(1, 11);
    first.refresh(&1).await.unwrap();
    settle().await;
    assert_eq!(second.get(&1).await.unwrap().as_deref(), Some(&11));
}
