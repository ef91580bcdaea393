//! Invalidations and inserts: what must not be lost.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::runtime::Handle;

use super::load::Made;
use super::pending::{Epoch, Scope};
use super::{Engine, Key, Value};
use crate::backend::{CacheBackend, Guard};
use crate::mutation;
use crate::observe::Event;
use crate::source::Loaded;
use crate::tag::{Stamp, Tag};
use crate::{Error, Result};

/// The pause before an unacknowledged invalidation is tried again; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How many keys are tried again at once.
const RETRIED_AT_ONCE: usize = 1_000;

/// An invalidation on its way. Dropped before it is acknowledged (an error, a cancelled caller), it becomes pending: the
/// keys are not served from the cache, and a task tries again.
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
        // later callers do not join loads that began before
        match (&self.scope, self.acknowledged) {
            // which loads will carry them nobody knows yet: fills are refused only if the backend knows
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

    /// Puts a value in place of what is cached; a value that is not to be kept only removes.
    pub(crate) async fn insert(self: &Arc<Self>, key: &K, loaded: Loaded<V>) -> Result<()> {
        let Made { entry, keep } = self.make(key, loaded, None)?;
        if !keep {
            return self.invalidate(key).await;
        }
        self.index(key, &entry);
        let put = self.backend.put(key, entry, self.clock.now());
        self.settle(Scope::Keys(vec![key.clone()]), put).await
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

    /// Ends what carries a tag, and removes what the index knows of it; answers how many keys that were.
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

    /// Forgets tags that no living entry can carry, in the background and now and then.
    fn forget_old_tags(self: &Arc<Self>, stamp: Stamp) {
        let Some(count) = self.horizon.invalidated(stamp, self.clock.now()) else { return };
        let engine = Arc::clone(self);
        let pruned = Self::spawn(async move {
            if let Err(error) = engine.backend.prune_tags(count).await {
                engine.degraded("prune_tags", &error);
            }
        });
        if let Err(error) = pruned {
            tracing::debug!(%error, "old tags are kept");
        }
    }

    /// Announces a write of `keys`: they are forgotten, and not stored until the write ends or `life` has passed.
    pub(crate) async fn guard(self: &Arc<Self>, keys: &[K], guard: Guard) -> Result<()> {
        let now = self.clock.now();
        let guards = try_join_all(keys.iter().map(|key| self.backend.guard(key, guard, now)));
        self.settle(Scope::Keys(keys.to_vec()), async { guards.await.map(|_| ()) }).await
    }

    /// Ends the announcement of a write, which is an invalidation of its keys.
    pub(crate) async fn unguard(self: &Arc<Self>, keys: &[K], guard: Guard) -> Result<()> {
        let now = self.clock.now();
        let ends = try_join_all(keys.iter().map(|key| self.backend.unguard(key, guard, now)));
        self.settle(Scope::Keys(keys.to_vec()), async { ends.await.map(|_| ()) }).await
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
            // their fills will be refused
            Scope::Tags(_) => {}
        }
    }

    /// Starts the task that tries pending invalidations again, if there is none and a runtime to run it.
    fn retry_pending(self: &Arc<Self>) {
        let Ok(runtime) = Handle::try_current() else { return };
        if self.pending.start_retrying() {
            let engine = Arc::clone(self);
            drop(runtime.spawn(async move { engine.retry_until_settled().await }));
        }
    }

    async fn retry_until_settled(self: Arc<Self>) {
        let mut pause = FIRST_PAUSE;
        while !self.pending.rest() {
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            if self.is_closed() {
                return self.pending.stop_retrying();
            }
            pause =
                if self.retry_pending_once().await { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        }
    }

    /// One try; `true` when it was acknowledged.
    pub(super) async fn retry_pending_once(&self) -> bool {
        let Some(scope) = self.pending.next(RETRIED_AT_ONCE) else { return true };
        let began = self.pending.epoch();
        let tried: Result<(), Error> = match &scope {
            Scope::All => self.backend.clear().await,
            Scope::Tags(tags) => self.backend.invalidate_tags(tags).await.map(|_| ()),
            Scope::Keys(keys) => self.backend.remove_many(keys).await,
        };
        match tried {
            Ok(()) => {
                self.pending.settle(&scope, began);
                self.recorder.record(&Event::Invalidated { count: scope.count() });
                true
            }
            Err(error) => {
                self.degraded("remove", &error);
                false
            }
        }
    }
}
