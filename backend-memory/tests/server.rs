//! The server beyond the contract of a backend: pushes, restarts, memory, faults, the record, repetition.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use larder::backend::{
    BackendContext, BeginOutcome, Entry, Fence, FillOutcome, IntoBackend, LoadIntent, Payload,
};
use larder::clock::{ManualClock, Timestamp};
use larder::key::StoreKey;
use larder::tag::TagLedger;
use larder::{CacheBackend, Tag};
use larder_memory::{Fault, Memory, MemoryBackend, MemoryServer, OperationKind, Push, Pushes};

const MINUTE: Duration = Duration::from_secs(60);
const NOW: Timestamp = Timestamp::from_nanos(1_000_000_000);

fn key(number: u64) -> StoreKey {
    StoreKey::new(&number)
}

fn open(memory: &Memory) -> MemoryBackend {
    memory.clone().into_backend(&BackendContext::new("a").unwrap()).unwrap()
}

fn entry(text: &'static str) -> Entry<Payload> {
    Entry::new(Some(Arc::new(Payload::new(larder::codec::CodecId::JSON, text))), NOW, MINUTE)
}

async fn put(backend: &MemoryBackend, number: u64) {
    backend.put(&key(number), entry("value"), NOW).await.unwrap();
}

async fn fence(backend: &MemoryBackend, number: u64) -> Fence {
    match backend.begin(&key(number), LoadIntent::shared(MINUTE).despite_hit(), NOW).await.unwrap() {
        BeginOutcome::Granted(fence) => fence,
        other => panic!("{other:?}"),
    }
}

async fn fill(backend: &MemoryBackend, number: u64, fence: Fence) -> FillOutcome {
    backend.fill(&key(number), fence, entry("filled"), NOW).await.unwrap()
}

async fn has(backend: &MemoryBackend, number: u64) -> bool {
    backend.get(&key(number), NOW).await.unwrap().is_some()
}

fn received(pushes: &mut Pushes) -> Vec<Push> {
    std::iter::from_fn(|| pushes.try_next()).collect()
}

fn changed(number: u64) -> Push {
    Push::Changed { namespace: "a".into(), key: number.to_string() }
}

#[tokio::test]
async fn every_change_by_anybody_is_pushed_in_order() {
    let clock = ManualClock::new();
    let server = MemoryServer::with_clock(clock.clone());
    let (one, two) = (server.connect("one"), server.connect("two"));
    let (mut pushes, backend) = (one.pushes(), open(&two));
    put(&backend, 1).await;
    let granted = fence(&backend, 2).await;
    fill(&backend, 2, granted).await;
    backend.remove(&key(1)).await.unwrap();
    backend.remove(&key(9)).await.unwrap();
    server.evict("a", &key(2));
    put(&backend, 3).await;
    clock.advance(MINUTE);
    assert!(!has(&backend, 3).await);
    two.ledger("a").invalidate(&[Tag::new("kind", 1)]).await.unwrap();
    server.flush();
    let ledger = Push::LedgerChanged { namespace: "a".into() };
    let expected =
        [changed(1), changed(2), changed(1), changed(2), changed(3), changed(3), ledger, Push::Flushed];
    assert_eq!(received(&mut pushes), expected);
}

#[tokio::test]
async fn a_process_that_is_cut_off_fails_and_misses_pushes() {
    let server = MemoryServer::new();
    let (one, two) = (server.connect("one"), server.connect("two"));
    let (mut pushes, cut, open_still) = (one.pushes(), open(&one), open(&two));
    one.disconnect();
    let error = cut.get(&key(1), NOW).await.unwrap_err();
    assert!(error.is_transient());
    put(&open_still, 1).await;
    one.reconnect();
    put(&open_still, 2).await;
    assert_eq!(received(&mut pushes), [Push::Reconnected, changed(2)], "the push between is lost");
    assert!(has(&cut, 1).await);
}

#[tokio::test]
async fn an_empty_restart_refuses_fills_and_an_old_dump_brings_the_old_back() {
    let server = MemoryServer::new();
    let backend = open(&server.connect("one"));
    let old = fence(&backend, 1).await;
    put(&backend, 2).await;
    let dump = server.snapshot();
    server.restart_empty();
    assert_eq!(fill(&backend, 1, old).await, FillOutcome::Refused);
    assert!(!has(&backend, 2).await && server.is_empty());

    // what a failover does to acknowledged removals: the reason for the strict mode of a real store
    server.restart_from(&dump);
    assert!(has(&backend, 2).await);
    assert_eq!(fill(&backend, 1, old).await, FillOutcome::Stored);
    let young = fence(&backend, 3).await;
    assert_ne!(young.nonce(), old.nonce(), "nonces do not repeat over a restart");
}

#[tokio::test]
async fn lack_of_memory_evicts_the_least_recently_used_fences_too() {
    let server = MemoryServer::new().capacity(3);
    let backend = open(&server.connect("one"));
    let early = fence(&backend, 1).await;
    put(&backend, 2).await;
    put(&backend, 3).await;
    put(&backend, 4).await;
    assert_eq!(fill(&backend, 1, early).await, FillOutcome::Refused, "an evicted fence refuses");
    assert!(has(&backend, 2).await);
    put(&backend, 5).await;
    assert!(has(&backend, 2).await && !has(&backend, 3).await, "3 was used least recently");
    assert_eq!(server.len(), 3);
}

#[tokio::test]
async fn a_lost_fence_refuses_however_it_was_lost() {
    let server = MemoryServer::new();
    let backend = open(&server.connect("one"));
    let granted = fence(&backend, 1).await;
    server.evict_fence("a", &key(1));
    assert_eq!(fill(&backend, 1, granted).await, FillOutcome::Refused);
    let granted = fence(&backend, 1).await;
    assert_eq!(server.evict_some(10), 1);
    assert_eq!(fill(&backend, 1, granted).await, FillOutcome::Refused);
    let granted = fence(&backend, 1).await;
    server.flush();
    assert_eq!(fill(&backend, 1, granted).await, FillOutcome::Refused);
}

#[tokio::test]
async fn a_lost_ledger_comes_back_as_another() {
    let server = MemoryServer::new();
    let ledger = server.connect("one").ledger("a");
    let before = ledger.stamp().await.unwrap();
    server.restart_empty();
    let after = ledger.stamp().await.unwrap();
    assert_ne!(before.ledger(), after.ledger());
    assert!(!ledger.view(&[]).await.unwrap().allows(before), "what was stamped before is no hit");
    let other = server.connect("one").ledger("b").stamp().await.unwrap();
    assert_ne!(other.ledger(), after.ledger(), "one ledger a namespace");
}

#[tokio::test]
async fn a_clear_ends_with_its_namespace() {
    let server = MemoryServer::new();
    let memory = server.connect("one");
    let scope = |name: &str| BackendContext::new(name).unwrap();
    let scopes = [scope("a"), scope("ab"), scope("b").prefixed("a").unwrap(), scope("b")];
    let all: Vec<MemoryBackend> = scopes.map(|scope| memory.clone().into_backend(&scope).unwrap()).into();
    for backend in &all {
        put(backend, 1).await;
    }
    all[0].clear().await.unwrap();
    let left: Vec<_> = server.keys().into_iter().map(|(namespace, _)| namespace).collect();
    assert_eq!(left, ["a:b", "ab", "b"]);
}

#[tokio::test]
async fn faults_strike_what_they_are_meant_for_as_often_as_told() {
    let server = MemoryServer::new();
    let backend = open(&server.connect("one"));
    let faults = server.faults();
    faults.times(2, |operation| operation.kind == OperationKind::Put, Fault::Error);
    assert!(backend.put(&key(1), entry("x"), NOW).await.is_err());
    assert!(!has(&backend, 1).await, "an error is not executed");
    assert!(backend.put(&key(1), entry("x"), NOW).await.is_err());
    put(&backend, 1).await;
    faults.times(1, |operation| operation.keys == ["1"], Fault::LoseReply);
    assert!(backend.remove(&key(1)).await.is_err());
    assert!(!has(&backend, 1).await, "a lost reply is executed");

    let mut pushes = server.connect("two").pushes();
    faults.times(1, |_| true, Fault::DropPushes);
    put(&backend, 1).await;
    put(&backend, 2).await;
    assert_eq!(received(&mut pushes), [changed(2)]);
}

#[tokio::test]
async fn the_same_calls_with_the_same_seed_do_the_same() {
    let run = async |seed| {
        let server = MemoryServer::with_clock(ManualClock::new()).seed(seed);
        let backend = open(&server.connect("one"));
        let mut fences = Vec::new();
        for number in 0..50 {
            put(&backend, number).await;
            fences.push(fence(&backend, number).await);
        }
        server.evict_some(60);
        (fences, server.keys(), server.record())
    };
    assert_eq!(run(7).await, run(7).await);
    assert_ne!(run(7).await.1, run(8).await.1);
}
