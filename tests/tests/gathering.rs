//! Single misses that are loaded together: every caller is answered, even if the task that was to load them ends
//! early.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use common::{MINUTE, Table, over};
use larder::clock::ManualClock;
use larder::source::BatchSource;
use larder::{Cache, ErrorKind, Quick, Source, Strategy};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

const SECOND: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_millis(50);

fn gathering() -> Cache<u64, u64> {
    let table = Table::with((0..100).map(|key| (key, 10 * key)));
    over(&table, &ManualClock::new())
        .backend(Quick::new(100))
        .strategy(Strategy::aside(MINUTE).batch_window(WINDOW).max_batch(100))
        .build()
        .unwrap()
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Polls a future once, outside of any runtime.
fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn all_keys_are_readable(cache: &Cache<u64, u64>) {
    let runtime = runtime();
    for key in [2, 1, 3] {
        let answer = runtime.block_on(async { timeout(2 * SECOND, cache.get(&key)).await });
        assert_eq!(answer.expect("it hangs").unwrap().as_deref(), Some(&(10 * key)));
    }
    assert_eq!(cache.in_flight(), 0);
}

/// A cache in a static is used from two runtimes, one after the other: the first ends within a window.
#[test]
fn the_end_of_the_runtime_that_opened_the_window() {
    let cache = gathering();
    let first = runtime();
    assert!(first.block_on(async { timeout(WINDOW / 10, cache.get(&1)).await }).is_err());
    drop(first);
    assert_eq!(cache.in_flight(), 0);
    all_keys_are_readable(&cache);
}

#[test]
fn a_runtime_that_is_not_driven_any_more() {
    let cache = gathering();
    let first = runtime();
    assert!(first.block_on(async { timeout(WINDOW / 10, cache.get(&7)).await }).is_err());
    all_keys_are_readable_except_in_flight(&cache, 1);
    drop(first);
    all_keys_are_readable(&cache);
}

fn all_keys_are_readable_except_in_flight(cache: &Cache<u64, u64>, in_flight: usize) {
    let runtime = runtime();
    for key in [2, 1, 3] {
        let answer = runtime.block_on(async { timeout(2 * SECOND, cache.get(&key)).await });
        assert!(answer.expect("it hangs").is_ok());
    }
    assert_eq!(cache.in_flight(), in_flight);
}

#[test]
fn a_get_outside_of_a_runtime_is_an_error_and_harms_no_other() {
    let cache = gathering();
    let Poll::Ready(Err(error)) = poll_once(cache.get(&1)) else { panic!("there is nothing to load on") };
    assert_eq!(error.kind(), ErrorKind::Config);
    all_keys_are_readable(&cache);
}

#[test]
fn a_runtime_without_a_timer_is_an_error_and_harms_no_other() {
    let cache = gathering();
    let without = Builder::new_current_thread().build().unwrap();
    let error = without.block_on(cache.get(&1)).unwrap_err();
    assert!(error.to_string().contains("enable_all"), "{error}");
    drop(without);
    all_keys_are_readable(&cache);
}

#[test]
fn windows_that_fill_up_and_windows_that_end_answer_all() {
    let table = Table::with((0..1_000).map(|key| (key, 10 * key)));
    let cache = over(&table, &ManualClock::new())
        .backend(Quick::new(2_000))
        .strategy(Strategy::aside(MINUTE).batch_window(WINDOW / 50).max_batch(7))
        .build()
        .unwrap();
    runtime().block_on(async {
        let reads = (0..1_000).map(|key| {
            let cache = cache.clone();
            tokio::spawn(async move { cache.get(&key).await.unwrap().as_deref().copied() })
        });
        for (key, read) in (0..).zip(reads.collect::<Vec<_>>()) {
            assert_eq!(read.await.unwrap(), Some(10 * key));
        }
    });
    assert_eq!((table.loads(), cache.in_flight()), (1_000, 0));
    assert!((143..300).contains(&table.queries()), "{} queries", table.queries());
}

/// A batch source that asks the cache for one of the keys that it is to load.
struct Asks {
    cache: Arc<OnceLock<Cache<u64, u64>>>,
    which: fn(&[u64]) -> u64,
}

impl Source<u64> for Asks {
    type Value = u64;
    type Error = larder::Error;

    async fn load(&self, key: &u64) -> Result<Option<u64>, larder::Error> {
        Ok(Some(*key))
    }
}

impl BatchSource<u64> for Asks {
    async fn load_many(&self, keys: &[u64]) -> Result<Vec<Option<u64>>, larder::Error> {
        let cache = self.cache.get().unwrap().clone();
        cache.get(&(self.which)(keys)).await?;
        Ok(keys.iter().copied().map(Some).collect())
    }
}

async fn asks(gathers: bool, which: fn(&[u64]) -> u64) -> ErrorKind {
    let cell = Arc::new(OnceLock::new());
    let strategy = Strategy::aside(MINUTE).load_timeout(MINUTE);
    let cache: Cache<u64, u64> = Cache::builder()
        .backend(Quick::new(100))
        .batch_source(Asks { cache: Arc::clone(&cell), which })
        .strategy(if gathers { strategy.batch_window(WINDOW).max_batch(100) } else { strategy })
        .build()
        .unwrap();
    cell.set(cache.clone()).unwrap();
    let answer = async {
        match gathers {
            true => tokio::join!(cache.get(&1), cache.get(&2), cache.get(&3)).0.map(|_| ()),
            false => cache.get_many(&[1, 2, 3]).await.map(|_| ()),
        }
    };
    let error = timeout(MINUTE / 2, answer).await.expect("it waits for itself").unwrap_err();
    common::root(&error).kind()
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_asks_for_one_of_its_own_keys_is_refused_at_once() {
    for gathers in [false, true] {
        let which: [fn(&[u64]) -> u64; 2] = [|keys| keys[0], |keys| keys[keys.len() - 1]];
        for which in which {
            assert_eq!(asks(gathers, which).await, ErrorKind::Reentrant, "gathers: {gathers}");
        }
    }
}
