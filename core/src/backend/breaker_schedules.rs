//! The breaker under schedules that shuttle tries out; see `engine/schedules.rs`.

use std::sync::Arc;

use shuttle::thread;

use super::*;
use crate::engine::schedules::check;

fn breaker(failures: u32) -> Arc<BreakerBackend<()>> {
    Arc::new(BreakerBackend {
        inner: (),
        failures,
        pause: Duration::from_secs(1),
        state: Mutex::new(State::Closed { failures: 0 }),
        is_calm: AtomicBool::new(true),
        scope: BackendContext::unnamed(),
    })
}

fn is_consistent(breaker: &BreakerBackend<()>) -> bool {
    let state = *breaker.state.lock().unwrap();
    breaker.is_calm.load(Ordering::Acquire) == matches!(state, State::Closed { failures: 0 })
}

const START: Timestamp = Timestamp::ORIGIN;

/// After the pause one call is let through, even if many come at once.
#[test]
fn one_call_tries() {
    check(|| {
        let breaker = breaker(1);
        breaker.failed(START, 1);
        let later = START.saturating_add(Duration::from_secs(1));
        let calls: Vec<_> = (0..3)
            .map(|_| {
                let breaker = Arc::clone(&breaker);
                thread::spawn(move || breaker.admit(later).is_ok())
            })
            .collect();
        let admitted = calls.into_iter().map(|call| call.join().unwrap()).filter(|ok| *ok).count();
        assert_eq!(admitted, 1);
    });
}

/// The quick check of each call agrees with the state after any mix of successes and failures.
#[test]
fn the_quick_look_agrees_with_the_state() {
    check(|| {
        let breaker = breaker(2);
        let calls: Vec<_> = (0..3)
            .map(|call| {
                let breaker = Arc::clone(&breaker);
                thread::spawn(move || {
                    if breaker.admit(START).is_err() {
                        return;
                    }
                    match call {
                        0 => breaker.succeeded(),
                        _ => breaker.failed(START, 1),
                    }
                })
            })
            .collect();
        calls.into_iter().for_each(|call| call.join().unwrap());
        assert!(is_consistent(&breaker));
    });
}
