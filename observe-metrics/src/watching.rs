//! How a cache is watched.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use larder::clock::{Clock, SystemClock};

pub(crate) type Show<K> = Box<dyn Fn(&K) -> String + Send + Sync>;
pub(crate) type Parse<K> = Box<dyn Fn(&str) -> Option<K> + Send + Sync>;

/// How a cache is watched.
///
/// # Examples
/// ```
/// use larder_metrics::{Watched, Watching};
/// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../core/doc/squares.rs"))?;
/// let squares = Watched::with(squares, Watching::keys().sampling(16).hot_keys(1_000));
/// # let _ = squares;
/// # Ok::<(), larder::Error>(())
/// ```
pub struct Watching<K> {
    pub(crate) show: Show<K>,
    pub(crate) parse: Parse<K>,
    pub(crate) sampling: u32,
    pub(crate) hot_keys: usize,
    pub(crate) misses: usize,
    pub(crate) remembered: usize,
    pub(crate) clock: Arc<dyn Clock>,
}

impl<K> Watching<K>
where
    K: fmt::Display + FromStr + 'static,
{
    /// For keys that are shown and parsed as they are.
    ///
    /// # Examples
    /// See [`Watching`].
    #[must_use]
    pub fn keys() -> Self {
        Self::shown(K::to_string, |text| text.parse().ok())
    }
}

impl<K> Watching<K> {
    /// For keys that are shown by one function, and read back by another from what a user types.
    ///
    /// # Examples
    /// ```
    /// use larder_metrics::Watching;
    /// let watching = Watching::<(u64, u64)>::shown(
    ///     |(tenant, product)| format!("{tenant}/{product}"),
    ///     |text| {
    ///         let (tenant, product) = text.split_once('/')?;
    ///         Some((tenant.parse().ok()?, product.parse().ok()?))
    ///     },
    /// );
    /// # let _ = watching;
    /// ```
    pub fn shown(
        show: impl Fn(&K) -> String + Send + Sync + 'static,
        parse: impl Fn(&str) -> Option<K> + Send + Sync + 'static,
    ) -> Self {
        Self {
            show: Box::new(show),
            parse: Box::new(parse),
            sampling: 64,
            hot_keys: 256,
            misses: 200,
            remembered: 10_000,
            clock: Arc::new(SystemClock::new()),
        }
    }

    /// One hit in so many is noted, at random, while hits come fast; more of them while a thread notes less than a thousand a
    /// second. Default 64; 1 notes all.
    ///
    /// # Examples
    /// See [`Watching`].
    #[must_use]
    pub fn sampling(mut self, one_in: u32) -> Self {
        self.sampling = one_in.clamp(1, 1 << 20);
        self
    }

    /// How many keys are counted to find the hottest. A key that gets more than one in so many of all reads is always among
    /// them. Default 256.
    ///
    /// # Examples
    /// See [`Watching`].
    #[must_use]
    pub fn hot_keys(mut self, capacity: usize) -> Self {
        self.hot_keys = capacity;
        self
    }

    /// How many of the last misses are kept. Default 200.
    ///
    /// # Examples
    /// ```
    /// let watching = larder_metrics::Watching::<u64>::keys().misses(1_000);
    /// # let _ = watching;
    /// ```
    #[must_use]
    pub fn misses(mut self, capacity: usize) -> Self {
        self.misses = capacity;
        self
    }

    /// Of how many keys it is remembered what became of them, to tell why they miss. Default 10,000.
    ///
    /// # Examples
    /// ```
    /// let watching = larder_metrics::Watching::<u64>::keys().remembered(100_000);
    /// # let _ = watching;
    /// ```
    #[must_use]
    pub fn remembered(mut self, keys: usize) -> Self {
        self.remembered = keys;
        self
    }

    /// The clock, the same as the cache's. Default [`SystemClock`]; tests give a [`ManualClock`](larder::clock::ManualClock).
    ///
    /// # Examples
    /// ```
    /// let watching = larder_metrics::Watching::<u64>::keys().clock(larder::clock::ManualClock::new());
    /// # let _ = watching;
    /// ```
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }
}

impl<K> fmt::Debug for Watching<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sampling, hot_keys, misses, remembered, .. } = self;
        f.debug_struct("Watching")
            .field("sampling", sampling)
            .field("hot_keys", hot_keys)
            .field("misses", misses)
            .field("remembered", remembered)
            .finish_non_exhaustive()
    }
}
