//! Properties of a lock provider. `advance` moves the provider's time.

use std::time::Duration;

use larder::{Acquired, LockProvider, LockToken};

const LEASE: Duration = Duration::from_secs(10);

async fn held(locks: &dyn LockProvider, name: &str) -> LockToken {
    match locks.try_acquire(name, LEASE).await.expect("the provider answers") {
        Acquired::Held(token) => token,
        Acquired::Busy(left) => panic!("nobody holds {name:?}, and it is busy for {left:?}"),
    }
}

async fn is_busy(locks: &dyn LockProvider, name: &str) -> bool {
    matches!(locks.try_acquire(name, LEASE).await.expect("the provider answers"), Acquired::Busy(left) if left <= LEASE)
}

/// One holder at a time, of each name.
pub async fn one_holder_at_a_time(locks: &dyn LockProvider, _advance: &dyn Fn(Duration)) {
    let token = held(locks, "a").await;
    assert!(is_busy(locks, "a").await);
    held(locks, "b").await;
    assert!(locks.release("a", token).await.expect("the provider answers"), "the holder gives it back");
    assert_ne!(held(locks, "a").await, token, "a token is never reused");
}

/// Only the holder's token renews or releases.
pub async fn only_the_holder_renews_and_releases(locks: &dyn LockProvider, _advance: &dyn Fn(Duration)) {
    let token = held(locks, "a").await;
    let stranger = LockToken::new(token.get() ^ 1);
    assert!(!locks.release("a", stranger).await.expect("the provider answers"));
    assert!(!locks.renew("a", stranger, LEASE).await.expect("the provider answers"));
    assert!(is_busy(locks, "a").await, "still held");
}

/// A lease ends; its holder is told that the lock was lost, and does not end its successor's.
pub async fn a_lease_ends(locks: &dyn LockProvider, advance: &dyn Fn(Duration)) {
    let late = held(locks, "a").await;
    advance(LEASE);
    let successor = held(locks, "a").await;
    assert!(!locks.renew("a", late, LEASE).await.expect("the provider answers"));
    assert!(!locks.release("a", late).await.expect("the provider answers"));
    assert!(is_busy(locks, "a").await, "the successor's");
    assert!(locks.release("a", successor).await.expect("the provider answers"));
}

/// A renewed lock lasts for another lease.
pub async fn a_renewed_lock_lasts(locks: &dyn LockProvider, advance: &dyn Fn(Duration)) {
    let token = held(locks, "a").await;
    for _ in 0..3 {
        advance(LEASE - Duration::from_millis(1));
        assert!(locks.renew("a", token, LEASE).await.expect("the provider answers"));
    }
    assert!(is_busy(locks, "a").await);
}

/// Waiting for a free lock returns at once, and for a held one within its bound. Run it on a paused tokio clock.
pub async fn waiting_is_bounded(locks: &dyn LockProvider, _advance: &dyn Fn(Duration)) {
    locks.released("free", LEASE).await.expect("the provider answers");
    held(locks, "a").await;
    let began = tokio::time::Instant::now();
    locks.released("a", Duration::from_millis(300)).await.expect("the bound is no error");
    assert!(began.elapsed() <= Duration::from_millis(400), "{:?}", began.elapsed());
}

/// Waiting ends with the release. Run it on a paused tokio clock.
pub async fn a_release_wakes_the_waiting(locks: &dyn LockProvider, _advance: &dyn Fn(Duration)) {
    let token = held(locks, "a").await;
    let began = tokio::time::Instant::now();
    let release = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(locks.release("a", token).await.expect("the provider answers"));
    };
    let (released, ()) = futures_util::future::join(locks.released("a", LEASE), release).await;
    released.expect("the provider answers");
    assert!(began.elapsed() < Duration::from_millis(300), "{:?}", began.elapsed());
    held(locks, "a").await;
}
