//! Many keys at once: sizes a thousand times larger, deadlines, limits, numbers.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use common::{MINUTE, Table, over, settle};
use larder::clock::ManualClock;
use larder::observe::MissCause;
use larder::{Cache, CacheBuilder, Quick, Strategy, source_fn};
use larder_memory::{Fault, MemoryServer, OperationKind as Kind};

const SECOND: Duration = Duration::from_secs(1);
const MANY: u64 = 60_000;

fn large(batched: bool, clock: &ManualClock, strategy: Strategy<u64>) -> Cache<u64, u64> {
    let table = Table::with((0..MANY).map(|key| (key, key)));
    let builder: CacheBuilder<u64, u64> = Cache::builder().clock(clock.clone());
    let builder = if batched { builder.batch_source(table) } else { builder.source(table) };
    builder.backend(Quick::new(2 * MANY)).strategy(strategy).build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_thousand_missing_keys_are_loaded_and_refreshed() {
    for (batched, count) in [(true, MANY), (false, MANY / 5)] {
        let keys: Vec<u64> = (0..count).collect();
        let clock = ManualClock::new();
        let strategy = Strategy::aside(MINUTE).stale_while_revalidate(MINUTE);
        let cache = large(batched, &clock, strategy);
        let found = cache.get_many(&keys).await.unwrap();
        assert!(found.iter().zip(&keys).all(|(value, key)| value.as_deref() == Some(key)));
        clock.advance(MINUTE + SECOND);
        assert_eq!(cache.get_many(&keys).await.unwrap().len(), keys.len());
        cache.shutdown().await.unwrap();
        let loads = cache.stats().loads;
        assert!(loads >= if batched { 2 } else { count + 32 }, "refreshed in the background: {loads}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_thousand_callers_share_one_load() {
    let table = Table::with([(1, 10)]);
    let hold = table.hold();
    let cache = common::local(&table);
    let callers: Vec<_> = (0..MANY)
        .map(|_| {
            let cache = cache.clone();
            tokio::spawn(async move { cache.get(&1).await })
        })
        .collect();
    hold.arrived().await;
    hold.release();
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap().as_deref(), Some(&10));
    }
    assert_eq!((table.loads(), cache.in_flight()), (1, 0));
}

/// A source that takes a second, and counts how many of its loads run at once.
fn counting() -> (CacheBuilder<u64, u64>, Arc<AtomicUsize>) {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&most);
    let source = source_fn(move |key: u64| {
        let (now, most) = (Arc::clone(&now), Arc::clone(&counted));
        async move {
            most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
            tokio::time::sleep(SECOND).await;
            now.fetch_sub(1, SeqCst);
            Ok::<_, std::io::Error>(Some(key))
        }
    });
    (Cache::builder().backend(Quick::new(10_000)).source(source), most)
}

#[tokio::test(start_paused = true)]
async fn a_batch_past_its_deadline_begins_no_more_loads() {
    let keys: Vec<u64> = (0..1_000).collect();
    let (builder, most) = counting();
    let cache = builder.strategy(Strategy::aside(MINUTE).hard_timeout(SECOND / 10)).build().unwrap();
    let answers = cache.get_many_entries(&keys).await.unwrap();
    assert!(answers.iter().all(Result::is_err));
    cache.shutdown().await.unwrap();
    assert_eq!((most.load(SeqCst), cache.stats().loads), (32, 32));
}

#[tokio::test(start_paused = true)]
async fn a_warming_waits_for_its_loads_whatever_readers_do() {
    let (builder, most) = counting();
    let cache = builder.strategy(Strategy::aside(MINUTE).hard_timeout(SECOND / 10)).build().unwrap();
    let report = cache.warm(0..2_000).batch(100).concurrency(1).run().await;
    assert_eq!((report.ready, report.failed.len(), most.load(SeqCst)), (2_000, 0, 32));
    assert_eq!(cache.warm(0..10).batch(usize::MAX).run().await.ready, 10);
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_as_wide_as_the_limit_on_loads() {
    let (builder, most) = counting();
    let cache = builder
        .strategy(Strategy::aside(MINUTE).max_concurrent_loads(4).max_queued_loads(8))
        .build()
        .unwrap();
    let keys: Vec<u64> = (0..32).collect();
    assert!(cache.get_many_entries(&keys).await.unwrap().iter().all(Result::is_ok));
    assert_eq!(cache.warm(100..200).concurrency(1).run().await.ready, 100);
    assert_eq!((most.load(SeqCst), cache.stats().overloaded), (4, 0));
}

#[tokio::test]
async fn each_key_of_a_batch_is_one_hit_or_one_miss() {
    let (table, clock) = (Table::with([(1, 10), (2, 20)]), ManualClock::new());
    let server = MemoryServer::with_clock(clock.clone());
    let build = |process| over(&table, &clock).backend(server.connect(process).encoded(larder::codec::Json));
    let cache = build("one").build().unwrap();
    cache.get_many(&[1, 2, 1, 1]).await.unwrap();
    assert_eq!((cache.stats().misses, cache.stats().hits()), (4, 0), "a repeated key is a read too");
    cache.get_many(&[1, 2, 1, 1, 3]).await.unwrap();
    assert_eq!((cache.stats().misses, cache.stats().hits()), (5, 4));
    cache.shutdown().await.unwrap();
    assert!(cache.get_many(&[7, 8]).await.is_err(), "shut down");
    assert_eq!((cache.stats().misses, cache.stats().hits()), (7, 4), "what is refused is a miss");
}

#[tokio::test]
async fn a_read_that_is_given_up_is_a_miss() {
    let (table, clock) = (Table::with([(1, 10)]), ManualClock::new());
    let server = MemoryServer::with_clock(clock.clone());
    let backend = server.connect("one").encoded(larder::codec::Json);
    let cache = over(&table, &clock).backend(backend).build().unwrap();
    let hold = table.hold();
    for many in [false, true] {
        let cache = cache.clone();
        let read = tokio::spawn(async move {
            if many { cache.get_many(&[1, 1]).await.map(|_| ()) } else { cache.get(&1).await.map(|_| ()) }
        });
        settle().await;
        read.abort();
        assert!(read.await.is_err());
    }
    assert_eq!(cache.stats().misses_by(MissCause::Absent), 3, "left while it loads");
    hold.release();
    server.faults().when(|operation| matches!(operation.kind, Kind::Get | Kind::GetMany), Fault::Hang);
    for key in [5, 6] {
        let cache = cache.clone();
        let read = tokio::spawn(async move { cache.get(&key).await });
        settle().await;
        read.abort();
        assert!(read.await.is_err());
    }
    assert_eq!(cache.stats().misses_by(MissCause::Abandoned), 2, "left before the store answered");
    assert_eq!((cache.stats().misses, cache.stats().hits()), (5, 0));
}

type Cubes = std::future::Ready<std::io::Result<Vec<(u64, u64)>>>;

/// A loader of cubes that notes the keys of each call; 13 is absent.
fn cubes(calls: &Arc<std::sync::Mutex<Vec<Vec<u64>>>>) -> impl Fn(Vec<u64>) -> Cubes + Send + Sync + 'static {
    let calls = Arc::clone(calls);
    move |keys: Vec<u64>| {
        let present = keys.iter().filter(|key| **key != 13).map(|key| (*key, key.pow(3)));
        // in another order than asked for
        let found = present.rev().collect();
        calls.lock().unwrap().push(keys);
        std::future::ready(Ok(found))
    }
}

#[tokio::test]
async fn a_batch_loader_of_a_call_gets_the_missing_keys_once() {
    let cache: Cache<u64, u64> = Cache::builder()
        .backend(Quick::new(100))
        .strategy(Strategy::aside(MINUTE).negative_ttl(MINUTE))
        .build()
        .unwrap();
    let calls = Arc::default();
    let values = async |keys: &[u64]| -> Vec<Option<u64>> {
        let found = cache.get_many_or_load(keys, cubes(&calls)).await.unwrap();
        found.iter().map(|value| value.as_deref().copied()).collect()
    };
    assert_eq!(values(&[2, 13, 3, 2]).await, [Some(8), None, Some(27), Some(8)]);
    assert_eq!(values(&[3, 13, 4]).await, [Some(27), None, Some(64)], "an absence is kept too");
    cache.invalidate(&2).await.unwrap();
    assert_eq!(values(&[2, 4]).await, [Some(8), Some(64)]);
    assert_eq!(*calls.lock().unwrap(), [vec![2, 13, 3], vec![4], vec![2]]);

    let failing = |_keys: Vec<u64>| async { Err::<Vec<(u64, u64)>, _>(std::io::Error::other("down")) };
    let error = cache.get_many_or_load(&[4, 5, 6], failing).await.unwrap_err();
    assert_eq!(error.source_as::<std::io::Error>().unwrap().to_string(), "down");
}

#[tokio::test]
async fn a_batch_tells_of_each_key_where_it_came_from() {
    let clock = ManualClock::new();
    let server = MemoryServer::with_clock(clock.clone());
    let table = Table::with([(1, 10), (2, 20)]);
    let process = |name: &str| {
        let tiers = larder::Tiered::new(Quick::new(10), server.connect(name).encoded(larder::codec::Json));
        let strategy = Strategy::aside(MINUTE).stale_while_revalidate(MINUTE);
        over(&table, &clock).namespace("batch").backend(tiers).strategy(strategy).build().unwrap()
    };
    let (one, two) = (process("one"), process("two"));
    let origins = async |cache: &Cache<u64, u64>, keys: &[u64]| -> Vec<_> {
        let entries = cache.get_many_entries(keys).await.unwrap();
        entries.into_iter().map(|entry| entry.map(|entry| (entry.origin, entry.missed)).unwrap()).collect()
    };
    use larder::cache::Origin;
    assert_eq!(origins(&one, &[1]).await, [(Origin::Loaded, Some(MissCause::Absent))]);
    // before a near tier keeps it, which bounds it while no heartbeat has come
    let far = process("three").get_many_entries(&[1]).await.unwrap().remove(0).unwrap();
    for left in [far.fresh_for, far.stale_for] {
        assert!(left <= MINUTE && left > MINUTE - SECOND, "{far:?}");
    }
    assert_eq!(
        origins(&two, &[1, 2]).await,
        [(Origin::Far, None), (Origin::Loaded, Some(MissCause::Absent))],
        "the other process has stored the first"
    );
    clock.advance(MINUTE + SECOND);
    let entry = two.get_many_entries(&[1]).await.unwrap().remove(0).unwrap();
    assert_eq!((entry.origin, entry.fresh_for), (Origin::Stale, Duration::ZERO));
}
