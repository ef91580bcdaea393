//! The reasons that a watched cache reports for its keys: each is brought about, and found.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use larder::clock::ManualClock;
use larder::codec::Json;
use larder::{Cache, CacheBuilder, Quick, Strategy, Tag, source_fn};
use larder_memory::MemoryServer;
use larder_metrics::{Outcome, Watched, Watching, Why};

const MINUTE: Duration = Duration::from_secs(60);

/// A cache of numbers, tagged by parity, whose source can be made to fail.
fn numbers(clock: &ManualClock, fails: &Arc<AtomicBool>) -> CacheBuilder<u64, u64> {
    let fails = Arc::clone(fails);
    let source = source_fn(move |id: u64| {
        let fails = fails.load(Ordering::SeqCst);
        async move { if fails { Err(std::io::Error::other("no luck")) } else { Ok(Some(id)) } }
    });
    Cache::builder()
        .source(source)
        .strategy(Strategy::aside(MINUTE).tagged(|value: &u64| [Tag::new("parity", value % 2)]))
        .clock(clock.clone())
}

fn watched(cache: Cache<u64, u64>, clock: &ManualClock) -> Watched<u64, u64> {
    Watched::with(cache, Watching::keys().clock(clock.clone()).sampling(1))
}

fn last(cache: &Watched<u64, u64>) -> (Why, Outcome) {
    let miss = cache.misses().pop().unwrap();
    (miss.why, miss.outcome)
}

#[tokio::test]
async fn each_reason_is_told() {
    let (clock, fails) = (ManualClock::new(), Arc::new(AtomicBool::new(false)));
    let cache = watched(numbers(&clock, &fails).backend(Quick::new(100)).build().unwrap(), &clock);
    let second = Duration::from_secs(1);

    cache.get(&1).await.unwrap();
    assert_eq!(last(&cache), (Why::FirstRead, Outcome::Loaded));
    clock.advance(MINUTE + second);
    cache.get(&1).await.unwrap();
    assert_eq!(last(&cache).0, Why::Expired(second));
    cache.invalidate(&1).await.unwrap();
    clock.advance(second);
    cache.get(&1).await.unwrap();
    assert_eq!(last(&cache).0, Why::Invalidated(second));
    let tag = Tag::new("parity", 1);
    cache.invalidate_tag(&tag).await.unwrap();
    clock.advance(second);
    cache.get(&1).await.unwrap();
    assert_eq!(last(&cache).0, Why::TagEnded(tag, second));
    cache.clear().await.unwrap();
    cache.get(&1).await.unwrap();
    assert_eq!(last(&cache).0, Why::Cleared(Duration::ZERO));
    // removed behind the watch's back, as another process would
    cache.cache().invalidate(&1).await.unwrap();
    cache.get(&1).await.unwrap();
    assert_eq!(last(&cache).0, Why::Gone);

    fails.store(true, Ordering::SeqCst);
    cache.get(&2).await.unwrap_err();
    assert!(matches!(last(&cache), (Why::FirstRead, Outcome::Failed(error)) if error.contains("no luck")));
    fails.store(false, Ordering::SeqCst);
    cache.get(&2).await.unwrap();
    assert_eq!(last(&cache), (Why::LoadFailed, Outcome::Loaded));
    let load = || async { Ok::<_, std::io::Error>(larder::Loaded::new(9).no_store()) };
    cache.get_or_load(&9, load).await.unwrap();
    cache.get_or_load(&9, load).await.unwrap();
    assert_eq!(last(&cache).0, Why::NotKept);

    let whys: HashSet<&str> = cache.whys().into_iter().map(|(why, _)| why).collect();
    assert_eq!(whys.len(), 8, "{whys:?}");
    assert_eq!(cache.whys().iter().map(|(_, count)| count).sum::<u64>(), cache.stats().misses);
}

#[tokio::test]
async fn trouble_with_the_store_is_told_as_such() {
    let (clock, fails) = (ManualClock::new(), Arc::new(AtomicBool::new(false)));
    let server = MemoryServer::with_clock(clock.clone());
    let process = server.connect("one");
    let cache = numbers(&clock, &fails).namespace("number").backend(process.encoded(Json)).build().unwrap();
    let cache = watched(cache, &clock);
    cache.get(&1).await.unwrap();
    process.disconnect();
    cache.get(&1).await.unwrap();
    assert_eq!(last(&cache), (Why::StoreFailed, Outcome::Loaded));
    cache.invalidate(&1).await.unwrap_err();
    cache.get(&1).await.unwrap();
    assert_eq!(last(&cache).0, Why::Unacknowledged);
}

#[tokio::test]
async fn a_miss_that_another_load_answers_says_so() {
    let (clock, fails) = (ManualClock::new(), Arc::new(AtomicBool::new(false)));
    let cache = watched(numbers(&clock, &fails).backend(Quick::new(100)).build().unwrap(), &clock);
    let gate = Arc::new(tokio::sync::Notify::new());
    let load = |gate: Arc<tokio::sync::Notify>| {
        move || async move {
            gate.notified().await;
            Ok::<_, std::io::Error>(1u64)
        }
    };
    let (first, second, ()) = tokio::join!(
        cache.get_or_load(&1, load(Arc::clone(&gate))),
        cache.get_or_load(&1, load(Arc::clone(&gate))),
        async { gate.notify_one() }
    );
    assert_eq!((first.unwrap().as_deref(), second.unwrap().as_deref()), (Some(&1), Some(&1)));
    let outcomes: Vec<Outcome> = cache.misses().into_iter().map(|miss| miss.outcome).collect();
    assert!(outcomes.contains(&Outcome::Loaded) && outcomes.contains(&Outcome::Joined), "{outcomes:?}");
    assert_eq!(
        cache.whys(),
        [("first_read", 2)],
        "the note of the load is not the reason of who waited for it"
    );
}

#[tokio::test]
async fn hits_are_sampled_without_losing_their_weight() {
    let (clock, fails) = (ManualClock::new(), Arc::new(AtomicBool::new(false)));
    let cache = numbers(&clock, &fails).backend(Quick::new(100)).build().unwrap();
    let cache = Watched::with(cache, Watching::keys().clock(clock.clone()).sampling(64));
    fastrand::seed(7);
    // a loop whose length divides the sampling: a count that is not random would only ever see one key
    let keys = [1, 2, 3, 4, 5, 6, 7, 8];
    for _ in 0..10_000 {
        for key in &keys {
            cache.get(key).await.unwrap();
        }
    }
    clock.advance(Duration::from_secs(10));
    let hot = cache.hot_keys(20);
    assert_eq!(hot.len(), keys.len(), "{hot:?}");
    let total: f64 = hot.iter().map(|hot| hot.per_second).sum();
    // 80,000 reads of the last ten seconds, faded by some
    assert!((7_000.0..9_000.0).contains(&total), "{total}");
    for hot in hot {
        assert!((700.0..1_400.0).contains(&hot.per_second) && hot.hit_rate > 0.9, "{hot:?}");
    }
}

#[tokio::test]
async fn what_is_remembered_is_bounded() {
    let (clock, fails) = (ManualClock::new(), Arc::new(AtomicBool::new(false)));
    let cache = numbers(&clock, &fails).backend(Quick::new(10)).build().unwrap();
    let watching = Watching::keys().clock(clock.clone()).misses(5).remembered(50).hot_keys(7);
    let cache = Watched::with(cache, watching);
    for key in 0..1_000 {
        cache.get(&key).await.unwrap();
    }
    assert_eq!(
        cache.misses().iter().map(|miss| miss.number).collect::<Vec<_>>(),
        [996, 997, 998, 999, 1_000]
    );
    assert_eq!(cache.hot_keys(100).len(), 7);
}

/// Readers that wait for each other's loads, and writers between them: nothing is evicted and there are no other
/// writers, so no entry may be reported as gone for an unknown reason.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_reason_is_made_up_under_load() {
    for (by_key, by_tag) in [(false, false), (true, false), (false, true)] {
        let load = |id: u64| async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok::<_, std::io::Error>(Some(id))
        };
        let strategy = Strategy::aside(MINUTE * 10).tagged(|value: &u64| [Tag::new("tenth", value % 10)]);
        let cache: Cache<u64, u64> = Cache::builder()
            .backend(Quick::new(1_000))
            .source(source_fn(load))
            .strategy(strategy)
            .build()
            .unwrap();
        let cache = Watched::new(cache);
        let mut tasks = tokio::task::JoinSet::new();
        for reader in 0..8 {
            let cache = cache.clone();
            tasks.spawn(async move {
                for step in 0..400 {
                    cache.get(&((step * 7 + reader * 13) % 100)).await.unwrap();
                    tokio::task::yield_now().await;
                }
            });
        }
        let writer = cache.clone();
        tasks.spawn(async move {
            for step in 0..100u64 {
                if by_key {
                    writer.invalidate(&(step * 11 % 100)).await.unwrap();
                }
                if by_tag {
                    writer.invalidate_tag(&Tag::new("tenth", step % 10)).await.unwrap();
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        tasks.join_all().await;
        let possible: &[&str] = match (by_key, by_tag) {
            (true, _) => &["first_read", "invalidated", "not_kept"],
            (_, true) => &["first_read", "tag_ended", "not_kept"],
            _ => &["first_read"],
        };
        for (why, count) in cache.whys() {
            assert!(possible.contains(&why), "{count} times {why}: {:?}", cache.whys());
        }
    }
}
