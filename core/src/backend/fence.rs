//! Fences, and the intents of loads and writes.

use std::time::Duration;

use super::Entry;
use crate::tag::Stamp;

/// The intent of a load, for [`CacheBackend::begin`](crate::CacheBackend::begin).
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use larder::backend::LoadIntent;
/// let announce = LoadIntent::exclusive(Duration::from_secs(10)).despite_hit();
/// assert!(announce.is_exclusive() && announce.ignores_hit());
/// ```
#[derive(Debug, Clone, Copy)]
pub struct LoadIntent {
    lease: Duration,
    exclusive: bool,
    despite_hit: bool,
}

impl LoadIntent {
    /// Creates the intent of a load whose fence several loaders may hold at once. The first accepted fill ends it.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # use larder::backend::LoadIntent;
    /// let lease = Duration::from_secs(10);
    /// assert!(!LoadIntent::shared(lease).is_exclusive());
    /// ```
    #[must_use]
    pub const fn shared(lease: Duration) -> Self {
        Self { lease, exclusive: false, despite_hit: false }
    }

    /// Creates the intent of a load that excludes others: they get [`BeginOutcome::Busy`].
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # use larder::backend::LoadIntent;
    /// let lease = Duration::from_secs(10);
    /// assert!(LoadIntent::exclusive(lease).is_exclusive());
    /// ```
    #[must_use]
    pub const fn exclusive(lease: Duration) -> Self {
        Self { lease, exclusive: true, despite_hit: false }
    }

    /// Requests a fence even if there is an entry, for a refresh, or to replace bytes that cannot be read.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # use larder::backend::LoadIntent;
    /// let lease = Duration::from_secs(10);
    /// assert!(LoadIntent::shared(lease).despite_hit().ignores_hit());
    /// ```
    #[must_use]
    pub const fn despite_hit(mut self) -> Self {
        self.despite_hit = true;
        self
    }

    /// Returns the time for which the fence is valid unless renewed.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # use larder::backend::LoadIntent;
    /// let lease = Duration::from_secs(10);
    /// assert_eq!(LoadIntent::shared(lease).lease(), lease);
    /// ```
    #[must_use]
    pub const fn lease(&self) -> Duration {
        self.lease
    }

    /// Returns `true` if other loaders are excluded.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # use larder::backend::LoadIntent;
    /// let lease = Duration::from_secs(10);
    /// assert!(LoadIntent::exclusive(lease).is_exclusive());
    /// ```
    #[must_use]
    pub const fn is_exclusive(&self) -> bool {
        self.exclusive
    }

    /// Returns `true` if a fence is requested even if there is an entry.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # use larder::backend::LoadIntent;
    /// let lease = Duration::from_secs(10);
    /// assert!(!LoadIntent::shared(lease).ignores_hit());
    /// ```
    #[must_use]
    pub const fn ignores_hit(&self) -> bool {
        self.despite_hit
    }
}

/// The answer to the request for a fence.
#[derive(Debug)]
pub enum BeginOutcome<V> {
    /// There is an entry: no load is needed.
    Hit(Entry<V>),
    /// The fence is granted: load, and fill with it.
    Granted(Fence),
    /// Another loader holds the key exclusively, for at most this long.
    Busy(Duration),
    /// A write guard is in place: load, and store nothing.
    Guarded,
}

/// The intent of a write to the source, for [`CacheBackend::guard`](crate::CacheBackend::guard). Its writer ends
/// it, or its life does.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use larder::backend::WriteIntent;
/// let guard = WriteIntent::new(7, Duration::from_secs(30));
/// assert_eq!((guard.nonce(), guard.life()), (7, Duration::from_secs(30)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WriteIntent {
    nonce: u128,
    life: Duration,
}

impl WriteIntent {
    /// Creates a guard with a number of its own, never reused, that is in place for at most `life`.
    ///
    /// # Examples
    /// See [`WriteIntent`].
    #[must_use]
    pub const fn new(nonce: u128, life: Duration) -> Self {
        Self { nonce, life }
    }

    /// Returns the number that makes the guard unique.
    ///
    /// # Examples
    /// See [`WriteIntent`].
    #[must_use]
    pub const fn nonce(self) -> u128 {
        self.nonce
    }

    /// Returns the time for which the guard is in place unless ended.
    ///
    /// # Examples
    /// See [`WriteIntent`].
    #[must_use]
    pub const fn life(self) -> Duration {
        self.life
    }
}

/// A fencing token: granted to a load when it begins, and presented by its fill.
///
/// The store names a fence at each execution of [`CacheBackend::begin`](crate::CacheBackend::begin), such as by a
/// random number of the client and the time of the server. A name is never used twice.
/// [`fill`](crate::CacheBackend::fill), [`renew`](crate::CacheBackend::renew) and
/// [`release`](crate::CacheBackend::release) compare the whole name.
///
/// Prevents: a client library sends a request again after a lost connection, and an invalidation revokes the fence.
/// The first copy of the request then arrives late and makes the same fence valid again.
///
/// A request that finds the fence of its own first execution answers it as created.
/// Otherwise an exclusive request would wait for itself.
///
/// # Examples
/// ```
/// use larder::backend::Fence;
/// let fence = Fence::created(42);
/// assert!(!fence.is_joined() && fence.nonce() == 42);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fence {
    nonce: u128,
    joined: bool,
    writes: bool,
    stamp: Stamp,
}

impl Fence {
    /// Creates a fence that this request has created.
    ///
    /// # Examples
    /// ```
    /// assert!(!larder::backend::Fence::created(7).is_joined());
    /// ```
    #[must_use]
    pub const fn created(nonce: u128) -> Self {
        Self { nonce, joined: false, writes: false, stamp: Stamp::new(0, 0) }
    }

    /// Creates a valid fence of another request, which this request shares.
    ///
    /// # Examples
    /// ```
    /// assert!(larder::backend::Fence::joined(7).is_joined());
    /// ```
    #[must_use]
    pub const fn joined(nonce: u128) -> Self {
        Self { nonce, joined: true, writes: false, stamp: Stamp::new(0, 0) }
    }

    /// Returns the fence with the state of the namespace's tag ledger at the begin of the load. The fill stores it.
    ///
    /// # Examples
    /// ```
    /// use larder::backend::Fence;
    /// use larder::tag::Stamp;
    /// assert_eq!(Fence::created(7).stamped(Stamp::new(1, 2)).stamp(), Stamp::new(1, 2));
    /// ```
    #[must_use]
    pub const fn stamped(mut self, stamp: Stamp) -> Self {
        self.stamp = stamp;
        self
    }

    /// Returns the fence for the fill of a write: the filled entry replaces the old one, like a removal.
    ///
    /// # Examples
    /// ```
    /// assert!(larder::backend::Fence::created(7).writing().is_writing());
    /// ```
    #[must_use]
    pub const fn writing(mut self) -> Self {
        self.writes = true;
        self
    }

    /// Returns `true` if the fill is a write's. A near tier (L1) then drops its entry of the key, or the one that it
    /// is about to place.
    ///
    /// # Examples
    /// ```
    /// assert!(!larder::backend::Fence::created(7).is_writing());
    /// ```
    #[must_use]
    pub const fn is_writing(self) -> bool {
        self.writes
    }

    /// Returns the state of the namespace's tag ledger at the begin of the load; zeros in a store without a ledger.
    ///
    /// # Examples
    /// ```
    /// use larder::backend::Fence;
    /// use larder::tag::Stamp;
    /// assert_eq!(Fence::created(7).stamp(), Stamp::default());
    /// ```
    #[must_use]
    pub const fn stamp(self) -> Stamp {
        self.stamp
    }

    /// Returns the name of the fence, which no other fence ever has.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::backend::Fence::joined(7).nonce(), 7);
    /// ```
    #[must_use]
    pub const fn nonce(self) -> u128 {
        self.nonce
    }

    /// Returns `true` if another loader created the fence. Only its creator releases a fence.
    ///
    /// # Examples
    /// ```
    /// assert_ne!(larder::backend::Fence::created(7).is_joined(), larder::backend::Fence::joined(7).is_joined());
    /// ```
    #[must_use]
    pub const fn is_joined(self) -> bool {
        self.joined
    }
}

/// The answer to a fill.
///
/// # Examples
/// ```
/// assert_ne!(larder::backend::FillOutcome::Stored, larder::backend::FillOutcome::Refused);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FillOutcome {
    /// The entry is in the store.
    Stored,
    /// The fence was no longer valid: the key was invalidated or written during the load, or the lease ended.
    Refused,
}
