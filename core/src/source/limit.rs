//! A limit on the number of concurrent calls to a source.

use std::pin::pin;
use std::sync::Arc;

use futures_util::future::{Either, select};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::{BatchResults, BatchSource, ConditionalSource, KnownValue, Loaded, Source};
use crate::engine::Chain;
use crate::{Error, Result};

/// A source with a maximum of concurrent calls. Further calls wait for their turn. A batch is one call.
///
/// [`Strategy::max_concurrent_loads`](crate::Strategy::max_concurrent_loads) limits the loads of one cache and
/// refuses further ones. This is the limit of one database or service that several caches share. The wait counts
/// against the budget of the load.
///
/// A load that another load waits for does not wait for its turn (prevents: a deadlock if its parent has the last
/// one). The limit is exceeded by at most the concurrent calls of each such load.
///
/// # Examples
/// ```
/// use larder::source::SourceLimit;
/// use larder::source_fn;
///
/// let users = SourceLimit::new(source_fn(|id: u64| async move { Ok::<_, std::io::Error>(Some(id)) }), 16);
/// // another source on the same database: 16 calls at once for both together
/// let orders = users.beside(source_fn(|id: u64| async move { Ok::<_, std::io::Error>(Some(id)) }));
/// # let _ = orders;
/// ```
#[derive(Debug, Clone)]
pub struct SourceLimit<S> {
    inner: S,
    turns: Arc<Semaphore>,
    most: usize,
}

impl<S> SourceLimit<S> {
    /// Limits `inner` to `most` concurrent calls. Zero is refused by `build()`.
    ///
    /// # Examples
    /// See [`SourceLimit`].
    pub fn new(inner: S, most: usize) -> Self {
        Self { inner, turns: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))), most }
    }

    /// Returns another source under the same limit.
    ///
    /// # Examples
    /// See [`SourceLimit`].
    pub fn beside<T>(&self, inner: T) -> SourceLimit<T> {
        SourceLimit { inner, turns: Arc::clone(&self.turns), most: self.most }
    }

    /// Waits for the permission to call the source. `None` inside another load, which may hold the last one until
    /// this call ends.
    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        if Chain::is_nested() {
            return None;
        }
        match select(pin!(self.turns.acquire()), pin!(Chain::nested())).await {
            Either::Left((turn, _)) => Some(turn.expect("the semaphore is never closed")),
            Either::Right(_) => None,
        }
    }
}

impl<K: Sync, S: Source<K>> Source<K> for SourceLimit<S> {
    type Value = S::Value;
    type Error = S::Error;

    async fn load(&self, key: &K) -> Result<Option<S::Value>, S::Error> {
        let _turn = self.turn().await;
        self.inner.load(key).await
    }

    fn check(&self) -> Result<()> {
        if self.most == 0 {
            return Err(Error::config("a source limit of zero lets no load begin: give at least 1"));
        }
        self.inner.check()
    }
}

impl<K: Sync, S: BatchSource<K>> BatchSource<K> for SourceLimit<S> {
    async fn load_many(&self, keys: &[K]) -> Result<Vec<Option<S::Value>>, S::Error> {
        let _turn = self.turn().await;
        self.inner.load_many(keys).await
    }

    async fn load_each(&self, keys: &[K]) -> Result<BatchResults<S::Value, S::Error>, S::Error> {
        let _turn = self.turn().await;
        self.inner.load_each(keys).await
    }
}

impl<K: Sync, S: ConditionalSource<K>> ConditionalSource<K> for SourceLimit<S> {
    async fn load_if_modified(
        &self,
        key: &K,
        known: Option<KnownValue<'_, S::Value>>,
    ) -> Result<Loaded<S::Value>, S::Error> {
        let _turn = self.turn().await;
        self.inner.load_if_modified(key, known).await
    }
}
