//! Invalidations and inserts: what must not be lost.

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
use crate::tag::{Stamp, Tag};
use crate::{Error, Result, mutation};

/// The pause before an unacknowledged invalidation is tried again; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How many keys, and how many tags, are tried again at once.
const RETRIED_AT_ONCE: usize = 1_000;
/// After such a silence the retrying task is taken to stand still in a runtime that is not driven any more, and another
/// one begins. Longer than a pause and a try.
const SILENCE: Duration = Duration::from_secs(30);

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
        self.settle(Scope::Keys(vec![key.clone()]), self.replace(key, entry)).await
    }

    /// Announces a value and fills it like a load, and removes the key if the fill is refused: a load from before the write
    /// may have used the same fence, or a write guard stands.
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
    pub(crate) async fn guard(self: &Arc<Self>, keys: &[K], guard: WriteIntent) -> Result<()> {
        let now = self.clock.now();
        let guards = join_all(keys.iter().map(|key| self.backend.guard(key, guard, now)));
        self.settle(Scope::Keys(keys.to_vec()), async { guards.await.into_iter().collect() }).await
    }

    /// Ends the announcement of a write, which is an invalidation of its keys.
    pub(crate) async fn unguard(self: &Arc<Self>, keys: &[K], guard: WriteIntent) -> Result<()> {
        let now = self.clock.now();
        // all are sent: a guard that is left standing keeps its key uncached for its life
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
            // their fills will be refused
            Scope::Tags(_) => {}
        }
    }

    /// Starts the task that tries pending invalidations again, if there is none that runs, and a runtime to run it.
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

    /// One try of each pending invalidation; `true` if any was acknowledged, or there is none.
    pub(super) async fn retry_pending_once(&self) -> bool {
        let (mut left, mut any) = (self.pending.len() as u64, false);
        while left > 0 {
            let scopes = self.pending.next(RETRIED_AT_ONCE);
            let tried: u64 = scopes.iter().map(Scope::count).sum();
            left = if tried == 0 { 0 } else { left.saturating_sub(tried) };
            let acknowledged = join_all(scopes.into_iter().map(|scope| self.retry(scope))).await;
            if !acknowledged.contains(&true) {
                // the store seems to be away: the others have their turn after the pause
                return any;
            }
            any = true;
        }
        true
    }

    /// Tries the subjects of an invalidation together, and if that fails each by itself, so that one that cannot be delivered
    /// holds up no other. Returns `true` if any was acknowledged.
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

/// The turn of the task that tries pending invalidations again. Dropping this, whatever became of the task, lets another one
/// begin.
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
