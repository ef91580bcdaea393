//! The cache, its builder, and the types that its methods return.

mod builder;
mod cached_entry;
mod get;
mod warm;
mod write_guard;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

pub use self::builder::CacheBuilder;
pub use self::cached_entry::{CachedEntry, Origin};
use self::get::Get;
pub use self::warm::{Warm, WarmProgress, WarmReport};
pub use self::write_guard::WriteGuard;
use crate::backend::WriteIntent;
use crate::backend::entry::Hit;
use crate::engine::{Answer, Engine, For, Load, Seen};
pub use crate::engine::{Key, Value};
use crate::error::BoxError;
use crate::observe::Stats;
use crate::source::Loaded;
use crate::tag::Tag;
use crate::{Error, ErrorKind, Result};

/// A cache beside a source: reads go through it, writes invalidate it. A cheap handle; clones share everything.
///
/// The promise: **a read that starts after [`invalidate`](Self::invalidate) returned `Ok` never returns a value loaded
/// before it.** It holds for all processes on one shared backend (with a [`Tiered`](crate::Tiered) backend, for other
/// processes after its bound), through slow loads, lost replies, evictions, restarts and crashed clients.
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

    /// The value of `key`: from the cache, or loaded from the registered source and kept. `Ok(None)` when there is none.
    ///
    /// A hit in this process's memory allocates nothing and is ready at the first poll. Concurrent misses of one key
    /// share one load.
    ///
    /// # Errors
    /// The source's error, its panic or its timeout; [`Config`](crate::ErrorKind::Config) when no source is registered.
    /// Failures of the backend are no errors here: they are counted and the source answers.
    ///
    /// # Cancellation safety
    /// Dropping the future gives up waiting and nothing else: the load goes on and its value is kept.
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

    /// What this process's memory has of `key`, at once: for code that is not async, or that wants to know whether a
    /// [`get`](Self::get) would wait. Outer `None` when it has nothing that a `get` would serve without asking further; inner
    /// `None` for a kept absence. Counted as a hit when there is something, else not at all. Allocates nothing.
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

    /// [`get`](Self::get), with where the value came from, how old it is, and why it was not cached.
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

    /// The values of `keys`, aligned with them; a key may occur more than once. What is missing is loaded with one
    /// [`load_many`](crate::source::BatchSource::load_many) where the source can, else up to 32 at a time.
    ///
    /// # Errors
    /// When a key could not be loaded: the error says which, and the first of them is its source. The other keys are kept
    /// nevertheless; [`get_each`](Self::get_each) answers them.
    ///
    /// # Cancellation safety
    /// As [`get`](Self::get).
    ///
    /// # Examples
    /// ```
    /// # use larder::Result;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
    /// let found = squares.get_many(&[2, 3, 2]).await?;
    /// assert_eq!(found.iter().map(|value| value.as_deref().copied()).collect::<Vec<_>>(), [Some(4), Some(9), Some(4)]);
    /// # Ok(()) }
    /// ```
    pub async fn get_many(&self, keys: &[K]) -> Result<Vec<Option<Arc<V>>>> {
        let answers = Box::pin(self.engine.read_many(keys, For::Reader)).await?;
        if answers.iter().any(Result::is_err) {
            return Err(partial(&answers));
        }
        Ok(answers.into_iter().flatten().map(crate::backend::Entry::into_value).collect())
    }

    /// [`get_many`](Self::get_many), with an answer of its own for each key: some can fail and others not.
    ///
    /// # Errors
    /// The outer error is that of the whole call (no source, a cache that was shut down), the inner ones are those of
    /// single keys.
    ///
    /// # Cancellation safety
    /// As [`get`](Self::get).
    ///
    /// # Examples
    /// ```
    /// # use larder::Result;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
    /// for (key, answer) in [2, 3].iter().zip(squares.get_each(&[2, 3]).await?) {
    ///     match answer {
    ///         Ok(square) => println!("{key}: {square:?}"),
    ///         Err(error) => println!("{key} could not be loaded: {error}"),
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn get_each(&self, keys: &[K]) -> Result<Vec<Result<Option<Arc<V>>>>> {
        let answers = Box::pin(self.engine.read_many(keys, For::Reader)).await?;
        Ok(answers.into_iter().map(|answer| answer.map(crate::backend::Entry::into_value)).collect())
    }

    /// Loads keys before anybody asks for them: in batches, some at once, going on when some fail. See [`Warm`].
    ///
    /// # Examples
    /// ```
    /// # use larder::Result;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
    /// let report = squares.warm(1..=1_000).concurrency(4).run().await;
    /// assert_eq!((report.ready, report.failed.len()), (1_000, 0));
    /// # Ok(()) }
    /// ```
    pub fn warm<I>(&self, keys: I) -> Warm<K, V, futures_util::stream::Iter<I::IntoIter>>
    where
        I: IntoIterator<Item = K>,
    {
        self.warm_stream(futures_util::stream::iter(keys))
    }

    /// [`warm`](Self::warm) with keys from a stream, such as the rows of a query.
    ///
    /// # Examples
    /// ```
    /// # use larder::Result;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
    /// let keys = futures_util::stream::iter([1, 2, 3]);
    /// assert_eq!(squares.warm_stream(keys).run().await.ready, 3);
    /// # Ok(()) }
    /// ```
    pub fn warm_stream<S>(&self, keys: S) -> Warm<K, V, S>
    where
        S: futures_util::Stream<Item = K>,
    {
        Warm::new(self.clone(), keys)
    }

    /// The value of `key`: from the cache, or from `loader`, which is called only if nobody loads the key already.
    ///
    /// The loader returns a value, an `Option` of it, or a [`Loaded`] with a TTL of its own. It runs on its own task, so
    /// it owns what it uses.
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

    /// [`get_or_load`](Self::get_or_load), with where the value came from, how old it is, and why it was not cached.
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

    /// What is cached of `key`, without loading. `None` when nothing is; a kept absence is a [`CachedEntry`] without value.
    ///
    /// # Errors
    /// The backend's: without a source to fall back on, "not cached" would be a guess.
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

    /// Loads `key` anew whatever is cached, and keeps the result. The load begins after this call.
    ///
    /// # Errors
    /// As [`get`](Self::get); what was cached then stays.
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

    /// Keeps a value, in place of what is cached and of what is being loaded.
    ///
    /// Two writers that insert after their writes can do so in the other order; after a write,
    /// [`invalidate`](Self::invalidate) is the safe call. This is for values that nobody else writes, and for warming.
    ///
    /// # Errors
    /// The backend's: the old value may still be there, so the key is treated as one whose invalidation failed.
    ///
    /// # Cancellation safety
    /// Dropped on its way, it turns into an invalidation of the key.
    ///
    /// # Examples
    /// ```
    /// # use larder::Result;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
    /// # let cache = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
    /// cache.insert(&2, 5).await?;
    /// assert_eq!(cache.get(&2).await?.as_deref(), Some(&5));
    /// # Ok(()) }
    /// ```
    pub async fn insert(&self, key: &K, value: impl Into<Loaded<V>>) -> Result<()> {
        Box::pin(self.engine.insert(key, value.into())).await
    }

    /// Forgets `key`: call it after the write to the source was committed. A read that starts after this returned `Ok`
    /// does not see what was loaded before.
    ///
    /// # Errors
    /// When the backend did not acknowledge. Then this process does not serve the key from the cache, and tries again
    /// until the backend acknowledges; other processes may serve the old value until then.
    ///
    /// # Cancellation safety
    /// Dropped on its way, it goes on in the background like one that failed. A future that was never polled did nothing.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
    /// squares.get(&3).await?;
    /// // ... the write is committed ...
    /// squares.invalidate(&3).await?;
    /// assert!(squares.get_if_present(&3).await?.is_none());
    /// # Ok(()) }
    /// ```
    pub async fn invalidate(&self, key: &K) -> Result<()> {
        Box::pin(self.engine.invalidate(key)).await
    }

    /// [`invalidate`](Self::invalidate) for many keys, in one round trip where the backend can.
    ///
    /// # Errors
    /// As [`invalidate`](Self::invalidate): then all of `keys` count as not acknowledged.
    ///
    /// # Cancellation safety
    /// As [`invalidate`](Self::invalidate).
    ///
    /// # Examples
    /// ```
    /// # use larder::Result;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
    /// squares.get_many(&[2, 3]).await?;
    /// squares.invalidate_many(&[2, 3]).await?;
    /// assert!(squares.get_if_present(&3).await?.is_none());
    /// # Ok(()) }
    /// ```
    pub async fn invalidate_many(&self, keys: &[K]) -> Result<()> {
        Box::pin(self.engine.invalidate_many(keys)).await
    }

    /// Forgets every entry that carries `tag`: those that were loaded before, and those that are being loaded. Costs the
    /// same however many they are. A read that starts after this returned `Ok` sees none of them.
    ///
    /// # Errors
    /// As [`invalidate`](Self::invalidate): then this process serves no entry that carries the tag from the cache until
    /// the backend acknowledges.
    ///
    /// # Cancellation safety
    /// As [`invalidate`](Self::invalidate).
    ///
    /// # Examples
    /// ```
    /// # use larder::{Cache, Quick, Result, Strategy, Tag, source_fn};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
    /// # let store = Quick::new(10_000);
    /// let parity: Cache<u64, u64> = Cache::builder()
    ///     .backend(store)
    ///     .source(source_fn(|number: u64| async move { Ok::<_, std::io::Error>(Some(number % 2)) }))
    ///     .strategy(Strategy::aside(Duration::from_secs(60)).tagged(|parity| [Tag::new("parity", *parity)]))
    ///     .build()?;
    /// parity.get_many(&[1, 2, 3]).await?;
    /// parity.invalidate_tag(&Tag::new("parity", 1)).await?;
    /// assert!(parity.get_if_present(&3).await?.is_none() && parity.get_if_present(&2).await?.is_some());
    /// # Ok(()) }
    /// ```
    pub async fn invalidate_tag(&self, tag: &Tag) -> Result<()> {
        self.invalidate_tags(std::slice::from_ref(tag)).await
    }

    /// [`invalidate_tag`](Self::invalidate_tag) for several tags, in one step.
    ///
    /// # Errors
    /// As [`invalidate_tag`](Self::invalidate_tag).
    ///
    /// # Cancellation safety
    /// As [`invalidate`](Self::invalidate).
    ///
    /// # Examples
    /// ```
    /// # use larder::{Result, Tag};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
    /// # let products = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
    /// // a product moved from one category to another
    /// products.invalidate_tags(&[Tag::new("category", 7), Tag::new("category", 8)]).await?;
    /// # Ok(()) }
    /// ```
    pub async fn invalidate_tags(&self, tags: &[Tag]) -> Result<()> {
        Box::pin(self.engine.invalidate_tags(tags)).await
    }

    /// [`invalidate_tag`](Self::invalidate_tag), and removes the entries that the [`TagIndex`](crate::tag::TagIndex) knows, to free
    /// their room at once; answers how many keys that were. Other entries with the tag are ended all the same.
    ///
    /// # Errors
    /// As [`invalidate_tag`](Self::invalidate_tag); [`Config`](ErrorKind::Config) when the cache has no index.
    ///
    /// # Cancellation safety
    /// As [`invalidate`](Self::invalidate); what was not removed leaves with its TTL.
    ///
    /// # Examples
    /// See [`TagIndex`](crate::tag::TagIndex).
    pub async fn reclaim_tag(&self, tag: &Tag) -> Result<usize> {
        Box::pin(self.engine.reclaim_tag(tag)).await
    }

    /// Announces a write of `keys` to the source, for writers that may die between their commit and the invalidation. Call
    /// it before the commit, and [`finish`](WriteGuard::finish) after the commit or the rollback.
    ///
    /// From now on, and until the end of the guard, the keys are not in the cache and are not stored in it: reads load from
    /// the source. If this process dies, the guard ends by itself after `life`. So no read that starts after the commit
    /// returns an older value, whatever becomes of the writer, if the commit comes within `life`. Several writers may guard
    /// one key at once.
    ///
    /// # Errors
    /// When the backend did not acknowledge: roll back, or commit without the guard's promise and
    /// [`invalidate`](Self::invalidate).
    ///
    /// # Cancellation safety
    /// Dropped on its way, the guard may stand, and ends after `life`.
    ///
    /// # Examples
    /// ```
    /// # use larder::Result;
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
    /// # let products = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
    /// let guard = products.write_guard(&[7], Duration::from_secs(30)).await?;
    /// // ... the write is committed, or rolled back ...
    /// guard.finish().await?;
    /// # Ok(()) }
    /// ```
    pub async fn write_guard(&self, keys: &[K], life: Duration) -> Result<WriteGuard<K, V>> {
        if life.is_zero() {
            return Err(Error::config(
                "a write guard of zero life guards nothing: give the longest a commit may take",
            ));
        }
        let guard = WriteIntent::new(fastrand::u128(..), life);
        Box::pin(self.engine.guard(keys, guard)).await?;
        Ok(WriteGuard { cache: self.clone(), keys: keys.to_vec(), guard })
    }

    pub(crate) async fn end_write(&self, keys: &[K], guard: WriteIntent) -> Result<()> {
        Box::pin(self.engine.unguard(keys, guard)).await
    }

    /// Forgets everything that this cache keeps.
    ///
    /// # Errors
    /// As [`invalidate`](Self::invalidate): then nothing is served from the cache until the backend acknowledges.
    ///
    /// # Cancellation safety
    /// As [`invalidate`](Self::invalidate).
    ///
    /// # Examples
    /// ```
    /// # use larder::Result;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
    /// squares.get(&2).await?;
    /// squares.clear().await?;
    /// assert!(squares.get_if_present(&2).await?.is_none());
    /// # Ok(()) }
    /// ```
    pub async fn clear(&self) -> Result<()> {
        Box::pin(self.engine.clear()).await
    }

    /// Whether both are handles of one cache.
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

    /// What the cache has counted since it was built.
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

    /// How many loads are under way; 0 when nobody loads.
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

    /// How many invalidations wait for the backend's acknowledgement.
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

    /// Waits for the loads under way, tries unacknowledged invalidations a last time, and ends all background work.
    /// Hits are still served afterwards; a read that would load gets an error of kind
    /// [`Closed`](crate::ErrorKind::Closed). Ends within the load budget and the backend's timeout.
    ///
    /// # Errors
    /// When invalidations were left that the backend never acknowledged.
    ///
    /// # Cancellation safety
    /// Safe; call it again to go on waiting.
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

/// A loader that a caller brought, as the engine takes it.
fn given<V, F, Fut, T, E>(loader: F) -> Load<V>
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

/// What a partial failure of many keys says.
fn partial<T>(answers: &[Result<T>]) -> Error {
    /// How many positions the message names.
    const NAMED: usize = 10;
    let failed = answers.iter().enumerate().filter_map(|(at, answer)| Some((at, answer.as_ref().err()?)));
    let failed: Vec<(usize, &Error)> = failed.collect();
    let Some((_, first)) = failed.first() else { return Error::new(ErrorKind::Source, "no key failed") };
    if answers.len() == 1 {
        return Error::clone(first);
    }
    let named: Vec<String> = failed.iter().take(NAMED).map(|(at, _)| at.to_string()).collect();
    let more = if failed.len() > NAMED { ", ..." } else { "" };
    let message = format!(
        "{} of {} keys failed, at {}{more} (`get_each` answers the others); the first: {first}",
        failed.len(),
        answers.len(),
        named.join(", ")
    );
    let error = Error::new(first.kind(), message).with_source(Error::clone(first));
    if first.is_transient() { error.transient() } else { error }
}
