//! The guarantees of the types: shared between threads, short enough to name, futures that move between threads.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Debug;

use larder::backend::{
    BackendContext, BeginOutcome, Breaker, BreakerBackend, Direct, Encoded, EncodedBackend, Entry,
    EntryCount, Erased, Fence, FillOutcome, Frame, FrameError, LoadIntent, Local, Payload, Prefix,
    QuickStore, TieredBackend, Timeout, TimeoutBackend,
};
use larder::cache::Origin;
use larder::clock::{Clock, ManualClock, SystemClock, Timestamp, TokioClock};
use larder::codec::{CodecId, Json};
use larder::key::{KeyWriter, StoreKey};
use larder::lock::LockToken;
use larder::observe::{Event, Latency, Observer, Tier};
use larder::source::SourceFn;
use larder::tag::{LedgerView, Stamp};
use larder::{
    Cache, CacheBuilder, CachedEntry, Error, ErrorKind, Loaded, LockProvider, Quick, Stats, Strategy, Tag,
    Tiered,
};
use larder_moka::{Moka, MokaStore};

fn shared<T: Send + Sync + Debug>() {}
fn movable<T: Send>(_: &T) {}

type Store = QuickStore<u64, String>;

#[test]
fn every_public_type_is_send_sync_and_debug() {
    shared::<(LoadIntent, BeginOutcome<String>, Fence, FillOutcome, Entry<String>, Erased<u64, String>)>();
    shared::<(Cache<u64, String>, CachedEntry<String>, Origin, Strategy<String>, Loaded<String>)>();
    shared::<(Error, ErrorKind, Event<'_>, Stats, Latency, Tier, Timestamp)>();
    shared::<(ManualClock, SystemClock, TokioClock, BackendContext, CodecId, Payload, Frame, FrameError)>();
    shared::<(StoreKey, KeyWriter, Tag, Stamp, LedgerView, LockToken, EntryCount, Json)>();
    shared::<(
        Direct<Store>,
        Local<u64, Store>,
        Prefix<Quick>,
        Timeout<Quick>,
        Breaker<Quick>,
        Encoded<Quick, Json>,
    )>();
    shared::<(TimeoutBackend<Store>, BreakerBackend<Store>, EncodedBackend<Store, Json, String>)>();
    shared::<(Tiered<Quick, Moka>, TieredBackend<Store, Store>, SourceFn<fn(), u64, Error>)>();
    shared::<(Quick, Store, Moka, MokaStore<u64, String>)>();
}

#[test]
fn builders_move_between_threads() {
    fn moves<T: Send + Debug>() {}
    moves::<CacheBuilder<u64, String>>();
}

#[test]
fn user_traits_are_object_safe() {
    shared::<(Box<dyn LockProvider>, Box<dyn Observer>, Box<dyn Clock>)>();
    shared::<Box<dyn larder::Codec<String>>>();
}

#[test]
fn every_future_is_send() {
    let cache: Cache<u64, String> = Cache::builder()
        .backend(Quick::new(1))
        .strategy(Strategy::aside(std::time::Duration::from_secs(1)))
        .build()
        .unwrap();
    movable(&cache.get(&1));
    movable(&cache.get_many(&[1]));
    movable(&cache.get_or_load(&1, || async { Ok::<_, std::io::Error>(None) }));
    movable(&cache.get_entry(&1));
    movable(&cache.get_if_present(&1));
    movable(&cache.insert(&1, String::new()));
    movable(&cache.refresh(&1));
    movable(&cache.invalidate(&1));
    movable(&cache.invalidate_many(&[1]));
    movable(&cache.clear());
    movable(&cache.shutdown());
}
