//! Locks that elect one loader among processes.

use std::fmt::Debug;
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
