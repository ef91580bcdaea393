//! Several runtimes in one process, of which one ends or is not driven any more.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use common::{MINUTE, Table};
use larder::codec::Json;
use larder::observe::{Event, Observer};
use larder::{Cache, Quick, Strategy, source_fn};
use larder_memory::{Fault, MemoryServer, Operation, OperationKind as Kind};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

const SECOND: Duration = Duration::from_secs(1);

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn slow(strategy: Strategy<u64>) -> (Cache<u64, u64>, Arc<AtomicUsize>) {
    let loads = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&loads);
    let source = source_fn(move |key: u64| {
        count.fetch_add(1, SeqCst);
        async move {
            tokio::time::sleep(SECOND / 5).await;
            Ok::<_, std::io::Error>(Some(key))
        }
    });
    (Cache::builder().backend(Quick::new(100)).source(source).strategy(strategy).build().unwrap(), loads)
}

fn leave_a_load_in(runtime: &Runtime, cache: &Cache<u64, u64>) {
    assert!(runtime.block_on(async { timeout(SECOND / 50, cache.get(&1)).await }).is_err());
}

#[test]
fn a_follower_takes_the_load_of_a_runtime_that_ended_over() {
    let (cache, loads) = slow(Strategy::aside(MINUTE));
    let first = runtime();
    leave_a_load_in(&first, &cache);
    let follower = {
        let cache = cache.clone();
        thread::spawn(move || runtime().block_on(async { timeout(3 * SECOND, cache.get(&1)).await }))
    };
    while cache.stats().joins == 0 {
        thread::yield_now();
    }
    drop(first);
    assert_eq!(follower.join().unwrap().unwrap().unwrap().as_deref(), Some(&1));
    assert_eq!((loads.load(SeqCst), cache.in_flight()), (2, 0));
}

#[test]
fn a_follower_waits_no_longer_than_the_budget_for_a_runtime_that_is_not_driven() {
    let (cache, loads) = slow(Strategy::aside(MINUTE).load_timeout(SECOND));
    let first = runtime();
    leave_a_load_in(&first, &cache);
    let answer = runtime().block_on(async { timeout(6 * SECOND, cache.get(&1)).await });
    assert_eq!(answer.expect("it hangs").unwrap().as_deref(), Some(&1));
    assert_eq!(loads.load(SeqCst), 2);
    drop(first);
    assert_eq!(cache.in_flight(), 0);
}

fn removals(operation: &Operation) -> bool {
    matches!(operation.kind, Kind::Remove | Kind::RemoveMany)
}

fn shared(server: &MemoryServer) -> larder::CacheBuilder<u64, u64> {
    let strategy = Strategy::aside(10 * MINUTE);
    Cache::builder().namespace("n").backend(server.connect("one").encoded(Json)).strategy(strategy)
}

async fn acknowledged(cache: &Cache<u64, u64>) {
    let acknowledged = async {
        while cache.unacknowledged() > 0 {
            tokio::time::sleep(SECOND / 100).await;
        }
    };
    timeout(5 * SECOND, acknowledged).await.expect("never tried again");
}

#[test]
fn a_failed_invalidation_is_tried_again_after_the_end_of_its_runtime() {
    let server = MemoryServer::new();
    let cache = shared(&server).build().unwrap();
    let down = server.faults().when(removals, Fault::Error);
    runtime().block_on(async {
        cache.insert(&1, 1).await.unwrap();
        assert!(cache.invalidate(&1).await.is_err());
    });
    server.faults().remove(down);
    runtime().block_on(async {
        cache.get_or_load(&2, || async { Ok::<_, std::io::Error>(2) }).await.unwrap();
        acknowledged(&cache).await;
    });
    let other: Cache<u64, u64> = Cache::builder()
        .namespace("n")
        .backend(server.connect("two").encoded(Json))
        .source(Table::with([(1, 10)]))
        .strategy(Strategy::aside(MINUTE))
        .build()
        .unwrap();
    assert_eq!(runtime().block_on(other.get(&1)).unwrap().as_deref(), Some(&10));
}

/// Each reader gives up before the flight counts as abandoned: the next ones must not wait for it from the start.
#[test]
fn followers_that_give_up_do_not_keep_an_abandoned_flight() {
    let (cache, _) = slow(Strategy::aside(MINUTE).load_timeout(SECOND / 2).hard_timeout(SECOND));
    let first = runtime();
    leave_a_load_in(&first, &cache);
    let answered = runtime().block_on(async {
        for _ in 0..6 {
            if cache.get(&1).await.is_ok() {
                return true;
            }
        }
        false
    });
    assert!(answered, "six readers have waited for 6 s, and a load takes at most 3.5 s");
}

#[derive(Debug)]
struct Clumsy;

impl Observer for Clumsy {
    fn on_event(&self, event: &Event<'_>) {
        assert!(!matches!(event, Event::BackendFailed { .. }), "the observer's own bug");
    }
}

#[test]
fn a_failed_invalidation_is_tried_again_after_a_panic_of_an_observer() {
    let server = MemoryServer::new();
    let cache = shared(&server).observer(Clumsy).build().unwrap();
    runtime().block_on(async {
        let down = server.faults().when(removals, Fault::Error);
        assert!(cache.invalidate(&1).await.is_err());
        let tries = || server.record().iter().filter(|operation| removals(operation)).count();
        while tries() < 3 {
            tokio::time::sleep(SECOND / 100).await;
        }
        server.faults().remove(down);
        acknowledged(&cache).await;
    });
}
