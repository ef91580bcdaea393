//! The options of a watched cache.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use larder::clock::{Clock, SystemClock};

pub(crate) type Show<K> = Box<dyn Fn(&K) -> String + Send + Sync>;
pub(crate) type Parse<K> = Box<dyn Fn(&str) -> Option<K> + Send + Sync>;

/// The options of a watched cache.
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
    /// Returns the options for keys that are shown and parsed by their own traits.
    ///
    /// # Examples
    /// See [`Watching`].
    #[must_use]
    pub fn keys() -> Self {
        Self::shown(K::to_string, |text| text.parse().ok())
    }
}

impl<K> Watching<K> {
    /// Returns the options for keys that one function shows, and another parses from a user's text.
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

    /// Sets the sampling of fast hits: one in `one_in` is recorded, at random. A thread with fewer than a thousand
    /// samples a second records more of them. Default 64; 1 records all.
    ///
    /// # Examples
    /// See [`Watching`].
    #[must_use]
    pub fn sampling(mut self, one_in: u32) -> Self {
        self.sampling = one_in.clamp(1, 1 << 20);
        self
    }

    /// Sets the number of keys that are counted to find the hottest. A key with more than one in this number of all
    /// reads is always found. Default 256.
    ///
    /// # Examples
    /// See [`Watching`].
    #[must_use]
    pub fn hot_keys(mut self, capacity: usize) -> Self {
        self.hot_keys = capacity;
        self
    }

    /// Sets the number of last misses that are kept. Default 200.
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

    /// Sets the number of keys whose history is kept, for the reasons of misses. Default 10,000.
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

    /// Sets the clock, which must be the cache's. Default [`SystemClock`]. Tests use a
    /// [`ManualClock`](larder::clock::ManualClock).
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
