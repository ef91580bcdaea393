//! The strategies: the behaviour of a cache between a miss and a fill.

mod check;
mod early;
mod settings;
mod stale;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use self::early::EarlyRefresh;
use self::settings::Stale;
pub(crate) use self::settings::{Gather, Limit, Settings, Verdict};
use crate::lock::Locking;
use crate::tag::Tag;

type TtlOf<V> = Arc<dyn Fn(&V) -> Option<Duration> + Send + Sync>;
type TagsOf<V> = Arc<dyn Fn(&V) -> Vec<Tag> + Send + Sync>;

/// The first and the longest pause after failed loads.
const BACKOFF: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

/// The behaviour of a cache: the life of entries, negative caching, the time limit of loads.
///
/// Single flight, fenced fills and near fill are always on. Calls may come in any order.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use larder::Strategy;
/// let strategy: Strategy<String> = Strategy::aside(Duration::from_secs(600))
///     .negative_ttl(Duration::from_secs(5))
///     .jitter(0.1)
///     .ttl_by(|text: &String| text.is_empty().then_some(Duration::from_secs(1)));
/// # let _ = strategy;
/// ```
pub struct Strategy<V> {
    pub(crate) settings: Settings,
    ttl_by: Option<TtlOf<V>>,
    tagged: Option<TagsOf<V>>,
}

impl<V> Strategy<V> {
    /// Creates the cache-aside strategy: a miss loads the value, fills the cache and returns it.
    ///
    /// An entry lives for `ttl`, from 1 ms to [`Duration::MAX`] (never expires). Zero is refused by `build()`.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// let strategy: larder::Strategy<String> = larder::Strategy::aside(Duration::from_secs(60));
    /// # let _ = strategy;
    /// ```
    #[must_use]
    pub fn aside(ttl: Duration) -> Self {
        let settings = Settings {
            ttl,
            negative_ttl: None,
            jitter: 0.0,
            load_timeout: Duration::from_secs(30),
            lease: Duration::from_secs(10),
            locking: None,
            stale: Stale { while_revalidate: None, if_error: None, backoff: BACKOFF },
            early: None,
            soft_timeout: None,
            hard_timeout: None,
            max_concurrent_loads: None,
            max_queued_loads: None,
            batch_window: None,
            max_batch: None,
        };
        Self { settings, ttl_by: None, tagged: None }
    }

    /// Caches absence for this long (negative caching). By default absence is not cached.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// let strategy: larder::Strategy<String> = larder::Strategy::aside(Duration::from_secs(60)).negative_ttl(Duration::from_secs(5));
    /// # let _ = strategy;
    /// ```
    #[must_use]
    pub fn negative_ttl(mut self, ttl: Duration) -> Self {
        self.settings.negative_ttl = Some(ttl);
        self
    }

    /// Shortens each TTL at random by up to this share (0.1: between 90 and 100 %).
    ///
    /// Prevents: entries that were filled together expire together. Never lengthens a TTL. Default: 0. Must be at
    /// least 0 and below 1.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// let strategy: larder::Strategy<String> = larder::Strategy::aside(Duration::from_secs(60)).jitter(0.1);
    /// # let _ = strategy;
    /// ```
    #[must_use]
    pub fn jitter(mut self, share: f64) -> Self {
        self.settings.jitter = share;
        self
    }

    /// Lets the loaded value decide its own TTL. `None` keeps the strategy's, zero does not store the value.
    ///
    /// A TTL from the loader ([`Loaded::ttl`](crate::Loaded::ttl)) takes precedence over both.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// let strategy: larder::Strategy<String> = larder::Strategy::aside(Duration::from_secs(60))
    ///     .ttl_by(|page: &String| page.contains("breaking").then_some(Duration::from_secs(2)));
    /// # let _ = strategy;
    /// ```
    #[must_use]
    pub fn ttl_by(mut self, decide: impl Fn(&V) -> Option<Duration> + Send + Sync + 'static) -> Self {
        self.ttl_by = Some(Arc::new(decide));
        self
    }

    /// Sets the maximum time of a load, after which it ends with a timeout error.
    ///
    /// Default: 30 s. If callers stop waiting earlier, the load goes on and fills.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// let strategy: larder::Strategy<String> = larder::Strategy::aside(Duration::from_secs(60)).load_timeout(Duration::from_secs(2));
    /// # let _ = strategy;
    /// ```
    #[must_use]
    pub fn load_timeout(mut self, budget: Duration) -> Self {
        self.settings.load_timeout = budget;
        self
    }

    /// Sets the time for which the fence of a load is valid in the backend unless renewed. It is renewed every third
    /// of this time while the load runs.
    ///
    /// Default: 10 s. If it ends, the fill is refused, and no more than that happens.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// let strategy: larder::Strategy<String> = larder::Strategy::aside(Duration::from_secs(60)).lease(Duration::from_secs(5));
    /// # let _ = strategy;
    /// ```
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = lease;
        self
    }

    /// Lets one process load a missing key, the lock holder. The others wait until it has filled or failed, and
    /// read again.
    ///
    /// Takes a lock provider, or a [`Locking`] with more settings. By default every process loads by itself.
    ///
    /// Locks only save loads. If the lock is lost or the provider cannot be reached, more than one process loads, and
    /// the fence keeps the data right. Has no effect with a backend that only this process sees.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use larder::{LockProvider, Strategy};
    ///
    /// fn strategy(redis_locks: impl LockProvider) -> Strategy<String> {
    ///     Strategy::aside(Duration::from_secs(60)).locked(redis_locks)
    /// }
    /// ```
    #[must_use]
    pub fn locked(mut self, locking: impl Into<Locking>) -> Self {
        self.settings.locking = Some(locking.into());
        self
    }

    /// Derives tags from each loaded value. [`invalidate_tag`](crate::Cache::invalidate_tag) then invalidates all
    /// entries that carry a tag, at a cost that does not depend on their number.
    ///
    /// A loader can add tags of its own ([`Loaded::tags`](crate::Loaded::tags)), and the builder can add those of a
    /// key ([`tag_keys`](crate::CacheBuilder::tag_keys)).
    ///
    /// A write that moves a value from one tag to another invalidates both tags.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// use larder::{Strategy, Tag};
    /// struct Product { category: u64 }
    /// let strategy = Strategy::aside(Duration::from_secs(60))
    ///     .tagged(|product: &Product| [Tag::new("category", product.category)]);
    /// # let _ = strategy;
    /// ```
    #[must_use]
    pub fn tagged<T: IntoIterator<Item = Tag>>(
        mut self,
        tags: impl Fn(&V) -> T + Send + Sync + 'static,
    ) -> Self {
        self.tagged = Some(Arc::new(move |value| tags(value).into_iter().collect()));
        self
    }

    /// Sets the maximum number of loads that run at the same time. By default there is no limit.
    ///
    /// Further loads wait in a queue of [`max_queued_loads`](Self::max_queued_loads). If the queue is full, a load
    /// fails at once with [`ErrorKind::Overloaded`](crate::ErrorKind::Overloaded), or the reader is served stale if
    /// [`stale_if_error`](Self::stale_if_error) allows it. Zero is refused by `build()`.
    ///
    /// Use it if the source slows down under load. Without a limit, readers that time out and retry can keep the
    /// source busy while no load finishes. With a limit some loads finish, and their values relieve the source.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// let strategy: larder::Strategy<String> =
    ///     larder::Strategy::aside(Duration::from_secs(60)).max_concurrent_loads(20).max_queued_loads(100);
    /// # let _ = strategy;
    /// ```
    #[must_use]
    pub fn max_concurrent_loads(mut self, loads: usize) -> Self {
        self.settings.max_concurrent_loads = Some(loads);
        self
    }

    /// Sets the maximum number of loads that wait for one of [`max_concurrent_loads`](Self::max_concurrent_loads),
    /// without which it is refused by `build()`. Default: ten times that number.
    ///
    /// # Examples
    /// See [`max_concurrent_loads`](Self::max_concurrent_loads).
    #[must_use]
    pub fn max_queued_loads(mut self, loads: usize) -> Self {
        self.settings.max_queued_loads = Some(loads);
        self
    }

    /// Combines concurrent misses of single keys into one [`load_many`](crate::source::BatchSource::load_many). The
    /// first miss waits for `window` for others, or until there are [`max_batch`](Self::max_batch). Needs a
    /// [`batch_source`](crate::CacheBuilder::batch_source). By default each miss loads at once.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// let strategy: larder::Strategy<String> =
    ///     larder::Strategy::aside(Duration::from_secs(60)).batch_window(Duration::from_millis(2)).max_batch(50);
    /// # let _ = strategy;
    /// ```
    #[must_use]
    pub fn batch_window(mut self, window: Duration) -> Self {
        self.settings.batch_window = Some(window);
        self
    }

    /// Sets the maximum number of keys that a [`batch_window`](Self::batch_window) combines, without which it is
    /// refused by `build()`. Default: 100. Less than 2 is refused.
    ///
    /// # Examples
    /// See [`batch_window`](Self::batch_window).
    #[must_use]
    pub fn max_batch(mut self, keys: usize) -> Self {
        self.settings.max_batch = Some(keys);
        self
    }

    /// Returns the time for which to keep a loaded value; `None` not to keep it. `own` is the TTL that the loader
    /// gave, if any. `random` is in 0..1.
    pub(crate) fn ttl_of(&self, own: Option<Duration>, value: Option<&V>, random: f64) -> Option<Duration> {
        let settings = &self.settings;
        let own = own.or_else(|| self.ttl_by.as_ref().zip(value).and_then(|(decide, value)| decide(value)));
        let ttl = own.or(if value.is_some() { Some(settings.ttl) } else { settings.negative_ttl })?;
        (!ttl.is_zero()).then(|| shortened(ttl, settings.jitter * random))
    }

    /// Returns the tags of a value.
    pub(crate) fn tags_of(&self, value: &V) -> Vec<Tag> {
        self.tagged.as_ref().map_or_else(Vec::new, |tags| tags(value))
    }
}

fn shortened(ttl: Duration, share: f64) -> Duration {
    if share == 0.0 || ttl == Duration::MAX {
        return ttl;
    }
    ttl.mul_f64(1.0 - share).clamp(Duration::from_millis(1).min(ttl), ttl)
}

impl<V> Clone for Strategy<V> {
    fn clone(&self) -> Self {
        let Self { settings, ttl_by, tagged } = self;
        Self { settings: settings.clone(), ttl_by: ttl_by.clone(), tagged: tagged.clone() }
    }
}

impl<V> fmt::Debug for Strategy<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { settings, ttl_by, tagged } = self;
        f.debug_struct("Strategy")
            .field("settings", settings)
            .field("ttl_by", &ttl_by.is_some())
            .field("tagged", &tagged.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn the_loader_decides_before_the_value_and_the_value_before_the_strategy() {
        let strategy = Strategy::aside(MINUTE).ttl_by(|number: &u8| (*number > 1).then_some(2 * MINUTE));
        assert_eq!(strategy.ttl_of(None, Some(&1), 0.0), Some(MINUTE));
        assert_eq!(strategy.ttl_of(None, Some(&2), 0.0), Some(2 * MINUTE));
        assert_eq!(strategy.ttl_of(Some(3 * MINUTE), Some(&2), 0.0), Some(3 * MINUTE));
        assert_eq!(strategy.ttl_of(Some(Duration::ZERO), Some(&2), 0.0), None);
    }

    #[test]
    fn absence_is_kept_only_on_request() {
        let strategy = Strategy::<u8>::aside(MINUTE);
        assert_eq!(strategy.ttl_of(None, None, 0.0), None);
        let strategy = strategy.negative_ttl(Duration::from_secs(5));
        assert_eq!(strategy.ttl_of(None, None, 0.0), Some(Duration::from_secs(5)));
    }

    #[test]
    fn jitter_only_shortens() {
        let strategy = Strategy::aside(MINUTE).jitter(0.25);
        for step in 0..100 {
            let ttl = strategy.ttl_of(None, Some(&1), f64::from(step) / 100.0).unwrap();
            assert!(ttl <= MINUTE && ttl >= MINUTE.mul_f64(0.75), "{ttl:?}");
        }
        let brief = Strategy::aside(Duration::from_millis(1)).jitter(0.9);
        assert_eq!(brief.ttl_of(None, Some(&1), 0.99), Some(Duration::from_millis(1)));
        let endless = Strategy::aside(Duration::MAX).jitter(0.5);
        assert_eq!(endless.ttl_of(None, Some(&1), 0.99), Some(Duration::MAX));
    }
}
