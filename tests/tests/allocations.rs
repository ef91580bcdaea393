//! Performance that is counted, not timed: allocations of a hit and of a miss, sizes of futures.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use common::{Table, local};
use larder::codec::Json;
use larder::strategy::EarlyRefresh;
use larder::{Cache, Quick, Strategy, Tag, Tiered};
use larder_moka::Moka;

fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a local hit must be ready at the first poll"),
    }
}

fn allocations(mut action: impl FnMut()) -> u64 {
    // a thread's first use of a counter, and a store's first housekeeping, are not the hit path's cost
    (0..1_000).for_each(|_| action());
    allocation_counter::measure(|| (0..100).for_each(|_| action())).count_total
}

fn filled(cache: Cache<u64, String>) -> Cache<u64, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(cache.insert(&1, "bread".to_owned())).unwrap();
    cache
}

#[test]
fn a_hit_through_quick_cache_allocates_nothing() {
    let strategy = Strategy::aside(common::MINUTE).jitter(0.1).negative_ttl(common::MINUTE);
    let cache = filled(Cache::builder().backend(Quick::new(100)).strategy(strategy).build().unwrap());
    assert_eq!(allocations(|| assert!(now(cache.get(&1)).unwrap().is_some())), 0);
    assert_eq!(allocations(|| assert!(now(cache.get_entry(&1)).unwrap().value.is_some())), 0);
    assert_eq!(allocations(|| assert!(now(cache.get_if_present(&1)).unwrap().is_some())), 0);
    let load = || async { Ok::<_, std::io::Error>("another".to_owned()) };
    assert_eq!(allocations(|| assert!(now(cache.get_or_load(&1, load)).unwrap().is_some())), 0);
}

/// Every strategy at once: a fresh hit costs no allocation more than without.
#[test]
fn no_strategy_costs_an_allocation_on_a_fresh_hit() {
    let all = |early: fn(Strategy<u64>) -> Strategy<u64>| {
        let locks = larder_memory::MemoryServer::new().connect("one").locks();
        let strategy = Strategy::aside(common::MINUTE)
            .stale_while_revalidate(common::MINUTE)
            .stale_if_error(common::MINUTE)
            .tagged(|value: &u64| [Tag::new("value", *value), Tag::new("parity", value % 2)])
            .locked(locks)
            .max_concurrent_loads(10)
            .max_queued_loads(10)
            .batch_window(std::time::Duration::from_millis(1))
            .max_batch(10)
            .soft_timeout(common::MINUTE)
            .hard_timeout(common::MINUTE);
        let cache: Cache<u64, u64> = Cache::builder()
            .backend(Quick::new(100))
            .batch_source(Table::default())
            .tag_keys(|key| [Tag::new("key", *key)])
            .strategy(early(strategy))
            .build()
            .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            cache.insert(&1, 10).await.unwrap();
            // a ledger that has moved on: each hit looks its tags up
            cache.invalidate_tag(&Tag::new("value", 11)).await.unwrap();
        });
        cache
    };
    for cache in [
        all(|strategy| strategy),
        all(|strategy| strategy.early_refresh(EarlyRefresh::probabilistic(1.0))),
        all(|strategy| strategy.early_refresh(EarlyRefresh::after(0.9))),
    ] {
        assert_eq!(allocations(|| assert!(now(cache.get(&1)).unwrap().is_some())), 0);
        assert_eq!(allocations(|| assert!(now(cache.get_entry(&1)).unwrap().value.is_some())), 0);
    }
}

/// A near hit makes no call: not to check its freshness, nor its tags.
#[tokio::test(start_paused = true)]
async fn a_near_hit_that_is_proven_allocates_nothing() {
    let bound = std::time::Duration::from_secs(1);
    let clock = larder::clock::ManualClock::new();
    let server = larder_memory::MemoryServer::with_clock(clock.clone());
    let tiers = Tiered::new(Quick::new(100), server.connect("one").encoded(Json)).max_staleness(bound);
    let strategy = Strategy::aside(common::MINUTE).tagged(|value: &u64| [Tag::new("value", *value)]);
    let cache =
        common::over(&Table::with([(1, 10)]), &clock).backend(tiers).strategy(strategy).build().unwrap();
    cache.get(&1).await.unwrap();
    // until it has been proven, and what is near lives longer than it would without
    tokio::time::sleep(bound).await;
    cache.clear().await.unwrap();
    cache.get(&1).await.unwrap();
    clock.advance(bound * 2);
    tokio::time::sleep(bound).await;
    for other in [None, Some(Tag::new("value", 11))] {
        if let Some(other) = other {
            cache.invalidate_tag(&other).await.unwrap();
        }
        assert_eq!(now(cache.get_entry(&1)).unwrap().origin, larder::cache::Origin::Near);
        assert_eq!(allocations(|| assert!(now(cache.get(&1)).unwrap().is_some())), 0);
    }
}

#[test]
fn a_hit_through_moka_allocates_nothing_but_for_mokas_own_housekeeping() {
    let cache = filled(
        Cache::builder().backend(Moka::new(100)).strategy(Strategy::aside(common::MINUTE)).build().unwrap(),
    );
    let bare = moka::sync::Cache::<u64, std::sync::Arc<String>>::new(100);
    bare.insert(1, "bread".to_owned().into());
    let (own, bare) = (
        allocations(|| assert!(now(cache.get(&1)).unwrap().is_some())),
        allocations(|| assert!(bare.get(&1).is_some())),
    );
    assert!(own <= bare.max(4), "100 hits: {own} allocations, moka alone {bare}");
}

#[test]
fn futures_are_small() {
    let cache = local(&Table::default());
    let load = || async { Ok::<_, std::io::Error>(1u64) };
    assert!(size_of_val(&cache.get(&1)) <= 40, "{}", size_of_val(&cache.get(&1)));
    assert!(size_of_val(&cache.get_entry(&1)) <= 40, "{}", size_of_val(&cache.get_entry(&1)));
    assert!(size_of_val(&cache.get_or_load(&1, load)) <= 48, "{}", size_of_val(&cache.get_or_load(&1, load)));
    assert!(size_of_val(&cache.invalidate(&1)) <= 48, "{}", size_of_val(&cache.invalidate(&1)));
    assert!(size_of_val(&cache.get_many(&[1])) <= 48, "{}", size_of_val(&cache.get_many(&[1])));
    assert!(size_of_val(&cache.insert(&1, 1)) <= 96, "{}", size_of_val(&cache.insert(&1, 1)));
}

/// A miss allocates what outlives it (the value), what callers share (the flight and its chain), its task, and a future each
/// for the read, the load and the source.
#[test]
fn a_local_miss_allocates_little() {
    let source = larder::source_fn(|key: u64| async move { Ok::<_, std::convert::Infallible>(Some(key)) });
    let strategy = Strategy::aside(common::MINUTE);
    let cache = Cache::builder().backend(Quick::new(100_000)).source(source).strategy(strategy);
    let cache: Cache<u64, u64> = cache.build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut key = 0;
    let mut read = |keys: u64| {
        runtime.block_on(async {
            for _ in 0..keys {
                key += 1;
                assert_eq!(cache.get(&key).await.unwrap().as_deref(), Some(&key));
            }
        });
    };
    // until the store, the counters and the runtime have the room that they need
    read(20_000);
    let count = allocation_counter::measure(|| read(1_000)).count_total;
    assert_eq!(count / 1_000, 8, "{count} allocations for 1000 misses");
}
