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
    expires: Timestamp,
    born: Born,
    mark: Mark,
}

/// Where and when a [`Tiered`](crate::Tiered) near tier placed an entry: a slot in 16 bits, a generation in 48. Nothing to
/// anybody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mark(u64);

impl Mark {
    /// How many slots there are.
    pub(crate) const SLOTS: usize = 1 << 16;
    const BITS: u32 = 48;

    /// The generation wraps after 2^48: an entry would have to live through as many invalidations of its slot.
    pub(crate) fn new(slot: usize, generation: u64) -> Self {
        Self(((slot % Self::SLOTS) as u64) << Self::BITS | (generation & ((1 << Self::BITS) - 1)))
    }

    pub(crate) fn slot(self) -> usize {
        (self.0 >> Self::BITS) as usize
    }
}

/// When a value was stored and what its load cost, in 8 bytes, since entries are copied on the hit path and their size is
/// what a local tier fits into the processor's caches: milliseconds of the clock in 41 bits (69 years), and microseconds
/// as an 18-bit mantissa and a 5-bit exponent.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Born(u64);

impl Born {
    const COST_BITS: u32 = 23;
    const MANTISSA_BITS: u32 = 18;
    const EXPONENTS: u32 = 1 << (Self::COST_BITS - Self::MANTISSA_BITS);

    fn new(created: Timestamp, cost: Duration) -> Self {
        let millis = (created.as_nanos() / 1_000_000).min((1 << (u64::BITS - Self::COST_BITS)) - 1);
        let micros = u64::try_from(cost.as_micros()).unwrap_or(u64::MAX);
        let exponent = (u64::BITS - micros.leading_zeros()).saturating_sub(Self::MANTISSA_BITS);
        let packed = match exponent < Self::EXPONENTS {
            true => u64::from(exponent) << Self::MANTISSA_BITS | micros >> exponent,
            false => (1 << Self::COST_BITS) - 1,
        };
        Self(millis << Self::COST_BITS | packed)
    }

    fn created(self) -> Timestamp {
        Timestamp::from_nanos((self.0 >> Self::COST_BITS).saturating_mul(1_000_000))
    }

    fn cost(self) -> Duration {
        let packed = self.0 & ((1 << Self::COST_BITS) - 1);
        let mantissa = packed & ((1 << Self::MANTISSA_BITS) - 1);
        Duration::from_micros(mantissa << (packed >> Self::MANTISSA_BITS))
    }
}

impl<V> Entry<V> {
    /// An entry made at `now` that is dead `ttl` later. `None` makes a negative entry.
    ///
    /// # Examples
    /// ```
    /// # use std::{sync::Arc, time::Duration};
    /// # use larder::{Entry, Timestamp};
    /// let now = Timestamp::from_nanos(5_000_000);
    /// let entry = Entry::new(Some(Arc::new("bread")), now, Duration::from_secs(60));
    /// assert!(entry.is_alive(now));
    /// ```
    #[must_use]
    pub fn new(value: Option<Arc<V>>, now: Timestamp, ttl: Duration) -> Self {
        let born = Born::new(now, Duration::ZERO);
        Self { value, expires: now.saturating_add(ttl), born, mark: Mark::default() }
    }

    /// The value, or `None` for a negative entry.
    ///
    /// # Examples
    /// ```
    /// # use std::{sync::Arc, time::Duration};
    /// # use larder::{Entry, Timestamp};
    /// let now = Timestamp::from_nanos(5_000_000);
    /// let entry = Entry::new(Some(Arc::new("bread")), now, Duration::from_secs(60));
    /// assert_eq!(**entry.value().unwrap(), "bread");
    /// ```
    #[must_use]
    pub fn value(&self) -> Option<&Arc<V>> {
        self.value.as_ref()
    }

    /// The value, taken out.
    ///
    /// # Examples
    /// ```
    /// # use std::{sync::Arc, time::Duration};
    /// # use larder::{Entry, Timestamp};
    /// let now = Timestamp::from_nanos(5_000_000);
    /// let entry = Entry::new(Some(Arc::new("bread")), now, Duration::from_secs(60));
    /// assert_eq!(*entry.into_value().unwrap(), "bread");
    /// ```
    #[must_use]
    pub fn into_value(self) -> Option<Arc<V>> {
        self.value
    }

    /// When the value was stored, to the millisecond below.
    ///
    /// # Examples
    /// ```
    /// # use std::{sync::Arc, time::Duration};
    /// # use larder::{Entry, Timestamp};
    /// let now = Timestamp::from_nanos(5_000_000);
    /// let entry = Entry::new(Some(Arc::new("bread")), now, Duration::from_secs(60));
    /// assert_eq!(entry.created(), now);
    /// ```
    #[must_use]
    pub fn created(&self) -> Timestamp {
        self.born.created()
    }

    /// The first moment at which the entry is dead (the hard TTL).
    ///
    /// # Examples
    /// ```
    /// # use std::{sync::Arc, time::Duration};
    /// # use larder::{Entry, Timestamp};
    /// let now = Timestamp::from_nanos(5_000_000);
    /// let entry = Entry::new(Some(Arc::new("bread")), now, Duration::from_secs(60));
    /// assert_eq!(entry.expires(), now.saturating_add(Duration::from_secs(60)));
    /// ```
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// Whether the entry may still be served at `now`.
    ///
    /// # Examples
    /// ```
    /// # use std::{sync::Arc, time::Duration};
    /// # use larder::{Entry, Timestamp};
    /// let now = Timestamp::from_nanos(5_000_000);
    /// let entry = Entry::new(Some(Arc::new("bread")), now, Duration::from_secs(60));
    /// assert!(!entry.is_alive(entry.expires()));
    /// ```
    #[must_use]
    pub fn is_alive(&self, now: Timestamp) -> bool {
        now < self.expires || self.expires == Timestamp::NEVER
    }

    /// How long ago the value was stored.
    ///
    /// # Examples
    /// ```
    /// # use std::{sync::Arc, time::Duration};
    /// # use larder::{Entry, Timestamp};
    /// let now = Timestamp::from_nanos(5_000_000);
    /// let entry = Entry::new(Some(Arc::new("bread")), now, Duration::from_secs(60));
    /// assert_eq!(entry.age(now.saturating_add(Duration::from_secs(1))), Duration::from_secs(1));
    /// ```
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Duration {
        self.created().until(now)
    }

    /// How long the entry has left to live at `now`.
    ///
    /// # Examples
    /// ```
    /// # use std::{sync::Arc, time::Duration};
    /// # use larder::{Entry, Timestamp};
    /// let now = Timestamp::from_nanos(5_000_000);
    /// let entry = Entry::new(Some(Arc::new("bread")), now, Duration::from_secs(60));
    /// assert_eq!(entry.remaining(now), Duration::from_secs(60));
    /// ```
    #[must_use]
    pub fn remaining(&self, now: Timestamp) -> Duration {
        if self.expires == Timestamp::NEVER { Duration::MAX } else { now.until(self.expires) }
    }

    /// How long the load took that made the value, in microseconds, to five digits; zero when not known.
    ///
    /// # Examples
    /// ```
    /// # use std::{sync::Arc, time::Duration};
    /// # use larder::{Entry, Timestamp};
    /// let now = Timestamp::from_nanos(5_000_000);
    /// let entry = Entry::new(Some(Arc::new("bread")), now, Duration::from_secs(60));
    /// assert_eq!(entry.load_cost(), Duration::ZERO);
    /// ```
    #[must_use]
    pub fn load_cost(&self) -> Duration {
        self.born.cost()
    }

    /// The same entry with the time its load took.
    ///
    /// # Examples
    /// ```
    /// # use std::{sync::Arc, time::Duration};
    /// # use larder::{Entry, Timestamp};
    /// let now = Timestamp::from_nanos(5_000_000);
    /// let entry = Entry::new(Some(Arc::new("bread")), now, Duration::from_secs(60));
    /// let entry = entry.with_load_cost(Duration::from_millis(7));
    /// assert_eq!(entry.load_cost(), Duration::from_millis(7));
    /// ```
    #[must_use]
    pub fn with_load_cost(mut self, cost: Duration) -> Self {
        self.born = Born::new(self.created(), cost);
        self
    }

    /// The same entry with other times: for backends that keep entries in another clock.
    ///
    /// # Examples
    /// ```
    /// # use std::{sync::Arc, time::Duration};
    /// # use larder::{Entry, Timestamp};
    /// let now = Timestamp::from_nanos(5_000_000);
    /// let entry = Entry::new(Some(Arc::new("bread")), now, Duration::from_secs(60));
    /// let moved = entry.with_times(Timestamp::ORIGIN, now);
    /// assert!(!moved.is_alive(now));
    /// ```
    #[must_use]
    pub fn with_times(mut self, created: Timestamp, expires: Timestamp) -> Self {
        self.born = Born::new(created, self.load_cost());
        self.expires = expires;
        self
    }

    /// The same entry around another form of its value: for decorators that encode and decode.
    ///
    /// # Errors
    /// Those of `change`; the entry is then gone.
    ///
    /// # Examples
    /// ```
    /// # use std::{sync::Arc, time::Duration};
    /// # use larder::{Entry, Timestamp};
    /// let now = Timestamp::from_nanos(5_000_000);
    /// let entry = Entry::new(Some(Arc::new("bread")), now, Duration::from_secs(60));
    /// let length = entry.try_map(|text| Ok::<_, larder::Error>(text.len()))?;
    /// assert_eq!(**length.value().unwrap(), 5);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn try_map<W, E>(self, change: impl FnOnce(&V) -> Result<W, E>) -> Result<Entry<W>, E> {
        let Self { value, expires, born, mark } = self;
        let value = value.map(|value| change(&value).map(Arc::new)).transpose()?;
        Ok(Entry { value, expires, born, mark })
    }

    /// The same entry, dead at `latest` if it would have lived longer.
    ///
    /// # Examples
    /// ```
    /// # use std::{sync::Arc, time::Duration};
    /// # use larder::{Entry, Timestamp};
    /// let now = Timestamp::from_nanos(5_000_000);
    /// let entry = Entry::new(Some(Arc::new("bread")), now, Duration::from_secs(60));
    /// assert_eq!(entry.expiring_by(now).expires(), now);
    /// ```
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
        let Self { value, expires, born, mark } = self;
        Self { value: value.clone(), expires: *expires, born: *born, mark: *mark }
    }
}

impl<V> fmt::Debug for Entry<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("negative", &self.value.is_none())
            .field("created", &self.created())
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_as_small_as_four_words() {
        assert_eq!(size_of::<Option<Entry<String>>>(), 40);
        assert_eq!(size_of::<Entry<String>>(), 32);
    }

    #[test]
    fn times_and_cost_survive_the_packing() {
        let now = Timestamp::from_nanos(3_600_000_000_000);
        for micros in [0, 1, 1_500, 262_143, 262_144, 30_000_000, 3_600_000_000, u64::from(u32::MAX)] {
            let entry = Entry::new(Some(Arc::new(1)), now, Duration::MAX)
                .with_load_cost(Duration::from_micros(micros));
            let found = entry.load_cost().as_micros() as f64;
            assert!((found - micros as f64).abs() <= micros as f64 * 1e-5, "{micros} became {found}");
            assert_eq!(entry.created(), now);
            assert_eq!(entry.expires(), Timestamp::NEVER);
        }
        let endless =
            Entry::new(Some(Arc::new(1)), Timestamp::NEVER, Duration::ZERO).with_load_cost(Duration::MAX);
        assert!(endless.load_cost() >= Duration::from_secs(3600 * 24));
    }

    #[test]
    fn marks_differ_by_slot_and_by_generation() {
        assert_ne!(Mark::new(1, 7), Mark::new(2, 7));
        assert_ne!(Mark::new(1, 7), Mark::new(1, 8));
        assert_eq!(Mark::new(65_535, u64::MAX).slot(), 65_535);
    }
}
