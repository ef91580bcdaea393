//! Inserts and invalidations.

use std::time::Duration;

use super::{Cache, Key, Value, WriteGuard};
use crate::backend::WriteIntent;
use crate::source::Loaded;
use crate::tag::Tag;
use crate::{Error, Result};

impl<K: Key, V: Value> Cache<K, V> {
    /// Stores a value, in place of the cached entry and of the running loads.
    ///
    /// Two writers that insert after their writes can do so in the other order. After a write,
    /// [`invalidate`](Self::invalidate) is the safe call. Use this for values with one writer, and for warming.
    ///
    /// # Errors
    /// The backend's error. The old value may still be stored, so the key is treated as one whose invalidation
    /// failed.
    ///
    /// # Cancellation safety
    /// If the future is dropped on its way, it becomes an invalidation of the key.
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

    /// Forgets `key`: call it after the write to the source was committed. A read that starts after this returned
    /// `Ok` Invalidates `key`. Call it after the write to the source was committed.
    ///
    /// A read that starts after this returned `Ok` does not see a value that was loaded before.
    ///
    /// # Errors
    /// If the backend did not acknowledge. The key then bypasses the cache in this process, and the invalidation is
    /// retried until the backend acknowledges. Other processes may serve the old value until then.
    ///
    /// # Cancellation safety
    /// If the future is dropped on its way, it goes on in the background like one that failed. A future that was
    /// never polled has no effect.
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
    /// Invalidates many keys like [`invalidate`](Self::invalidate), in one round trip if the backend supports it.
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

    /// Invalidates every entry that carries `tag`, those that are being loaded included.
    ///
    /// The cost does not depend on their number. A read that starts after this returned `Ok` sees none of them.
    ///
    /// # Errors
    /// As [`invalidate`](Self::invalidate). Entries with the tag then bypass the cache in this process until the
    /// backend acknowledges.
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

    /// Invalidates several tags like [`invalidate_tag`](Self::invalidate_tag), in one step.
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

    /// Invalidates `tag` and removes the entries that the [`TagIndex`](crate::tag::TagIndex) lists, which frees their
    /// memory at once.
    ///
    /// Returns the number of removed keys. Other entries with the tag are invalidated as by
    /// [`invalidate_tag`](Self::invalidate_tag).
    ///
    /// # Errors
    /// As [`invalidate_tag`](Self::invalidate_tag); [`Config`](crate::ErrorKind::Config) if the cache has no index.
    ///
    /// # Cancellation safety
    /// As [`invalidate`](Self::invalidate). Entries that were not removed leave with their TTL.
    ///
    /// # Examples
    /// See [`TagIndex`](crate::tag::TagIndex).
    pub async fn reclaim_tag(&self, tag: &Tag) -> Result<usize> {
        Box::pin(self.engine.reclaim_tag(tag)).await
    }

    /// Places a write guard on `keys`, for writers that may die between their commit and the invalidation.
    ///
    /// Call it before the commit, and [`finish`](WriteGuard::finish) after the commit or the rollback. Until the end
    /// of the guard the keys are not cached: reads load from the source. If this process dies, the guard ends after
    /// `life`.
    ///
    /// So no read that starts after the commit returns an older value, even if the writer dies, provided that the
    /// commit comes within `life`. Several writers may guard one key at once.
    ///
    /// # Errors
    /// If the backend did not acknowledge. Roll back, or commit without the guard's guarantee and
    /// [`invalidate`](Self::invalidate).
    ///
    /// # Cancellation safety
    /// If the future is dropped on its way, the guard may be in place, and ends after `life`.
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

    /// Invalidates all entries of this cache.
    ///
    /// # Errors
    /// As [`invalidate`](Self::invalidate). All keys then bypass the cache in this process until the backend
    /// acknowledges.
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
}
