//! The locks of any store.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use larder::lock::{Acquired, LockToken};
use larder::{LockProvider, Result};
use tokio::sync::Notify;
use tokio::time::Instant;

/// The locks of a [`Store`](crate::Store): those of the server that processes share, or of this process if there is
/// none.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use larder::lock::Acquired;
/// use larder::LockProvider;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
/// let store = "quick://".parse::<larder_config::StoreConfig>()?.connect().await?;
/// let (locks, lease) = (store.locks(), Duration::from_secs(10));
/// let Acquired::Held(token) = locks.try_acquire("nightly", lease).await? else { panic!("nobody held it") };
/// assert!(matches!(locks.try_acquire("nightly", lease).await?, Acquired::Busy(_)));
/// assert!(locks.release("nightly", token).await?);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct StoreLocks(Arc<dyn LockProvider>);

impl StoreLocks {
    pub(crate) fn new(locks: impl LockProvider) -> Self {
        Self(Arc::new(locks))
    }
}

impl fmt::Debug for StoreLocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[async_trait]
impl LockProvider for StoreLocks {
    async fn try_acquire(&self, name: &str, lease: Duration) -> Result<Acquired> {
        self.0.try_acquire(name, lease).await
    }

    async fn renew(&self, name: &str, token: LockToken, lease: Duration) -> Result<bool> {
        self.0.renew(name, token, lease).await
    }

    async fn release(&self, name: &str, token: LockToken) -> Result<bool> {
        self.0.release(name, token).await
    }

    async fn released(&self, name: &str, at_most: Duration) -> Result<()> {
        self.0.released(name, at_most).await
    }
}

/// The locks of this process.
#[derive(Default)]
pub(crate) struct Local {
    held: Mutex<HashMap<String, Held>>,
    released: Notify,
}

#[derive(Clone, Copy)]
struct Held {
    token: LockToken,
    until: Instant,
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("locks of this process")
    }
}

/// Returns the end of a lease. A lease beyond the clock's range ends in a year.
fn ending(lease: Duration) -> Instant {
    Instant::now() + lease.min(Duration::from_secs(365 * 24 * 3600))
}

impl Local {
    fn held(&self) -> MutexGuard<'_, HashMap<String, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn standing(&self, name: &str) -> Option<Held> {
        self.held().get(name).copied().filter(|held| held.until > Instant::now())
    }
}

#[async_trait]
impl LockProvider for Local {
    async fn try_acquire(&self, name: &str, lease: Duration) -> Result<Acquired> {
        let now = Instant::now();
        let mut held = self.held();
        held.retain(|_, lock| lock.until > now);
        if let Some(lock) = held.get(name) {
            return Ok(Acquired::Busy(lock.until - now));
        }
        let token = LockToken::new(fastrand::u128(..));
        held.insert(name.to_owned(), Held { token, until: ending(lease) });
        Ok(Acquired::Held(token))
    }

    async fn renew(&self, name: &str, token: LockToken, lease: Duration) -> Result<bool> {
        let now = Instant::now();
        let mut held = self.held();
        let own = held.get_mut(name).filter(|lock| lock.token == token && lock.until > now);
        Ok(own.map(|lock| lock.until = ending(lease)).is_some())
    }

    async fn release(&self, name: &str, token: LockToken) -> Result<bool> {
        let now = Instant::now();
        let mut held = self.held();
        let own = held.get(name).is_some_and(|lock| lock.token == token && lock.until > now);
        if own {
            held.remove(name);
            self.released.notify_waiters();
        }
        Ok(own)
    }

    async fn released(&self, name: &str, at_most: Duration) -> Result<()> {
        let end = ending(at_most);
        loop {
            // before the check (prevents: a release between the two that is missed)
            let released = self.released.notified();
            let Some(lock) = self.standing(name) else { return Ok(()) };
            if Instant::now() >= end {
                return Ok(());
            }
            // whichever comes first; the lock is checked again in either case
            _ = tokio::time::timeout_at(lock.until.min(end), released).await;
        }
    }
}
