//! The numbers of a cache: the reasons of misses, stored and evicted entries.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{MINUTE, Table, over};
use larder::cache::Origin;
use larder::clock::ManualClock;
use larder::codec::Json;
use larder::observe::MissCause;
use larder::{Cache, CacheBuilder, Quick, Tag};
use larder_memory::{Memory, MemoryServer};

fn causes<K: larder::cache::Key, V: larder::cache::Value>(cache: &Cache<K, V>) -> [u64; 5] {
    MissCause::ALL.map(|cause| cache.stats().misses_by(cause))
}

/// A cache over a server of its own, which keeps values a minute longer for when the source fails.
fn shared(clock: &ManualClock) -> (Memory, Cache<u64, u64>) {
    let process = MemoryServer::with_clock(clock.clone()).connect("one");
    let strategy = larder::Strategy::aside(MINUTE).stale_if_error(MINUTE);
    let cache = over(&Table::with([(1, 10), (2, 20)]), clock)
        .backend(process.encoded(Json))
        .namespace("number")
        .strategy(strategy)
        .build()
        .unwrap();
    (process, cache)
}

#[tokio::test]
async fn each_miss_has_its_cause_alone_and_in_a_batch() {
    let clock = ManualClock::new();
    for batch in [false, true] {
        let (process, cache) = shared(&clock);
        let read = async || match batch {
            true => assert!(cache.get_many(&[1]).await.unwrap()[0].is_some()),
            false => assert!(cache.get(&1).await.unwrap().is_some()),
        };
        read().await;
        assert_eq!(causes(&cache), [1, 0, 0, 0, 0], "nothing was there");
        clock.advance(MINUTE + Duration::from_secs(1));
        read().await;
        assert_eq!(causes(&cache), [1, 1, 0, 0, 0], "it was past its end");
        process.disconnect();
        read().await;
        assert_eq!(causes(&cache), [1, 1, 1, 0, 0], "the store failed");
        cache.invalidate(&1).await.unwrap_err();
        read().await;
        assert_eq!(causes(&cache), [1, 1, 1, 1, 0], "an invalidation waits");
        assert_eq!(cache.stats().misses, 4);
        let report = cache.stats().to_string();
        assert!(report.contains("1 absent, 1 expired, 1 unreachable, 1 unacknowledged"), "{report}");
    }
}

#[tokio::test]
async fn what_an_invalidation_overlapped_is_not_kept_and_says_so() {
    let clock = ManualClock::new();
    let cache = over(&Table::default(), &clock).backend(Quick::new(10)).build().unwrap();
    let (began, go_on) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
    let loader = {
        let (began, go_on) = (Arc::clone(&began), Arc::clone(&go_on));
        move || async move {
            began.notify_one();
            go_on.notified().await;
            Ok::<_, std::io::Error>(10)
        }
    };
    let (found, ()) = tokio::join!(cache.get_entry_or_load(&1, loader), async {
        began.notified().await;
        cache.invalidate(&1).await.unwrap();
        go_on.notify_one();
    });
    let found = found.unwrap();
    assert_eq!((found.value.as_deref(), found.origin, found.kept), (Some(&10), Origin::Loaded, false));
    assert_eq!((found.expires_in(), found.missed), (Duration::ZERO, Some(MissCause::Absent)));
    assert_eq!(cache.stats().refused_fills, 1);

    let load = || async { Ok::<_, std::io::Error>(11) };
    let again = cache.get_entry_or_load(&1, load).await.unwrap();
    assert_eq!((again.kept, again.expires_in()), (true, MINUTE));
    let hit = cache.get_entry_or_load(&1, load).await.unwrap();
    assert_eq!((hit.kept, hit.missed, hit.origin), (true, None, Origin::Near));
}

type Backend = fn(CacheBuilder<u64, u64>) -> CacheBuilder<u64, u64>;

/// A store that tells of each entry it replaces is not told of as one that is full.
#[tokio::test]
async fn replaced_entries_are_no_evictions() {
    let clock = ManualClock::new();
    let quick: Backend = |builder| builder.backend(Quick::new(1_000));
    let moka: Backend = |builder| builder.backend(larder_moka::Moka::new(1_000));
    for backend in [quick, moka] {
        let strategy = larder::Strategy::aside(MINUTE).tagged(|value: &u64| [Tag::new("parity", value % 2)]);
        let table = Table::with((0..100).map(|key| (key, key)));
        let cache = backend(over(&table, &clock).strategy(strategy)).build().unwrap();
        for _ in 0..3 {
            for key in 0..100 {
                cache.get(&key).await.unwrap();
                cache.insert(&key, key).await.unwrap();
            }
            cache.invalidate_tags(&[Tag::new("parity", 0), Tag::new("parity", 1)]).await.unwrap();
        }
        assert_eq!((cache.stats().loads, cache.stats().evictions), (300, 0));
    }
}

/// Expired entries that make room are not counted as evicted: the store is not too small.
#[tokio::test]
async fn entries_that_had_expired_are_no_evictions() {
    let quick: Backend = |builder| builder.backend(Quick::new(100));
    let moka: Backend = |builder| builder.backend(larder_moka::Moka::new(100));
    for backend in [quick, moka] {
        for expire in [true, false] {
            let clock = ManualClock::new();
            let cache = backend(over(&Table::default(), &clock)).build().unwrap();
            for key in 0..10_000 {
                cache.insert(&key, key).await.unwrap();
                if expire {
                    clock.advance(MINUTE);
                }
            }
            let evictions = cache.stats().evictions;
            assert_eq!(evictions == 0, expire, "{evictions} evictions");
        }
    }
}

#[tokio::test]
async fn a_look_without_waiting_counts_only_what_it_finds() {
    let clock = ManualClock::new();
    let cache = over(&Table::with([(1, 10)]), &clock).backend(Quick::new(10)).build().unwrap();
    assert_eq!(cache.get_local(&1), None);
    assert_eq!(cache.stats().reads(), 0);
    cache.get(&1).await.unwrap();
    assert_eq!(cache.get_local(&1).flatten().as_deref(), Some(&10));
    assert_eq!(cache.stats().near_hits, 1);
    clock.advance(MINUTE);
    assert_eq!(cache.get_local(&1), None);
}

#[tokio::test]
async fn a_read_that_nobody_polls_does_nothing() {
    let clock = ManualClock::new();
    let cache = over(&Table::with([(1, 10)]), &clock).backend(Quick::new(10)).build().unwrap();
    cache.get(&1).await.unwrap();
    let before = cache.stats();
    drop(cache.get(&1));
    drop(cache.get(&2));
    drop(cache.get_or_load(&2, || async { Ok::<_, std::io::Error>(20) }));
    assert_eq!((cache.stats().reads(), cache.stats().loads), (before.reads(), 1));
    // one that waits already goes on behind it
    let mut waiting = Box::pin(cache.get_or_load(&2, || async { Ok::<_, std::io::Error>(20) }));
    assert!(
        std::future::poll_fn(|context| std::task::Poll::Ready(waiting.as_mut().poll(context)))
            .await
            .is_pending()
    );
    drop(waiting);
    assert_eq!(cache.get(&2).await.unwrap().as_deref(), Some(&20));
    assert_eq!(cache.stats().loads, 2);
}

#[tokio::test]
async fn a_difference_of_two_readings_is_what_came_between() {
    let clock = ManualClock::new();
    let cache = over(&Table::with([(1, 10), (2, 20)]), &clock).backend(Quick::new(10)).build().unwrap();
    cache.get(&1).await.unwrap();
    clock.advance(MINUTE * 10);
    let earlier = cache.stats();
    assert_eq!(earlier.elapsed, MINUTE * 10);
    for key in [2, 2, 2, 2] {
        cache.get(&key).await.unwrap();
    }
    for _ in 0..4 {
        cache.invalidate(&1).await.unwrap();
    }
    clock.advance(MINUTE / 2);
    let lately = cache.stats().since(&earlier);
    assert_eq!((lately.elapsed, lately.hits(), lately.misses, lately.loads), (MINUTE / 2, 3, 1, 1));
    assert_eq!((lately.hit_rate(), lately.invalidations_per_minute()), (0.75, 8.0));
    assert_eq!(lately.misses_by(MissCause::Absent), 1);
    assert_eq!(lately.load_latency.count(), 1);
    assert!(lately.to_string().contains("8.0 a minute"), "{lately}");
}
