//! Scenarios with tags, and values that are not modified.

use futures_util::future::join;
use larder::cache::Origin;
use larder::{Loaded, Strategy, Tag};

use super::{LONG, World, fetch, get, idle, parity, soon};
use crate::CacheFixture;

/// An invalidated tag ends all entries that carry it, from value, key and loader, and no others.
pub async fn an_invalidated_tag_ends_all_that_carry_it<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let builder = world.process().builder.tag_keys(|key| [Tag::new("key", *key)]);
    let cache = world.build(builder, |strategy| strategy.tagged(parity));
    soon(cache.get_many(&[1, 2, 3, 4])).await.expect("loaded");
    cache.invalidate_tag(&Tag::new("tens", 1)).await.expect("acknowledged");
    world.table.set(1, 11);
    assert!(
        cache.get_if_present(&3).await.expect("answered").is_none()
            && cache.get_if_present(&2).await.expect("answered").is_some()
    );
    assert_eq!(get(&cache, 1).await, Some(11));
    cache.invalidate_tag(&Tag::new("key", 2)).await.expect("acknowledged");
    assert!(
        cache.get_if_present(&2).await.expect("answered").is_none()
            && cache.get_if_present(&4).await.expect("answered").is_some()
    );
    let tagged =
        || async { Ok::<_, std::io::Error>(Loaded::new(99).tags([Tag::new("given", "at the call")])) };
    soon(cache.get_or_load(&9, tagged)).await.expect("loaded");
    cache.insert(&8, Loaded::new(88).tags([Tag::new("given", "at the call")])).await.expect("stored");
    assert!(
        cache.get_if_present(&9).await.expect("answered").is_some()
            && cache.get_if_present(&8).await.expect("answered").is_some()
    );
    cache.invalidate_tag(&Tag::new("given", "at the call")).await.expect("acknowledged");
    assert!(
        cache.get_if_present(&9).await.expect("answered").is_none()
            && cache.get_if_present(&8).await.expect("answered").is_none()
    );
    cache.clear().await.expect("acknowledged");
    assert!(cache.get_if_present(&4).await.expect("answered").is_none());
}

/// The invalidation of a tag reaches a running load, and later readers do not get its value.
pub async fn a_tag_invalidation_reaches_a_load<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let cache = world.cache(|strategy| strategy.tagged(parity));
    let hold = world.table.hold();
    let early = tokio::spawn({
        let cache = cache.clone();
        async move { get(&cache, 1).await }
    });
    soon(hold.arrived()).await;
    world.table.unhold();
    world.table.set(1, 12);
    cache.invalidate_tag(&Tag::new("tens", 1)).await.expect("acknowledged");
    let (late, ()) = join(get(&cache, 1), async {
        tokio::task::yield_now().await;
        hold.release();
    })
    .await;
    assert_eq!(late, Some(12));
    assert_eq!(soon(early).await.expect("no panic"), Some(10), "it overlapped the invalidation");
    assert_eq!(get(&cache, 1).await, Some(12));
}

/// A value that moves from one tag to another is ended by either of them.
pub async fn tags_change_with_the_value<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let cache = world.cache(|strategy| strategy.tagged(parity));
    assert_eq!(get(&cache, 1).await, Some(10));
    world.table.set(1, 20);
    cache.invalidate_tags(&[Tag::new("tens", 1), Tag::new("tens", 0)]).await.expect("acknowledged");
    assert_eq!(get(&cache, 1).await, Some(20));
    cache.invalidate_tag(&Tag::new("tens", 1)).await.expect("acknowledged");
    assert!(cache.get_if_present(&1).await.expect("answered").is_some(), "the old tag is no longer its own");
    cache.invalidate_tag(&Tag::new("tens", 0)).await.expect("acknowledged");
    assert!(cache.get_if_present(&1).await.expect("answered").is_none());
}

/// A tag also ends stale entries: they are neither served during a refresh nor in place of an error.
pub async fn a_tag_ends_the_stale<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let cache =
        world.cache(|strategy| strategy.tagged(parity).stale_while_revalidate(LONG).stale_if_error(LONG));
    assert_eq!(get(&cache, 1).await, Some(10));
    world.pass_ttl().await;
    world.table.set(1, 11);
    let hold = world.table.hold();
    assert_eq!(get(&cache, 1).await, Some(10), "served stale");
    soon(hold.arrived()).await;
    world.table.unhold();
    world.table.set(1, 12);
    cache.invalidate_tag(&Tag::new("tens", 1)).await.expect("acknowledged");
    assert_eq!(get(&cache, 1).await, Some(12));
    hold.release();
    idle(&cache).await;
    assert_eq!(get(&cache, 1).await, Some(12), "the refresh that began before is not stored");
    cache.invalidate_tag(&Tag::new("tens", 1)).await.expect("acknowledged");
    world.table.fail(Some("down"));
    assert!(soon(cache.get(&1)).await.is_err());
}

/// The answer "not modified" keeps the value for another TTL, with its tags.
pub async fn what_is_not_modified_is_kept<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let strategy = Strategy::aside(world.ttl).stale_while_revalidate(LONG).tagged(parity);
    let builder = world.process().builder.conditional_source(world.table.clone());
    let cache = builder.strategy(strategy).build().expect("it can be built");
    let first = soon(cache.get(&1)).await.expect("loaded");
    world.pass_ttl().await;
    assert_eq!(fetch(&cache, 1).await.origin, Origin::Stale);
    idle(&cache).await;
    assert_eq!(world.table.loads(), 2);
    let fetched = fetch(&cache, 1).await;
    assert_ne!(fetched.origin, Origin::Stale, "fresh again");
    assert_eq!(fetched.value, first);
    cache.invalidate_tag(&Tag::new("tens", 1)).await.expect("acknowledged");
    assert!(cache.get_if_present(&1).await.expect("answered").is_none(), "the tags were kept too");
    assert_eq!(get(&cache, 1).await, Some(10));
    world.table.set(1, 11);
    assert_eq!(soon(cache.refresh(&1)).await.expect("loaded").as_deref(), Some(&11));
    assert_eq!(get(&cache, 1).await, Some(11), "what is modified is loaded");
    let extra = Tag::new("given", "by a writer");
    cache.insert(&1, Loaded::new(11).tags([extra.clone()]).validator("11")).await.expect("stored");
    let loads = world.table.loads();
    assert_eq!(soon(cache.refresh(&1)).await.expect("loaded").as_deref(), Some(&11));
    assert_eq!(world.table.loads(), loads + 1);
    cache.invalidate_tag(&extra).await.expect("acknowledged");
    assert!(
        cache.get_if_present(&1).await.expect("answered").is_none(),
        "tags that were given are kept with the value"
    );
}
