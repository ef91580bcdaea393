//! One load for all callers, even if some of them stop waiting.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{MINUTE, Table, local, over, settle};
use larder::cache::Origin;
use larder::clock::ManualClock;
use larder::{Cache, ErrorKind, Quick, Strategy, Tag, source_fn};

async fn waiters(
    cache: &Cache<u64, u64>,
    count: usize,
) -> Vec<tokio::task::JoinHandle<larder::Result<Option<Arc<u64>>>>> {
    let waiters = (0..count)
        .map(|_| {
            let cache = cache.clone();
            tokio::spawn(async move { cache.get(&1).await })
        })
        .collect();
    settle().await;
    waiters
}

#[tokio::test]
async fn a_hundred_callers_share_one_load() {
    let table = Table::with([(1, 10)]);
    let (cache, hold) = (local(&table), table.hold());
    let waiters = waiters(&cache, 100).await;
    assert_eq!((table.loads(), cache.in_flight()), (1, 1));
    hold.release();
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap().unwrap().as_deref(), Some(&10));
    }
    assert_eq!((table.loads(), cache.in_flight(), cache.stats().joins), (1, 0, 99));
}

#[tokio::test]
async fn a_cancelled_leader_strands_none_of_fifty_followers() {
    let table = Table::with([(1, 10)]);
    let (cache, hold) = (local(&table), table.hold());
    let leader = waiters(&cache, 1).await.remove(0);
    hold.arrived().await;
    let followers = waiters(&cache, 50).await;
    leader.abort();
    assert!(leader.await.unwrap_err().is_cancelled());
    hold.release();
    for follower in followers {
        assert_eq!(follower.await.unwrap().unwrap().as_deref(), Some(&10));
    }
    assert_eq!(table.loads(), 1, "the load went on without its leader");
}

#[tokio::test(start_paused = true)]
async fn a_follower_with_a_deadline_leaves_and_the_load_goes_on() {
    let table = Table::with([(1, 10)]);
    let (cache, hold) = (local(&table), table.hold());
    let leader = waiters(&cache, 1).await.remove(0);
    let follower = tokio::time::timeout(Duration::from_millis(50), cache.get(&1)).await;
    assert!(follower.is_err(), "nothing was loaded yet");
    hold.release();
    assert_eq!(leader.await.unwrap().unwrap().as_deref(), Some(&10));
    assert_eq!(table.loads(), 1);
}

#[tokio::test]
async fn when_all_callers_are_gone_the_value_is_still_stored() {
    let table = Table::with([(1, 10)]);
    let (cache, hold) = (local(&table), table.hold());
    let waiters = waiters(&cache, 3).await;
    hold.arrived().await;
    for waiter in waiters {
        waiter.abort();
        assert!(waiter.await.is_err());
    }
    hold.release();
    settle().await;
    assert_eq!(cache.in_flight(), 0);
    assert_eq!(cache.get_entry(&1).await.unwrap().origin, Origin::Near);
    assert_eq!(table.loads(), 1);
}

#[tokio::test]
async fn a_panic_in_the_loader_is_an_error_for_all_and_frees_the_key() {
    let cache: Cache<u64, u64> =
        Cache::builder().backend(Quick::new(10)).strategy(Strategy::aside(MINUTE)).build().unwrap();
    let gate = Arc::new(tokio::sync::Notify::new());
    let callers: Vec<_> = (0..5)
        .map(|_| {
            let (cache, gate) = (cache.clone(), Arc::clone(&gate));
            tokio::spawn(async move {
                let load = move || async move {
                    gate.notified().await;
                    assert!(std::env::args().count() == 0, "the loader's own bug");
                    Ok::<_, std::io::Error>(7)
                };
                cache.get_or_load(&1, load).await
            })
        })
        .collect();
    settle().await;
    gate.notify_one();
    for caller in callers {
        let error = caller.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Panicked);
        assert!(error.to_string().contains("the loader's own bug"), "{error}");
    }
    assert_eq!(cache.in_flight(), 0);
    let value = cache.get_or_load(&1, || async { Ok::<_, std::io::Error>(7) }).await.unwrap();
    assert_eq!(value.as_deref(), Some(&7), "the key is usable at once");
}

#[tokio::test]
async fn a_panic_before_the_first_await_is_an_error_too() {
    let cache: Cache<u64, u64> =
        Cache::builder().backend(Quick::new(10)).strategy(Strategy::aside(MINUTE)).build().unwrap();
    let error = cache
        .get_or_load(&1, || -> std::future::Ready<Result<u64, std::io::Error>> { panic!("at once") })
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panicked);
    assert_eq!(cache.in_flight(), 0);
}

#[tokio::test]
async fn a_runtime_that_shuts_down_in_a_load_frees_the_key() {
    let table = Table::with([(1, 10)]);
    let (cache, hold) = (local(&table), table.hold());
    let other = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let lost = {
        let cache = cache.clone();
        other.spawn(async move { cache.get(&1).await })
    };
    hold.arrived().await;
    let waiting = waiters(&cache, 1).await.remove(0);
    table.unhold();
    other.shutdown_background();
    assert!(lost.await.unwrap_err().is_cancelled());
    assert_eq!(waiting.await.unwrap().unwrap().as_deref(), Some(&10), "who waits takes the load over");
    assert_eq!(table.loads(), 2);
    // the thread of the other runtime frees its key before it counts the load out
    while cache.in_flight() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&10), "the key is usable at once");
}

#[tokio::test]
async fn a_loader_that_asks_for_its_own_key_gets_an_error() {
    let cache: Cache<u64, u64> =
        Cache::builder().backend(Quick::new(10)).strategy(Strategy::aside(MINUTE)).build().unwrap();
    let inner = cache.clone();
    let load = move || async move {
        let error = inner.get_or_load(&1, || async { Ok::<_, std::io::Error>(2) }).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Reentrant);
        inner.get_or_load(&2, || async { Ok::<_, std::io::Error>(3) }).await.map(|value| *value.unwrap())
    };
    assert_eq!(cache.get_or_load(&1, load).await.unwrap().as_deref(), Some(&3), "another key is fine");
}

#[tokio::test]
async fn a_batch_that_asks_for_a_key_being_loaded_by_its_caller_abandons_nobody() {
    let table = Table::with([(1, 10), (2, 20)]);
    let cache = local(&table);
    let inner = cache.clone();
    let load = move || async move {
        let error = inner.get_many(&[2, 1]).await.unwrap_err();
        assert_eq!((error.kind(), inner.in_flight()), (ErrorKind::Reentrant, 1), "key 2 was not boarded");
        Ok::<_, std::io::Error>(7)
    };
    assert_eq!(cache.get_or_load(&1, load).await.unwrap().as_deref(), Some(&7));
    assert_eq!(table.loads(), 0);
}

#[tokio::test]
async fn a_loader_that_asks_for_its_own_key_through_another_cache_gets_an_error() {
    let build = || -> Cache<u64, u64> {
        Cache::builder().backend(Quick::new(10)).strategy(Strategy::aside(MINUTE)).build().unwrap()
    };
    let (outer, middle) = (build(), build());
    let (back, through) = (outer.clone(), middle.clone());
    let load = move || async move {
        let load = move || async move {
            back.get_or_load(&1, || async { Ok::<_, std::io::Error>(2) }).await.map(|value| *value.unwrap())
        };
        through.get_or_load(&1, load).await.map(|value| *value.unwrap())
    };
    let error = outer.get_or_load(&1, load).await.unwrap_err();
    let innermost: &larder::Error = error.source_as().expect("the inner cache's error is the cause");
    assert_eq!(innermost.kind(), ErrorKind::Source);
    assert_eq!(innermost.source_as::<larder::Error>().unwrap().kind(), ErrorKind::Reentrant);
}

#[tokio::test]
async fn a_source_error_is_shared_costs_one_call_and_is_not_cached() {
    let table = Table::with([(1, 10)]);
    let (cache, hold) = (local(&table), table.hold());
    table.fail(Some("the database is down"));
    let waiters = waiters(&cache, 20).await;
    hold.release();
    for waiter in waiters {
        let error = waiter.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Source);
        assert_eq!(error.source_as::<std::io::Error>().unwrap().to_string(), "the database is down");
    }
    assert_eq!(table.loads(), 1);
    table.fail(None);
    assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&10));
    assert_eq!(table.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_load_that_never_ends_ends_with_its_budget() {
    let cache: Cache<u64, u64> = Cache::builder()
        .backend(Quick::new(10))
        .source(source_fn(|_key: u64| std::future::pending::<Result<Option<u64>, std::io::Error>>()))
        .strategy(Strategy::aside(MINUTE).load_timeout(Duration::from_secs(3)))
        .build()
        .unwrap();
    let began = tokio::time::Instant::now();
    assert_eq!(cache.get(&1).await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(began.elapsed().as_secs(), 3);
    assert_eq!(cache.in_flight(), 0);
}

#[tokio::test]
async fn all_entry_points_share_one_flight() {
    let table = Table::with([(1, 10), (2, 20)]);
    let (cache, hold) = (local(&table), table.hold());
    let single = waiters(&cache, 1).await.remove(0);
    hold.arrived().await;
    let many = tokio::spawn({
        let cache = cache.clone();
        async move { cache.get_many(&[1, 2, 1]).await }
    });
    let closure = tokio::spawn({
        let cache = cache.clone();
        async move { cache.get_or_load(&1, || async { Err::<u64, _>(std::io::Error::other("not called")) }).await }
    });
    hold.arrived().await;
    let joins_the_batch = tokio::spawn({
        let cache = cache.clone();
        async move { cache.get(&2).await }
    });
    settle().await;
    hold.release();
    assert_eq!(single.await.unwrap().unwrap().as_deref(), Some(&10));
    assert_eq!(closure.await.unwrap().unwrap().as_deref(), Some(&10));
    assert_eq!(joins_the_batch.await.unwrap().unwrap().as_deref(), Some(&20));
    let found: Vec<_> = many.await.unwrap().unwrap().into_iter().map(|value| *value.unwrap()).collect();
    assert_eq!(found, [10, 20, 10]);
    assert_eq!(table.loads(), 2, "one for each key");
}

#[tokio::test]
async fn get_many_is_one_query_and_one_load_a_distinct_key() {
    let table = Table::with((0..100).map(|key| (key, key * 10)));
    let cache = local(&table);
    cache.get(&5).await.unwrap();
    let keys: Vec<u64> = (0..110).chain([3, 3]).collect();
    let found = cache.get_many(&keys).await.unwrap();
    let expected: Vec<_> = keys.iter().map(|&key| (key < 100).then_some(key * 10)).collect();
    assert_eq!(found.into_iter().map(|value| value.map(|value| *value)).collect::<Vec<_>>(), expected);
    assert_eq!((table.queries(), table.loads()), (2, 110));
    cache.get_many(&keys[..100]).await.unwrap();
    assert_eq!(table.queries(), 2, "all hits");
    assert!(cache.get_many(&[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn get_many_without_a_batch_source_loads_side_by_side() {
    let table = Table::with((0..100).map(|key| (key, key)));
    let cache: Cache<u64, u64> = Cache::builder()
        .backend(Quick::new(1_000))
        .source(table.clone())
        .strategy(Strategy::aside(MINUTE))
        .build()
        .unwrap();
    let hold = table.hold();
    let many = tokio::spawn({
        let cache = cache.clone();
        async move { cache.get_many(&(0..100).collect::<Vec<_>>()).await }
    });
    settle().await;
    assert_eq!(cache.in_flight(), 32, "as many at a time as the documentation says");
    hold.release();
    assert_eq!(many.await.unwrap().unwrap().len(), 100);
    assert_eq!(table.loads(), 100);
}

#[tokio::test]
async fn shutdown_waits_for_loads_and_ends_even_when_called_twice() {
    let table = Table::with([(1, 10)]);
    let (cache, hold) = (local(&table), table.hold());
    let waiting = waiters(&cache, 1).await.remove(0);
    let shutdown = tokio::spawn({
        let cache = cache.clone();
        async move { cache.shutdown().await }
    });
    settle().await;
    assert!(!shutdown.is_finished());
    assert_eq!(cache.get(&2).await.unwrap_err().kind(), ErrorKind::Closed);
    hold.release();
    shutdown.await.unwrap().unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().as_deref(), Some(&10));
    cache.shutdown().await.unwrap();
    assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&10), "hits are still served");
}

/// The user's code decides the TTL and the tags of a value too.
#[tokio::test]
async fn a_panic_in_tags_or_ttl_is_an_error_and_frees_the_key() {
    let table = Table::with([(1, 10), (2, 20)]);
    let tags: fn(&u64) -> [Tag; 1] = |value| if *value == 10 { panic!("no tag") } else { [Tag::new("t", 1)] };
    let ttl: fn(&u64) -> Option<Duration> = |value| if *value == 10 { panic!("no ttl") } else { None };
    for strategy in [Strategy::aside(MINUTE).tagged(tags), Strategy::aside(MINUTE).ttl_by(ttl)] {
        let clock = ManualClock::new();
        let cache = over(&table, &clock).backend(Quick::new(10)).strategy(strategy).build().unwrap();
        let error = cache.get(&1).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Panicked, "{error}");
        let each = cache.get_many_entries(&[1, 2]).await.unwrap();
        assert_eq!(each[0].as_ref().unwrap_err().kind(), ErrorKind::Panicked);
        assert_eq!(each[1].as_ref().unwrap().value.as_deref(), Some(&20));
        assert_eq!(cache.in_flight(), 0);
    }
}

/// A value whose destructor panics, if it is the first.
struct Fragile(u64);

impl Drop for Fragile {
    fn drop(&mut self) {
        assert!(self.0 > 0 || std::thread::panicking(), "the destructor's own bug");
    }
}

/// The load displaces an entry, whose destructor panics on the load's task.
#[tokio::test]
async fn a_panic_of_a_value_on_the_task_of_a_load_is_named() {
    let source = source_fn(|_: u64| async { Ok::<_, std::io::Error>(Some(Fragile(1))) });
    let cache: Cache<u64, Fragile> = Cache::builder()
        .backend(Quick::new(10))
        .source(source)
        .strategy(Strategy::aside(MINUTE))
        .build()
        .unwrap();
    cache.insert(&1, Fragile(0)).await.unwrap();
    let error = cache.refresh(&1).await.map(|_| ()).unwrap_err();
    assert_eq!((error.kind(), cache.in_flight()), (ErrorKind::Panicked, 0), "{error}");
    assert_eq!(cache.refresh(&1).await.unwrap().map(|value| value.0), Some(1));
}

#[tokio::test]
async fn an_insert_whose_tags_panic_removes_what_it_was_to_replace() {
    let table = Table::with([(1, 10)]);
    let tags: fn(&u64) -> [Tag; 1] = |value| if *value == 20 { panic!("no tag") } else { [Tag::new("t", 1)] };
    let strategy = Strategy::aside(MINUTE).tagged(tags);
    let cache = over(&table, &ManualClock::new()).backend(Quick::new(10)).strategy(strategy).build().unwrap();
    assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&10));
    table.set(1, 11);
    assert_eq!(cache.insert(&1, 20).await.unwrap_err().kind(), ErrorKind::Panicked);
    assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&11));
}

/// A batch of stale keys over a source that loads one at a time is no rush on it.
#[tokio::test]
async fn many_stale_keys_are_refreshed_a_few_at_a_time() {
    let (clock, running) = (ManualClock::new(), Arc::new(tokio::sync::Semaphore::new(0)));
    let loads = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let source = {
        let (running, loads) = (Arc::clone(&running), Arc::clone(&loads));
        source_fn(move |key: u64| {
            let (running, loads) = (Arc::clone(&running), Arc::clone(&loads));
            async move {
                loads.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                running.acquire().await.unwrap().forget();
                Ok::<_, std::io::Error>(Some(key))
            }
        })
    };
    let strategy = Strategy::aside(MINUTE).stale_while_revalidate(MINUTE);
    let cache: Cache<u64, u64> = Cache::builder()
        .backend(Quick::new(1_000))
        .source(source)
        .clock(clock.clone())
        .strategy(strategy)
        .build()
        .unwrap();
    let keys: Vec<u64> = (0..200).collect();
    for key in &keys {
        cache.insert(key, *key).await.unwrap();
    }
    clock.advance(MINUTE);
    assert_eq!(cache.get_many(&keys).await.unwrap().len(), 200);
    settle().await;
    assert_eq!(loads.load(std::sync::atomic::Ordering::SeqCst), 32);
    running.add_permits(1_000);
    while cache.in_flight() > 0 {
        tokio::task::yield_now().await;
    }
}

/// A value whose destructor uses the cache that kept it.
#[derive(Clone)]
struct Uses(Arc<std::sync::OnceLock<Cache<u64, Uses>>>, u64);

impl Drop for Uses {
    fn drop(&mut self) {
        let Some(cache) = self.0.get() else { return };
        for key in 0..16 {
            _ = cache.get_local(&key);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let key = self.1;
        let cache = cache.clone();
        // (a thread of its own, since this one may be in a runtime: it waits for the locks that this one holds)
        std::thread::spawn(move || runtime.block_on(cache.invalidate(&(key + 1_000))))
            .join()
            .unwrap()
            .unwrap();
    }
}

/// Replaced, evicted, removed and cleared values are dropped when the locks of store and fences are free.
#[test]
fn the_destructor_of_a_value_may_use_the_cache() {
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let own = Arc::new(std::sync::OnceLock::new());
        let cache: Cache<u64, Uses> =
            Cache::builder().backend(Quick::new(8)).strategy(Strategy::aside(MINUTE)).build().unwrap();
        assert!(own.set(cache.clone()).is_ok());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for key in 0..100 {
                cache.insert(&(key % 50), Uses(Arc::clone(&own), key)).await.unwrap();
            }
            cache.invalidate(&1).await.unwrap();
            cache.clear().await.unwrap();
        });
        send.send(()).unwrap();
    });
    receive
        .recv_timeout(Duration::from_secs(20))
        .expect("a destructor waits for a lock that its thread holds");
}
