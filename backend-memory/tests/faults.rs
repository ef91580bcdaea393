//! Each fault, the gates, and connections that break with something under way.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::{Arc, Barrier};
use std::time::Duration;

use common::{MINUTE, NOW, fence, has, key, open, outcomes, put, settle};
use larder::{CacheBackend, Error, ErrorKind, Result};
use larder_memory::{Fault, Gate, MemoryBackend, MemoryServer, Operation, OperationKind as Kind, Outcome};
use tokio::task::JoinHandle;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

fn world() -> (MemoryServer, Arc<MemoryBackend>) {
    let server = MemoryServer::new();
    let backend = Arc::new(open(&server.connect("one")));
    (server, backend)
}

fn is(kind: Kind) -> impl Fn(&Operation) -> bool + Send + Sync + 'static {
    move |operation| operation.kind == kind
}

fn reading(backend: &Arc<MemoryBackend>) -> JoinHandle<Result<bool>> {
    let backend = Arc::clone(backend);
    tokio::spawn(async move { Ok(backend.get(&key(1), NOW).await?.is_some()) })
}

fn removing(backend: &Arc<MemoryBackend>) -> JoinHandle<Result<()>> {
    let backend = Arc::clone(backend);
    tokio::spawn(async move { backend.remove(&key(1)).await })
}

fn cause(error: &Error) -> String {
    std::error::Error::source(error).unwrap().to_string()
}

#[tokio::test]
async fn an_error_names_the_operation_and_its_cause_and_is_worth_another_try() {
    let (server, backend) = world();
    server.faults().times(1, is(Kind::Get), Fault::Error);
    let error = backend.get(&key(1), NOW).await.unwrap_err();
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Backend, true));
    assert_eq!(error.to_string(), "backend: get failed");
    assert!(cause(&error).contains("refused"), "{}", cause(&error));
    assert_eq!(outcomes(&server), [(Kind::Get, Outcome::Failed)]);
}

#[tokio::test]
async fn the_first_rule_that_matches_decides_until_it_is_gone() {
    let (server, backend) = world();
    let faults = server.faults();
    faults.times(0, |_| true, Fault::Error);
    put(&backend, 1).await;
    let hidden = faults.when(|operation| operation.keys == ["1"], Fault::Corrupt);
    let failing = faults.when(is(Kind::Get), Fault::Error);
    assert!(!has(&backend, 1).await, "corrupt, and no error");
    assert!(backend.get(&key(2), NOW).await.is_err());
    faults.remove(hidden);
    assert!(backend.get(&key(1), NOW).await.is_err());
    faults.remove(failing);
    assert!(has(&backend, 1).await, "corruption was on the way: the stored bytes are sound");
    faults.when(|operation| operation.process == "two", Fault::Error);
    assert!(has(&backend, 1).await);
    assert!(open(&server.connect("two")).get(&key(1), NOW).await.is_err());
    faults.clear();
    assert!(has(&open(&server.connect("two")), 1).await);
}

#[tokio::test]
async fn predicates_see_an_operation_that_is_not_executed_yet_and_may_ask_the_server() {
    let (server, backend) = world();
    let asked = server.clone();
    let pending = move |operation: &Operation| {
        operation.outcome == Outcome::Pending && operation.sequence == 0 && asked.is_empty()
    };
    server.faults().when(pending, Fault::Error);
    assert!(backend.put(&key(1), common::entry("bread", NOW, MINUTE), NOW).await.is_err());
}

/// Both operations have found the rule before either uses it: the barrier is in its predicate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_for_once_strikes_one_of_two_that_race_for_it() {
    let (server, backend) = world();
    let both = Barrier::new(2);
    let race = move |_: &Operation| {
        both.wait();
        true
    };
    server.faults().times(1, race, Fault::Error);
    let (one, two) = (reading(&backend), reading(&backend));
    let failed = [one.await.unwrap().is_err(), two.await.unwrap().is_err()];
    assert_eq!(failed.iter().filter(|failed| **failed).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_hangs_is_neither_executed_nor_answered_and_can_be_dropped() {
    let (server, backend) = world();
    put(&backend, 1).await;
    let id = server.faults().when(is(Kind::Remove), Fault::Hang);
    server.clear_record();
    let waited = tokio::time::timeout(100 * SECOND, backend.remove(&key(1))).await;
    assert!(waited.is_err());
    server.faults().remove(id);
    settle().await;
    assert_eq!(outcomes(&server), []);
    assert!(has(&backend, 1).await);
}

#[tokio::test(start_paused = true)]
async fn delays_come_before_or_after_the_execution() {
    let (server, backend) = world();
    for (fault, executed_at_once) in [(Fault::Delay(SECOND), false), (Fault::DelayReply(SECOND), true)] {
        put(&backend, 1).await;
        server.faults().times(1, is(Kind::Remove), fault);
        let began = Instant::now();
        let removal = removing(&backend);
        settle().await;
        assert_eq!(server.is_empty(), executed_at_once);
        removal.await.unwrap().unwrap();
        assert_eq!((server.is_empty(), began.elapsed()), (true, SECOND));
    }
}

#[tokio::test]
async fn a_gate_holds_the_request_until_it_opens() {
    let (server, backend) = world();
    let gate = Gate::new();
    server.faults().times(2, is(Kind::Get), Fault::Gate(gate.clone()));
    let readers = [reading(&backend), reading(&backend)];
    gate.arrived().await;
    gate.arrived().await;
    put(&backend, 1).await;
    assert_eq!(outcomes(&server), [(Kind::Put, Outcome::Done)], "the readers are not executed");
    gate.open();
    for reader in readers {
        assert!(reader.await.unwrap().unwrap(), "it reads what was stored while it waited");
    }
}

#[tokio::test]
async fn a_gate_holds_the_reply_while_the_world_goes_on() {
    let (server, backend) = world();
    let gate = Gate::new();
    put(&backend, 1).await;
    server.faults().when(is(Kind::Get), Fault::GateReply(gate.clone()));
    let reader = reading(&backend);
    gate.arrived().await;
    backend.remove(&key(1)).await.unwrap();
    assert!(server.is_empty() && !reader.is_finished());
    gate.open();
    assert!(reader.await.unwrap().unwrap(), "the reply is from before the removal");
    assert!(!has(&backend, 1).await, "an open gate lets all through");
}

#[tokio::test]
async fn an_operation_dropped_at_a_gate_happened_or_did_not() {
    let (server, backend) = world();
    for (fault, gate, happened) in
        [Gate::new(), Gate::new()].into_iter().zip([false, true]).map(|(gate, reply)| match reply {
            false => (Fault::Gate(gate.clone()), gate, false),
            true => (Fault::GateReply(gate.clone()), gate, true),
        })
    {
        put(&backend, 1).await;
        server.faults().times(1, is(Kind::Remove), fault);
        let removal = removing(&backend);
        gate.arrived().await;
        removal.abort();
        assert!(removal.await.unwrap_err().is_cancelled());
        gate.open();
        settle().await;
        assert_eq!(server.is_empty(), happened);
    }
}

#[tokio::test]
async fn a_connection_that_breaks_takes_what_is_under_way_with_it() {
    let server = MemoryServer::new();
    let memory = server.connect("one");
    let backend = Arc::new(open(&memory));
    for reply in [false, true] {
        put(&backend, 1).await;
        let gate = Gate::new();
        let fault = if reply { Fault::GateReply(gate.clone()) } else { Fault::Gate(gate.clone()) };
        server.faults().times(1, is(Kind::Remove), fault);
        server.clear_record();
        let removal = removing(&backend);
        gate.arrived().await;
        memory.disconnect();
        memory.reconnect();
        gate.open();
        let error = removal.await.unwrap().unwrap_err();
        assert!(cause(&error).contains("disconnected"), "{}", cause(&error));
        let outcome = if reply { Outcome::Done } else { Outcome::Failed };
        assert_eq!(outcomes(&server), [(Kind::Remove, outcome)]);
        assert_eq!(server.is_empty(), reply);
    }
}

#[tokio::test]
async fn handles_of_one_name_are_one_process_and_others_are_not() {
    let server = MemoryServer::new();
    let [cut, same, other] = ["one", "one", "two"].map(|name| server.connect(name));
    cut.disconnect();
    cut.disconnect();
    assert!(open(&same).get(&key(1), NOW).await.is_err());
    assert!(!has(&open(&other), 1).await);
    same.reconnect();
    assert!(!has(&open(&cut), 1).await, "one reconnect ends the cut");
}

#[tokio::test]
async fn the_record_says_what_became_of_each_operation() {
    let (server, backend) = world();
    let granted = fence(&backend, 1).await;
    let joined = fence(&backend, 1).await;
    assert!(joined.is_joined());
    let fill = async |fence| {
        backend.fill(&key(1), fence, common::entry("bread", NOW, MINUTE), NOW).await.unwrap();
    };
    fill(granted).await;
    fill(joined).await;
    backend.renew(&key(1), granted, MINUTE, NOW).await.unwrap();
    backend.begin(&key(1), larder::backend::LoadIntent::exclusive(MINUTE), NOW).await.unwrap();
    backend.begin(&key(2), larder::backend::LoadIntent::exclusive(MINUTE), NOW).await.unwrap();
    backend.begin(&key(2), larder::backend::LoadIntent::shared(MINUTE), NOW).await.unwrap();
    let sequence: Vec<_> = server.record().iter().map(|operation| operation.sequence).collect();
    assert_eq!(sequence, (1..=8).collect::<Vec<_>>());
    assert_eq!(
        outcomes(&server),
        [
            (Kind::Begin, Outcome::Granted),
            (Kind::Begin, Outcome::Joined),
            (Kind::Fill, Outcome::Done),
            (Kind::Fill, Outcome::Refused),
            (Kind::Renew, Outcome::Refused),
            (Kind::Begin, Outcome::Found(1)),
            (Kind::Begin, Outcome::Granted),
            (Kind::Begin, Outcome::Busy),
        ]
    );
    backend.clear().await.unwrap();
    assert_eq!(server.record()[0].sequence, 9, "a cleared record goes on counting");
}
