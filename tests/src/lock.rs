//! Properties of a lock provider, with a given time.

use std::time::Duration;

use larder::LockProvider;
use larder::lock::{Acquired, LockToken};

use crate::Time;

async fn held(locks: &dyn LockProvider, time: &Time, name: &str) -> LockToken {
    match locks.try_acquire(name, time.lease()).await.expect("the provider answers") {
        Acquired::Held(token) => token,
        Acquired::Busy(left) => panic!("nobody holds {name:?}, and it is busy for {left:?}"),
    }
}

async fn is_busy(locks: &dyn LockProvider, time: &Time, name: &str) -> bool {
    matches!(locks.try_acquire(name, time.lease()).await.expect("the provider answers"), Acquired::Busy(left) if left <= time.lease())
}

/// A lock has one holder at a time; each name is a lock of its own.
pub async fn one_holder_at_a_time(locks: &dyn LockProvider, time: &Time) {
    let token = held(locks, time, "a").await;
    assert!(is_busy(locks, time, "a").await);
    held(locks, time, "b").await;
    assert!(locks.release("a", token).await.expect("the provider answers"), "the holder gives it back");
    assert_ne!(held(locks, time, "a").await, token, "a token is never reused");
}

/// Only the holder's token renews or releases.
pub async fn only_the_holder_renews_and_releases(locks: &dyn LockProvider, time: &Time) {
    let token = held(locks, time, "a").await;
    let stranger = LockToken::new(token.get() ^ 1);
    assert!(!locks.release("a", stranger).await.expect("the provider answers"));
    assert!(!locks.renew("a", stranger, time.lease()).await.expect("the provider answers"));
    assert!(is_busy(locks, time, "a").await, "still held");
}

/// A lease ends. Its holder learns that the lock was lost, and does not end its successor's.
pub async fn a_lease_ends(locks: &dyn LockProvider, time: &Time) {
    let late = held(locks, time, "a").await;
    time.advance(time.lease()).await;
    let successor = held(locks, time, "a").await;
    assert!(!locks.renew("a", late, time.lease()).await.expect("the provider answers"));
    assert!(!locks.release("a", late).await.expect("the provider answers"));
    assert!(is_busy(locks, time, "a").await, "the successor's");
    assert!(locks.release("a", successor).await.expect("the provider answers"));
}

/// A renewed lock lasts for another lease.
pub async fn a_renewed_lock_lasts(locks: &dyn LockProvider, time: &Time) {
    let token = held(locks, time, "a").await;
    for _ in 0..3 {
        time.advance(time.lease() - time.slack()).await;
        assert!(locks.renew("a", token, time.lease()).await.expect("the provider answers"));
    }
    assert!(is_busy(locks, time, "a").await);
}

/// A wait for a free lock returns at once, and a wait for a held one within its limit.
pub async fn waiting_is_bounded(locks: &dyn LockProvider, time: &Time) {
    locks.released("free", time.lease()).await.expect("the provider answers");
    held(locks, time, "a").await;
    let began = tokio::time::Instant::now();
    locks.released("a", Duration::from_millis(300)).await.expect("the bound is no error");
    assert!(began.elapsed() <= Duration::from_millis(400) + time.slack(), "{:?}", began.elapsed());
}

/// A wait ends with the release.
pub async fn a_release_wakes_the_waiting(locks: &dyn LockProvider, time: &Time) {
    let token = held(locks, time, "a").await;
    let began = tokio::time::Instant::now();
    let release = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(locks.release("a", token).await.expect("the provider answers"));
    };
    let (released, ()) = futures_util::future::join(locks.released("a", time.lease()), release).await;
    released.expect("the provider answers");
    assert!(began.elapsed() < Duration::from_millis(300) + time.slack(), "{:?}", began.elapsed());
    held(locks, time, "a").await;
}
