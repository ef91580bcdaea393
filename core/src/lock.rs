//! Locks that elect one loader among processes.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::Result;

/// Elects one holder of a name among everybody who shares the provider.
///
/// For efficiency only: the fence of a fill keeps the data right even when two hold one lock (after a failover, say).
/// A lock is a lease with a random token; only its token renews or releases it.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use larder::{Acquired, LockProvider, Result};
///
/// async fn once(locks: &dyn LockProvider) -> Result<()> {
///     if let Acquired::Held(token) = locks.try_acquire("nightly", Duration::from_secs(10)).await? {
///         // ... the work ...
///         locks.release("nightly", token).await?;
///     }
///     Ok(())
/// }
/// ```
#[async_trait]
pub trait LockProvider: Debug + Send + Sync + 'static {
    /// Takes the lock if nobody holds it, for `lease` from now.
    ///
    /// # Errors
    /// When the provider cannot be reached; the lock may then be held by nobody until the lease ends.
    async fn try_acquire(&self, name: &str, lease: Duration) -> Result<Acquired>;

    /// Makes a held lock last for another `lease` from now; `false` when it was lost.
    ///
    /// # Errors
    /// When the provider cannot be reached.
    async fn renew(&self, name: &str, token: LockToken, lease: Duration) -> Result<bool>;

    /// Gives a held lock back and wakes who waits for it; `false` when it was lost before. Checks the token and deletes
    /// in one step.
    ///
    /// # Errors
    /// When the provider cannot be reached; the lease then ends the lock.
    async fn release(&self, name: &str, token: LockToken) -> Result<bool>;

    /// Returns when the lock was released or its lease ended, or after `at_most`. May return early: try again then.
    ///
    /// # Errors
    /// When the provider cannot be reached.
    async fn released(&self, name: &str, at_most: Duration) -> Result<()>;
}

/// The answer to [`LockProvider::try_acquire`].
///
/// # Examples
/// See [`LockProvider`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acquired {
    /// The caller holds the lock, by this token.
    Held(LockToken),
    /// Somebody else does, for at most this long.
    Busy(Duration),
}

/// The proof of holding a lock: random, never reused.
///
/// # Examples
/// ```
/// assert_eq!(larder::LockToken::new(7).get(), 7);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LockToken(u128);

impl LockToken {
    /// The token with this number.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::LockToken::new(7), larder::LockToken::new(7));
    /// ```
    #[must_use]
    pub const fn new(token: u128) -> Self {
        Self(token)
    }

    /// The number.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::LockToken::new(7).get(), 7);
    /// ```
    #[must_use]
    pub const fn get(self) -> u128 {
        self.0
    }
}

/// How a cache elects one loader among processes: what [`Strategy::locked`](crate::Strategy::locked) takes. A provider
/// alone stands for its defaults.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use larder::{LockProvider, Locking, Strategy};
///
/// fn strategy(locks: impl LockProvider) -> Strategy<String> {
///     let locking = Locking::by(locks).wait(Duration::from_secs(2)).or_fail();
///     Strategy::aside(Duration::from_secs(60)).locked(locking)
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Locking {
    pub(crate) provider: Arc<dyn LockProvider>,
    pub(crate) wait: Duration,
    pub(crate) fails: bool,
}

impl Locking {
    /// Elects with the locks of `provider`. Others wait for at most 10 s, and then load by themselves without storing.
    pub fn by(provider: impl LockProvider) -> Self {
        Self { provider: Arc::new(provider), wait: Duration::from_secs(10), fails: false }
    }

    /// How long to wait for the load of another process; default 10 s. Zero does not wait: who is not elected loads by
    /// itself at once.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// When waiting was in vain: load without storing. The source may then be asked by every process at once. This is the
    /// default.
    #[must_use]
    pub fn or_load(mut self) -> Self {
        self.fails = false;
        self
    }

    /// When waiting was in vain: fail with [`ErrorKind::Timeout`](crate::ErrorKind::Timeout), for sources that must never
    /// be asked by several at once.
    #[must_use]
    pub fn or_fail(mut self) -> Self {
        self.fails = true;
        self
    }
}

impl<P: LockProvider> From<P> for Locking {
    fn from(provider: P) -> Self {
        Self::by(provider)
    }
}
