//! The cache, its builder, and the types that its methods return.

mod builder;
mod cached_entry;
mod get;
mod many;
mod warm;
mod write;
mod write_guard;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

pub use self::builder::CacheBuilder;
pub use self::cached_entry::{CachedEntry, Origin};
use self::get::Get;
pub use self::warm::{Warm, WarmProgress, WarmReport};
pub use self::write_guard::WriteGuard;
use crate::backend::WriteIntent;
use crate::backend::entry::Hit;
use crate::engine::{Answer, Engine, Load, Seen};
pub use crate::engine::{Key, Value};
use crate::error::BoxError;
use crate::observe::Stats;
use crate::source::Loaded;
use crate::{Error, Result};

/// A cache in front of a source: reads go through it, writes invalidate it. A cheap handle; clones share everything.
///
/// The guarantee: **a read that starts after [`invalidate`](Self::invalidate) returned `Ok` never returns a value
/// loaded before it.** It holds for all processes on one shared backend, through slow loads, lost replies, evictions,
/// restarts and crashed clients. With a [`Tiered`](crate::Tiered) backend it holds for other processes after its
/// `max_staleness`.
///
/// # Examples
/// ```
/// # use larder::{Cache, Quick, Result, Strategy, source_fn};
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
/// # let store = Quick::new(10_000);
/// let names: Cache<u64, String> = Cache::builder()
///     .backend(store)
///     .source(source_fn(|id: u64| async move { Ok::<_, std::io::Error>(Some(format!("user {id}"))) }))
///     .strategy(Strategy::aside(Duration::from_secs(60)))
///     .build()?;
///
/// assert_eq!(names.get(&7).await?.as_deref().map(String::as_str), Some("user 7")); // loads and fills
/// assert_eq!(names.get(&7).await?.as_deref().map(String::as_str), Some("user 7")); // a hit
/// names.invalidate(&7).await?; // after a write
/// assert_eq!(names.stats().loads, 1);
/// # Ok(()) }
/// ```
pub struct Cache<K: Key, V> {
    engine: Arc<Engine<K, V>>,
}

impl<K: Key, V: Value> Cache<K, V> {
    /// Starts building a cache.
    ///
    /// # Examples
    /// See [`CacheBuilder`].
    #[must_use]
    pub fn builder() -> CacheBuilder<K, V> {
        CacheBuilder::new()
    }

    pub(crate) fn from_engine(engine: Engine<K, V>) -> Self {
        Self { engine: Arc::new(engine) }
    }

    pub(crate) fn engine(&self) -> &Arc<Engine<K, V>> {
        &self.engine
    }

    /// Returns the value of `key`, from the cache or the registered source. A loaded value is stored.
    ///
    /// Returns `Ok(None)` if there is no value. A hit in this process's memory allocates nothing and is ready at the
    /// first poll. Concurrent misses of one key share one load.
    ///
    /// # Errors
    /// The source's error, its panic or its timeout; [`Config`](crate::ErrorKind::Config) if no source is registered.
    /// Failures of the backend are no errors here: they are counted, and the source answers.
    ///
    /// # Cancellation safety
    /// Dropping the future only ends the wait: the load goes on and its value is stored.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
    /// assert_eq!(squares.get(&3).await?.as_deref(), Some(&9));
    /// # Ok(()) }
    /// ```
    #[inline]
    pub fn get<'a>(&'a self, key: &'a K) -> impl Future<Output = Result<Option<Arc<V>>>> {
        Get::new(&self.engine, key, |engine, key, seen| async move {
            Ok(Self::read(engine, key, seen).await?.entry.into_value())
        })
    }

    /// Returns the value of `key` from this process's memory, without waiting.
    ///
    /// For code that is not async, or that checks if a [`get`](Self::get) would wait. The outer `None` means that
    /// memory holds no entry that a `get` would serve without asking further. The inner `None` is a negative entry.
    /// Counted as a hit if there is an entry, otherwise not counted. Allocates nothing.
    ///
    /// # Examples
    /// ```
    /// # use larder::Result;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
    /// assert_eq!(squares.get_local(&3), None);
    /// squares.get(&3).await?;
    /// assert_eq!(squares.get_local(&3).flatten().as_deref(), Some(&9));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn get_local(&self, key: &K) -> Option<Option<Arc<V>>> {
        self.engine.hit(key, &mut Seen::Nothing).map(|Hit(value)| value)
    }

    /// Acts as [`get`](Self::get), and also returns the origin of the value, its age and the reason of a miss.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// # Cancellation safety
    /// As [`get`](Self::get).
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
    /// let found = squares.get_entry(&3).await?;
    /// assert_eq!((found.origin, found.age.as_secs()), (larder::cache::Origin::Loaded, 0));
    /// # Ok(()) }
    /// ```
    pub async fn get_entry(&self, key: &K) -> Result<CachedEntry<V>> {
        if let Some(entry) = self.engine.peek(key) {
            return Ok(CachedEntry::new(self.engine.near_answer(entry)));
        }
        Box::pin(async { Ok(CachedEntry::new(Self::read(&self.engine, key, Seen::Something).await?)) }).await
    }

    async fn read(engine: &Arc<Engine<K, V>>, key: &K, seen: Seen) -> Result<Answer<V>> {
        engine.registered()?;
        engine.read(key, seen, || Load::Registered).await
    }

    /// Returns the value of `key`, from the cache or from `loader`, which is called only if no load of the key is
    /// running.
    ///
    /// The loader returns a value, an `Option` of it, or a [`Loaded`] with a TTL of its own. It runs on its own task,
    /// so it owns what it uses.
    ///
    /// # Errors
    /// As [`get`](Self::get), with the loader's error.
    ///
    /// # Cancellation safety
    /// As [`get`](Self::get).
    ///
    /// # Examples
    /// ```
    /// # use larder::{Loaded, Result};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
    /// # let cache = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
    /// let value = cache
    ///     .get_or_load(&5, || async { Ok::<_, std::io::Error>(Loaded::new(25).ttl(Duration::from_secs(3))) })
    ///     .await?;
    /// assert_eq!(value.as_deref(), Some(&25));
    /// # Ok(()) }
    /// ```
    #[inline]
    pub fn get_or_load<'a, F, Fut, T, E>(
        &'a self,
        key: &'a K,
        loader: F,
    ) -> impl Future<Output = Result<Option<Arc<V>>>>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Into<Loaded<V>>,
        E: Into<BoxError>,
    {
        Get::new(&self.engine, key, |engine, key, seen| async move {
            Ok(engine.read(key, seen, || given(loader)).await?.entry.into_value())
        })
    }

    /// Acts as [`get_or_load`](Self::get_or_load), and also returns the origin of the value, its age and the reason
    /// of a miss.
    ///
    /// # Errors
    /// As [`get_or_load`](Self::get_or_load).
    ///
    /// # Cancellation safety
    /// As [`get`](Self::get).
    ///
    /// # Examples
    /// ```
    /// # use larder::cache::Origin;
    /// # use larder::Result;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
    /// # let cache = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
    /// let found = cache.get_entry_or_load(&5, || async { Ok::<_, std::io::Error>(25) }).await?;
    /// assert_eq!((found.origin, found.kept), (Origin::Loaded, true));
    /// # Ok(()) }
    /// ```
    pub async fn get_entry_or_load<F, Fut, T, E>(&self, key: &K, loader: F) -> Result<CachedEntry<V>>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Into<Loaded<V>>,
        E: Into<BoxError>,
    {
        if let Some(entry) = self.engine.peek(key) {
            return Ok(CachedEntry::new(self.engine.near_answer(entry)));
        }
        let read = Box::pin(self.engine.read(key, Seen::Something, || given(loader)));
        Ok(CachedEntry::new(read.await?))
    }

    /// Returns the cached entry of `key`, without loading. `None` if there is none. A negative entry is a
    /// [`CachedEntry`] without a value.
    ///
    /// # Errors
    /// The backend's error. The source is not called, so that "not cached" would be a guess.
    ///
    /// # Cancellation safety
    /// Safe.
    ///
    /// # Examples
    /// ```
    /// # use larder::Result;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
    /// assert!(squares.get_if_present(&2).await?.is_none());
    /// squares.get(&2).await?;
    /// assert_eq!(squares.get_if_present(&2).await?.and_then(|found| found.value).as_deref(), Some(&4));
    /// # Ok(()) }
    /// ```
    pub async fn get_if_present(&self, key: &K) -> Result<Option<CachedEntry<V>>> {
        Ok(self.engine.get_if_present(key).await?.map(CachedEntry::new))
    }

    /// Reloads `key` from the registered source, even if a fresh entry is cached, and stores the result. The load
    /// begins after this call.
    ///
    /// # Errors
    /// As [`get`](Self::get). After a failure the cached entry remains.
    ///
    /// # Cancellation safety
    /// As [`get`](Self::get).
    ///
    /// # Examples
    /// ```
    /// # use larder::Result;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
    /// squares.get(&2).await?;
    /// squares.refresh(&2).await?;
    /// assert_eq!(squares.stats().loads, 2);
    /// # Ok(()) }
    /// ```
    pub async fn refresh(&self, key: &K) -> Result<Option<Arc<V>>> {
        Ok(Box::pin(self.engine.refresh(key, Load::Registered)).await?.entry.into_value())
    }

    /// Reloads `key` with `loader`, even if a fresh entry is cached, and stores the result. The load begins after
    /// this call.
    ///
    /// # Errors
    /// As [`get_or_load`](Self::get_or_load). After a failure the cached entry remains.
    ///
    /// # Cancellation safety
    /// As [`get`](Self::get).
    ///
    /// # Examples
    /// ```
    /// # use larder::Result;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
    /// # let cache = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
    /// cache.get(&2).await?;
    /// let reloaded = cache.refresh_with(&2, || async { Ok::<_, std::io::Error>(8) }).await?;
    /// assert_eq!((reloaded.as_deref(), cache.get(&2).await?.as_deref()), (Some(&8), Some(&8)));
    /// # Ok(()) }
    /// ```
    pub async fn refresh_with<F, Fut, T, E>(&self, key: &K, loader: F) -> Result<Option<Arc<V>>>
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Into<Loaded<V>>,
        E: Into<BoxError>,
    {
        Ok(Box::pin(self.engine.refresh(key, given(loader))).await?.entry.into_value())
    }

    pub(crate) async fn end_write(&self, keys: &[K], guard: WriteIntent) -> Result<()> {
        Box::pin(self.engine.unguard(keys, guard)).await
    }

    /// Returns `true` if both are handles of one cache.
    ///
    /// # Examples
    /// ```
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
    /// assert!(squares.ptr_eq(&squares.clone()) && !squares.ptr_eq(&include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?));
    /// # Ok::<(), larder::Error>(())
    /// ```
    #[must_use]
    pub fn ptr_eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.engine, &other.engine)
    }

    /// Returns the counts since the cache was built.
    ///
    /// # Examples
    /// ```
    /// # use larder::Result;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
    /// squares.get(&2).await?;
    /// squares.get(&2).await?;
    /// assert_eq!(squares.stats().hit_rate(), 0.5);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.engine.stats()
    }

    /// Returns the number of loads under way.
    ///
    /// # Examples
    /// ```
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
    /// assert_eq!(squares.in_flight(), 0);
    /// # Ok::<(), larder::Error>(())
    /// ```
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.engine.in_flight()
    }

    /// Returns the number of invalidations that wait for the backend's acknowledgement.
    ///
    /// # Examples
    /// ```
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
    /// assert_eq!(squares.unacknowledged(), 0);
    /// # Ok::<(), larder::Error>(())
    /// ```
    #[must_use]
    pub fn unacknowledged(&self) -> usize {
        self.engine.unacknowledged()
    }

    /// Waits for the loads under way, retries pending invalidations a last time, and ends all background work.
    ///
    /// Hits are still served afterwards. A read that would load gets an error of kind
    /// [`Closed`](crate::ErrorKind::Closed). Ends within the load budget and the backend's timeout.
    ///
    /// # Errors
    /// If invalidations are left that the backend never acknowledged.
    ///
    /// # Cancellation safety
    /// Safe; call it again to continue the wait.
    ///
    /// # Examples
    /// ```
    /// # use larder::{ErrorKind, Result};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
    /// squares.shutdown().await?;
    /// assert_eq!(squares.get(&2).await.unwrap_err().kind(), ErrorKind::Closed);
    /// # Ok(()) }
    /// ```
    pub async fn shutdown(&self) -> Result<()> {
        Box::pin(self.engine.shutdown()).await
    }
}

impl<K: Key, V> Clone for Cache<K, V> {
    fn clone(&self) -> Self {
        Self { engine: Arc::clone(&self.engine) }
    }
}

impl<K: Key, V> fmt::Debug for Cache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.engine.fmt(f)
    }
}

/// Wraps a caller's loader for the engine.
fn given<K, V, F, Fut, T, E>(loader: F) -> Load<K, V>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = Result<T, E>> + Send + 'static,
    T: Into<Loaded<V>>,
    E: Into<BoxError>,
{
    Load::Given(Box::new(move || -> crate::engine::LoadFuture<V> {
        let load = loader();
        Box::pin(async move { load.await.map(Into::into).map_err(Error::from_source) })
    }))
}
