//! The erased form of [`CacheBackend`] that the engine holds.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::{
    BackendContext, BeginOutcome, CacheBackend, Fence, FillOutcome, IntoBackend, LoadIntent, Recency,
    WriteIntent,
};
use crate::Result;
use crate::backend::entry::{Entry, Hit};
use crate::clock::Timestamp;
use crate::tag::{Pruned, Stamp, Tag};

/// A backend with an erased type, to choose one at run time or to keep types short. Cheap to clone.
///
/// # Examples
/// ```
/// use larder::backend::Erased;
/// use larder::CacheBackend;
///
/// fn choose<A, B>(quick: bool, one: A, other: B) -> Erased<u64, String>
/// where
///     A: CacheBackend<u64, String>,
///     B: CacheBackend<u64, String>,
/// {
///     if quick { Erased::new(one) } else { Erased::new(other) }
/// }
/// ```
#[allow(
    clippy::redundant_allocation,
    reason = "each call to what an `Arc` holds unsized first asks how that is aligned"
)]
pub struct Erased<K, V>(Arc<Box<dyn DynBackend<K, V>>>);

impl<K: Sync + 'static, V: Send + Sync + 'static> Erased<K, V> {
    /// Erases the type of `backend`. An erased one is used as it is, so that a hit makes one dynamic call.
    pub fn new(backend: impl CacheBackend<K, V>) -> Self {
        match (&backend as &dyn Any).downcast_ref::<Self>() {
            Some(erased) => erased.clone(),
            None => Self(Arc::new(Box::new(backend))),
        }
    }
}

impl<K: Sync + 'static, V: Send + Sync + 'static> Erased<K, V> {
    /// Returns this process's entry of `key` if it is certainly fresh at a cheap reading of the clock.
    #[inline]
    pub(crate) fn peek_fresh(&self, key: &K, recent: Timestamp, seen: &mut Seen) -> Option<Hit<V>> {
        self.0.peek_fresh_dyn(key, recent, seen)
    }
}

impl<K, V> Clone for Erased<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, V> fmt::Debug for Erased<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The result of the first look of a read that is no hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// This process holds no entry.
    Nothing,
    /// There is an entry that is not fresh, or that was not looked at.
    Something,
}

/// An answer of a backend in the calls of each miss. An answer that is ready at once is in place, without a box.
enum Answer<'a, T> {
    Now(T),
    Later(BoxFuture<'a, T>),
}

fn answer<'a, B: CacheBackend<K, V>, K, V, T>(future: impl Future<Output = T> + Send + 'a) -> Answer<'a, T> {
    if !B::IS_IMMEDIATE {
        return Answer::Later(Box::pin(future));
    }
    match future.now_or_never() {
        Some(answer) => Answer::Now(answer),
        None => unreachable!("a backend that says that it is immediate waits for nothing"),
    }
}

/// The dynamic form of [`CacheBackend`]. Its methods have other names, so that none calls itself by accident.
#[async_trait]
trait DynBackend<K, V>: fmt::Debug + Send + Sync + 'static {
    fn look_dyn(&self, key: &K, now: Timestamp, recency: Recency, look: &mut dyn FnMut(&mut Entry<V>));
    fn peek_fresh_dyn(&self, key: &K, recent: Timestamp, seen: &mut Seen) -> Option<Hit<V>>;
    fn shared_name_dyn(&self, key: &K) -> Option<String>;
    fn is_bounded_dyn(&self) -> bool;
    fn watch_dyn(&self, watcher: std::sync::Weak<dyn super::Watcher>) -> bool;
    fn get_dyn<'a>(&'a self, key: &'a K, now: Timestamp) -> Answer<'a, Result<Option<Entry<V>>>>;
    async fn get_many_dyn(&self, keys: &[K], now: Timestamp) -> Result<Vec<Option<Entry<V>>>>;
    fn begin_dyn<'a>(
        &'a self,
        key: &'a K,
        announce: LoadIntent,
        now: Timestamp,
    ) -> Answer<'a, Result<BeginOutcome<V>>>;
    fn fill_dyn<'a>(
        &'a self,
        key: &'a K,
        fence: Fence,
        entry: Entry<V>,
        now: Timestamp,
    ) -> Answer<'a, Result<FillOutcome>>;
    async fn renew_dyn(&self, key: &K, fence: Fence, lease: Duration, now: Timestamp) -> Result<bool>;
    async fn release_dyn(&self, key: &K, fence: Fence, now: Timestamp) -> Result<()>;
    async fn put_dyn(&self, key: &K, entry: Entry<V>, now: Timestamp) -> Result<()>;
    async fn remove_dyn(&self, key: &K) -> Result<()>;
    async fn remove_many_dyn(&self, keys: &[K]) -> Result<()>;
    async fn clear_dyn(&self) -> Result<()>;
    async fn invalidate_tags_dyn(&self, tags: &[Tag]) -> Result<Stamp>;
    async fn prune_tags_dyn(&self, count: u64, longest: Duration) -> Result<Pruned>;
    async fn guard_dyn(&self, key: &K, guard: WriteIntent, now: Timestamp) -> Result<()>;
    async fn unguard_dyn(&self, key: &K, guard: WriteIntent, now: Timestamp) -> Result<()>;
}

#[async_trait]
impl<K: Sync + 'static, V: Send + Sync + 'static, B: CacheBackend<K, V>> DynBackend<K, V> for B {
    fn look_dyn(&self, key: &K, now: Timestamp, recency: Recency, look: &mut dyn FnMut(&mut Entry<V>)) {
        self.look(key, now, recency, |entry| {
            look(entry);
            Some(())
        });
    }
    fn peek_fresh_dyn(&self, key: &K, recent: Timestamp, seen: &mut Seen) -> Option<Hit<V>> {
        // all layers of the backend are inlined here
        self.look(key, recent, Recency::Touch, |entry| {
            if entry.is_fresh(recent.after_lag()) {
                return Some(entry.take_hit());
            }
            *seen = Seen::Something;
            None
        })
    }
    fn shared_name_dyn(&self, key: &K) -> Option<String> {
        self.shared_name(key)
    }
    fn is_bounded_dyn(&self) -> bool {
        self.is_bounded()
    }
    fn watch_dyn(&self, watcher: std::sync::Weak<dyn super::Watcher>) -> bool {
        self.watch(watcher)
    }
    fn get_dyn<'a>(&'a self, key: &'a K, now: Timestamp) -> Answer<'a, Result<Option<Entry<V>>>> {
        answer::<B, K, V, _>(self.get(key, now))
    }
    async fn get_many_dyn(&self, keys: &[K], now: Timestamp) -> Result<Vec<Option<Entry<V>>>> {
        self.get_many(keys, now).await
    }
    fn begin_dyn<'a>(
        &'a self,
        key: &'a K,
        announce: LoadIntent,
        now: Timestamp,
    ) -> Answer<'a, Result<BeginOutcome<V>>> {
        answer::<B, K, V, _>(self.begin(key, announce, now))
    }
    fn fill_dyn<'a>(
        &'a self,
        key: &'a K,
        fence: Fence,
        entry: Entry<V>,
        now: Timestamp,
    ) -> Answer<'a, Result<FillOutcome>> {
        answer::<B, K, V, _>(self.fill(key, fence, entry, now))
    }
    async fn renew_dyn(&self, key: &K, fence: Fence, lease: Duration, now: Timestamp) -> Result<bool> {
        self.renew(key, fence, lease, now).await
    }
    async fn release_dyn(&self, key: &K, fence: Fence, now: Timestamp) -> Result<()> {
        self.release(key, fence, now).await
    }
    async fn put_dyn(&self, key: &K, entry: Entry<V>, now: Timestamp) -> Result<()> {
        self.put(key, entry, now).await
    }
    async fn remove_dyn(&self, key: &K) -> Result<()> {
        self.remove(key).await
    }
    async fn remove_many_dyn(&self, keys: &[K]) -> Result<()> {
        self.remove_many(keys).await
    }
    async fn clear_dyn(&self) -> Result<()> {
        self.clear().await
    }
    async fn invalidate_tags_dyn(&self, tags: &[Tag]) -> Result<Stamp> {
        self.invalidate_tags(tags).await
    }
    async fn prune_tags_dyn(&self, count: u64, longest: Duration) -> Result<Pruned> {
        self.prune_tags(count, longest).await
    }
    async fn guard_dyn(&self, key: &K, guard: WriteIntent, now: Timestamp) -> Result<()> {
        self.guard(key, guard, now).await
    }
    async fn unguard_dyn(&self, key: &K, guard: WriteIntent, now: Timestamp) -> Result<()> {
        self.unguard(key, guard, now).await
    }
}

impl<K: Sync + 'static, V: Send + Sync + 'static> CacheBackend<K, V> for Erased<K, V> {
    fn look<T>(
        &self,
        key: &K,
        now: Timestamp,
        recency: Recency,
        look: impl FnOnce(&mut Entry<V>) -> Option<T>,
    ) -> Option<T> {
        let (mut look, mut seen) = (Some(look), None);
        self.0.look_dyn(key, now, recency, &mut |entry| seen = look.take().and_then(|look| look(entry)));
        seen
    }
    fn shared_name(&self, key: &K) -> Option<String> {
        self.0.shared_name_dyn(key)
    }
    fn is_bounded(&self) -> bool {
        self.0.is_bounded_dyn()
    }
    fn watch(&self, watcher: std::sync::Weak<dyn super::Watcher>) -> bool {
        self.0.watch_dyn(watcher)
    }
    async fn get(&self, key: &K, now: Timestamp) -> Result<Option<Entry<V>>> {
        let later = match self.0.get_dyn(key, now) {
            Answer::Now(answer) => return answer,
            Answer::Later(later) => later,
        };
        later.await
    }
    async fn get_many(&self, keys: &[K], now: Timestamp) -> Result<Vec<Option<Entry<V>>>> {
        self.0.get_many_dyn(keys, now).await
    }
    async fn begin(&self, key: &K, announce: LoadIntent, now: Timestamp) -> Result<BeginOutcome<V>> {
        let later = match self.0.begin_dyn(key, announce, now) {
            Answer::Now(answer) => return answer,
            Answer::Later(later) => later,
        };
        later.await
    }
    async fn fill(&self, key: &K, fence: Fence, entry: Entry<V>, now: Timestamp) -> Result<FillOutcome> {
        let later = match self.0.fill_dyn(key, fence, entry, now) {
            Answer::Now(answer) => return answer,
            Answer::Later(later) => later,
        };
        later.await
    }
    async fn renew(&self, key: &K, fence: Fence, lease: Duration, now: Timestamp) -> Result<bool> {
        self.0.renew_dyn(key, fence, lease, now).await
    }
    async fn release(&self, key: &K, fence: Fence, now: Timestamp) -> Result<()> {
        self.0.release_dyn(key, fence, now).await
    }
    async fn put(&self, key: &K, entry: Entry<V>, now: Timestamp) -> Result<()> {
        self.0.put_dyn(key, entry, now).await
    }
    async fn remove(&self, key: &K) -> Result<()> {
        self.0.remove_dyn(key).await
    }
    async fn remove_many(&self, keys: &[K]) -> Result<()> {
        self.0.remove_many_dyn(keys).await
    }
    async fn clear(&self) -> Result<()> {
        self.0.clear_dyn().await
    }
    async fn invalidate_tags(&self, tags: &[Tag]) -> Result<Stamp> {
        self.0.invalidate_tags_dyn(tags).await
    }
    async fn prune_tags(&self, count: u64, longest: Duration) -> Result<Pruned> {
        self.0.prune_tags_dyn(count, longest).await
    }
    async fn guard(&self, key: &K, guard: WriteIntent, now: Timestamp) -> Result<()> {
        self.0.guard_dyn(key, guard, now).await
    }
    async fn unguard(&self, key: &K, guard: WriteIntent, now: Timestamp) -> Result<()> {
        self.0.unguard_dyn(key, guard, now).await
    }
}

impl<K: Sync + 'static, V: Send + Sync + 'static> IntoBackend<K, V> for Erased<K, V> {
    type Backend = Self;

    fn into_backend(self, _scope: &BackendContext) -> Result<Self> {
        Ok(self)
    }
}

#[cfg(all(test, feature = "quick"))]
mod tests {
    use super::*;
    use crate::Quick;

    #[test]
    fn what_is_erased_twice_is_erased_once() -> Result<()> {
        let backend = IntoBackend::<u64, u64>::into_backend(Quick::new(10), &BackendContext::unnamed())?;
        let once = Erased::new(backend);
        let twice = Erased::new(once.clone());
        assert!(Arc::ptr_eq(&once.0, &twice.0));
        Ok(())
    }
}
