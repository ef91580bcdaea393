//! The entry that a backend keeps: a value, or the fact that there is none, with its times.

mod born;
mod mark;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use self::born::Born;
pub(crate) use self::mark::Mark;
use crate::clock::Timestamp;
use crate::tag::revision::Stood;
use crate::tag::{Stamp, Tag};

/// One entry of a cache. Cloning it copies a reference count; the value is shared and never copied.
///
/// `value` is `None` for a *negative* entry: the source returned no value, and negative caching stored that.
///
/// # Examples
/// ```
/// use std::{sync::Arc, time::Duration};
/// use larder::backend::Entry;
/// use larder::clock::Timestamp;
/// let now = Timestamp::from_nanos(1_000);
/// let entry = Entry::new(Some(Arc::new("bread")), now, Duration::from_secs(60));
/// assert!(entry.is_alive(now));
/// assert!(!entry.is_alive(now.saturating_add(Duration::from_secs(60))));
/// ```
pub struct Entry<V> {
    value: Option<Arc<V>>,
    fresh_until: Timestamp,
    expires: Timestamp,
    born: Born,
    mark: Mark,
    /// The rarely used parts: shared by all copies, and a null pointer if there are none.
    extra: Option<Arc<Extra>>,
}

/// The part of an entry that a hit needs, in two registers: the value, or that there is none.
pub(crate) struct Hit<V>(pub(crate) Option<Arc<V>>);

/// The parts of an entry other than its value and times.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extra {
    tags: Box<[Tag]>,
    stamp: Stamp,
    validator: Option<Box<str>>,
    stood: Stood,
}

impl Extra {
    /// The last revision of the tag check at which the entry was valid.
    #[inline]
    pub(crate) fn stood(&self) -> &Stood {
        &self.stood
    }

    pub(crate) fn tags(&self) -> &[Tag] {
        &self.tags
    }

    pub(crate) fn stamp(&self) -> Stamp {
        self.stamp
    }
}

impl<V> Entry<V> {
    /// Creates an entry at `now` that expires after `ttl`. A `value` of `None` makes a negative entry.
    ///
    /// # Examples
    /// ```
    /// # use std::{sync::Arc, time::Duration};
    /// # use larder::backend::Entry;
    /// # use larder::clock::Timestamp;
    /// let now = Timestamp::from_nanos(5_000_000);
    /// let entry = Entry::new(Some(Arc::new("bread")), now, Duration::from_secs(60));
    /// assert!(entry.is_alive(now));
    /// ```
    #[must_use]
    pub fn new(value: Option<Arc<V>>, now: Timestamp, ttl: Duration) -> Self {
        let born = Born::new(now, Duration::ZERO);
        let expires = now.saturating_add(ttl);
        Self { value, fresh_until: expires, expires, born, mark: Mark::default(), extra: None }
    }

    /// Returns the value; `None` for a negative entry.
    #[must_use]
    pub fn value(&self) -> Option<&Arc<V>> {
        self.value.as_ref()
    }

    /// Returns the value, taken out of the entry.
    #[must_use]
    #[inline]
    pub fn into_value(self) -> Option<Arc<V>> {
        self.value
    }

    pub(crate) fn into_parts(self) -> (Option<Arc<V>>, Option<Arc<Extra>>) {
        (self.value, self.extra)
    }

    /// Returns the time when the value was stored, rounded down to the millisecond.
    #[must_use]
    pub fn created(&self) -> Timestamp {
        self.born.created()
    }

    /// Returns the first moment at which the entry is no longer fresh (the soft TTL).
    ///
    /// From then until [`expires`](Self::expires) it is stale. Only strategies that allow stale entries serve it.
    #[must_use]
    pub fn fresh_until(&self) -> Timestamp {
        self.fresh_until
    }

    /// Returns `true` if the entry is fresh at `now`, and alive.
    #[must_use]
    #[inline]
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        // a near tier may cap the life of an entry below its freshness
        now < self.fresh_until && self.is_alive(now)
    }

    /// Returns the entry, kept for `window` longer than it is fresh.
    ///
    /// # Examples
    /// See [`fresh_until`](Self::fresh_until).
    #[must_use]
    pub fn with_stale(mut self, window: Duration) -> Self {
        self.expires = self.fresh_until.saturating_add(window);
        self
    }

    /// Returns the first moment at which the entry is expired (the hard TTL).
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// Returns `true` if the entry may still be served at `now`.
    #[must_use]
    #[inline]
    pub fn is_alive(&self, now: Timestamp) -> bool {
        // no clock shows `NEVER`: an entry with it does not expire
        now < self.expires
    }

    /// Returns the time since the value was stored.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Duration {
        self.created().until(now)
    }

    /// Returns the time until the entry expires, from `now`.
    #[must_use]
    pub fn remaining(&self, now: Timestamp) -> Duration {
        if self.expires == Timestamp::NEVER { Duration::MAX } else { now.until(self.expires) }
    }

    /// Returns the time for which the entry stays fresh, from `now`.
    #[must_use]
    pub fn freshness(&self, now: Timestamp) -> Duration {
        if self.fresh_until == Timestamp::NEVER { Duration::MAX } else { now.until(self.fresh_until) }
    }

    /// Returns the duration of the load that made the value, in microseconds, to five digits; zero if it is not
    /// known.
    #[must_use]
    pub fn load_cost(&self) -> Duration {
        self.born.cost()
    }

    /// Returns the entry with the duration of its load.
    ///
    /// # Examples
    /// ```
    /// # use std::{sync::Arc, time::Duration};
    /// # use larder::backend::Entry;
    /// # use larder::clock::Timestamp;
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

    /// Returns the entry with other times, for backends that keep times by another clock.
    ///
    /// # Examples
    /// ```
    /// # use std::{sync::Arc, time::Duration};
    /// # use larder::backend::Entry;
    /// # use larder::clock::Timestamp;
    /// let now = Timestamp::from_nanos(5_000_000);
    /// let entry = Entry::new(Some(Arc::new("bread")), now, Duration::from_secs(60));
    /// let moved = entry.with_times(Timestamp::ORIGIN, now, now);
    /// assert!(!moved.is_alive(now));
    /// ```
    #[must_use]
    pub fn with_times(mut self, created: Timestamp, fresh_until: Timestamp, expires: Timestamp) -> Self {
        self.born = Born::new(created, self.load_cost());
        self.fresh_until = fresh_until;
        self.expires = expires;
        self
    }

    /// Returns the tags that the entry carries.
    #[must_use]
    pub fn tags(&self) -> &[Tag] {
        self.extra.as_ref().map_or(&[], |extra| &extra.tags)
    }

    /// Returns the entry with these tags, each once.
    ///
    /// # Examples
    /// See [`tags`](Self::tags).
    #[must_use]
    pub fn with_tags(mut self, tags: impl IntoIterator<Item = Tag>) -> Self {
        let mut tags: Vec<Tag> = tags.into_iter().collect();
        tags.sort_unstable();
        tags.dedup();
        if !tags.is_empty() || !self.tags().is_empty() {
            self.extra_mut().tags = tags.into();
        }
        self
    }

    /// Returns the state of the tag ledger before the load; zeros unless the entry carries tags and was stored.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        self.extra.as_ref().map(|extra| extra.stamp).unwrap_or_default()
    }

    /// Returns the entry, stamped with this state of the tag ledger. Has no effect on an entry without tags.
    ///
    /// # Examples
    /// See [`stamp`](Self::stamp).
    #[must_use]
    pub fn stamped(mut self, stamp: Stamp) -> Self {
        if !self.tags().is_empty() {
            self.extra_mut().stamp = stamp;
        }
        self
    }

    /// Returns the validator by which the source recognizes this version of the value: an ETag, a row's version.
    #[must_use]
    pub fn validator(&self) -> Option<&str> {
        self.extra.as_ref().and_then(|extra| extra.validator.as_deref())
    }

    /// Returns the entry with another validator, or without one.
    ///
    /// # Examples
    /// See [`validator`](Self::validator).
    #[must_use]
    pub fn with_validator(mut self, validator: Option<Box<str>>) -> Self {
        if validator.is_some() || self.validator().is_some() {
            self.extra_mut().validator = validator;
        }
        self
    }

    fn extra_mut(&mut self) -> &mut Extra {
        let extra = Arc::make_mut(self.extra.get_or_insert_default());
        // a changed entry is to be checked again
        extra.stood = Stood::default();
        extra
    }

    #[inline]
    pub(crate) fn extra(&self) -> Option<&Extra> {
        self.extra.as_deref()
    }

    /// Returns the entry around another form of its value, for decorators that encode and decode.
    ///
    /// # Errors
    /// Those of `change`; the entry is then dropped.
    ///
    /// # Examples
    /// ```
    /// # use std::{sync::Arc, time::Duration};
    /// # use larder::backend::Entry;
    /// # use larder::clock::Timestamp;
    /// let now = Timestamp::from_nanos(5_000_000);
    /// let entry = Entry::new(Some(Arc::new("bread")), now, Duration::from_secs(60));
    /// let length = entry.try_map(|text| Ok::<_, larder::Error>(text.len()))?;
    /// assert_eq!(**length.value().unwrap(), 5);
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn try_map<W, E>(self, change: impl FnOnce(&V) -> Result<W, E>) -> Result<Entry<W>, E> {
        let Self { value, fresh_until, expires, born, mark, extra } = self;
        let value = value.map(|value| change(&value).map(Arc::new)).transpose()?;
        Ok(Entry { value, fresh_until, expires, born, mark, extra })
    }

    /// Returns the entry, expiring at `latest` if it would have lived longer.
    ///
    /// # Examples
    /// ```
    /// # use std::{sync::Arc, time::Duration};
    /// # use larder::backend::Entry;
    /// # use larder::clock::Timestamp;
    /// let now = Timestamp::from_nanos(5_000_000);
    /// let entry = Entry::new(Some(Arc::new("bread")), now, Duration::from_secs(60));
    /// assert_eq!(entry.expiring_by(now).expires(), now);
    /// ```
    #[must_use]
    pub fn expiring_by(mut self, latest: Timestamp) -> Self {
        self.expires = self.expires.min(latest);
        self
    }

    /// Takes the entry out of a place that is no longer needed, and leaves an empty one.
    pub(crate) fn take(&mut self) -> Self {
        let empty = Self::new(None, Timestamp::ORIGIN, Duration::ZERO);
        std::mem::replace(self, empty)
    }

    /// Takes the value out of a place that is no longer needed.
    #[inline]
    pub(crate) fn take_hit(&mut self) -> Hit<V> {
        Hit(self.value.take())
    }

    #[inline]
    pub(crate) fn mark(&self) -> Mark {
        self.mark
    }

    pub(crate) fn marked(mut self, mark: Mark) -> Self {
        self.mark = mark;
        self
    }
}

impl<V> Clone for Entry<V> {
    #[inline]
    fn clone(&self) -> Self {
        let Self { value, fresh_until, expires, born, mark, extra } = self;
        Self {
            value: value.clone(),
            fresh_until: *fresh_until,
            expires: *expires,
            born: *born,
            mark: *mark,
            extra: extra.clone(),
        }
    }
}

impl<V> fmt::Debug for Entry<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("negative", &self.value.is_none())
            .field("created", &self.created())
            .field("fresh_until", &self.fresh_until)
            .field("expires", &self.expires)
            .field("tags", &self.tags())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_as_small_as_six_words() {
        assert_eq!([size_of::<Entry<String>>(), size_of::<Option<Entry<String>>>()], [48; 2]);
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
        let last = Mark::new(65_535, u32::MAX);
        for mark in [last, last.unverified()] {
            assert_eq!((mark.slot(), mark.generation()), (65_535, u32::MAX));
        }
        assert!(last.unverified().is_unverified() && !last.is_unverified());
    }
}
