//! [`Quick`] keeps larder's entries in this process with
//! [quick_cache](https://docs.rs/quick_cache): the tier that answers a hit fastest.
//!
//! | type | what it is |
//! |---|---|
//! | [`Quick`] | the configuration, given to `Cache::builder().backend(..)` or to `larder::Tiered` |
//! | [`QuickStore`] | the opened store |
//!
//! Bounded by the number of entries, or by weight. Eviction is quick_cache's S3-FIFO (scan-resistant). Expiry is
//! checked at each read. An expired entry leaves when it is overwritten or when room is needed. Evictions are counted
//! in the cache's `Stats`.
//!
//! # Examples
//! ```
//! use std::time::Duration;
//! use larder::{Cache, Quick, Strategy};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
//! let cache: Cache<u64, String> =
//!     Cache::builder().backend(Quick::new(10_000)).strategy(Strategy::aside(Duration::from_secs(60))).build()?;
//! let bread = cache.get_or_load(&1, || async { Ok::<_, std::io::Error>("bread".to_owned()) }).await?;
//! assert_eq!(bread.unwrap().as_str(), "bread");
//! # Ok(()) }
//! ```

mod store;

use std::fmt;
use std::hash::Hash;

pub use self::store::QuickStore;
use crate::backend::{BackendContext, EntryCount, IntoBackend, Local, Weigher};
use crate::{Error, Result};

/// The assumed weight of an entry, to size tables if the capacity is a weight.
const USUAL_WEIGHT: u64 = 256;

/// An in-process store on quick_cache, bounded by the number of entries or by weight.
///
/// # Examples
/// By count, and by the bytes of the values:
/// ```
/// use larder::Quick;
/// let counted = Quick::new(10_000);
/// let weighed = Quick::new(64 << 20).weigher(|_key: &u64, value: &String| value.len() as u32);
/// # let _ = (counted, weighed);
/// ```
#[derive(Clone)]
pub struct Quick<W = EntryCount> {
    capacity: u64,
    expected: u64,
    weigher: W,
}

impl<W> fmt::Debug for Quick<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quick").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

impl Quick {
    /// Creates a store of at most `capacity` entries. Zero is refused when the cache is built.
    #[must_use]
    pub fn new(capacity: u64) -> Self {
        Self { capacity, expected: capacity, weigher: EntryCount }
    }
}

impl<W> Quick<W> {
    /// Measures the capacity in weight: the result of `weigher` for each value. Negative entries weigh 1.
    ///
    /// # Examples
    /// See [`Quick`].
    #[must_use]
    pub fn weigher<X>(self, weigher: X) -> Quick<X> {
        Quick { capacity: self.capacity, expected: self.capacity / USUAL_WEIGHT, weigher }
    }
}

impl<K, V, W> IntoBackend<K, V> for Quick<W>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
    W: Weigher<K, V>,
{
    type Backend = Local<K, QuickStore<K, V, W>>;

    fn into_backend(self, scope: &BackendContext) -> Result<Self::Backend> {
        if self.capacity == 0 {
            return Err(Error::config(
                "`Quick::new(0)` would keep nothing: give the most entries or weight to keep",
            ));
        }
        Ok(Local::new(QuickStore::open(self.capacity, self.expected, self.weigher, scope)?))
    }
}
