//! Invalidations and inserts: the operations that must not be lost.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::runtime::Handle;

use super::fill::Made;
use super::pending::{Epoch, Scope};
use super::{Engine, Key, Value};
use crate::backend::{BeginOutcome, CacheBackend, Entry, FillOutcome, LoadIntent, WriteIntent};
use crate::observe::Event;
use crate::source::Loaded;
use crate::tag::{Pruned, Stamp, Tag};
use crate::{Error, Result, mutation};

/// The pause before a pending invalidation is retried; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The maximum of keys, and of tags, that are retried at once.
const RETRIED_AT_ONCE: usize = 1_000;
/// The silence after which the retrying task counts as stalled in a runtime that is not driven any more.
/// Another task then begins. Longer than a pause and a try.
const SILENCE: Duration = Duration::from_secs(30);

/// An invalidation on its way. If it is dropped before it is acknowledged (an error, a cancelled caller), it becomes
/// pending. Its keys then bypass the cache, and a task retries it.
struct Unacknowledged<'a, K: Key, V: Value> {
    engine: &'a Arc<Engine<K, V>>,
    scope: Scope<K>,
    began: Epoch,
    acknowledged: bool,
}

impl<K: Key, V: Value> Unacknowledged<'_, K, V> {
    fn acknowledge(mut self) {
        self.acknowledged = true;
        let engine = self.engine;
        engine.pending.settle(&self.scope, self.began);
        engine.recorder.record(&Event::Invalidated { count: self.scope.count() });
    }
}

impl<K: Key, V: Value> Drop for Unacknowledged<'_, K, V> {
    fn drop(&mut self) {
        if !self.acknowledged && !mutation::on("an abandoned invalidation is none") {
            self.engine.pending.mark(&self.scope);
            self.engine.retry_pending();
        }
        // Prevents: a caller that starts after the invalidation joins a load that began before it
        match (&self.scope, self.acknowledged) {
            // the tags of a running load are not known yet, and its fill is refused only if the backend has the
            // invalidation
            (Scope::Tags(_), false) => self.engine.detach(&Scope::All),
            (scope, _) => self.engine.detach(scope),
        }
    }
}

impl<K: Key, V: Value> Engine<K, V> {
    pub(crate) async fn invalidate(self: &Arc<Self>, key: &K) -> Result<()> {
        self.settle(Scope::Keys(vec![key.clone()]), self.backend.remove(key)).await
    }

    pub(crate) async fn invalidate_many(self: &Arc<Self>, keys: &[K]) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        self.settle(Scope::Keys(keys.to_vec()), self.backend.remove_many(keys)).await
    }

    pub(crate) async fn clear(self: &Arc<Self>) -> Result<()> {
        self.settle(Scope::All, self.backend.clear()).await
    }

    /// Replaces the cached entry by a value. If the value is not to be kept, the entry is only removed.
    pub(crate) async fn insert(self: &Arc<Self>, key: &K, loaded: Loaded<V>) -> Result<()> {
        let Made { entry, keep } = match self.made(key, loaded, None) {
            Ok(made) => made,
            Err(error) => {
                // Prevents: a value that cannot be stored leaves the one that it was to replace
                self.invalidate(key).await?;
                return Err(error);
            }
        };
        if !keep {
            return self.invalidate(key).await;
        }
        self.index(key, &entry);
        self.settle(Scope::Keys(vec![key.clone()]), self.replace(key, entry)).await
    }

    /// Requests a fence for a value and fills it like a load. If the fill is refused, removes the key.
    /// It is refused if a load from before the write has used the same fence, or if a write guard is in place.
    ///
    /// Prevents: a request that is executed late, or twice, overwrites what was stored after a later invalidation.
    async fn replace(&self, key: &K, entry: Entry<V>) -> Result<()> {
        let announce = LoadIntent::shared(self.strategy.settings.lease).despite_hit();
        if let BeginOutcome::Granted(fence) = self.backend.begin(key, announce, self.clock.now()).await?
            && self.backend.fill(key, fence.writing(), entry, self.clock.now()).await? == FillOutcome::Stored
        {
            self.recorder.record(&Event::Filled);
            return Ok(());
        }
        self.recorder.record(&Event::FillRefused);
        if mutation::on("a refused insert removes nothing") {
            return Ok(());
        }
        self.backend.remove(key).await
    }

    pub(crate) async fn invalidate_tags(self: &Arc<Self>, tags: &[Tag]) -> Result<()> {
        if tags.is_empty() {
            return Ok(());
        }
        let mut stamp = None;
        let invalidate = async {
            stamp = Some(self.backend.invalidate_tags(tags).await?);
            Ok(())
        };
        self.settle(Scope::Tags(tags.to_vec()), invalidate).await?;
        if let Some(stamp) = stamp {
            self.forget_old_tags(stamp);
        }
        Ok(())
    }

    /// Invalidates a tag and removes its keys from the index and the backend. Returns the number of these keys.
    pub(crate) async fn reclaim_tag(self: &Arc<Self>, tag: &Tag) -> Result<usize> {
        let Some(index) = &self.tagging.index else {
            return Err(Error::config("this cache has no tag index: call `.tag_index(..)` on its builder"));
        };
        self.invalidate_tags(std::slice::from_ref(tag)).await?;
        let keys = index.take(tag);
        for keys in keys.chunks(RETRIED_AT_ONCE) {
            self.backend.remove_many(keys).await?;
        }
        Ok(keys.len())
    }

    /// Removes tags that no live entry can carry, now and then in the background.
    fn forget_old_tags(self: &Arc<Self>, stamp: Stamp) {
        let Some((count, longest)) = self.horizon.invalidated(stamp, self.clock.now()) else { return };
        let engine = Arc::clone(self);
        let pruned = Self::spawn(async move {
            match engine.backend.prune_tags(count, longest).await {
                Ok(Pruned::Removed(_)) => {}
                // Prevents: entries of another process end early, because this one knows no life as long as theirs
                Ok(Pruned::TooEarly(life)) => engine.horizon.lives(life),
                Err(error) => engine.degraded("prune_tags", &error),
            }
        });
        if let Err(error) = pruned {
            tracing::debug!(%error, "old tags are kept");
        }
    }

    /// Places a write guard on `keys`. They are removed, and not stored until the write ends or `life` has passed.
    pub(crate) async fn guard(self: &Arc<Self>, keys: &[K], guard: WriteIntent) -> Result<()> {
        let now = self.clock.now();
        let guards = join_all(keys.iter().map(|key| self.backend.guard(key, guard, now)));
        self.settle(Scope::Keys(keys.to_vec()), async { guards.await.into_iter().collect() }).await
    }

    /// Ends a write guard, which also invalidates its keys.
    pub(crate) async fn unguard(self: &Arc<Self>, keys: &[K], guard: WriteIntent) -> Result<()> {
        let now = self.clock.now();
        // all are sent: a guard that is left in place keeps its key uncached for its life
        let ends = join_all(keys.iter().map(|key| self.backend.unguard(key, guard, now)));
        self.settle(Scope::Keys(keys.to_vec()), async { ends.await.into_iter().collect() }).await
    }

    async fn settle(self: &Arc<Self>, scope: Scope<K>, call: impl Future<Output = Result<()>>) -> Result<()> {
        let began = self.pending.epoch();
        let unacknowledged = Unacknowledged { engine: self, scope, began, acknowledged: false };
        match call.await {
            Ok(()) => {
                unacknowledged.acknowledge();
                Ok(())
            }
            Err(error) => {
                if mutation::on("an abandoned invalidation is none") {
                    self.pending.mark(&unacknowledged.scope);
                    self.retry_pending();
                }
                tracing::warn!(%error, "an invalidation was not acknowledged; it is tried again");
                self.recorder.record(&Event::InvalidationPending { error: &error });
                Err(error)
            }
        }
    }

    fn detach(&self, scope: &Scope<K>) {
        if mutation::on("an invalidation detaches no flight") {
            return;
        }
        match scope {
            Scope::All => self.flights.detach_all(),
            Scope::Keys(keys) => keys.iter().for_each(|key| self.flights.detach(key)),
            // the backend refuses their fills
            Scope::Tags(_) => {}
        }
    }

    /// Starts the task that retries pending invalidations, if none is running and there is a runtime to run it.
    ///
    /// Also called by reads: the last task may have ended with its runtime.
    pub(super) fn retry_pending(self: &Arc<Self>) {
        if self.is_closed() {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        let now = self.clock.now();
        if let Some(number) = self.pending.start_retrying(now, now.saturating_add(SILENCE)) {
            let retrying = Retrying { engine: Arc::clone(self), number };
            drop(runtime.spawn(async move { retrying.until_settled().await }));
        }
    }

    /// Retries each pending invalidation once. Returns `true` if any was acknowledged, or if none is pending.
    pub(super) async fn retry_pending_once(&self) -> bool {
        let (mut left, mut any) = (self.pending.len() as u64, false);
        while left > 0 {
            let scopes = self.pending.next(RETRIED_AT_ONCE);
            let tried: u64 = scopes.iter().map(Scope::count).sum();
            left = if tried == 0 { 0 } else { left.saturating_sub(tried) };
            let acknowledged = join_all(scopes.into_iter().map(|scope| self.retry(scope))).await;
            if !acknowledged.contains(&true) {
                // the backend seems to be down: the others have their turn after the pause
                return any;
            }
            any = true;
        }
        true
    }

    /// Retries the subjects of an invalidation together; if that fails, each by itself.
    /// A subject that cannot be invalidated then delays no other. Returns `true` if any was acknowledged.
    async fn retry(&self, scope: Scope<K>) -> bool {
        match self.retry_together(&scope).await {
            Ok(()) => true,
            Err(error) => {
                self.degraded("remove", &error);
                let singly = if scope.count() > 1 { scope.singly() } else { vec![] };
                let tried = join_all(singly.iter().map(|scope| self.retry_together(scope))).await;
                tried.iter().any(Result::is_ok)
            }
        }
    }

    async fn retry_together(&self, scope: &Scope<K>) -> Result<()> {
        let began = self.pending.epoch();
        match scope {
            Scope::All => self.backend.clear().await?,
            Scope::Tags(tags) => _ = self.backend.invalidate_tags(tags).await?,
            Scope::Keys(keys) => self.backend.remove_many(keys).await?,
        }
        self.pending.settle(scope, began);
        self.recorder.record(&Event::Invalidated { count: scope.count() });
        Ok(())
    }
}

/// The turn of the task that retries pending invalidations. Dropping this lets another task begin, however the task
/// ended.
struct Retrying<K: Key, V: Value> {
    engine: Arc<Engine<K, V>>,
    number: u64,
}

impl<K: Key, V: Value> Retrying<K, V> {
    async fn until_settled(self) {
        let (engine, mut pause) = (&self.engine, FIRST_PAUSE);
        let runs = || engine.pending.keep_retrying(self.number, engine.clock.now().saturating_add(SILENCE));
        while runs() {
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            if engine.is_closed() || !runs() {
                return;
            }
            pause =
                if engine.retry_pending_once().await { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        }
    }
}

impl<K: Key, V: Value> Drop for Retrying<K, V> {
    fn drop(&mut self) {
        self.engine.pending.stop_retrying(self.number);
    }
}
