//! What a backend keeps: a value, or the knowledge that there is none, with its times.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::time::Timestamp;

/// One entry of a cache. Cloning it is a reference count; the value is shared, never copied.
///
/// `value` is `None` for a *negative* entry: the source said that there is no such thing, and that was kept.
///
/// # Examples
/// ```
/// use std::{sync::Arc, time::Duration};
/// use larder::{Entry, Timestamp};
/// let now = Timestamp::from_nanos(1_000);
/// let entry = Entry::new(Some(Arc::new("bread")), now, Duration::from_secs(60));
/// assert!(entry.is_alive(now));
/// assert!(!entry.is_alive(now.saturating_add(Duration::from_secs(60))));
/// ```
pub struct Entry<V> {
    value: Option<Arc<V>>,
    created: Timestamp,
    expires: Timestamp,
    cost: u32,
    mark: Mark,
}

/// Where and when a [`Tiered`](crate::Tiered) near tier placed an entry; nothing to anybody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mark {
    pub(crate) slot: u32,
    pub(crate) generation: u64,
}

impl<V> Entry<V> {
    /// An entry made at `now` that is dead `ttl` later. `None` makes a negative entry.
    #[must_use]
    pub fn new(value: Option<Arc<V>>, now: Timestamp, ttl: Duration) -> Self {
        Self { value, created: now, expires: now.saturating_add(ttl), cost: 0, mark: Mark::default() }
    }

    /// The value, or `None` for a negative entry.
    #[must_use]
    pub fn value(&self) -> Option<&Arc<V>> {
        self.value.as_ref()
    }

    /// The value, taken out.
    #[must_use]
    pub fn into_value(self) -> Option<Arc<V>> {
        self.value
    }

    /// When the value was stored.
    #[must_use]
    pub fn created(&self) -> Timestamp {
        self.created
    }

    /// The first moment at which the entry is dead (the hard TTL).
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// Whether the entry may still be served at `now`.
    #[must_use]
    pub fn is_alive(&self, now: Timestamp) -> bool {
        now < self.expires || self.expires == Timestamp::NEVER
    }

    /// How long ago the value was stored.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Duration {
        self.created.until(now)
    }

    /// How long the entry has left to live at `now`.
    #[must_use]
    pub fn remaining(&self, now: Timestamp) -> Duration {
        if self.expires == Timestamp::NEVER { Duration::MAX } else { now.until(self.expires) }
    }

    /// How long the load took that made the value, in microseconds, capped at 71 minutes; zero when not known.
    #[must_use]
    pub fn load_cost(&self) -> Duration {
        Duration::from_micros(u64::from(self.cost))
    }

    /// The same entry with the time its load took.
    #[must_use]
    pub fn with_load_cost(mut self, cost: Duration) -> Self {
        self.cost = u32::try_from(cost.as_micros()).unwrap_or(u32::MAX);
        self
    }

    /// The same entry with other times: for backends that keep entries in another clock.
    #[must_use]
    pub fn with_times(mut self, created: Timestamp, expires: Timestamp) -> Self {
        self.created = created;
        self.expires = expires;
        self
    }

    /// The same entry around another form of its value: for decorators that encode and decode.
    ///
    /// # Errors
    /// Those of `change`; the entry is then gone.
    pub fn try_map<W, E>(self, change: impl FnOnce(&V) -> Result<W, E>) -> Result<Entry<W>, E> {
        let Self { value, created, expires, cost, mark } = self;
        let value = value.map(|value| change(&value).map(Arc::new)).transpose()?;
        Ok(Entry { value, created, expires, cost, mark })
    }

    /// The same entry, dead at `latest` if it would have lived longer.
    #[must_use]
    pub fn expiring_by(mut self, latest: Timestamp) -> Self {
        self.expires = self.expires.min(latest);
        self
    }

    pub(crate) fn mark(&self) -> Mark {
        self.mark
    }

    pub(crate) fn marked(mut self, mark: Mark) -> Self {
        self.mark = mark;
        self
    }
}

impl<V> Clone for Entry<V> {
    fn clone(&self) -> Self {
        let Self { value, created, expires, cost, mark } = self;
        Self { value: value.clone(), created: *created, expires: *expires, cost: *cost, mark: *mark }
    }
}

impl<V> fmt::Debug for Entry<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("negative", &self.value.is_none())
            .field("created", &self.created)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}
