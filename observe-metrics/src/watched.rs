//! A cache with statistics of keys and misses.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use larder::cache::{Key, Origin, Value};
use larder::clock::{Clock, Timestamp};
use larder::error::BoxError;
use larder::{Cache, CachedEntry, Loaded, Result, Stats, Tag};

use crate::diary::{Before, Diary, Moment};
use crate::hot::{HotKey, HotKeys};
use crate::watching::{Parse, Show, Watching};
use crate::why::Miss;

/// A cache whose reads are watched for hot keys and the reasons of misses. A cheap handle; clones share everything.
///
/// Reads and invalidations through this handle are recorded. Operations on [`cache`](Self::cache) are not. A near
/// hit costs one more count on the thread. A random sample of the hits (1 in 64 if they come fast, see
/// [`Watching::sampling`]) is recorded in full, with its weight. Measured (`--example watched_cost`, keys read
/// evenly, the worst case): a near hit takes 1.2 times as long. All other reads are recorded, which costs about 2
/// us each.
///
/// # Examples
/// ```
/// use larder_metrics::Watched;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
/// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../core/doc/squares.rs"))?;
/// let squares = Watched::new(squares);
/// assert_eq!(squares.get(&3).await?.as_deref(), Some(&9));
/// assert_eq!(squares.hot_keys(10)[0].key, 3);
/// println!("{}", squares.misses()[0].why); // not read here before
/// # Ok(()) }
/// ```
pub struct Watched<K: Key, V> {
    cache: Cache<K, V>,
    watch: Arc<Watch<K>>,
}

struct Watch<K> {
    show: Show<K>,
    parse: Parse<K>,
    sampling: u32,
    clock: Arc<dyn Clock>,
    order: AtomicU64,
    hot: Mutex<HotKeys<K>>,
    diary: Mutex<Diary<K>>,
}

/// The interval below which a thread samples its hits less often, down to the configured sampling.
const PAUSE: Duration = Duration::from_millis(1);

/// The state of a thread's sampling.
#[derive(Clone, Copy)]
struct Sample {
    /// The number of hits that the next sample stands for: the skipped ones, and itself.
    weight: u32,
    /// The current sampling: one hit in this number.
    one_in: u32,
    /// The time of the last sample.
    noted: Timestamp,
}

thread_local! {
    /// The number of hits of this thread before the next sample. The hit path reads only this.
    static PASS: Cell<u32> = const { Cell::new(0) };
    static SAMPLE: Cell<Sample> = const { Cell::new(Sample { weight: 1, one_in: 1, noted: Timestamp::from_nanos(0) }) };
}

impl<K: Key, V: Value> Watched<K, V> {
    /// Returns a handle that watches `cache`, with the defaults of [`Watching`].
    ///
    /// # Examples
    /// See [`Watched`].
    #[must_use]
    pub fn new(cache: Cache<K, V>) -> Self
    where
        K: fmt::Display + FromStr,
    {
        Self::with(cache, Watching::keys())
    }

    /// Returns a handle that watches `cache` with these options.
    ///
    /// # Examples
    /// See [`Watching`].
    #[must_use]
    pub fn with(cache: Cache<K, V>, watching: Watching<K>) -> Self {
        let Watching { show, parse, sampling, hot_keys, misses, remembered, clock } = watching;
        let hot = Mutex::new(HotKeys::new(hot_keys, clock.now()));
        let (diary, order) = (Mutex::new(Diary::new(remembered, misses)), AtomicU64::new(0));
        Self { cache, watch: Arc::new(Watch { show, parse, sampling, clock, order, hot, diary }) }
    }

    /// Returns the cache itself, whose operations are not recorded.
    ///
    /// # Examples
    /// ```
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../core/doc/squares.rs"))?;
    /// let squares = larder_metrics::Watched::new(squares);
    /// assert_eq!(squares.cache().in_flight(), 0);
    /// # Ok::<(), larder::Error>(())
    /// ```
    #[must_use]
    pub fn cache(&self) -> &Cache<K, V> {
        &self.cache
    }

    /// Calls [`Cache::get`], and records it. A near hit allocates nothing.
    ///
    /// # Errors
    /// As [`Cache::get`].
    ///
    /// # Cancellation safety
    /// As [`Cache::get`]. A dropped read is not recorded.
    ///
    /// # Examples
    /// See [`Watched`].
    pub async fn get(&self, key: &K) -> Result<Option<Arc<V>>> {
        if let Some(value) = self.cache.get_local(key) {
            self.watch.near_hit(key);
            return Ok(value);
        }
        Box::pin(async { self.read(key, self.cache.get_entry(key)).await.map(|found| found.value) }).await
    }

    /// Calls [`Cache::get_entry`], and records it.
    ///
    /// # Errors
    /// As [`Cache::get_entry`].
    ///
    /// # Cancellation safety
    /// As [`Cache::get_entry`]. A dropped read is not recorded.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../core/doc/squares.rs"))?;
    /// let squares = larder_metrics::Watched::new(squares);
    /// assert_eq!(squares.get_entry(&3).await?.origin, larder::cache::Origin::Loaded);
    /// # Ok(()) }
    /// ```
    pub async fn get_entry(&self, key: &K) -> Result<CachedEntry<V>> {
        Box::pin(self.read(key, self.cache.get_entry(key))).await
    }

    /// Calls [`Cache::get_or_load`], and records it. A near hit allocates nothing.
    ///
    /// # Errors
    /// As [`Cache::get_or_load`].
    ///
    /// # Cancellation safety
    /// As [`Cache::get_or_load`]. A dropped read is not recorded.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../core/doc/squares.rs"))?;
    /// let squares = larder_metrics::Watched::new(squares);
    /// let value = squares.get_or_load(&5, || async { Ok::<_, std::io::Error>(25) }).await?;
    /// assert_eq!(value.as_deref(), Some(&25));
    /// # Ok(()) }
    /// ```
    pub async fn get_or_load<F, Fut, T, E>(&self, key: &K, loader: F) -> Result<Option<Arc<V>>>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Into<Loaded<V>>,
        E: Into<BoxError>,
    {
        if let Some(value) = self.cache.get_local(key) {
            self.watch.near_hit(key);
            return Ok(value);
        }
        let fetch = self.cache.get_entry_or_load(key, loader);
        Box::pin(async { self.read(key, fetch).await.map(|found| found.value) }).await
    }

    /// Reads with the origin of the answer, and records it: the path of all reads except for a plain near hit.
    async fn read(
        &self,
        key: &K,
        fetch: impl Future<Output = Result<CachedEntry<V>>>,
    ) -> Result<CachedEntry<V>> {
        let before = self.watch.begin(key);
        let found = fetch.await;
        match &found {
            Ok(CachedEntry { origin: Origin::Near, missed: None, .. }) => self.watch.near_hit(key),
            found => self.watch.read(key, found, &before),
        }
        found
    }

    /// Calls [`Cache::invalidate`], and records it.
    ///
    /// # Errors
    /// As [`Cache::invalidate`].
    ///
    /// # Cancellation safety
    /// As [`Cache::invalidate`].
    ///
    /// # Examples
    /// See [`Why`](crate::Why).
    pub async fn invalidate(&self, key: &K) -> Result<()> {
        self.watch
            .around(self.cache.invalidate(key), |diary, moment| {
                diary.invalidated(std::slice::from_ref(key), moment);
            })
            .await
    }

    /// Calls [`Cache::invalidate_many`], and records it.
    ///
    /// # Errors
    /// As [`Cache::invalidate_many`].
    ///
    /// # Cancellation safety
    /// As [`Cache::invalidate_many`].
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../core/doc/squares.rs"))?;
    /// let squares = larder_metrics::Watched::new(squares);
    /// squares.invalidate_many(&[2, 3]).await?;
    /// # Ok(()) }
    /// ```
    pub async fn invalidate_many(&self, keys: &[K]) -> Result<()> {
        self.watch
            .around(self.cache.invalidate_many(keys), |diary, moment| {
                diary.invalidated(keys, moment);
            })
            .await
    }

    /// Calls [`Cache::invalidate_tag`], and records it.
    ///
    /// # Errors
    /// As [`Cache::invalidate_tag`].
    ///
    /// # Cancellation safety
    /// As [`Cache::invalidate_tag`].
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../core/doc/squares.rs"))?;
    /// let squares = larder_metrics::Watched::new(squares);
    /// squares.invalidate_tag(&larder::Tag::new("parity", 1)).await?;
    /// # Ok(()) }
    /// ```
    pub async fn invalidate_tag(&self, tag: &Tag) -> Result<()> {
        self.invalidate_tags(std::slice::from_ref(tag)).await
    }

    /// Calls [`Cache::invalidate_tags`], and records it.
    ///
    /// # Errors
    /// As [`Cache::invalidate_tags`].
    ///
    /// # Cancellation safety
    /// As [`Cache::invalidate_tags`].
    ///
    /// # Examples
    /// See [`invalidate_tag`](Self::invalidate_tag).
    pub async fn invalidate_tags(&self, tags: &[Tag]) -> Result<()> {
        self.watch
            .around(self.cache.invalidate_tags(tags), |diary, moment| {
                diary.tags_ended(tags, moment);
            })
            .await
    }

    /// Calls [`Cache::clear`], and records it.
    ///
    /// # Errors
    /// As [`Cache::clear`].
    ///
    /// # Cancellation safety
    /// As [`Cache::clear`].
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../core/doc/squares.rs"))?;
    /// larder_metrics::Watched::new(squares).clear().await?;
    /// # Ok(()) }
    /// ```
    pub async fn clear(&self) -> Result<()> {
        self.watch.around(self.cache.clear(), Diary::cleared).await
    }

    /// Calls [`Cache::stats`].
    ///
    /// # Examples
    /// ```
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../core/doc/squares.rs"))?;
    /// assert_eq!(larder_metrics::Watched::new(squares).stats().reads(), 0);
    /// # Ok::<(), larder::Error>(())
    /// ```
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.cache.stats()
    }

    /// Returns the keys that are read most, over about the last minute, the hottest first.
    ///
    /// # Examples
    /// ```
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../core/doc/squares.rs"))?;
    /// let squares = larder_metrics::Watched::new(squares);
    /// for hot in squares.hot_keys(10) {
    ///     println!("{}: {:.1} a second, {:.0} % hits", hot.key, hot.per_second, hot.hit_rate * 100.0);
    /// }
    /// # Ok::<(), larder::Error>(())
    /// ```
    #[must_use]
    pub fn hot_keys(&self, count: usize) -> Vec<HotKey<K>> {
        self.watch.hot().top(count, self.watch.clock.now())
    }

    /// Returns the last reads that missed, the oldest first.
    ///
    /// # Examples
    /// ```
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../core/doc/squares.rs"))?;
    /// let squares = larder_metrics::Watched::new(squares);
    /// for miss in squares.misses() {
    ///     println!("{}: {}; {} in {:?}", miss.key, miss.why, miss.outcome.as_str(), miss.took);
    /// }
    /// # Ok::<(), larder::Error>(())
    /// ```
    #[must_use]
    pub fn misses(&self) -> Vec<Miss<K>> {
        self.misses_after(0)
    }

    pub(crate) fn misses_after(&self, number: u64) -> Vec<Miss<K>> {
        self.watch.diary().misses_after(number, self.watch.clock.now())
    }

    /// Returns the number of misses for each reason ([`Why::as_str`](crate::Why::as_str)), the largest first.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../core/doc/squares.rs"))?;
    /// let squares = larder_metrics::Watched::new(squares);
    /// squares.get(&3).await?;
    /// assert_eq!(squares.whys(), [("first_read", 1)]);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn whys(&self) -> Vec<(&'static str, u64)> {
        self.watch.diary().whys()
    }

    pub(crate) fn show(&self, key: &K) -> String {
        (self.watch.show)(key)
    }

    pub(crate) fn parse(&self, text: &str) -> Option<K> {
        (self.watch.parse)(text)
    }
}

impl<K: Key> Watch<K> {
    fn hot(&self) -> MutexGuard<'_, HotKeys<K>> {
        self.hot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn diary(&self) -> MutexGuard<'_, Diary<K>> {
        self.diary.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, key: &K) -> Before {
        let began = self.moment();
        self.diary().begin(key, began)
    }

    fn moment(&self) -> Moment {
        Moment { order: self.order.fetch_add(1, Ordering::SeqCst), at: self.clock.now() }
    }

    /// Records an invalidation before and after it is done: a read meanwhile may see it already, or fill once more
    /// before it.
    async fn around(
        &self,
        invalidation: impl Future<Output = Result<()>>,
        note: impl Fn(&mut Diary<K>, Moment),
    ) -> Result<()> {
        note(&mut self.diary(), self.moment());
        let done = invalidation.await;
        note(&mut self.diary(), self.moment());
        done
    }

    /// Counts down on the thread. Samples are recorded out of line.
    #[inline]
    fn near_hit(&self, key: &K) {
        let pass = PASS.get();
        if pass > 0 {
            PASS.set(pass - 1);
        } else {
            self.note_hit(key);
        }
    }

    #[cold]
    fn note_hit(&self, key: &K) {
        let (now, sample) = (self.clock.now(), SAMPLE.get());
        let one_in = match sample.noted.until(now) < PAUSE {
            true => sample.one_in.saturating_mul(2).min(self.sampling),
            false => (sample.one_in / 2).max(1),
        };
        // random (prevents: a loop over a number of keys that always samples the same ones)
        let pass = fastrand::u32(0..2 * one_in - 1);
        PASS.set(pass);
        SAMPLE.set(Sample { weight: pass + 1, one_in, noted: now });
        let mut hot = match self.hot.try_lock() {
            Ok(hot) => hot,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // a hit never waits for the lock; the sample is lost
            Err(TryLockError::WouldBlock) => return,
        };
        hot.note(key, f64::from(sample.weight), 0.0, now);
    }

    fn read<V>(&self, key: &K, found: &Result<CachedEntry<V>>, before: &Before) {
        let now = self.clock.now();
        let hit = matches!(found, Ok(CachedEntry { missed: None, .. }));
        let (hits, misses) = if hit { (1.0, 0.0) } else { (0.0, 1.0) };
        self.hot().note(key, hits, misses, now);
        self.diary().read(key, found, before, now);
    }
}

impl<K: Key, V> Clone for Watched<K, V> {
    fn clone(&self) -> Self {
        Self { cache: self.cache.clone(), watch: Arc::clone(&self.watch) }
    }
}

impl<K: Key, V> fmt::Debug for Watched<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("cache", &self.cache).finish_non_exhaustive()
    }
}
