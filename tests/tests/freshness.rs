//! No read that starts after an acknowledged invalidation returns a value loaded before it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{MINUTE, Table, local, over, settle};
use larder::backend::{
    BackendContext, BeginOutcome, Entry, FillOutcome, IntoBackend, LoadIntent, Local, QuickStore,
};
use larder::cache::Origin;
use larder::clock::{ManualClock, Timestamp};
use larder::codec::Json;
use larder::{Cache, CacheBackend, Quick, Strategy, Tag, Tiered};
use larder_memory::{Fault, Gate, MemoryServer, Operation, OperationKind, Outcome};
use tokio::task::JoinHandle;

fn get(cache: &Cache<u64, u64>) -> JoinHandle<Option<Arc<u64>>> {
    let cache = cache.clone();
    tokio::spawn(async move { cache.get(&1).await.unwrap() })
}

async fn value(task: JoinHandle<Option<Arc<u64>>>) -> u64 {
    *task.await.unwrap().unwrap()
}

#[tokio::test]
async fn an_invalidation_in_a_load_returns_the_old_value_to_its_caller_and_never_stores_it() {
    let table = Table::with([(1, 10)]);
    let (cache, hold) = (local(&table), table.hold());
    let early = get(&cache);
    hold.arrived().await;
    table.set(1, 11);
    cache.invalidate(&1).await.unwrap();
    hold.release();
    assert_eq!(value(early).await, 10, "it overlapped the invalidation");
    assert!(cache.get_if_present(&1).await.unwrap().is_none(), "and is not stored");
    assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&11));
    assert_eq!(cache.stats().refused_fills, 1);
}

#[tokio::test]
async fn a_clear_in_a_load_is_an_invalidation_too() {
    let table = Table::with([(1, 10)]);
    let (cache, hold) = (local(&table), table.hold());
    let early = get(&cache);
    hold.arrived().await;
    table.set(1, 11);
    cache.clear().await.unwrap();
    let late = get(&cache);
    settle().await;
    hold.release();
    assert_eq!((value(early).await, value(late).await), (10, 11));
    assert_eq!(cache.get_if_present(&1).await.unwrap().unwrap().value.as_deref(), Some(&11));
}

#[tokio::test]
async fn an_insert_in_a_load_wins() {
    let table = Table::with([(1, 10)]);
    let (cache, hold) = (local(&table), table.hold());
    let early = get(&cache);
    hold.arrived().await;
    cache.insert(&1, 12).await.unwrap();
    assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&12), "the writer reads its own write");
    hold.release();
    assert_eq!(value(early).await, 10);
    assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&12));
    assert_eq!(table.loads(), 1);
}

#[tokio::test]
async fn of_two_loads_with_an_invalidation_between_only_the_younger_is_stored() {
    // the hole of a token per client or process: the old load finds "its" token again (ABA)
    let table = Table::with([(1, 10)]);
    let (cache, old) = (local(&table), table.hold());
    let first = get(&cache);
    old.arrived().await;
    table.set(1, 11);
    cache.invalidate(&1).await.unwrap();
    let young = table.hold();
    let second = get(&cache);
    young.arrived().await;
    old.release();
    assert_eq!(value(first).await, 10);
    settle().await;
    assert!(
        cache.get_if_present(&1).await.unwrap().is_none(),
        "the old load must not use the young one's announcement"
    );
    young.release();
    assert_eq!(value(second).await, 11);
    assert_eq!(cache.get_if_present(&1).await.unwrap().unwrap().value.as_deref(), Some(&11));
}

#[tokio::test]
async fn a_caller_after_a_local_invalidation_never_joins_the_older_load() {
    let table = Table::with([(1, 10)]);
    let (cache, hold) = (local(&table), table.hold());
    let early = get(&cache);
    hold.arrived().await;
    table.set(1, 11);
    cache.invalidate(&1).await.unwrap();
    let late = get(&cache);
    settle().await;
    assert_eq!(table.loads(), 2, "it does not wait for the older load either");
    hold.release();
    assert_eq!((value(early).await, value(late).await), (10, 11));
}

#[tokio::test]
async fn an_old_load_that_lands_leaves_its_successor_in_flight() {
    let table = Table::with([(1, 10)]);
    let (cache, old) = (local(&table), table.hold());
    let early = get(&cache);
    old.arrived().await;
    table.set(1, 11);
    cache.invalidate(&1).await.unwrap();
    let young = table.hold();
    let second = get(&cache);
    young.arrived().await;
    old.release();
    assert_eq!(value(early).await, 10);
    let third = get(&cache);
    settle().await;
    assert_eq!((table.loads(), cache.in_flight()), (2, 1), "the third joins the second's load");
    young.release();
    assert_eq!((value(second).await, value(third).await), (11, 11));
}

/// Two processes on one server, a table between them.
fn two_processes(table: &Table) -> (Cache<u64, u64>, Cache<u64, u64>, MemoryServer) {
    let clock = ManualClock::new();
    let server = MemoryServer::with_clock(clock.clone());
    let process = |name| over(table, &clock).backend(server.connect(name).encoded(Json)).build().unwrap();
    (process("one"), process("two"), server)
}

#[tokio::test]
async fn a_caller_after_another_processs_invalidation_never_gets_the_older_load_it_joins() {
    // this process cannot know of the invalidation: only the `as_of` rule keeps the joiner from the old value
    let table = Table::with([(1, 10)]);
    let (one, two, _server) = two_processes(&table);
    let hold = table.hold();
    let early = get(&one);
    hold.arrived().await;
    table.set(1, 11);
    two.invalidate(&1).await.unwrap();
    let late = get(&one);
    settle().await;
    assert_eq!(one.stats().joins, 1, "it does join: the load is in sight");
    hold.release();
    assert_eq!(value(early).await, 10, "it overlapped the invalidation");
    assert_eq!(value(late).await, 11, "it started after the invalidation was acknowledged");
    let stats = one.stats();
    assert_eq!((stats.reads(), stats.misses), (2, 2), "one read counts once, however often it looks");
    assert_eq!(one.get_if_present(&1).await.unwrap().unwrap().value.as_deref(), Some(&11));
}

#[tokio::test]
async fn an_invalidation_after_an_accepted_fill_is_seen_by_who_joined_before_it_landed() {
    // the fill is stored, its reply is held; meanwhile another process invalidates, and a caller joins
    let table = Table::with([(1, 10)]);
    let (one, two, server) = two_processes(&table);
    let gate = Gate::new();
    let fault = Fault::GateReply(gate.clone());
    server.faults().when(|operation| operation.kind == OperationKind::Fill, fault);
    let early = get(&one);
    gate.arrived().await;
    table.set(1, 11);
    two.invalidate(&1).await.unwrap();
    let late = get(&one);
    settle().await;
    gate.open();
    assert_eq!((value(early).await, value(late).await), (10, 11));
}

#[tokio::test]
async fn a_batch_load_is_fenced_like_a_single_one() {
    let table = Table::with([(1, 10), (2, 20)]);
    let (one, two, _server) = two_processes(&table);
    let hold = table.hold();
    let early = tokio::spawn({
        let one = one.clone();
        async move { one.get_many(&[1, 2]).await.unwrap() }
    });
    hold.arrived().await;
    table.set(1, 11);
    two.invalidate(&1).await.unwrap();
    let late = get(&one);
    settle().await;
    hold.release();
    assert_eq!(early.await.unwrap().into_iter().map(|value| *value.unwrap()).collect::<Vec<_>>(), [10, 20]);
    assert_eq!(value(late).await, 11);
    assert_eq!(
        one.get_if_present(&2).await.unwrap().unwrap().value.as_deref(),
        Some(&20),
        "the other key was stored"
    );
}

#[tokio::test]
async fn invalidate_many_covers_every_key() {
    let table = Table::with([(1, 10), (2, 20), (3, 30)]);
    let cache = local(&table);
    cache.get_many(&[1, 2, 3]).await.unwrap();
    cache.invalidate_many(&[1, 3]).await.unwrap();
    assert!(cache.get_if_present(&1).await.unwrap().is_none());
    assert!(cache.get_if_present(&2).await.unwrap().is_some());
    assert!(cache.get_if_present(&3).await.unwrap().is_none());
    assert_eq!(cache.stats().invalidations, 2);
}

#[tokio::test]
async fn refresh_loads_after_its_call_and_replaces_what_is_cached() {
    let table = Table::with([(1, 10)]);
    let cache = local(&table);
    cache.get(&1).await.unwrap();
    table.set(1, 11);
    assert_eq!(cache.refresh(&1).await.unwrap().as_deref(), Some(&11));
    assert_eq!(cache.get_entry(&1).await.unwrap().origin, Origin::Near);
    assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&11));
}

#[tokio::test]
async fn a_refresh_does_not_take_the_result_of_an_older_load() {
    let table = Table::with([(1, 10)]);
    let (cache, hold) = (local(&table), table.hold());
    let early = get(&cache);
    hold.arrived().await;
    table.set(1, 11);
    let refresh = tokio::spawn({
        let cache = cache.clone();
        async move { cache.refresh(&1).await.unwrap() }
    });
    settle().await;
    hold.release();
    assert_eq!(value(early).await, 10);
    assert_eq!(value(refresh).await, 11);
}

#[tokio::test]
async fn two_tiers_an_invalidation_between_the_far_reply_and_the_near_fill_is_not_undone() {
    // the far reply is held until after the invalidation: what it brings must not be served near
    let clock = ManualClock::new();
    let server = MemoryServer::with_clock(clock.clone());
    let table = Table::with([(1, 10)]);
    let tiers = Tiered::new(Quick::new(100), server.connect("one").encoded(Json)).near_ttl(MINUTE);
    let cache = over(&table, &clock).backend(tiers).build().unwrap();
    let other = over(&table, &clock).backend(server.connect("two").encoded(Json)).build().unwrap();
    other.get(&1).await.unwrap();
    let gate = Gate::new();
    let fault = Fault::GateReply(gate.clone());
    server.faults().when(|operation| operation.kind == OperationKind::Get, fault);
    let early = get(&cache);
    gate.arrived().await;
    table.set(1, 11);
    cache.invalidate(&1).await.unwrap();
    gate.open();
    server.faults().clear();
    assert_eq!(value(early).await, 10);
    assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&11));
}

#[tokio::test]
async fn a_lost_fence_never_stands_again() {
    let backend: Local<u64, QuickStore<u64, u64>> =
        Quick::new(100).into_backend(&BackendContext::unnamed()).unwrap();
    let (backend, now) = (&backend, Timestamp::from_nanos(1));
    let announce = LoadIntent::shared(MINUTE);
    let begin = async || match CacheBackend::<u64, u64>::begin(backend, &1, announce, now).await.unwrap() {
        BeginOutcome::Granted(fence) => fence,
        other => panic!("{other:?}"),
    };
    let mut lost = Vec::new();
    for _ in 0..100 {
        lost.push(begin().await);
        CacheBackend::<u64, u64>::remove(backend, &1).await.unwrap();
    }
    let standing = begin().await;
    let entry = || Entry::new(Some(Arc::new(1u64)), now, MINUTE);
    for fence in lost {
        assert_eq!(backend.fill(&1, fence, entry(), now).await.unwrap(), FillOutcome::Refused);
    }
    assert_eq!(backend.fill(&1, standing, entry(), now).await.unwrap(), FillOutcome::Stored);
}

#[tokio::test]
async fn a_near_entry_outlives_the_invalidation_of_other_tags_and_the_loss_of_the_ledger() {
    let (table, clock) = (Table::with([(1, 10), (2, 20)]), ManualClock::new());
    let server = MemoryServer::with_clock(clock.clone());
    let near = |process: &str| {
        let tiers = Tiered::new(Quick::new(10), server.connect(process).encoded(Json)).near_ttl(MINUTE);
        let strategy = Strategy::aside(MINUTE).tagged(|value: &u64| [Tag::new("tens", value / 10)]);
        over(&table, &clock).backend(tiers).strategy(strategy).build().unwrap()
    };
    let (cache, other) = (near("one"), near("two"));
    let origin = async |key: u64| cache.get_entry(&key).await.unwrap().origin;
    // a near entry that was filled, and one that was read
    other.get(&2).await.unwrap();
    cache.get_many(&[1, 2]).await.unwrap();
    assert_eq!((origin(1).await, origin(2).await), (Origin::Near, Origin::Near));
    cache.invalidate_tag(&Tag::new("tens", 9)).await.unwrap();
    assert_eq!((origin(1).await, origin(2).await), (Origin::Near, Origin::Near), "nobody carries it");
    cache.invalidate_tag(&Tag::new("tens", 1)).await.unwrap();
    assert_eq!((origin(1).await, origin(2).await), (Origin::Loaded, Origin::Near));
    server.evict_ledger("numbers");
    cache.invalidate(&1).await.unwrap();
    assert_eq!(origin(1).await, Origin::Loaded);
    for _ in 0..3 {
        origin(1).await;
    }
    assert_eq!(origin(1).await, Origin::Near, "the tier learns of the new ledger");
    assert_eq!(origin(2).await, Origin::Loaded, "and forgets what is of the old one");
}

/// A process that gives short lives removes old tags, and knows nothing of the long lives that another one gives.
#[tokio::test]
async fn old_tags_are_kept_for_the_longest_life_of_all_processes() {
    let (table, clock) = (Table::with([(1, 10)]), ManualClock::new());
    let server = MemoryServer::with_clock(clock.clone());
    let process = |name, life| {
        let strategy = Strategy::aside(life).tagged(|value: &u64| [Tag::new("tens", value / 10)]);
        let backend = server.connect(name).encoded(Json);
        over(&table, &clock).backend(backend).strategy(strategy).build().unwrap()
    };
    let (day, minute) = (process("one", 24 * 60 * MINUTE), process("two", MINUTE));
    day.get(&1).await.unwrap();
    for other in 100..200 {
        clock.advance(MINUTE / 4);
        minute.invalidate_tag(&Tag::new("tens", other)).await.unwrap();
        settle().await;
        assert_eq!(day.get_entry(&1).await.unwrap().origin, Origin::Far, "after {other}");
    }
    for _ in 0..3 {
        clock.advance(24 * 60 * MINUTE);
        minute.invalidate_tag(&Tag::new("tens", 9)).await.unwrap();
        settle().await;
    }
    let prunes = server.record().into_iter().filter(|one| one.kind == OperationKind::LedgerPrune);
    let outcomes: Vec<_> = prunes.map(|one| one.outcome).collect();
    assert_eq!(
        outcomes,
        [Outcome::Refused, Outcome::Done, Outcome::Done],
        "the first prune told it of the long life"
    );
}

#[tokio::test(start_paused = true)]
async fn what_an_announcement_finds_stale_is_loaded_anew() {
    let (table, clock) = (Table::with([(1, 10)]), ManualClock::new());
    let server = MemoryServer::with_clock(clock.clone());
    let strategy = Strategy::aside(MINUTE).stale_while_revalidate(MINUTE).lease(60 * MINUTE);
    let [one, two] = ["one", "two"].map(|process| {
        let backend = server.connect(process).encoded(Json);
        let timeout = Duration::from_secs(60);
        over(&table, &clock)
            .backend(backend)
            .backend_timeout(timeout)
            .strategy(strategy.clone())
            .build()
            .unwrap()
    });
    let gate = Gate::new();
    server.faults().times(1, |operation| operation.kind == OperationKind::Begin, Fault::Gate(gate.clone()));
    let slow = get(&one);
    gate.arrived().await;
    // it has read that there is nothing; before its announcement another process fills, and that becomes stale
    assert_eq!(two.get(&1).await.unwrap().as_deref(), Some(&10));
    clock.advance(MINUTE);
    table.set(1, 11);
    gate.open();
    assert_eq!(value(slow).await, 11);
    assert_eq!(two.get(&1).await.unwrap().as_deref(), Some(&11));
}

/// A client library sends an announcement twice, and the first copy arrives after an invalidation.
#[tokio::test]
async fn an_announcement_that_arrives_again_makes_no_ended_fence_valid() {
    let table = Table::with([(1, 10)]);
    let (one, two, server) = two_processes(&table);
    let begins = |operation: &Operation| operation.kind == OperationKind::Begin;
    server.faults().times(1, begins, Fault::Twice(Duration::from_millis(20)));
    let hold = table.hold();
    let early = get(&one);
    hold.arrived().await;
    table.set(1, 11);
    two.invalidate(&1).await.unwrap();
    while server.record().iter().filter(|operation| begins(operation)).count() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(server.fences(), 1, "the copy has left one");
    hold.release();
    assert_eq!(value(early).await, 10, "it overlapped the invalidation");
    assert_eq!(two.get(&1).await.unwrap().as_deref(), Some(&11));
}

/// The first answer to an exclusive announcement is lost, and the client library sends it again.
#[tokio::test]
async fn an_exclusive_announcement_recognizes_its_own_fence() {
    let server = MemoryServer::new();
    let store = server.connect("one").encoded(Json);
    let store = IntoBackend::<u64, u64>::into_backend(store, &BackendContext::new("own").unwrap()).unwrap();
    let (now, lease) = (Timestamp::ORIGIN, MINUTE);
    server.faults().times(1, |_| true, Fault::Resent(Duration::ZERO));
    let BeginOutcome::Granted(fence) = store.begin(&1, LoadIntent::exclusive(lease), now).await.unwrap()
    else {
        panic!("it must not wait for itself")
    };
    assert!(!fence.is_joined());
    let other = store.begin(&1, LoadIntent::exclusive(lease), now).await.unwrap();
    assert!(matches!(other, BeginOutcome::Busy(_)), "another one does: {other:?}");
    let entry = Entry::new(Some(Arc::new(10)), now, MINUTE);
    assert_eq!(store.fill(&1, fence, entry, now).await.unwrap(), FillOutcome::Stored);
}
