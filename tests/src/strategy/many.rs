//! Batches, gathered misses, overload, warming.

use std::time::Duration;

use futures_util::future::join_all;
use larder::ErrorKind;
use larder::cache::Origin;

use super::{LONG, PATIENCE, World, eventually, fetch, get, idle, soon};
use crate::CacheFixture;

/// Many keys: fresh and stale entries are answered at once, and one query reloads the stale ones in the background.
pub async fn many_are_served_stale_and_refreshed_together<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let cache = world.cache(|strategy| strategy.stale_while_revalidate(LONG));
    soon(cache.get_many(&[1, 2])).await.expect("loaded");
    world.pass_ttl().await;
    soon(cache.get_many(&[3])).await.expect("loaded");
    (1..=4).for_each(|key| world.table.set(key, 100 + key));
    let queries = world.table.queries();
    let values = soon(cache.get_many(&[1, 2, 3, 4, 1])).await.expect("answered");
    let values: Vec<_> = values.iter().map(|value| value.as_deref().copied()).collect();
    assert_eq!(values, [Some(10), Some(20), Some(30), Some(104), Some(10)]);
    idle(&cache).await;
    assert_eq!(world.table.queries() - queries, 2, "one for the missing key, one for the two that were due");
    assert_eq!((get(&cache, 1).await, get(&cache, 2).await), (Some(101), Some(102)));
}

/// Many keys of a failing source: expired entries are served, and only keys without an entry fail, by name.
pub async fn many_are_stood_in_for<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let cache = world.cache(|strategy| strategy.stale_if_error(LONG));
    soon(cache.get_many(&[1, 2])).await.expect("loaded");
    world.pass_ttl().await;
    world.table.fail(Some("down"));
    let answers = soon(cache.get_many_entries(&[1, 3, 2])).await.expect("answered");
    let values: Vec<_> = answers
        .iter()
        .map(|answer| answer.as_ref().ok().and_then(|found| found.value.as_deref().copied()))
        .collect();
    assert_eq!(values, [Some(10), None, Some(20)]);
    let error = soon(cache.get_many(&[1, 3, 2])).await.expect_err("one key cannot be had");
    assert!(error.to_string().contains("1 of 3 keys failed, at 1"), "{error}");
    assert_eq!(error.source_as::<std::io::Error>().map(ToString::to_string).as_deref(), Some("down"));
}

/// Single misses at one time are loaded by one query.
pub async fn single_misses_are_gathered<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let cache = world.cache(|strategy| {
        strategy.stale_if_error(LONG).batch_window(Duration::from_millis(50)).max_batch(100)
    });
    let gets = join_all([1, 2, 3, 1].map(|key| get(&cache, key)));
    assert_eq!(gets.await, [Some(10), Some(20), Some(30), Some(10)]);
    assert_eq!((world.table.queries(), world.table.loads()), (1, 3));
    assert_eq!(get(&cache, 1).await, Some(10));
    assert_eq!(world.table.queries(), 1, "a hit waits for nobody");
    world.pass_ttl().await;
    world.table.set(1, 11);
    let gets = join_all([1, 2].map(|key| get(&cache, key)));
    assert_eq!(gets.await, [Some(11), Some(20)]);
    assert_eq!(world.table.queries(), 2, "what is expired is gathered too");
}

/// A full batch does not wait for its window.
pub async fn a_full_batch_goes_at_once<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let cache = world.cache(|strategy| strategy.batch_window(PATIENCE).max_batch(2));
    let gets = soon(join_all([1, 2, 3, 4].map(|key| get(&cache, key)))).await;
    assert_eq!(gets, [Some(10), Some(20), Some(30), Some(40)]);
    assert_eq!(world.table.queries(), 2);
}

/// Too many loads at once: some wait, the others fail at once or are served stale.
pub async fn an_overload_fails_fast_or_is_served_stale<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let cache =
        world.cache(|strategy| strategy.max_concurrent_loads(1).max_queued_loads(1).stale_if_error(LONG));
    assert_eq!(get(&cache, 4).await, Some(40));
    world.pass_ttl().await;
    let hold = world.table.hold();
    let spawn = |key| {
        tokio::spawn({
            let cache = cache.clone();
            async move { get(&cache, key).await }
        })
    };
    let one = spawn(1);
    soon(hold.arrived()).await;
    let two = spawn(2);
    eventually("the second waits", async || cache.in_flight() == 2).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let error = soon(cache.get(&3)).await.expect_err("there is no room");
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Overloaded, true));
    assert_eq!(fetch(&cache, 4).await.origin, Origin::Stale, "what is expired is better than nothing");
    hold.release();
    assert_eq!(
        (soon(one).await.expect("no panic"), soon(two).await.expect("no panic")),
        (Some(10), Some(20))
    );
    assert_eq!(get(&cache, 3).await, Some(30));
    assert!(cache.stats().overloaded >= 2);
}

/// Warming loads the missing keys in batches, and continues when keys fail.
pub async fn warming_fills_the_cache<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let cache = world.cache(|strategy| strategy);
    assert_eq!(get(&cache, 1).await, Some(10));
    let report = soon(cache.warm([1, 2, 3, 4, 5]).batch(2).concurrency(2).run()).await;
    assert_eq!((report.ready, report.failed.len()), (5, 0));
    assert_eq!(world.table.queries(), 4, "one get and three batches");
    assert!(cache.get_if_present(&4).await.expect("answered").is_some());
    world.table.fail(Some("down"));
    let report = soon(cache.warm([4, 6, 7]).batch(1).retries(2).run()).await;
    assert_eq!((report.ready, report.failed.len()), (1, 2));
    world.table.fail(None);
    world.table.set(6, 60);
    let again = report.failed.into_iter().map(|(key, _)| key);
    assert_eq!(soon(cache.warm(again).run()).await.ready, 2);
    assert_eq!(
        cache.get_if_present(&6).await.expect("answered").and_then(|found| found.value).as_deref(),
        Some(&60)
    );
}
