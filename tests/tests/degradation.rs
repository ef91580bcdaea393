//! A backend that errors, hangs or holds garbage, at any point: reads go on, invalidations are not lost.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use common::{MINUTE, Table, over, settle};
use larder::backend::{
    BackendContext, Breaker, Direct, Frame, IntoBackend, Local, LocalStore, Payload, QuickStore, Timeout,
};
use larder::cache::Origin;
use larder::clock::ManualClock;
use larder::codec::Json;
use larder::key::StoreKey;
use larder::observe::BreakerState;
use larder::{Cache, CacheBackend, ErrorKind, Quick, Strategy, Tag, Tiered};
use larder_memory::{Fault, Gate, MemoryServer, OperationKind as Kind};

const KINDS: [Kind; 6] = [Kind::Get, Kind::GetMany, Kind::Begin, Kind::Fill, Kind::Release, Kind::Renew];

struct World {
    table: Table,
    clock: ManualClock,
    server: MemoryServer,
}

impl World {
    fn new() -> Self {
        let clock = ManualClock::new();
        let server = MemoryServer::with_clock(clock.clone());
        Self { table: Table::with([(1, 10), (2, 20)]), server, clock }
    }

    fn cache(&self) -> Cache<u64, u64> {
        over(&self.table, &self.clock).backend(self.server.connect("one").encoded(Json)).build().unwrap()
    }
}

/// The entry of a value that cannot be weighed is not stored, and the value before it is not served any more.
#[tokio::test]
async fn a_weigher_that_panics_keeps_its_own_values_out() {
    fn weigh(_key: &u64, value: &u64) -> u32 {
        assert_ne!(*value, 13, "no scales for 13");
        10
    }
    let (table, clock) = (Table::with([(1, 10), (2, 20)]), ManualClock::new());
    let builder = || over(&table, &clock).strategy(Strategy::aside(MINUTE));
    for cache in [
        builder().backend(Quick::new(1_000).weigher(weigh)).build().unwrap(),
        builder().backend(larder_moka::Moka::new(1_000).weigher(weigh)).build().unwrap(),
    ] {
        table.set(1, 10);
        assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&10));
        table.set(1, 13);
        for _ in 0..3 {
            assert_eq!(cache.refresh(&1).await.unwrap().as_deref(), Some(&13));
            assert!(cache.get_if_present(&1).await.unwrap().is_none());
        }
        assert_eq!(cache.stats().backend_errors, 3);
        table.set(1, 11);
        for key in [1, 2] {
            cache.get(&key).await.unwrap();
            assert_eq!(cache.get_entry(&key).await.unwrap().origin, Origin::Near, "{key}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_the_backend_does_at_any_point_a_read_is_answered_by_the_source() {
    let second = Duration::from_secs(1);
    let faults = [
        Fault::Error,
        Fault::LoseReply,
        Fault::Hang,
        Fault::Delay(10 * second),
        Fault::DelayReply(10 * second),
        Fault::Corrupt,
    ];
    for kind in KINDS {
        for fault in &faults {
            let world = World::new();
            let cache = world.cache();
            world.server.faults().when(move |operation| operation.kind == kind, fault.clone());
            let began = tokio::time::Instant::now();
            let what = format!("{kind:?} {fault:?}");
            assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&10), "{what}");
            assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&10), "{what}");
            let many = cache.get_many(&[1, 2, 3]).await.unwrap();
            let many: Vec<_> = many.iter().map(|value| value.as_deref().copied()).collect();
            assert_eq!(many, [Some(10), Some(20), None], "{what}");
            world.table.fail(Some("down"));
            assert_eq!(cache.get(&9).await.unwrap_err().kind(), ErrorKind::Source, "{what}");
            assert!(began.elapsed() <= 14 * second, "{what}: bounded by timeouts, not {:?}", began.elapsed());
            assert_eq!(cache.in_flight(), 0, "{what}");
        }
    }
}

#[tokio::test]
async fn a_failure_is_counted_and_traced_not_returned() {
    let world = World::new();
    let cache = world.cache();
    world.server.faults().when(|_| true, Fault::Error);
    cache.get(&1).await.unwrap();
    let stats = cache.stats();
    assert_eq!(
        (stats.loads, stats.backend_errors),
        (1, 1),
        "the get failed; nobody waits for the same store twice"
    );
    assert_eq!(
        cache.get_if_present(&1).await.unwrap_err().kind(),
        ErrorKind::Backend,
        "a lookup has nobody else to ask"
    );
}

#[tokio::test]
async fn garbage_is_a_counted_miss_and_is_overwritten() {
    let key = StoreKey::new(&1u64);
    let frame = |payload: &'static str, schema| Frame {
        payload: Some(Payload::new(larder::codec::CodecId::JSON, payload)),
        schema,
        cost_us: 0,
        created_ms: 0,
        soft_ms: u64::MAX,
        expires_ms: u64::MAX,
        stamp: larder::tag::Stamp::default(),
        tags: vec![],
        validator: None,
    };
    let other = StoreKey::new(&2u64);
    let good = frame("10", 0).encode(&key);
    let garbage: [(&str, Vec<u8>); 8] = [
        ("empty", vec![]),
        ("foreign", b"{\"id\": 1}".to_vec()),
        ("truncated", good[..good.len() - 1].to_vec()),
        ("trailing", [&good[..], b"!"].concat()),
        ("another key's", frame("99", 0).encode(&other).to_vec()),
        ("another schema's", frame("99", 7).encode(&key).to_vec()),
        ("undecodable", frame("\"no number\"", 0).encode(&key).to_vec()),
        ("another codec's", {
            let mut frame = frame("99", 0);
            frame.payload = Some(Payload::new(larder::codec::CodecId::POSTCARD, "99"));
            frame.encode(&key).to_vec()
        }),
    ];
    for (what, bytes) in garbage {
        let world = World::new();
        let cache = world.cache();
        world.server.poke("numbers", &key, bytes, Duration::from_secs(60));
        assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&10), "{what}");
        assert!(cache.stats().undecodable > 0, "{what} is counted");
        assert_eq!(cache.get_entry(&1).await.unwrap().origin, Origin::Far, "{what} was overwritten");
        assert_eq!(world.table.loads(), 1, "{what}");
    }
}

#[tokio::test]
async fn a_value_that_is_too_large_or_cannot_be_encoded_is_returned_and_not_stored() {
    let world = World::new();
    let cache: Cache<u64, String> = Cache::builder()
        .namespace("texts")
        .backend(world.server.connect("one").encoded(Json).max_bytes(10))
        .strategy(Strategy::aside(MINUTE))
        .build()
        .unwrap();
    let load = || async { Ok::<_, std::io::Error>("far too long for ten bytes".to_owned()) };
    assert!(cache.get_or_load(&1, load).await.unwrap().is_some());
    assert_eq!(cache.stats().backend_errors, 1, "not silently");
    assert!(world.server.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_that_failed_is_reported_blocks_the_key_and_is_delivered() {
    for fault in [Fault::Error, Fault::LoseReply, Fault::Hang] {
        let world = World::new();
        let cache = world.cache();
        cache.get_many(&[1, 2]).await.unwrap();
        let id = world.server.faults().when(|operation| operation.kind == Kind::Remove, fault.clone());
        let again = world.server.faults().when(|operation| operation.kind == Kind::RemoveMany, fault.clone());
        world.table.set(1, 11);
        cache.invalidate(&1).await.unwrap_err();
        assert_eq!(cache.unacknowledged(), 1);
        assert_eq!(
            cache.get(&1).await.unwrap().as_deref(),
            Some(&11),
            "{fault:?}: not served from the cache"
        );
        assert_eq!(cache.get_entry(&2).await.unwrap().origin, Origin::Far, "{fault:?}: another key is");
        world.server.faults().remove(id);
        world.server.faults().remove(again);
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(cache.unacknowledged(), 0, "{fault:?}: delivered without anybody asking");
        assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&11));
        assert_eq!(
            cache.get_entry(&1).await.unwrap().origin,
            Origin::Far,
            "{fault:?}: served from the cache again"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_whose_caller_left_is_delivered() {
    let world = World::new();
    let cache = world.cache();
    cache.get(&1).await.unwrap();
    let gate = Gate::new();
    world.server.faults().times(1, |operation| operation.kind == Kind::Remove, Fault::Gate(gate.clone()));
    let call = tokio::spawn({
        let cache = cache.clone();
        async move { cache.invalidate(&1).await }
    });
    gate.arrived().await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    assert_eq!(cache.unacknowledged(), 1, "it never reached the server");
    world.table.set(1, 11);
    assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&11));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(cache.unacknowledged(), 0);
    assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&11));
}

#[tokio::test(start_paused = true)]
async fn a_later_invalidation_that_succeeds_settles_an_earlier_one() {
    let world = World::new();
    let cache = world.cache();
    world.server.faults().times(1, |operation| operation.kind == Kind::Remove, Fault::Error);
    cache.invalidate(&1).await.unwrap_err();
    assert_eq!(cache.unacknowledged(), 1);
    cache.invalidate(&1).await.unwrap();
    assert_eq!(cache.unacknowledged(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_clear_that_failed_blocks_everything_until_it_is_delivered() {
    let world = World::new();
    let cache = world.cache();
    cache.get_many(&[1, 2]).await.unwrap();
    let id = world.server.faults().when(|operation| operation.kind == Kind::Clear, Fault::Error);
    world.table.set(1, 11);
    world.table.set(2, 21);
    cache.clear().await.unwrap_err();
    let many = cache.get_many(&[1, 2]).await.unwrap();
    assert_eq!(many.iter().map(|value| **value.as_ref().unwrap()).collect::<Vec<_>>(), [11, 21]);
    world.server.faults().remove(id);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(cache.unacknowledged(), 0);
    assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&11));
}

#[tokio::test(start_paused = true)]
async fn a_tag_whose_invalidation_failed_blocks_its_entries_until_it_is_delivered() {
    for (near, batch) in [(false, false), (false, true), (true, false), (true, true)] {
        for fault in [Fault::Error, Fault::LoseReply, Fault::Hang] {
            let world = World::new();
            let memory = world.server.connect("one").encoded(Json);
            let builder = over(&world.table, &world.clock);
            let builder = match near {
                true => builder.backend(Tiered::new(Quick::new(10), memory)),
                false => builder.backend(memory),
            };
            let strategy = Strategy::aside(MINUTE)
                .tagged(|value: &u64| [Tag::new("tens", value / 10)])
                .stale_while_revalidate(MINUTE);
            let cache = builder.strategy(strategy).build().unwrap();
            cache.get_many(&[1, 2]).await.unwrap();
            let what = format!("{fault:?}, near {near}");
            let id = world
                .server
                .faults()
                .when(|operation| operation.kind == Kind::LedgerInvalidate, fault.clone());
            world.table.set(1, 11);
            cache.invalidate_tag(&Tag::new("tens", 1)).await.unwrap_err();
            assert_eq!(cache.unacknowledged(), 1, "{what}");
            // by many and by one: each is the first look at what is there
            if batch {
                let many = cache.get_many(&[1, 2]).await.unwrap();
                assert_eq!(many[0].as_deref(), Some(&11), "{what}");
            }
            assert_eq!(
                cache.get(&1).await.unwrap().as_deref(),
                Some(&11),
                "{what}: not served from the cache"
            );
            assert_ne!(cache.get_entry(&2).await.unwrap().origin, Origin::Loaded, "{what}: another tag is");
            world.server.faults().remove(id);
            tokio::time::sleep(Duration::from_secs(20)).await;
            assert_eq!(cache.unacknowledged(), 0, "{what}: delivered without anybody asking");
            assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&11), "{what}");
            let again = cache.get_entry(&1).await.unwrap().origin;
            assert!(
                matches!(again, Origin::Near | Origin::Far),
                "{what}: {again:?}, served from the cache again"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_guard_that_failed_is_reported_and_leaves_nothing_old_in_use() {
    for kind in [Kind::Guard, Kind::Unguard] {
        let world = World::new();
        let cache = world.cache();
        cache.get(&1).await.unwrap();
        world.server.faults().times(1, move |operation| operation.kind == kind, Fault::Error);
        let guard = cache.write_guard(&[1], MINUTE).await;
        world.table.set(1, 11);
        match guard {
            Err(_) => assert_eq!(kind, Kind::Guard),
            Ok(guard) => drop(guard.finish().await.unwrap_err()),
        }
        assert_eq!(cache.unacknowledged(), 1, "{kind:?}");
        assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&11), "{kind:?}");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(cache.unacknowledged(), 0, "{kind:?}");
        assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&11), "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_insert_that_failed_does_not_leave_the_old_value_in_use() {
    let world = World::new();
    let cache = world.cache();
    cache.get(&1).await.unwrap();
    for (kind, value) in [(Kind::Begin, 11), (Kind::Fill, 12)] {
        world.server.faults().times(1, move |operation| operation.kind == kind, Fault::Error);
        world.table.set(1, value);
        cache.insert(&1, value).await.unwrap_err();
        assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&value));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(cache.unacknowledged(), 0);
        assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&value));
    }
}

/// A request of an insert that is executed late does not undo an invalidation that was acknowledged after it.
#[tokio::test(start_paused = true)]
async fn an_insert_that_arrives_late_does_not_overwrite() {
    let world = World::new();
    let (writer, reader) = (world.cache(), world.cache());
    for kind in [Kind::Begin, Kind::Fill] {
        world.server.faults().times(1, move |operation| operation.kind == kind, Fault::Delay(MINUTE / 20));
        world.table.set(1, 11);
        writer.insert(&1, 11).await.unwrap_err();
        world.table.set(1, 12);
        reader.invalidate(&1).await.unwrap();
        tokio::time::sleep(MINUTE / 10).await;
        assert_eq!(reader.get(&1).await.unwrap().as_deref(), Some(&12), "{kind:?}");
        writer.invalidate(&1).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn shutdown_says_what_was_never_acknowledged() {
    let world = World::new();
    let cache = world.cache();
    let id = world.server.faults().when(|_| true, Fault::Error);
    cache.invalidate_many(&[1, 2]).await.unwrap_err();
    let error = cache.shutdown().await.unwrap_err();
    assert!(error.to_string().contains("2 invalidations"), "{error}");
    world.server.faults().remove(id);
    cache.shutdown().await.unwrap();
}

/// A timeout opens the breaker at once; then one try after an eighth of the pause, twice that, up to the whole of it.
#[tokio::test(start_paused = true)]
async fn a_timeout_opens_the_breaker_and_pauses_grow() {
    let (world, second) = (World::new(), Duration::from_secs(1));
    let far = Timeout::new(world.server.connect("one").encoded(Json), second / 10);
    let far = Breaker::new(far).failures(5).pause(8 * second);
    let cache = over(&world.table, &world.clock).backend(far).build().unwrap();
    world.server.faults().when(|_| true, Fault::Hang);
    let mut waited = Vec::new();
    for _ in 0..400 {
        let began = tokio::time::Instant::now();
        cache.get(&1).await.unwrap();
        waited.push(!began.elapsed().is_zero());
        world.clock.advance(second / 10);
    }
    let tries: Vec<usize> = (0..400).filter(|&at| waited[at]).collect();
    let pauses: Vec<usize> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(pauses, [10, 20, 40, 80, 80, 80, 80], "tenths of a second");
}

#[tokio::test]
async fn a_breaker_stops_asking_and_tries_again() {
    let world = World::new();
    let far =
        Breaker::new(world.server.connect("one").encoded(Json)).failures(3).pause(Duration::from_secs(5));
    let cache = over(&world.table, &world.clock).backend(far).build().unwrap();
    let asked = || world.server.record().len();
    world.server.faults().when(|_| true, Fault::LoseReply);
    for _ in 0..20 {
        cache.get(&1).await.unwrap();
    }
    assert_eq!(
        (asked(), cache.stats().breaker),
        (3, BreakerState::Open),
        "after three failures nobody is asked"
    );
    world.clock.advance(Duration::from_secs(5));
    cache.get(&1).await.unwrap();
    assert_eq!(
        (asked(), cache.stats().breaker),
        (4, BreakerState::Open),
        "one try, and closed to the others again"
    );
    world.server.faults().clear();
    world.clock.advance(Duration::from_secs(5));
    cache.get(&1).await.unwrap();
    assert_eq!(cache.stats().breaker, BreakerState::Closed);
    assert_eq!(cache.get_entry(&1).await.unwrap().origin, Origin::Far);
}

#[tokio::test(start_paused = true)]
async fn a_slow_load_keeps_its_fence_by_renewing_it() {
    let clock = larder::clock::TokioClock::new();
    let server = MemoryServer::with_clock(clock.clone());
    let cache: Cache<u64, u64> = Cache::builder()
        .namespace("numbers")
        .backend(server.connect("one").encoded(Json))
        .clock(clock)
        .strategy(Strategy::aside(10 * MINUTE).lease(Duration::from_secs(3)))
        .build()
        .unwrap();
    let load = || async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        Ok::<_, std::io::Error>(7)
    };
    cache.get_or_load(&1, load).await.unwrap();
    assert_eq!(cache.stats().fills, 1);
    assert_eq!(server.fences(), 0);
    let renewals = server.record().iter().filter(|operation| operation.kind == Kind::Renew).count();
    assert!((15..=20).contains(&renewals), "every second for 20 s: {renewals}");
}

#[tokio::test]
async fn no_fence_is_left_when_loads_fail_or_store_nothing() {
    let world = World::new();
    let cache = world.cache();
    world.table.fail(Some("down"));
    cache.get(&1).await.unwrap_err();
    cache.get_many(&[1, 2]).await.unwrap_err();
    world.table.fail(None);
    assert!(cache.get(&9).await.unwrap().is_none(), "absent, and absence is not kept");
    settle().await;
    assert_eq!(world.server.fences(), 0);

    let store: Local<u64, QuickStore<u64, u64>> =
        Quick::new(10).into_backend(&BackendContext::unnamed()).unwrap();
    let store = std::sync::Arc::new(store);
    assert_eq!(store.fences(), 0);
    _ = store.store().insert(
        1,
        larder::backend::Entry::new(None, larder::clock::Timestamp::ORIGIN, MINUTE),
        MINUTE,
    );
    assert!(store.store().get(&1, larder::backend::Recency::Keep).is_some());
}

#[tokio::test]
async fn round_trips_are_counted() {
    let world = World::new();
    let cache = world.cache();
    let kinds = || {
        let kinds: Vec<_> = world.server.record().iter().map(|operation| operation.kind).collect();
        world.server.clear_record();
        kinds
    };
    cache.get(&1).await.unwrap();
    assert_eq!(kinds(), [Kind::Get, Kind::Begin, Kind::Fill], "a miss");
    cache.get(&1).await.unwrap();
    assert_eq!(kinds(), [Kind::Get], "a hit");
    cache.get_many(&[1, 1, 1]).await.unwrap();
    assert_eq!(kinds(), [Kind::GetMany], "many");
    cache.invalidate(&1).await.unwrap();
    cache.invalidate_many(&[1, 2]).await.unwrap();
    cache.clear().await.unwrap();
    assert_eq!(kinds(), [Kind::Remove, Kind::RemoveMany, Kind::Clear]);
    let tiers = Tiered::new(Quick::new(10), world.server.connect("two").encoded(Json));
    let tiered = over(&world.table, &world.clock).backend(tiers).build().unwrap();
    tiered.get(&1).await.unwrap();
    assert_eq!(kinds(), [Kind::Get, Kind::Begin, Kind::Fill], "a miss of two tiers");
    tiered.get(&1).await.unwrap();
    tiered.get_many(&[1]).await.unwrap();
    assert_eq!(kinds(), [], "a near hit asks nobody");
    tiered.get_many(&[1, 2]).await.unwrap();
    assert_eq!(kinds()[0], Kind::GetMany, "what is not near is asked for in one round trip");
}

#[tokio::test]
async fn evictions_are_counted_and_the_bound_holds() {
    let table = Table::with((0..5_000).map(|key| (key, key)));
    let cache = over(&table, &ManualClock::new()).backend(Quick::new(500)).build().unwrap();
    for key in 0..5_000 {
        cache.get(&key).await.unwrap();
    }
    let stats = cache.stats();
    assert!(stats.evictions >= 4_300 && stats.evictions <= 4_700, "{}", stats.evictions);

    let weighed = over(&table, &ManualClock::new())
        .backend(larder_moka::Moka::new(1_000).weigher(|_: &u64, _: &u64| 10))
        .build()
        .unwrap();
    for key in 0..5_000 {
        weighed.get(&key).await.unwrap();
    }
    assert!(
        weighed.stats().evictions >= 4_000,
        "100 entries of weight 10 fit: {}",
        weighed.stats().evictions
    );
}

#[tokio::test]
async fn an_oversized_overwrite_does_not_leave_the_old_value() {
    for cache in [
        over(&Table::default(), &ManualClock::new())
            .backend(Quick::new(1_000).weigher(|_: &u64, value: &u64| *value as u32))
            .build()
            .unwrap(),
        over(&Table::default(), &ManualClock::new())
            .backend(larder_moka::Moka::new(1_000).weigher(|_: &u64, value: &u64| *value as u32))
            .build()
            .unwrap(),
    ] {
        cache.insert(&1, 5).await.unwrap();
        cache.insert(&1, 1_000_000).await.unwrap();
        let found = cache.get_if_present(&1).await.unwrap().and_then(|found| found.value);
        assert_ne!(found.as_deref(), Some(&5));
    }
}

#[tokio::test]
async fn clients_whose_clocks_are_hours_apart_agree_on_lives() {
    let server_clock = ManualClock::new();
    let server = MemoryServer::with_clock(server_clock.clone());
    let table = Table::with([(1, 10)]);
    let clocks = [1, 10_000_000]
        .map(|secs| ManualClock::at(larder::clock::Timestamp::from_nanos(secs * 1_000_000_000)));
    let [one, two] = [("one", &clocks[0]), ("two", &clocks[1])].map(|(name, clock)| {
        over(&table, clock).backend(server.connect(name).encoded(Json)).build().unwrap()
    });
    one.get(&1).await.unwrap();
    let pass = |by: Duration| {
        server_clock.advance(by);
        clocks.iter().for_each(|clock| clock.advance(by));
    };
    pass(MINUTE - Duration::from_millis(1));
    assert_eq!(two.get_entry(&1).await.unwrap().origin, Origin::Far);
    assert!(two.get_entry(&1).await.unwrap().age >= MINUTE - Duration::from_millis(2));
    pass(Duration::from_millis(1));
    assert!(
        one.get_if_present(&1).await.unwrap().is_none() && two.get_if_present(&1).await.unwrap().is_none()
    );
}

#[tokio::test]
async fn schema_versions_and_prefixes_do_not_see_each_other() {
    let world = World::new();
    let build = |schema| {
        over(&world.table, &world.clock)
            .schema(schema)
            .backend(world.server.connect("one").encoded(Json))
            .build()
    };
    let (old, new) = (build(1).unwrap(), build(2).unwrap());
    old.get(&1).await.unwrap();
    assert!(new.get_if_present(&1).await.unwrap().is_none());
    new.get(&1).await.unwrap();
    old.clear().await.unwrap();
    assert!(new.get_if_present(&1).await.unwrap().is_some(), "a clear ends with its own version");
    let staging = larder::backend::Prefix::new("staging", world.server.connect("one").encoded(Json));
    let staging = over(&world.table, &world.clock).schema(2).backend(staging).build().unwrap();
    assert!(staging.get_if_present(&1).await.unwrap().is_none());
    staging.get(&1).await.unwrap();
    let names: Vec<_> = world.server.keys().into_iter().map(|(namespace, _)| namespace).collect();
    assert_eq!(names, ["numbers@2", "staging:numbers@2"]);
}

#[tokio::test]
async fn an_erased_backend_is_a_backend() {
    let store: Local<u64, QuickStore<u64, u64>> =
        Quick::new(10).into_backend(&BackendContext::unnamed()).unwrap();
    let erased = larder::backend::Erased::new(store);
    let clock = ManualClock::new();
    let cache = over(&Table::with([(1, 10)]), &clock).backend(Direct(erased.clone())).build().unwrap();
    cache.get(&1).await.unwrap();
    assert!(erased.peek(&1, larder::clock::Clock::now(&clock)).is_some());
}
