//! Scenarios with write guards.

use std::time::Duration;

use super::{LONG, World, get, idle, parity, soon};
use crate::CacheFixture;

/// While a write guard exists nothing is stored. After its end the new value is.
pub async fn a_write_guard_survives_its_writer<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let cache = world.cache(|strategy| strategy.stale_while_revalidate(LONG).stale_if_error(LONG));
    assert_eq!(get(&cache, 1).await, Some(10));
    let guard = cache.write_guard(&[1, 2], LONG).await.expect("acknowledged");
    assert_eq!(get(&cache, 1).await, Some(10), "before the commit the old value is right");
    assert!(cache.get_if_present(&1).await.expect("answered").is_none(), "and is not kept");
    world.table.set(1, 11);
    assert_eq!(get(&cache, 1).await, Some(11), "from the commit on the new one is");
    guard.finish().await.expect("acknowledged");
    assert_eq!(get(&cache, 1).await, Some(11));
    assert!(cache.get_if_present(&1).await.expect("answered").is_some());
    // a writer that crashes between commit and end
    let life = world.ttl;
    let lost = cache.write_guard(&[1], life).await.expect("acknowledged");
    assert_eq!(get(&cache, 1).await, Some(11));
    world.table.set(1, 12);
    drop(lost);
    assert_eq!(get(&cache, 1).await, Some(12));
    world.time.advance(life + Duration::from_millis(2)).await;
    assert_eq!(get(&cache, 1).await, Some(12));
    assert!(cache.get_if_present(&1).await.expect("answered").is_some(), "the guard has ended by itself");
}

/// A refresh that ran when a write guard was taken stores nothing, nor does one that begins meanwhile.
pub async fn a_guard_wins_over_a_refresh<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let cache = world.cache(|strategy| strategy.stale_while_revalidate(LONG).tagged(parity));
    assert_eq!(get(&cache, 1).await, Some(10));
    world.pass_ttl().await;
    let hold = world.table.hold();
    assert_eq!(get(&cache, 1).await, Some(10));
    soon(hold.arrived()).await;
    world.table.unhold();
    let guard = cache.write_guard(&[1], LONG).await.expect("acknowledged");
    world.table.set(1, 11);
    hold.release();
    idle(&cache).await;
    assert_eq!(get(&cache, 1).await, Some(11));
    guard.finish().await.expect("acknowledged");
    assert_eq!(get(&cache, 1).await, Some(11));
}
