//! The life of entries, to the millisecond, by a clock that stands still until it is moved.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use common::{MINUTE, Table, over};
use larder::backend::IntoBackend;
use larder::cache::Origin;
use larder::clock::ManualClock;
use larder::{Cache, Loaded, Quick, Strategy};
use larder_moka::Moka;

const MILLI: Duration = Duration::from_millis(1);

async fn lives_exactly<B>(backend: B, ttl: Duration)
where
    B: IntoBackend<u64, u64> + Send + 'static,
{
    let (clock, table) = (ManualClock::new(), Table::with([(1, 10)]));
    let cache = over(&table, &clock).backend(backend).strategy(Strategy::aside(ttl)).build().unwrap();
    cache.get(&1).await.unwrap();
    assert_eq!(cache.get_entry(&1).await.unwrap().expires_in(), ttl);
    clock.advance(ttl - Duration::from_nanos(1));
    assert_eq!(cache.get_entry(&1).await.unwrap().origin, Origin::Near, "alive to the end of {ttl:?}");
    clock.advance(Duration::from_nanos(1));
    assert_eq!(cache.get_entry(&1).await.unwrap().origin, Origin::Loaded, "dead after {ttl:?}");
}

#[tokio::test]
async fn an_entry_lives_exactly_its_ttl_from_a_millisecond_on() {
    for ttl in [MILLI, 999 * MILLI, 1_000 * MILLI, 1_001 * MILLI, 24 * 60 * MINUTE] {
        lives_exactly(Quick::new(10), ttl).await;
        lives_exactly(Moka::new(10), ttl).await;
    }
}

#[tokio::test]
async fn the_longest_duration_is_for_ever() {
    let (clock, table) = (ManualClock::new(), Table::with([(1, 10)]));
    for cache in [
        over(&table, &clock)
            .backend(Quick::new(10))
            .strategy(Strategy::aside(Duration::MAX))
            .build()
            .unwrap(),
        over(&table, &clock).backend(Moka::new(10)).strategy(Strategy::aside(Duration::MAX)).build().unwrap(),
    ] {
        cache.get(&1).await.unwrap();
        clock.advance(Duration::from_secs(100 * 365 * 86_400));
        let found = cache.get_entry(&1).await.unwrap();
        assert_eq!((found.origin, found.expires_in()), (Origin::Near, Duration::MAX));
    }
}

#[tokio::test]
async fn the_system_clock_ends_a_life_of_a_millisecond() {
    // the hit path reads a coarse clock, which ticks every few milliseconds: the promise holds all the same
    let table = Table::with([(1, 10)]);
    let cache: Cache<u64, u64> = Cache::builder()
        .backend(Quick::new(10))
        .source(table.clone())
        .strategy(Strategy::aside(MILLI))
        .build()
        .unwrap();
    cache.get(&1).await.unwrap();
    let end = std::time::Instant::now() + MILLI;
    while std::time::Instant::now() < end {
        std::hint::spin_loop();
    }
    assert_eq!(cache.get_entry(&1).await.unwrap().origin, Origin::Loaded);
}

#[tokio::test]
async fn absence_is_kept_only_with_a_ttl_of_its_own() {
    let (clock, table) = (ManualClock::new(), Table::default());
    let cache = over(&table, &clock).backend(Quick::new(10)).build().unwrap();
    for _ in 0..3 {
        assert!(cache.get(&1).await.unwrap().is_none());
    }
    assert_eq!(table.loads(), 3);

    let strategy = Strategy::aside(MINUTE).negative_ttl(5 * MILLI);
    let cache = over(&table, &clock).backend(Quick::new(10)).strategy(strategy).build().unwrap();
    for _ in 0..3 {
        assert!(cache.get(&1).await.unwrap().is_none());
    }
    assert_eq!(table.loads(), 4);
    let known = cache.get_if_present(&1).await.unwrap().expect("known to be absent");
    assert!(known.value.is_none());
    clock.advance(5 * MILLI);
    table.set(1, 10);
    assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&10));
}

#[tokio::test]
async fn the_loader_and_the_value_can_decide_the_ttl() {
    let clock = ManualClock::new();
    let strategy = Strategy::aside(MINUTE).ttl_by(|value: &u64| (*value > 100).then_some(3 * MINUTE));
    let cache: Cache<u64, u64> =
        Cache::builder().backend(Quick::new(10)).clock(clock.clone()).strategy(strategy).build().unwrap();
    let load = |loaded: Loaded<u64>| move || async move { Ok::<_, std::io::Error>(loaded) };
    cache.get_or_load(&1, load(Loaded::new(1))).await.unwrap();
    cache.get_or_load(&2, load(Loaded::new(1_000))).await.unwrap();
    cache.get_or_load(&3, load(Loaded::new(1_000).ttl(MILLI))).await.unwrap();
    cache.get_or_load(&4, load(Loaded::new(1).no_store())).await.unwrap();
    cache.get_or_load(&5, load(Loaded::absent().ttl(MILLI))).await.unwrap();
    let mut left = Vec::new();
    for key in 1..=5 {
        left.push(cache.get_if_present(&key).await.unwrap().map(|found| found.expires_in()));
    }
    assert_eq!(left, [Some(MINUTE), Some(3 * MINUTE), Some(MILLI), None, Some(MILLI)]);
}

#[tokio::test]
async fn jitter_only_shortens() {
    let (clock, table) = (ManualClock::new(), Table::with((0..200).map(|key| (key, key))));
    let strategy = Strategy::aside(MINUTE).jitter(0.5);
    let cache = over(&table, &clock).backend(Quick::new(1_000)).strategy(strategy).build().unwrap();
    let mut lives = Vec::new();
    for key in 0..200 {
        cache.get(&key).await.unwrap();
        lives.push(cache.get_entry(&key).await.unwrap().expires_in());
    }
    assert!(lives.iter().all(|life| *life <= MINUTE && *life >= MINUTE / 2));
    assert!(lives.iter().max().unwrap().saturating_sub(*lives.iter().min().unwrap()) > MINUTE / 4, "spread");
}

#[tokio::test]
async fn an_overwrite_leaves_nothing_of_the_previous_life() {
    let clock = ManualClock::new();
    let cache: Cache<u64, u64> = Cache::builder()
        .backend(Quick::new(10))
        .clock(clock.clone())
        .strategy(Strategy::aside(MINUTE))
        .build()
        .unwrap();
    cache.insert(&1, Loaded::new(1).ttl(Duration::MAX)).await.unwrap();
    cache.insert(&1, Loaded::new(2).ttl(MILLI)).await.unwrap();
    clock.advance(MILLI);
    assert!(cache.get_if_present(&1).await.unwrap().is_none());
    cache.insert(&1, Loaded::new(3).no_store()).await.unwrap();
    assert!(cache.get_if_present(&1).await.unwrap().is_none());
}
