//! A namespace of a server, its keys and its entries.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::sync::Arc;
use std::time::Duration;

use larder::CacheBackend;
use larder::backend::{BackendContext, BeginOutcome, Entry, Fence, IntoBackend, LoadIntent, Payload};
use larder::clock::Timestamp;
use larder::codec::CodecId;
use larder::key::StoreKey;
use larder_memory::{Memory, MemoryBackend, MemoryServer, OperationKind, Outcome};

pub const MILLI: Duration = Duration::from_millis(1);
pub const MINUTE: Duration = Duration::from_secs(60);
/// The current time of processes that do not care about it.
pub const NOW: Timestamp = Timestamp::from_nanos(1_000_000_000);

pub fn key(number: u64) -> StoreKey {
    StoreKey::new(&number)
}

pub fn open(memory: &Memory) -> MemoryBackend {
    memory.clone().into_backend(&BackendContext::new("a").unwrap()).unwrap()
}

pub fn entry(text: &'static str, now: Timestamp, ttl: Duration) -> Entry<Payload> {
    Entry::new(Some(Arc::new(Payload::new(CodecId::JSON, text))), now, ttl)
}

pub async fn put(backend: &MemoryBackend, number: u64) {
    backend.put(&key(number), entry("value", NOW, MINUTE), NOW).await.unwrap();
}

pub async fn has(backend: &MemoryBackend, number: u64) -> bool {
    backend.get(&key(number), NOW).await.unwrap().is_some()
}

pub async fn fence(backend: &MemoryBackend, number: u64) -> Fence {
    match backend.begin(&key(number), LoadIntent::shared(MINUTE).despite_hit(), NOW).await.unwrap() {
        BeginOutcome::Granted(fence) => fence,
        other => panic!("{other:?}"),
    }
}

/// Returns the operations since the last call, each with its outcome, and clears the record.
pub fn outcomes(server: &MemoryServer) -> Vec<(OperationKind, Outcome)> {
    let record = server.record();
    server.clear_record();
    record.into_iter().map(|operation| (operation.kind, operation.outcome)).collect()
}

/// Lets every other task run until it waits.
pub async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}
