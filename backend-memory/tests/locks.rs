//! Locks between processes, and who waits for them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use common::{MINUTE, settle};
use larder::LockProvider;
use larder::clock::{Clock, TokioClock};
use larder::lock::{Acquired, LockToken};
use larder_memory::{Fault, Gate, MemoryLocks, MemoryServer, OperationKind, Outcome};
use tokio::task::JoinHandle;
use tokio::time::Instant;

const LEASE: Duration = Duration::from_secs(10);

fn world() -> (MemoryServer, MemoryLocks, MemoryLocks) {
    let server = MemoryServer::with_clock(TokioClock::new());
    let [one, two] = ["one", "two"].map(|name| server.connect(name).locks());
    (server, one, two)
}

async fn held(locks: &MemoryLocks) -> LockToken {
    match locks.try_acquire("nightly", LEASE).await.unwrap() {
        Acquired::Held(token) => token,
        Acquired::Busy(left) => panic!("busy for {left:?}"),
    }
}

/// Waits for the lock as a task; answers how long it took.
fn waiting(locks: &MemoryLocks) -> JoinHandle<larder::Result<Duration>> {
    let (locks, began) = (locks.clone(), Instant::now());
    tokio::spawn(async move { locks.released("nightly", MINUTE).await.map(|()| began.elapsed()) })
}

#[tokio::test(start_paused = true)]
async fn a_lock_is_one_processs_and_its_lease_is_in_the_servers_time() {
    let (_, one, two) = world();
    let token = held(&one).await;
    tokio::time::advance(LEASE / 2).await;
    assert_eq!(two.try_acquire("nightly", LEASE).await.unwrap(), Acquired::Busy(LEASE / 2));
    assert!(one.renew("nightly", token, LEASE).await.unwrap());
    assert_eq!(two.try_acquire("nightly", LEASE).await.unwrap(), Acquired::Busy(LEASE));
    assert!(two.release("nightly", token).await.unwrap(), "the token is what counts, not who shows it");
    assert_ne!(held(&two).await, token);
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_with_the_release_at_once() {
    let (_, one, two) = world();
    let token = held(&one).await;
    let waiter = waiting(&two);
    settle().await;
    one.release("nightly", token).await.unwrap();
    assert_eq!(waiter.await.unwrap().unwrap(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_with_the_release_though_its_answer_is_held_up() {
    let (server, one, two) = world();
    let token = held(&one).await;
    let waiter = waiting(&two);
    settle().await;
    let gate = Gate::new();
    let fault = Fault::GateReply(gate.clone());
    server.faults().when(|operation| operation.kind == OperationKind::LockRelease, fault);
    let releasing = tokio::spawn(async move { one.release("nightly", token).await });
    gate.arrived().await;
    assert_eq!(waiter.await.unwrap().unwrap(), Duration::ZERO);
    gate.open();
    assert!(releasing.await.unwrap().unwrap());
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_with_the_lease_and_with_a_flush() {
    let (server, one, two) = world();
    held(&one).await;
    let waited = waiting(&two).await.unwrap().unwrap();
    assert!(waited >= LEASE && waited <= LEASE + Duration::from_millis(1), "{waited:?} of {LEASE:?}");
    held(&one).await;
    let waiter = waiting(&two);
    settle().await;
    server.flush();
    assert_eq!(waiter.await.unwrap().unwrap(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn who_is_cut_off_cannot_wait() {
    let (server, one, two) = world();
    held(&one).await;
    let waiter = waiting(&two);
    settle().await;
    server.connect("two").disconnect();
    let error = waiter.await.unwrap().unwrap_err();
    assert!(error.is_transient());
    assert!(two.released("nightly", MINUTE).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn locks_come_back_with_an_old_dump_and_tokens_do_not_repeat() {
    let (server, one, two) = world();
    let before = held(&one).await;
    let dump = server.snapshot();
    server.restart_empty();
    let after = held(&two).await;
    assert_ne!(before, after);
    server.restart_from(&dump);
    assert!(!two.release("nightly", after).await.unwrap(), "the lock is the old holder's again");
    assert!(one.release("nightly", before).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn locks_are_recorded_with_their_names_and_outcomes_and_the_servers_time() {
    let (server, one, two) = world();
    let clock = TokioClock::new();
    tokio::time::advance(LEASE).await;
    let token = held(&one).await;
    two.try_acquire("nightly", LEASE).await.unwrap();
    two.release("nightly", LockToken::new(token.get() ^ 1)).await.unwrap();
    let record = server.record();
    let outcomes: Vec<_> = record.iter().map(|operation| (&*operation.process, operation.outcome)).collect();
    assert_eq!(outcomes, [("one", Outcome::Granted), ("two", Outcome::Busy), ("two", Outcome::Refused)]);
    assert!(record.iter().all(|operation| operation.keys == ["nightly"] && operation.at == clock.now()));
}
