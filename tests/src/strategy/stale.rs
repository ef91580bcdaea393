//! Scenarios with stale values, failing sources, and early refreshes.

use std::time::Duration;

use futures_util::future::{join, join_all, join3};
use larder::ErrorKind;
use larder::cache::Origin;
use larder::strategy::EarlyRefresh;

use super::{LONG, World, fetch, get, idle, soon};
use crate::{CacheFixture, Process};

/// A stale value is served at once to all callers, and reloaded once.
pub async fn stale_is_served_at_once_and_refreshed_once<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let cache = world.cache(|strategy| strategy.stale_while_revalidate(LONG));
    assert_eq!(get(&cache, 1).await, Some(10));
    assert_ne!(fetch(&cache, 1).await.origin, Origin::Stale, "fresh at first");
    world.pass_ttl().await;
    world.table.set(1, 11);
    let hold = world.table.hold();
    for fetched in join_all((0..10).map(|_| fetch(&cache, 1))).await {
        assert_eq!((fetched.value.as_deref(), fetched.origin), (Some(&10), Origin::Stale));
    }
    soon(hold.arrived()).await;
    assert_eq!(world.table.loads(), 2, "one refresh for all");
    hold.release();
    idle(&cache).await;
    assert_eq!(get(&cache, 1).await, Some(11));
    assert_ne!(fetch(&cache, 1).await.origin, Origin::Stale);
    assert_eq!(world.table.loads(), 2);
    assert!(cache.stats().stale_served >= 10);
}

/// After the hard TTL a stale value is not served any more.
pub async fn what_is_too_old_is_loaded<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let window = world.ttl;
    let cache = world.cache(|strategy| strategy.stale_while_revalidate(window));
    assert_eq!(get(&cache, 1).await, Some(10));
    world.table.set(1, 11);
    world.pass_ttl().await;
    world.pass_ttl().await;
    let fetched = fetch(&cache, 1).await;
    assert_eq!((fetched.value.as_deref(), fetched.origin), (Some(&11), Origin::Loaded));
}

/// An invalidation wins over a running refresh, and nothing stale is served after it.
pub async fn an_invalidation_wins_over_a_refresh<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let cache = world.cache(|strategy| strategy.stale_while_revalidate(LONG).stale_if_error(LONG));
    assert_eq!(get(&cache, 1).await, Some(10));
    world.pass_ttl().await;
    world.table.set(1, 11);
    let hold = world.table.hold();
    assert_eq!(get(&cache, 1).await, Some(10));
    soon(hold.arrived()).await;
    world.table.unhold();
    world.table.set(1, 12);
    cache.invalidate(&1).await.expect("acknowledged");
    assert_eq!(get(&cache, 1).await, Some(12), "neither the stale value nor the refresh's");
    hold.release();
    idle(&cache).await;
    assert_eq!(get(&cache, 1).await, Some(12));
    cache.invalidate(&1).await.expect("acknowledged");
    world.table.fail(Some("down"));
    assert!(cache.get(&1).await.is_err(), "what was invalidated is not served even when the source fails");
}

/// A failing source is asked again only after the back-off. Readers are served meanwhile.
pub async fn a_failed_refresh_waits_for_its_backoff<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let (first, longest) = (world.ttl, world.ttl * 2);
    let cache =
        world.cache(|strategy| strategy.stale_while_revalidate(LONG).min_backoff(first).max_backoff(longest));
    assert_eq!(get(&cache, 1).await, Some(10));
    world.pass_ttl().await;
    world.table.fail(Some("down"));
    for round in 2..=3 {
        for _ in 0..20 {
            assert_eq!(get(&cache, 1).await, Some(10));
            idle(&cache).await;
        }
        assert_eq!(world.table.loads(), round, "one try in each pause");
        world.time.advance(longest + Duration::from_millis(2)).await;
    }
    world.table.fail(None);
    world.table.set(1, 11);
    assert_eq!(get(&cache, 1).await, Some(10));
    idle(&cache).await;
    assert_eq!(get(&cache, 1).await, Some(11), "it has recovered");
}

/// A caller that misses joins the running refresh, and gets its value.
pub async fn a_miss_joins_a_refresh<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let window = world.ttl;
    let cache = world.cache(|strategy| strategy.stale_while_revalidate(window));
    assert_eq!(get(&cache, 1).await, Some(10));
    world.pass_ttl().await;
    world.table.set(1, 11);
    let hold = world.table.hold();
    assert_eq!(get(&cache, 1).await, Some(10));
    soon(hold.arrived()).await;
    world.pass_ttl().await;
    let (fetched, ()) = join(fetch(&cache, 1), async {
        tokio::task::yield_now().await;
        hold.release();
    })
    .await;
    assert_eq!((fetched.value.as_deref(), world.table.loads()), (Some(&11), 2));
}

/// A hanging refresh does not keep a caller that misses from loading the value.
pub async fn a_hung_refresh_blocks_no_miss<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let window = world.ttl;
    let Process { builder, locking, .. } = world.process();
    let cache = world.build(builder, |strategy| {
        let strategy = strategy.stale_while_revalidate(window);
        match locking {
            Some(locking) => strategy.locked(locking.max_wait(LONG)),
            None => strategy,
        }
    });
    assert_eq!(get(&cache, 1).await, Some(10));
    world.pass_ttl().await;
    let hold = world.table.hold();
    assert_eq!(get(&cache, 1).await, Some(10));
    soon(hold.arrived()).await;
    world.table.unhold();
    world.table.set(1, 12);
    world.pass_ttl().await;
    let began = tokio::time::Instant::now();
    assert_eq!(get(&cache, 1).await, Some(12));
    assert!(began.elapsed() < Duration::from_secs(5), "after {:?}", began.elapsed());
    hold.release();
    idle(&cache).await;
    let value = get(&cache, 1).await;
    assert_eq!(value, Some(12), "the hung load's old value is not stored over the new one");
}

/// A hanging refresh does not keep a caller of many keys from loading them.
pub async fn a_hung_refresh_blocks_no_miss_of_many<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let window = world.ttl;
    let cache = world.cache(|strategy| strategy.stale_while_revalidate(window));
    assert_eq!(get(&cache, 1).await, Some(10));
    world.pass_ttl().await;
    let hold = world.table.hold();
    assert_eq!(get(&cache, 1).await, Some(10));
    soon(hold.arrived()).await;
    world.table.unhold();
    world.table.set(1, 12);
    world.pass_ttl().await;
    let began = tokio::time::Instant::now();
    let values = soon(cache.get_many(&[1, 2])).await.expect("loaded");
    assert_eq!(
        values.iter().map(|value| value.as_deref().copied()).collect::<Vec<_>>(),
        [Some(12), Some(20)]
    );
    assert!(began.elapsed() < Duration::from_secs(5), "after {:?}", began.elapsed());
    hold.release();
    idle(&cache).await;
}

/// If the source fails, the expired value is served and the source is not asked again for a while.
pub async fn a_failing_source_is_stood_in_for<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let pause = world.ttl;
    let cache = world.cache(|strategy| strategy.stale_if_error(LONG).min_backoff(pause).max_backoff(pause));
    assert_eq!(get(&cache, 1).await, Some(10));
    world.pass_ttl().await;
    world.table.fail(Some("down"));
    for _ in 0..20 {
        let fetched = fetch(&cache, 1).await;
        assert_eq!((fetched.value.as_deref(), fetched.origin), (Some(&10), Origin::Stale));
    }
    assert_eq!(world.table.loads(), 2, "asked once, then left alone");
    let error = soon(cache.get(&2)).await.expect_err("there is nothing to serve");
    assert_eq!(error.kind(), ErrorKind::Source);
    world.table.fail(None);
    world.table.set(1, 11);
    world.time.advance(pause + Duration::from_millis(2)).await;
    assert_eq!(get(&cache, 1).await, Some(11), "without stale_while_revalidate an expired value is loaded");
}

/// Reads of many keys also leave a failing source alone, and a success ends the pause at once.
pub async fn a_success_ends_the_pause<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let cache =
        world.cache(|strategy| strategy.stale_if_error(LONG).min_backoff(LONG / 2).max_backoff(LONG / 2));
    soon(cache.get_many(&[1, 2])).await.expect("loaded");
    world.pass_ttl().await;
    world.table.fail(Some("down"));
    for _ in 0..5 {
        let values = soon(cache.get_many(&[1, 2])).await.expect("stood in for");
        assert_eq!(
            values.iter().map(|value| value.as_deref().copied()).collect::<Vec<_>>(),
            [Some(10), Some(20)]
        );
    }
    assert_eq!(world.table.queries(), 2, "asked once");
    world.table.fail(None);
    world.table.set(1, 11);
    assert_eq!(get(&cache, 1).await, Some(10), "left alone");
    assert_eq!(soon(cache.refresh(&1)).await.expect("loaded").as_deref(), Some(&11));
    world.pass_ttl().await;
    world.table.set(1, 12);
    assert_eq!(get(&cache, 1).await, Some(12), "asked again");
}

/// An entry that is invalidated while its load fails is not served in place of the error.
pub async fn what_is_invalidated_meanwhile_does_not_stand_in<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let cache = world.cache(|strategy| strategy.stale_if_error(LONG));
    assert_eq!(get(&cache, 1).await, Some(10));
    world.pass_ttl().await;
    world.table.fail(Some("down"));
    let hold = world.table.hold();
    let early = tokio::spawn({
        let cache = cache.clone();
        async move { cache.get(&1).await }
    });
    soon(hold.arrived()).await;
    cache.invalidate(&1).await.expect("acknowledged");
    hold.release();
    assert!(soon(early).await.expect("no panic").is_err());
}

/// A caller that misses and joins a failing refresh tries its own load.
pub async fn a_failed_refresh_is_no_answer_to_a_miss<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let window = world.ttl;
    let cache = world.cache(|strategy| strategy.stale_while_revalidate(window));
    assert_eq!(get(&cache, 1).await, Some(10));
    world.pass_ttl().await;
    world.table.fail(Some("down"));
    let hold = world.table.hold();
    assert_eq!(get(&cache, 1).await, Some(10));
    soon(hold.arrived()).await;
    world.table.unhold();
    world.table.fail(None);
    world.pass_ttl().await;
    let (value, many, ()) = join3(get(&cache, 1), cache.get_many(&[1]), async {
        tokio::task::yield_now().await;
        hold.release();
    })
    .await;
    assert_eq!(value, Some(10));
    assert_eq!(many.expect("loaded")[0].as_deref(), Some(&10));
}

/// Without fail-safe an error is returned even if an expired entry exists.
pub async fn without_fail_safe_errors_are_errors<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let cache = world.cache(|strategy| strategy);
    assert_eq!(get(&cache, 1).await, Some(10));
    world.pass_ttl().await;
    world.table.fail(Some("down"));
    assert!(soon(cache.get(&1)).await.is_err());
    assert!(soon(cache.get(&1)).await.is_err());
    assert_eq!(world.table.loads(), 3, "and the source is asked each time");
}

/// A deleted row is not served stale for ever.
pub async fn what_was_deleted_is_not_served_stale<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let cache = world.cache(|strategy| strategy.stale_while_revalidate(LONG).stale_if_error(LONG));
    assert_eq!(get(&cache, 1).await, Some(10));
    world.pass_ttl().await;
    world.table.delete(1);
    assert_eq!(get(&cache, 1).await, Some(10), "it is not known yet");
    idle(&cache).await;
    assert_eq!(get(&cache, 1).await, None);
    world.table.fail(Some("down"));
    assert!(soon(cache.get(&1)).await.is_err(), "there is nothing to stand in");
}

/// A caller that can be served stale waits no longer than its timeout. The load continues and fills.
pub async fn a_slow_load_is_not_waited_for<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let cache = world.cache(|strategy| {
        strategy
            .stale_if_error(LONG)
            .soft_timeout(Duration::from_millis(20))
            .hard_timeout(Duration::from_millis(300))
    });
    assert_eq!(get(&cache, 1).await, Some(10));
    world.pass_ttl().await;
    world.table.set(1, 11);
    let hold = world.table.hold();
    let began = tokio::time::Instant::now();
    let fetched = fetch(&cache, 1).await;
    assert_eq!((fetched.value.as_deref(), fetched.origin), (Some(&10), Origin::Stale));
    assert!(began.elapsed() < Duration::from_millis(300), "after {:?}", began.elapsed());
    let many = soon(cache.get_many_entries(&[1, 3])).await.expect("answered");
    assert_eq!(many[0].as_ref().ok().and_then(|found| found.value.as_deref()), Some(&10));
    assert_eq!(many[1].as_ref().err().map(larder::Error::kind), Some(ErrorKind::Timeout));
    let error = soon(cache.get(&2)).await.expect_err("there is nothing stale of this one");
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Timeout, true));
    hold.release();
    idle(&cache).await;
    assert_eq!((get(&cache, 1).await, get(&cache, 2).await), (Some(11), Some(20)));
    assert_eq!(world.table.loads(), 4, "the loads that nobody waited for have filled");
}

/// An entry is refreshed before it is stale, in the background.
pub async fn an_eager_refresh_comes_before_the_end<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    // a busy machine must not miss the first third
    world.ttl *= 4;
    let cache = world.cache(|strategy| strategy.early_refresh(EarlyRefresh::after(0.3)));
    assert_eq!((get(&cache, 1).await, get(&cache, 1).await), (Some(10), Some(10)));
    assert_eq!(world.table.loads(), 1, "young");
    world.table.set(1, 11);
    world.time.advance(world.ttl.mul_f64(0.4)).await;
    let fetched = fetch(&cache, 1).await;
    assert_eq!(fetched.value.as_deref(), Some(&10));
    assert_ne!(fetched.origin, Origin::Stale, "it is fresh");
    idle(&cache).await;
    assert_eq!((get(&cache, 1).await, world.table.loads()), (Some(11), 2));
}

/// With a huge beta every hit refreshes. With a tiny one none does until the end.
pub async fn an_early_refresh_goes_by_cost<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let cache = world.cache(|strategy| strategy.early_refresh(EarlyRefresh::probabilistic(1e-9)));
    for _ in 0..50 {
        assert_eq!(get(&cache, 1).await, Some(10));
    }
    idle(&cache).await;
    assert_eq!(world.table.loads(), 1);
}
