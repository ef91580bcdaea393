//! Scenarios with several processes.

use std::time::Duration;

use larder::Tag;
use larder::cache::Origin;
use larder::key::StoreKey;
use larder::lock::Locking;

use super::{LONG, World, eventually, fetch, get, idle, parity, soon};
use crate::{CacheFixture, Process};

/// Among processes with locks, one refreshes an entry that all serve stale.
pub async fn one_process_refreshes_for_all<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let Some(processes) = world.shared() else { return };
    let caches = processes.map(|Process { builder, locking, .. }| {
        let locking = locking.expect("processes that share a store share locks");
        world.build(builder, |strategy| strategy.stale_while_revalidate(LONG).locked(locking))
    });
    assert_eq!((get(&caches[0], 1).await, get(&caches[1], 1).await), (Some(10), Some(10)));
    world.pass_ttl().await;
    world.table.set(1, 11);
    let hold = world.table.hold();
    for cache in caches.iter().chain(&caches) {
        assert_eq!(get(cache, 1).await, Some(10));
    }
    soon(hold.arrived()).await;
    hold.release();
    idle(&caches[0]).await;
    idle(&caches[1]).await;
    assert_eq!(world.table.loads(), 2, "one load at first, one refresh");
    assert_eq!((get(&caches[0], 1).await, get(&caches[1], 1).await), (Some(11), Some(11)));
}

/// If the wait for another process times out, the expired entry is served.
pub async fn waiting_in_vain_is_served_stale<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let Some(processes) = world.shared() else { return };
    let wait = Duration::from_millis(100);
    let caches = processes.map(|Process { builder, locking, .. }| {
        let locking: Locking = locking.expect("processes that share a store share locks").max_wait(wait);
        world.build(builder, |strategy| strategy.stale_if_error(LONG).locked(locking))
    });
    assert_eq!(get(&caches[0], 1).await, Some(10));
    world.pass_ttl().await;
    world.table.set(1, 11);
    let hold = world.table.hold();
    let slow = tokio::spawn({
        let cache = caches[0].clone();
        async move { get(&cache, 1).await }
    });
    soon(hold.arrived()).await;
    let fetched = fetch(&caches[1], 1).await;
    assert_eq!((fetched.value.as_deref(), fetched.origin), (Some(&10), Origin::Stale));
    assert_eq!(world.table.loads(), 2, "and nobody else has loaded");
    hold.release();
    assert_eq!(soon(slow).await.expect("no panic"), Some(11));
}

/// A tag that one process invalidates ends the reads, loads and stale entries of the other.
pub async fn a_tag_reaches_the_other_process<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let Some(processes) = world.shared() else { return };
    let caches = processes.map(|Process { builder, .. }| {
        world.build(builder, |strategy| strategy.tagged(parity).stale_while_revalidate(LONG))
    });
    assert_eq!((get(&caches[0], 1).await, get(&caches[1], 1).await), (Some(10), Some(10)));
    world.table.set(1, 12);
    caches[0].invalidate_tag(&Tag::new("tens", 1)).await.expect("acknowledged");
    assert_eq!(get(&caches[0], 1).await, Some(12), "at once where it was invalidated");
    // elsewhere with a near tier, within its `max_staleness`
    eventually("the other process sees it", async || {
        world.time.advance(Duration::from_millis(50)).await;
        get(&caches[1], 1).await == Some(12)
    })
    .await;
}

/// Damaged bytes are a miss that is counted once: by the read, and not again by the load's request for a fence.
pub async fn damaged_bytes_are_counted_once<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let Some([one, two]) = world.shared() else { return };
    let Some(damage) = one.damage else { return };
    // an entry that one process stores is read by the other, which has no near tier
    let [writer, reader] =
        [one.builder, two.builder].map(|builder| world.build(builder, |strategy| strategy));
    for key in 1..=3 {
        get(&writer, key).await;
        damage(StoreKey::new(&key)).await;
    }
    assert_eq!(get(&reader, 1).await, Some(10));
    assert_eq!(reader.stats().undecodable, 1, "of one key");
    soon(reader.get_many(&[2, 3])).await.expect("the read succeeds");
    assert_eq!(reader.stats().undecodable, 3, "of two more");
    assert_eq!(world.table.loads(), 6, "each process has loaded each key once");
    assert_eq!((get(&reader, 1).await, get(&reader, 2).await), (Some(10), Some(20)));
    assert_eq!(reader.stats().undecodable, 3, "what was loaded has replaced them");
}
