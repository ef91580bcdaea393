//! Faults that users of other caches have reported, tried here.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use common::{MINUTE, settle};
use larder::cache::Origin;
use larder::clock::ManualClock;
use larder::observe::{Event, Observer};
use larder::source::{ConditionalSource, KnownValue};
use larder::{Cache, Loaded, Quick, Source, Strategy, Tag, source_fn};
use larder_moka::Moka;

const SECOND: Duration = Duration::from_secs(1);

/// A source that finds nothing modified, if anything is known.
struct Unmodified(Arc<AtomicUsize>);

impl Source<u64> for Unmodified {
    type Value = usize;
    type Error = std::io::Error;

    async fn load(&self, _: &u64) -> Result<Option<usize>, std::io::Error> {
        Ok(Some(self.0.fetch_add(1, SeqCst)))
    }
}

impl ConditionalSource<u64> for Unmodified {
    async fn load_if_modified(
        &self,
        _: &u64,
        known: Option<KnownValue<'_, usize>>,
    ) -> Result<Loaded<usize>, std::io::Error> {
        if known.is_some() {
            return Ok(Loaded::not_modified());
        }
        Ok(Loaded::new(self.0.fetch_add(1, SeqCst)).validator("e").tags([Tag::new("t", 1)]))
    }
}

/// FusionCache 638: "not modified" brought a value back that a tag had ended.
#[tokio::test]
async fn an_entry_that_a_tag_ended_is_not_known_to_the_source() {
    let (clock, loads) = (ManualClock::new(), Arc::new(AtomicUsize::new(0)));
    let cache: Cache<u64, usize> = Cache::builder()
        .backend(Quick::new(10))
        .clock(clock.clone())
        .conditional_source(Unmodified(Arc::clone(&loads)))
        .strategy(Strategy::aside(SECOND).stale_if_error(MINUTE))
        .build()
        .unwrap();
    assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&0));
    clock.advance(2 * SECOND);
    assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&0), "not modified");
    for (pause, value) in [(0, 1), (2, 2)] {
        clock.advance(pause * SECOND);
        cache.invalidate_tag(&Tag::new("t", 1)).await.unwrap();
        assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&value));
    }
    clock.advance(2 * SECOND);
    cache.get(&1).await.unwrap();
    cache.invalidate_tag(&Tag::new("t", 1)).await.unwrap();
    assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&3), "an unmodified entry keeps its tags");
}

/// FusionCache 648, laravel 52847: a stale window brought back what had been cleared.
#[tokio::test]
async fn a_cleared_or_removed_entry_does_not_stand_in_for_an_error() {
    let (clock, down) = (ManualClock::new(), Arc::new(AtomicBool::new(false)));
    let is_down = Arc::clone(&down);
    let source = source_fn(move |key: u64| {
        let down = is_down.load(SeqCst);
        async move { if down { Err(std::io::Error::other("down")) } else { Ok(Some(key)) } }
    });
    let strategy = Strategy::aside(SECOND).stale_if_error(10 * MINUTE).stale_while_revalidate(10 * SECOND);
    let builder = Cache::builder().backend(Quick::new(10)).clock(clock.clone()).source(source);
    let cache: Cache<u64, u64> = builder.strategy(strategy).build().unwrap();
    cache.get_many(&[1, 2]).await.unwrap();
    clock.advance(2 * SECOND);
    down.store(true, SeqCst);
    assert_eq!(cache.get_entry(&1).await.unwrap().origin, Origin::Stale);
    cache.invalidate(&2).await.unwrap();
    assert!(cache.get(&2).await.is_err());
    cache.clear().await.unwrap();
    assert!(cache.get(&1).await.is_err());
}

/// streamlit 16168, CacheTower 118: a refresh brought back what was invalidated beside it.
#[tokio::test(start_paused = true)]
async fn an_invalidation_beside_a_refresh_wins() {
    let (clock, row) = (ManualClock::new(), Arc::new(AtomicUsize::new(1)));
    let table = Arc::clone(&row);
    let source = source_fn(move |_: u64| {
        let value = table.load(SeqCst);
        async move {
            tokio::time::sleep(SECOND).await;
            Ok::<_, std::io::Error>(Some(value))
        }
    });
    let builder = Cache::builder().backend(Quick::new(10)).clock(clock.clone()).source(source);
    let strategy = Strategy::aside(SECOND).stale_while_revalidate(MINUTE);
    let cache: Cache<u64, usize> = builder.strategy(strategy).build().unwrap();
    cache.get(&1).await.unwrap();
    clock.advance(2 * SECOND);
    assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&1), "and a refresh begins");
    settle().await;
    row.store(2, SeqCst);
    cache.invalidate(&1).await.unwrap();
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&2));
}

/// Looks into the cache at each eviction.
#[derive(Debug, Default)]
struct Looks {
    cache: OnceLock<Cache<u64, u64>>,
    evictions: AtomicUsize,
}

impl Observer for Looks {
    fn on_event(&self, event: &Event<'_>) {
        let Some(cache) = self.cache.get().filter(|_| matches!(event, Event::Evicted { .. })) else { return };
        for key in 0..8 {
            _ = cache.get_local(&key);
        }
        self.evictions.fetch_add(1, SeqCst);
    }
}

/// golang-lru 230, OpenSearch 22545: a listener of evictions that used the cache waited for itself.
#[test]
fn an_observer_of_evictions_may_look_into_the_cache() {
    for moka in [false, true] {
        let observer = Arc::new(Looks::default());
        let builder = Cache::<u64, u64>::builder().observer(Arc::clone(&observer));
        let builder = builder.strategy(Strategy::aside(10 * MINUTE));
        let builder = if moka { builder.backend(Moka::new(8)) } else { builder.backend(Quick::new(8)) };
        let cache = builder.build().unwrap();
        observer.cache.set(cache.clone()).unwrap();
        let (send, receive) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                for key in 0..2_000 {
                    cache.insert(&key, key).await.unwrap();
                }
            });
            send.send(()).unwrap();
        });
        receive.recv_timeout(20 * SECOND).expect("it waits for a lock that its thread holds");
        assert!(observer.evictions.load(SeqCst) > 100, "moka: {moka}");
    }
}
