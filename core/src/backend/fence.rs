//! Fences, and the intents of loads and writes.

use std::time::Duration;

use super::Entry;
use crate::tag::Stamp;

/// How a load is announced to [`CacheBackend::begin`](crate::CacheBackend::begin).
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
    /// Several loaders may hold the fence at once; the first accepted fill ends it.
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

    /// One loader at a time; the others are told [`BeginOutcome::Busy`].
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

    /// Announce the load even when there is an entry: a refresh, or the replacement of bytes that cannot be read.
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

    /// How long the fence stands unless renewed.
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

    /// Whether others are to be kept from loading.
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

    /// Whether an entry that is there does not count.
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

/// The answer to the announcement of a load.
#[derive(Debug)]
pub enum BeginOutcome<V> {
    /// There is a value after all.
    Hit(Entry<V>),
    /// Load, and fill with this fence.
    Granted(Fence),
    /// Another loader holds the key exclusively, for at most this long.
    Busy(Duration),
    /// A write of the key was announced and has not ended: load, and store nothing.
    Guarded,
}

/// The announcement of a write to the source, for [`CacheBackend::guard`](crate::CacheBackend::guard): ended by its writer, or else by itself.
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
    /// A guard with a number of its own, never reused, that stands for at most `life`.
    ///
    /// # Examples
    /// See [`WriteIntent`].
    #[must_use]
    pub const fn new(nonce: u128, life: Duration) -> Self {
        Self { nonce, life }
    }

    /// The number that makes the guard unique.
    ///
    /// # Examples
    /// See [`WriteIntent`].
    #[must_use]
    pub const fn nonce(self) -> u128 {
        self.nonce
    }

    /// How long it stands unless ended.
    ///
    /// # Examples
    /// See [`WriteIntent`].
    #[must_use]
    pub const fn life(self) -> Duration {
        self.life
    }
}

/// The proof that a load was announced, to be shown by its fill.
///
/// The store names a fence at each execution of [`CacheBackend::begin`](crate::CacheBackend::begin), such as by a random number of the client and the time
/// of the server. A name is never used twice. [`fill`](crate::CacheBackend::fill), [`renew`](crate::CacheBackend::renew) and
/// [`release`](crate::CacheBackend::release) compare the whole of it. Prevents: a client library sends an announcement again after a
/// lost connection, an invalidation ends the fence, the first copy arrives late and makes the same fence valid again.
///
/// An announcement that finds the fence of its own first execution answers it as created. Otherwise an exclusive one would
/// wait for itself.
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
    /// A fence that this announcement created.
    ///
    /// # Examples
    /// ```
    /// assert!(!larder::backend::Fence::created(7).is_joined());
    /// ```
    #[must_use]
    pub const fn created(nonce: u128) -> Self {
        Self { nonce, joined: false, writes: false, stamp: Stamp::new(0, 0) }
    }

    /// A standing fence that this announcement shares.
    ///
    /// # Examples
    /// ```
    /// assert!(larder::backend::Fence::joined(7).is_joined());
    /// ```
    #[must_use]
    pub const fn joined(nonce: u128) -> Self {
        Self { nonce, joined: true, writes: false, stamp: Stamp::new(0, 0) }
    }

    /// The fence with the state of the namespace's ledger when the load was announced, which the fill stores.
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

    /// The fence for the fill of a write: the filled entry replaces the old one, like a removal.
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

    /// Returns `true` if the fill is a write's. A near tier then ends what it holds, or is about to place, of the key.
    ///
    /// # Examples
    /// ```
    /// assert!(!larder::backend::Fence::created(7).is_writing());
    /// ```
    #[must_use]
    pub const fn is_writing(self) -> bool {
        self.writes
    }

    /// The state of the namespace's ledger when the load was announced; zeros in a store that has none.
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

    /// The name of the fence, which no other one ever has.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::backend::Fence::joined(7).nonce(), 7);
    /// ```
    #[must_use]
    pub const fn nonce(self) -> u128 {
        self.nonce
    }

    /// Whether another loader created it; only the creator releases a fence.
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

/// What became of a fill.
///
/// # Examples
/// ```
/// assert_ne!(larder::backend::FillOutcome::Stored, larder::backend::FillOutcome::Refused);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FillOutcome {
    /// The entry is in the store.
    Stored,
    /// The fence no longer stood: the key was invalidated or written while it was loaded, or the lease ended.
    Refused,
}
