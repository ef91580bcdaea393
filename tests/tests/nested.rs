//! Loads that load: through one cache, and through two that ask each other.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use common::MINUTE;
use larder::source::SourceLimit;
use larder::{Cache, ErrorKind, Quick, Result, Strategy, source_fn};
use tokio::time::{Instant, timeout};

const SECOND: Duration = Duration::from_secs(1);

type Numbers = Cache<u64, u64>;
type Cell = Arc<OnceLock<Numbers>>;

/// A cache whose loads ask `other` for what `next` says, and answer with it.
fn asking(
    other: &Cell,
    next: fn(u64) -> Option<u64>,
    strategy: Strategy<u64>,
    limit: Option<usize>,
) -> Numbers {
    let other = Arc::clone(other);
    let source = source_fn(move |key: u64| {
        let other = other.get().unwrap().clone();
        async move {
            tokio::time::sleep(SECOND / 100).await;
            match next(key) {
                Some(next) => other.get(&next).await.map(|found| found.map(|found| *found)),
                None => Ok(Some(key)),
            }
        }
    });
    let builder = Cache::builder().backend(Quick::new(100_000)).strategy(strategy);
    match limit {
        Some(most) => builder.source(SourceLimit::new(source, most)).build().unwrap(),
        None => builder.source(source).build().unwrap(),
    }
}

fn own(next: fn(u64) -> Option<u64>, strategy: Strategy<u64>, limit: Option<usize>) -> Numbers {
    let cell = Cell::default();
    let cache = asking(&cell, next, strategy, limit);
    cell.set(cache.clone()).unwrap();
    cache
}

async fn all_of(cache: &Numbers, keys: std::ops::Range<u64>) -> Vec<Result<Option<Arc<u64>>>> {
    let reads = keys.map(|key| {
        let cache = cache.clone();
        tokio::spawn(async move { cache.get(&key).await })
    });
    let reads: Vec<_> = reads.collect();
    let mut answers = Vec::new();
    for read in reads {
        answers.push(read.await.unwrap());
    }
    answers
}

fn deeper(key: u64) -> Option<u64> {
    (key < 3_000).then_some(key + 1_000)
}

#[tokio::test(start_paused = true)]
async fn parents_hold_no_permit_that_their_children_wait_for() {
    let strategy = || Strategy::aside(MINUTE).load_timeout(MINUTE);
    for (strategy, limit) in
        [(strategy().max_concurrent_loads(4).max_queued_loads(100), None), (strategy(), Some(4))]
    {
        let cache = own(deeper, strategy, limit);
        let began = Instant::now();
        assert!(all_of(&cache, 0..30).await.iter().all(Result::is_ok));
        assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    }
}

/// The children are loads of plain readers that wait for permits already, when the parents that hold them join.
#[tokio::test(start_paused = true)]
async fn parents_that_join_loads_which_wait_for_their_permits() {
    let strategy = || Strategy::aside(MINUTE).load_timeout(MINUTE);
    for (strategy, limit) in
        [(strategy().max_concurrent_loads(4).max_queued_loads(200), None), (strategy(), Some(4))]
    {
        let cache = own(deeper, strategy, limit);
        let began = Instant::now();
        let (parents, children) = tokio::join!(all_of(&cache, 0..30), all_of(&cache, 1_000..1_030));
        assert!(parents.iter().chain(&children).all(Result::is_ok));
        assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn two_caches_that_ask_each_other_under_limits() {
    let (one, two) = (Cell::default(), Cell::default());
    let strategy =
        || Strategy::aside(MINUTE).load_timeout(MINUTE).max_concurrent_loads(4).max_queued_loads(100);
    one.set(asking(&two, deeper, strategy(), None)).unwrap();
    two.set(asking(&one, deeper, strategy(), None)).unwrap();
    let began = Instant::now();
    let (first, second) = tokio::join!(all_of(one.get().unwrap(), 0..30), all_of(two.get().unwrap(), 30..60));
    assert!(first.iter().chain(&second).all(Result::is_ok));
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_limit_holds_for_loads_that_no_other_waits_for() {
    let cache = own(|_| None, Strategy::aside(MINUTE).max_concurrent_loads(4).max_queued_loads(2), None);
    let answers = all_of(&cache, 0..10).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 4);
    assert_eq!(cache.stats().overloaded, 4);
}

#[tokio::test(start_paused = true)]
async fn a_load_that_comes_back_to_its_own_key_is_refused_at_once() {
    let cycles: [fn(u64) -> Option<u64>; 2] = [Some, |key| Some((key + 1) % 50)];
    for next in cycles {
        let cache = own(next, Strategy::aside(MINUTE).load_timeout(MINUTE), None);
        let error = timeout(MINUTE / 2, cache.get(&1)).await.expect("it waits for itself").unwrap_err();
        assert_eq!(common::root(&error).kind(), ErrorKind::Reentrant);
    }
}

/// The key that a load comes back to is out of sight, since it was invalidated meanwhile.
#[tokio::test(start_paused = true)]
async fn a_load_that_invalidates_its_own_key_and_asks_for_it_is_refused() {
    let cell = Cell::default();
    let of = Arc::clone(&cell);
    let source = source_fn(move |key: u64| {
        let cache = of.get().unwrap().clone();
        async move {
            cache.invalidate(&key).await?;
            cache.get(&key).await.map(|found| found.map(|found| *found))
        }
    });
    let cache = Cache::builder().backend(Quick::new(10)).source(source).strategy(Strategy::aside(MINUTE));
    let cache = cache.build().unwrap();
    cell.set(cache.clone()).unwrap();
    let error = timeout(SECOND, cache.get(&1)).await.expect("it loads for ever").unwrap_err();
    assert_eq!(common::root(&error).kind(), ErrorKind::Reentrant);
}

/// Each load asks for the next: the work of all of them is linear, and dropping them takes no stack.
#[test]
fn eight_thousand_loads_that_wait_for_each_other() {
    let cell = Cell::default();
    let of = Arc::clone(&cell);
    let source = source_fn(move |key: u64| {
        let cache = of.get().unwrap().clone();
        async move {
            if key == 0 {
                Ok(Some(0))
            } else {
                cache.get(&(key - 1)).await.map(|found| found.map(|found| *found))
            }
        }
    });
    let cache: Numbers = Cache::builder()
        .backend(Quick::new(100_000))
        .source(source)
        .strategy(Strategy::aside(MINUTE))
        .build()
        .unwrap();
    cell.set(cache.clone()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let time = |key: u64| {
        let began = std::time::Instant::now();
        let cache = cache.clone();
        let read = runtime.spawn(async move { cache.get(&key).await });
        assert_eq!(runtime.block_on(read).unwrap().unwrap().as_deref(), Some(&0));
        began.elapsed()
    };
    let (small, large) = (time(1_000), time(10_000));
    assert!(large < 60 * small, "9 times as many loads took {large:?} after {small:?}");
}
