//! Flights and pending invalidations under schedules that shuttle tries out:
//! `RUSTFLAGS="--cfg shuttle" cargo test -p larder --lib --target-dir target/shuttle schedules`

use std::sync::Arc;
use std::time::Duration;

use shuttle::future::block_on;
use shuttle::thread;

use super::flight::{Flights, Outcome, Role};
use super::pending::{Pending, Scope};
use crate::backend::Entry;
use crate::clock::Timestamp;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::{Error, ErrorKind};

/// Runs `test` under random schedules, and under schedules with few thread switches at sensitive points.
pub(crate) fn check(test: impl Fn() + Send + Sync + Clone + 'static) {
    shuttle::check_random(test.clone(), 2_000);
    shuttle::check_pct(test, 2_000, 3);
}

fn landed(value: u64) -> Outcome<u64> {
    Outcome::found(Entry::new(Some(Arc::new(value)), Timestamp::ORIGIN, Duration::MAX), 0)
}

/// Every follower gets an outcome if the leader lands or is dropped, also while flights are detached.
#[test]
fn everybody_who_joins_is_answered() {
    check(|| {
        let flights = Arc::new(Flights::<u64, u64>::new());
        let leaders = Arc::new(AtomicUsize::new(0));
        let callers = (0..3).map(|caller| {
            let (flights, leaders) = (Arc::clone(&flights), Arc::clone(&leaders));
            thread::spawn(move || match flights.join(&7, None) {
                Role::Lead(landing) => {
                    leaders.fetch_add(1, Ordering::SeqCst);
                    thread::yield_now();
                    match caller {
                        0 => drop(landing),
                        _ => landing.land(landed(caller)),
                    }
                }
                Role::Follow(flight) => match &block_on(flight.outcome()).result {
                    Ok(entry) => assert!(entry.value().is_some()),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Closed),
                },
            })
        });
        let mut threads: Vec<_> = callers.collect();
        let invalidating = Arc::clone(&flights);
        threads.push(thread::spawn(move || invalidating.detach(&7)));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(leaders.load(Ordering::SeqCst) >= 1);
        assert!(flights.len() == 0 && !flights.contain(&7), "nothing is left of a flight");
    });
}

/// A detached flight never removes its successor, even if it ends late.
#[test]
fn a_landing_leaves_its_successor() {
    check(|| {
        let flights = Arc::new(Flights::<u64, u64>::new());
        let Role::Lead(old) = flights.join(&7, None) else { panic!("nobody loads yet") };
        flights.detach(&7);
        let landing = thread::spawn(move || old.land(landed(1)));
        let Role::Lead(new) = flights.join(&7, None) else { panic!("the old one is out of sight") };
        thread::yield_now();
        let Role::Follow(joined) = flights.join(&7, None) else { panic!("the successor is in sight") };
        landing.join().unwrap();
        assert!(flights.contain(&7));
        new.land(landed(2));
        let outcome = block_on(joined.outcome());
        assert_eq!(outcome.result.as_ref().unwrap().value().map(|value| **value), Some(2));
    });
}

/// The end of the last flight wakes a task that waits for all flights.
#[test]
fn the_last_landing_is_noticed() {
    check(|| {
        let flights = Arc::new(Flights::<u64, u64>::new());
        let landings: Vec<_> = (0..2)
            .map(|key| match flights.join(&key, None) {
                Role::Lead(landing) => landing,
                Role::Follow(_) => panic!("each key is new"),
            })
            .collect();
        let waiting = Arc::clone(&flights);
        let waiter = thread::spawn(move || {
            block_on(waiting.landed());
            assert_eq!(waiting.len(), 0);
        });
        let threads: Vec<_> = landings
            .into_iter()
            .map(|landing| thread::spawn(move || landing.land(Outcome::failed(Error::from_source("down")))))
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        waiter.join().unwrap();
    });
}

/// A failed invalidation is settled only by one of the same key that began after it.
#[test]
fn a_failure_is_settled_only_by_a_later_success() {
    check(|| {
        let pending = Arc::new(Pending::<u64>::new());
        pending.mark(&Scope::Keys(vec![8]));
        let failing = Arc::clone(&pending);
        let failed = thread::spawn(move || {
            let before = failing.epoch();
            failing.mark(&Scope::Keys(vec![7]));
            (before, failing.epoch())
        });
        let settling = Arc::clone(&pending);
        let succeeded = thread::spawn(move || {
            let began = settling.epoch();
            thread::yield_now();
            settling.settle(&Scope::Keys(vec![7]), began);
            began
        });
        let settling = Arc::clone(&pending);
        let other = thread::spawn(move || settling.settle(&Scope::Keys(vec![8]), settling.epoch()));
        let (before, after) = failed.join().unwrap();
        let began = succeeded.join().unwrap();
        other.join().unwrap();
        if began < before {
            assert!(pending.holds(&7), "what failed later is still to be delivered");
        }
        if began > after {
            assert!(!pending.holds(&7), "a later one was acknowledged");
        }
        assert!(!pending.holds(&8));
        assert_eq!(pending.any(), pending.len() > 0, "the hit path sees what is there");
    });
}

/// Of the tasks that record a failure one retries, and a failure recorded while that one ends is retried too.
#[test]
fn no_failure_is_left_without_a_task() {
    check(|| {
        let pending = Arc::new(Pending::<u64>::new());
        let tasks = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..3)
            .map(|key| {
                let (pending, tasks) = (Arc::clone(&pending), Arc::clone(&tasks));
                thread::spawn(move || {
                    pending.mark(&Scope::Keys(vec![key]));
                    let Some(number) = pending.start_retrying(Timestamp::ORIGIN, Timestamp::NEVER) else {
                        return;
                    };
                    assert_eq!(tasks.fetch_add(1, Ordering::SeqCst), 0, "one task at a time");
                    loop {
                        for scope in pending.next(2) {
                            let began = pending.epoch();
                            pending.settle(&scope, began);
                        }
                        tasks.fetch_sub(1, Ordering::SeqCst);
                        if !pending.keep_retrying(number, Timestamp::NEVER) {
                            return;
                        }
                        tasks.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(pending.len() == 0 && !pending.any());
    });
}
