//! Tags whose last invalidation is in doubt: it failed, or the server has forgotten it. All were found by the simulation.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use common::{Table, over, settle};
use larder::cache::Origin;
use larder::clock::{ManualClock, TokioClock};
use larder::codec::Json;
use larder::{Cache, Quick, Tag, Tiered};
use larder_memory::{Fault, Gate, MemoryServer, OperationKind as Kind};

fn tag() -> Tag {
    Tag::new("kind", "number")
}

fn world() -> (MemoryServer, Table, Cache<u64, u64>) {
    let clock = ManualClock::new();
    let (server, table) = (MemoryServer::with_clock(clock.clone()), Table::with([(1, 10)]));
    let cache = over(&table, &clock)
        .backend(server.connect("one").encoded(Json))
        .tag_keys(|_| [tag()])
        .build()
        .unwrap();
    (server, table, cache)
}

/// The row is written, and the tag's invalidation fails once.
async fn write(server: &MemoryServer, table: &Table, cache: &Cache<u64, u64>) {
    table.set(1, 11);
    server.faults().times(1, |operation| operation.kind == Kind::LedgerInvalidate, Fault::Error);
    cache.invalidate_tag(&tag()).await.unwrap_err();
}

async fn acknowledged(cache: &Cache<u64, u64>) {
    while cache.unacknowledged() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn get(cache: &Cache<u64, u64>) -> tokio::task::JoinHandle<Option<u64>> {
    let cache = cache.clone();
    tokio::spawn(async move { cache.get(&1).await.unwrap().as_deref().copied() })
}

/// The answer was given before the invalidation was acknowledged at last, and comes after.
#[tokio::test(start_paused = true)]
async fn what_was_asked_for_while_a_tag_was_in_doubt_is_not_served() {
    for kind in [Kind::Get, Kind::GetMany, Kind::Begin] {
        let (server, table, cache) = world();
        cache.get(&1).await.unwrap();
        write(&server, &table, &cache).await;
        let gate = Gate::new();
        if kind == Kind::Begin {
            // the first look fails to see it, as one that was evicted and stored again
            server.faults().times(1, |operation| operation.kind == Kind::Get, Fault::Corrupt);
        }
        server.faults().times(1, move |operation| operation.kind == kind, Fault::GateReply(gate.clone()));
        let read = match kind {
            Kind::GetMany => {
                let cache = cache.clone();
                tokio::spawn(async move { cache.get_many(&[1]).await.unwrap()[0].as_deref().copied() })
            }
            _ => get(&cache),
        };
        gate.arrived().await;
        acknowledged(&cache).await;
        gate.open();
        assert_eq!(read.await.unwrap(), Some(11), "{kind:?}");
    }
}

/// The load began before the write, and may be stored since the invalidation did not arrive.
#[tokio::test(start_paused = true)]
async fn who_comes_after_a_failed_invalidation_of_a_tag_joins_no_older_load() {
    let (server, table, cache) = world();
    let hold = table.hold();
    let first = get(&cache);
    hold.arrived().await;
    table.unhold();
    write(&server, &table, &cache).await;
    let second = get(&cache);
    settle().await;
    hold.release();
    assert_eq!(first.await.unwrap(), Some(10), "it began before the write");
    assert_eq!(second.await.unwrap(), Some(11));
}

/// The server counts its invalidations again from the start: the near tier's old counts must not make entries look
/// younger.
#[tokio::test(start_paused = true)]
async fn a_server_with_old_data_counts_tags_anew() {
    let (server, table) = (MemoryServer::with_clock(TokioClock::new()), Table::with([(1, 10)]));
    let cache: Cache<u64, u64> = Cache::builder()
        .namespace("numbers")
        .batch_source(table.clone())
        .clock(TokioClock::new())
        .strategy(larder::Strategy::aside(common::MINUTE))
        .backend(Tiered::new(Quick::new(100), server.connect("one").encoded(Json)))
        .tag_keys(|_| [tag()])
        .build()
        .unwrap();
    cache.get(&1).await.unwrap();
    let old = server.snapshot();
    cache.invalidate_tag(&tag()).await.unwrap();
    cache.invalidate_tag(&tag()).await.unwrap();
    server.restart_from(&old);
    tokio::time::sleep(Duration::from_secs(1)).await;
    cache.get(&1).await.unwrap();
    assert_eq!(cache.get_entry(&1).await.unwrap().origin, Origin::Near);
    table.set(1, 11);
    cache.invalidate_tag(&tag()).await.unwrap();
    assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&11));
}
