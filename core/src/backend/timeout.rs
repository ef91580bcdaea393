//! A time limit for the calls of a backend.

use std::future::Future;
use std::time::Duration;

use super::{
    BackendContext, BeginOutcome, CacheBackend, Fence, FillOutcome, IntoBackend, LoadIntent, Recency,
    WriteIntent,
};
use crate::backend::Entry;
use crate::clock::Timestamp;
use crate::tag::{Pruned, Stamp, Tag};
use crate::{Error, Result};

/// A time limit for each call to a store. A call that takes longer is abandoned and reported as a timeout.
///
/// The cache has such a limit around its whole backend
/// ([`CacheBuilder::backend_timeout`](crate::CacheBuilder::backend_timeout)); use this for one tier of two.
/// An abandoned call may still be executed, so an invalidation that timed out is not acknowledged.
///
/// # Examples
/// ```no_run
/// # use larder::backend::{IntoBackend, Timeout};
/// # fn with<S: IntoBackend<u64, String>>(redis: S) {
/// let impatient = Timeout::new(redis, std::time::Duration::from_millis(50));
/// # let _ = impatient;
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Timeout<S> {
    inner: S,
    limit: Duration,
}

impl<S> Timeout<S> {
    /// Limits each call to `inner` to `limit`. Zero is refused by `build()`.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # let redis = larder::Quick::new(1_000);
    /// use larder::backend::Timeout;
    /// let bounded = Timeout::new(redis, Duration::from_millis(50));
    /// # let _ = bounded;
    /// ```
    pub fn new(inner: S, limit: Duration) -> Self {
        Self { inner, limit }
    }
}

impl<K, V, S: IntoBackend<K, V>> IntoBackend<K, V> for Timeout<S>
where
    K: Sync + 'static,
    V: Send + Sync + 'static,
{
    type Backend = TimeoutBackend<S::Backend>;

    fn into_backend(self, scope: &BackendContext) -> Result<Self::Backend> {
        if self.limit.is_zero() {
            return Err(Error::config("a timeout of zero lets no call succeed: give at least 1 ms"));
        }
        Ok(TimeoutBackend { inner: self.inner.into_backend(scope)?, limit: self.limit })
    }
}

/// An opened [`Timeout`].
#[derive(Debug)]
pub struct TimeoutBackend<B> {
    inner: B,
    limit: Duration,
}

impl<B> TimeoutBackend<B> {
    async fn bounded<T>(&self, operation: &str, call: impl Future<Output = Result<T>>) -> Result<T> {
        if let Err(cause) = tokio::runtime::Handle::try_current() {
            return Err(Error::config("timeouts run on tokio: call the cache from within a tokio runtime")
                .with_source(cause));
        }
        match tokio::time::timeout(self.limit, call).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(Error::timeout(operation, self.limit)),
        }
    }
}

impl<K, V, B: CacheBackend<K, V>> CacheBackend<K, V> for TimeoutBackend<B>
where
    K: Sync + 'static,
    V: Send + Sync + 'static,
{
    #[inline]
    fn look<T>(
        &self,
        key: &K,
        now: Timestamp,
        recency: Recency,
        look: impl FnOnce(&mut Entry<V>) -> Option<T>,
    ) -> Option<T> {
        self.inner.look(key, now, recency, look)
    }
    fn shared_name(&self, key: &K) -> Option<String> {
        self.inner.shared_name(key)
    }
    fn watch(&self, watcher: std::sync::Weak<dyn super::Watcher>) -> bool {
        self.inner.watch(watcher)
    }
    fn is_bounded(&self) -> bool {
        true
    }
    async fn get(&self, key: &K, now: Timestamp) -> Result<Option<Entry<V>>> {
        self.bounded("get", self.inner.get(key, now)).await
    }
    async fn get_many(&self, keys: &[K], now: Timestamp) -> Result<Vec<Option<Entry<V>>>> {
        self.bounded("get_many", self.inner.get_many(keys, now)).await
    }
    async fn begin(&self, key: &K, announce: LoadIntent, now: Timestamp) -> Result<BeginOutcome<V>> {
        self.bounded("begin", self.inner.begin(key, announce, now)).await
    }
    async fn fill(&self, key: &K, fence: Fence, entry: Entry<V>, now: Timestamp) -> Result<FillOutcome> {
        self.bounded("fill", self.inner.fill(key, fence, entry, now)).await
    }
    async fn renew(&self, key: &K, fence: Fence, lease: Duration, now: Timestamp) -> Result<bool> {
        self.bounded("renew", self.inner.renew(key, fence, lease, now)).await
    }
    async fn release(&self, key: &K, fence: Fence, now: Timestamp) -> Result<()> {
        self.bounded("release", self.inner.release(key, fence, now)).await
    }
    async fn put(&self, key: &K, entry: Entry<V>, now: Timestamp) -> Result<()> {
        self.bounded("put", self.inner.put(key, entry, now)).await
    }
    async fn remove(&self, key: &K) -> Result<()> {
        self.bounded("remove", self.inner.remove(key)).await
    }
    async fn remove_many(&self, keys: &[K]) -> Result<()> {
        self.bounded("remove_many", self.inner.remove_many(keys)).await
    }
    async fn clear(&self) -> Result<()> {
        self.bounded("clear", self.inner.clear()).await
    }
    async fn invalidate_tags(&self, tags: &[Tag]) -> Result<Stamp> {
        self.bounded("invalidate_tags", self.inner.invalidate_tags(tags)).await
    }
    async fn prune_tags(&self, count: u64, longest: Duration) -> Result<Pruned> {
        self.bounded("prune_tags", self.inner.prune_tags(count, longest)).await
    }
    async fn guard(&self, key: &K, guard: WriteIntent, now: Timestamp) -> Result<()> {
        self.bounded("guard", self.inner.guard(key, guard, now)).await
    }
    async fn unguard(&self, key: &K, guard: WriteIntent, now: Timestamp) -> Result<()> {
        self.bounded("unguard", self.inner.unguard(key, guard, now)).await
    }
}
