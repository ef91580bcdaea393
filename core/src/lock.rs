//! Distributed locks, which let one process load a key while others wait.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::Result;

/// A provider of locks, shared by all users of one lock server. Each name is a lock of its own.
///
/// Locks save loads, and do not keep data correct: the fence of a fill does. Two processes may hold one lock, for
/// example after a failover.
///
/// A lock is a lease with a random token. Only this token renews or releases it.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use larder::lock::Acquired;
/// use larder::{LockProvider, Result};
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
    /// Takes the lock for `lease` from now, if it is free.
    ///
    /// # Errors
    /// If the provider cannot be reached. The lock may then be taken without a lock holder until the lease ends.
    async fn try_acquire(&self, name: &str, lease: Duration) -> Result<Acquired>;

    /// Extends a held lock to `lease` from now. Returns `false` if the lock was lost.
    ///
    /// # Errors
    /// If the provider cannot be reached.
    async fn renew(&self, name: &str, token: LockToken, lease: Duration) -> Result<bool>;

    /// Releases a held lock and wakes its waiters. Returns `false` if the lock was lost before. Checks the token and
    /// deletes the lock in one step.
    ///
    /// # Errors
    /// If the provider cannot be reached. The lock then ends with its lease.
    async fn release(&self, name: &str, token: LockToken) -> Result<bool>;

    /// Waits until the lock was released or its lease has ended, for at most `at_most`. May return early: call
    /// [`try_acquire`](Self::try_acquire) afterwards.
    ///
    /// # Errors
    /// If the provider cannot be reached.
    async fn released(&self, name: &str, at_most: Duration) -> Result<()>;
}

/// The answer to [`LockProvider::try_acquire`].
///
/// # Examples
/// See [`LockProvider`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acquired {
    /// The caller is the lock holder, with this token.
    Held(LockToken),
    /// Another caller is the lock holder, for at most this long.
    Busy(Duration),
}

/// A proof of holding a lock: random, never reused.
///
/// # Examples
/// ```
/// assert_eq!(larder::lock::LockToken::new(7).get(), 7);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LockToken(u128);

impl LockToken {
    /// Returns the token with this number.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::lock::LockToken::new(7), larder::lock::LockToken::new(7));
    /// ```
    #[must_use]
    pub const fn new(token: u128) -> Self {
        Self(token)
    }

    /// Returns the number.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::lock::LockToken::new(7).get(), 7);
    /// ```
    #[must_use]
    pub const fn get(self) -> u128 {
        self.0
    }
}

/// The settings of [`Strategy::locked`](crate::Strategy::locked): the provider of the locks, and the limits of
/// waiting for them. A provider converts into `Locking` with its defaults.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use larder::lock::{LockTimeout, Locking};
/// use larder::{LockProvider, Strategy};
///
/// fn strategy(locks: impl LockProvider) -> Strategy<String> {
///     let locking = Locking::new(locks).max_wait(Duration::from_secs(2)).on_timeout(LockTimeout::Fail);
///     Strategy::aside(Duration::from_secs(60)).locked(locking)
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Locking {
    pub(crate) provider: Arc<dyn LockProvider>,
    pub(crate) wait: Duration,
    pub(crate) timeout: LockTimeout,
}

/// The default of [`Locking::max_wait`].
const MAX_WAIT: Duration = Duration::from_secs(2);

impl Locking {
    /// Uses the locks of `provider`, with the defaults of the other settings.
    pub fn new(provider: impl LockProvider) -> Self {
        Self { provider: Arc::new(provider), wait: MAX_WAIT, timeout: LockTimeout::default() }
    }

    /// Sets the maximum time to wait for the load of another process.
    ///
    /// Default: 2 s. Zero does not wait: if another process holds the lock, [`on_timeout`](Self::on_timeout) applies
    /// at once.
    #[must_use]
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Sets what a waiter does if [`max_wait`](Self::max_wait) ends without a value. Default: [`LockTimeout::Load`].
    #[must_use]
    pub fn on_timeout(mut self, timeout: LockTimeout) -> Self {
        self.timeout = timeout;
        self
    }
}

/// The action of a waiter whose wait for the load of another process has ended without a value.
///
/// A stale value within the window of [`stale_if_error`](crate::Strategy::stale_if_error) is served instead of
/// either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum LockTimeout {
    /// Load without storing the value. Each waiting process may then call the source at the same time.
    #[default]
    Load,
    /// Fail with [`ErrorKind::Timeout`](crate::ErrorKind::Timeout). For sources that must not be called by several
    /// processes at once.
    Fail,
}

impl<P: LockProvider> From<P> for Locking {
    fn from(provider: P) -> Self {
        Self::new(provider)
    }
}
