//! A larder store in this process on [moka](https://docs.rs/moka): [`Moka`].
//!
//! | type | purpose |
//! |---|---|
//! | [`Moka`] | the configuration, given to `Cache::builder().backend(..)` or to `larder::Tiered` |
//! | [`MokaStore`] | the opened store |
//!
//! The store is bounded by the number of entries, or by weight; eviction is moka's TinyLFU. An expired entry is not
//! served. It is freed by a reload, when its place is needed, or in the background with
//! [`frees_expired`](Moka::frees_expired). Evictions of live entries are counted in the cache's `Stats`. Moka
//! stores and never loads. Its `get_with` keeps an old value if an invalidation comes during a load, so larder's
//! own single flights and fences do that part.
//!
//! # Examples
//! ```
//! use std::time::Duration;
//! use larder::{Cache, Strategy};
//! use larder_moka::Moka;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
//! let cache: Cache<u64, String> =
//!     Cache::builder().backend(Moka::new(10_000)).strategy(Strategy::aside(Duration::from_secs(60))).build()?;
//! let bread = cache.get_or_load(&1, || async { Ok::<_, std::io::Error>("bread".to_owned()) }).await?;
//! assert_eq!(bread.unwrap().as_str(), "bread");
//! # Ok(()) }
//! ```

mod store;

use std::fmt;
use std::hash::Hash;

use larder::backend::{BackendContext, EntryCount, IntoBackend, Local, Weigher};
use larder::{Error, Result};

pub use crate::store::MokaStore;

/// An in-process store on moka, bounded by the number of entries or by weight.
///
/// # Examples
/// By count, and by the bytes of the values:
/// ```
/// use larder_moka::Moka;
/// let counted = Moka::new(10_000);
/// let weighed = Moka::new(64 << 20).weigher(|_key: &u64, value: &String| value.len() as u32);
/// # let _ = (counted, weighed);
/// ```
#[derive(Clone)]
pub struct Moka<W = EntryCount> {
    capacity: u64,
    weigher: W,
    frees_expired: bool,
}

impl<W> fmt::Debug for Moka<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Moka").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

impl Moka {
    /// Returns a store of at most `capacity` entries. Zero is refused when the cache is built.
    #[must_use]
    pub fn new(capacity: u64) -> Self {
        Self { capacity, weigher: EntryCount, frees_expired: false }
    }
}

impl<W> Moka<W> {
    /// Measures the capacity in weight: `weigher` returns the weight of each value. Negative entries weigh 1.
    ///
    /// # Examples
    /// See [`Moka`].
    #[must_use]
    pub fn weigher<X>(self, weigher: X) -> Moka<X> {
        Moka { capacity: self.capacity, weigher, frees_expired: self.frees_expired }
    }

    /// Frees the memory of expired entries within seconds, if the store is used meanwhile. Otherwise it is freed
    /// when its place is needed. For a large capacity that short lives leave mostly unused.
    ///
    /// Default: off, because of its cost. Moka then keeps a timer for each entry. It also checks at each hit if the
    /// read has changed it, which takes an eighth of the hit.
    ///
    /// # Examples
    /// ```
    /// let sessions = larder_moka::Moka::new(10_000_000).frees_expired();
    /// # let _ = sessions;
    /// ```
    #[must_use]
    pub fn frees_expired(mut self) -> Self {
        self.frees_expired = true;
        self
    }
}

impl<K, V, W> IntoBackend<K, V> for Moka<W>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
    W: Weigher<K, V>,
{
    type Backend = Local<K, MokaStore<K, V>>;

    fn into_backend(self, scope: &BackendContext) -> Result<Self::Backend> {
        if self.capacity == 0 {
            return Err(Error::config(
                "`Moka::new(0)` would keep nothing: give the most entries or weight to keep",
            ));
        }
        Ok(Local::new(MokaStore::open(self.capacity, self.weigher, self.frees_expired, scope)))
    }
}
