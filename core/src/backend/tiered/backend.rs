//! The opened tiers.

use super::debug;
use super::placement::{BothTiers, Placement, PlacementPolicy};
use super::view::View;
use crate::backend::entry::{Entry, Mark};
use crate::backend::{
    BeginOutcome, CacheBackend, Fence, FillOutcome, LoadIntent, Recency, Watcher, WriteIntent,
};
use crate::clock::Timestamp;
use crate::tag::{Pruned, Stamp, Tag};
use crate::{Result, mutation};
use std::fmt;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// An opened [`Tiered`](crate::Tiered).
pub struct TieredBackend<N, F, R = BothTiers> {
    pub(super) near: N,
    pub(super) far: F,
    pub(super) near_ttl: Option<Duration>,
    pub(super) placement: R,
    pub(super) view: Arc<View>,
    /// Set to the answer of the far store to [`CacheBackend::watch`]. Asked at the first call that may wait, because
    /// notifications need a task.
    pub(super) watching: OnceLock<bool>,
    /// The count of the near tier's own ledger when tags were last pruned.
    pub(super) near_tags: AtomicU64,
}

impl<N: fmt::Debug, F: fmt::Debug, R> fmt::Debug for TieredBackend<N, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(f, "TieredBackend", &self.near, &self.far)
    }
}

/// The state before the far tier was asked.
#[derive(Clone, Copy)]
struct Before {
    mark: Mark,
    /// The count of the last known tag invalidation.
    ended: u64,
    now: Timestamp,
}

impl<N, F, R> TieredBackend<N, F, R> {
    /// Registers this process for the far store's notifications, once.
    fn watch<K, V>(&self)
    where
        F: CacheBackend<K, V>,
    {
        self.watching.get_or_init(|| {
            let watcher: Arc<dyn Watcher> = Arc::clone(&self.view) as _;
            self.far.watch(Arc::downgrade(&watcher))
        });
    }

    /// Reads the state before the far tier is asked.
    ///
    /// Prevents: a value that was read before an invalidation is placed after it, with a mark that counts as current.
    fn before<K, V>(&self, key: &K, now: Timestamp) -> Before
    where
        K: Hash,
        F: CacheBackend<K, V>,
    {
        self.watch();
        // by the name that the far store has for the key, and that its notifications carry
        let mark = match self.far.shared_name(key) {
            Some(name) => self.view.generations.mark(name.as_str()),
            None => self.view.generations.mark(key),
        };
        Before { mark, ended: self.view.ended.last(), now }
    }

    /// Raises the generation of `key`, so that near entries from before, placed or on their way, are not served.
    fn raise<K, V>(&self, key: &K)
    where
        K: Hash,
        F: CacheBackend<K, V>,
    {
        match self.far.shared_name(key) {
            Some(name) => self.view.generations.raise(name.as_str()),
            None => self.view.generations.raise(key),
        }
    }

    /// Removes the near entry of a key after the far tier was changed, and returns the far tier's answer.
    async fn forget_near<K, V>(&self, key: &K, far: Result<()>) -> Result<()>
    where
        K: Hash,
        N: CacheBackend<K, V>,
        F: CacheBackend<K, V>,
    {
        // the generation first. Prevents: a read that is on its way places the old entry after the removal
        self.raise(key);
        self.near.remove(key).await?;
        far
    }

    /// Places a far entry in the near tier.
    async fn place<K, V>(&self, key: &K, before: Before, entry: &Entry<V>)
    where
        N: CacheBackend<K, V>,
    {
        let Before { mark, ended, now } = before;
        let tagged = !entry.tags().is_empty();
        // the far tier has just checked this entry, so its ledger is the current one
        if tagged && self.view.ended.renewed(entry.stamp(), &self.view.generations) {
            return;
        }
        let Some((mark, latest)) = self.view.placing(mark, now) else { return };
        let mut near = entry.clone().marked(mark).expiring_by(latest);
        if let Some(near_ttl) = self.near_ttl {
            near = near.expiring_by(now.saturating_add(near_ttl));
        }
        if tagged && ended > near.stamp().count() {
            // the far tier checked it against a ledger with this count: hits can skip the invalidations before it
            near = near.stamped(Stamp::new(entry.stamp().ledger(), ended));
        }
        // if the near tier does not take an entry, the next read asks the far tier again
        if let Err(error) = self.near.put(key, near, now).await {
            tracing::debug!(%error, "the near tier did not take an entry");
        }
    }
}

impl<K, V, N, F, R> CacheBackend<K, V> for TieredBackend<N, F, R>
where
    K: Hash + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
    N: CacheBackend<K, V>,
    F: CacheBackend<K, V>,
    R: PlacementPolicy<K>,
{
    #[inline]
    fn look<T>(
        &self,
        key: &K,
        now: Timestamp,
        recency: Recency,
        look: impl FnOnce(&mut Entry<V>) -> Option<T>,
    ) -> Option<T> {
        match self.placement.place(key) {
            Placement::Both => {
                self.near.look(key, now, recency, |entry| match self.view.allows(entry, now) {
                    true => look(entry),
                    false => None,
                })
            }
            Placement::NearOnly => self.near.look(key, now, recency, look),
            Placement::FarOnly => None,
        }
    }

    fn shared_name(&self, key: &K) -> Option<String> {
        match self.placement.place(key) {
            Placement::NearOnly => self.near.shared_name(key),
            _ => self.far.shared_name(key).or_else(|| self.near.shared_name(key)),
        }
    }

    fn is_bounded(&self) -> bool {
        self.near.is_bounded() && self.far.is_bounded()
    }

    fn watch(&self, _watcher: std::sync::Weak<dyn Watcher>) -> bool {
        // near entries may be older than the far tier's notifications: a tier in front of this one needs its own
        // bound
        false
    }

    async fn get(&self, key: &K, now: Timestamp) -> Result<Option<Entry<V>>> {
        match self.placement.place(key) {
            Placement::NearOnly => return self.near.get(key, now).await,
            Placement::FarOnly => return self.far.get(key, now).await,
            Placement::Both => {}
        }
        if let Some(entry) = self.peek(key, now) {
            return Ok(Some(entry));
        }
        let before = self.before(key, now);
        let found = self.far.get(key, now).await?;
        if let Some(entry) = &found {
            self.place(key, before, entry).await;
        }
        Ok(found)
    }

    async fn get_many(&self, keys: &[K], now: Timestamp) -> Result<Vec<Option<Entry<V>>>> {
        let mut found: Vec<_> = keys.iter().map(|key| self.peek(key, now)).collect();
        let places: Vec<Placement> = keys.iter().map(|key| self.placement.place(key)).collect();
        let is_missing = |&index: &usize| found[index].is_none() && places[index] != Placement::NearOnly;
        let missing: Vec<usize> = (0..keys.len()).filter(is_missing).collect();
        if missing.is_empty() {
            return Ok(found);
        }
        let befores: Vec<_> = missing.iter().map(|&index| self.before(&keys[index], now)).collect();
        let asked: Vec<K> = missing.iter().map(|&index| keys[index].clone()).collect();
        let answers = self.far.get_many(&asked, now).await?;
        for ((index, before), answer) in missing.into_iter().zip(befores).zip(answers) {
            if let Some(entry) = answer.as_ref().filter(|_| places[index] == Placement::Both) {
                self.place(&keys[index], before, entry).await;
            }
            found[index] = answer;
        }
        Ok(found)
    }

    async fn begin(&self, key: &K, announce: LoadIntent, now: Timestamp) -> Result<BeginOutcome<V>> {
        match self.placement.place(key) {
            Placement::NearOnly => return self.near.begin(key, announce, now).await,
            Placement::FarOnly => return self.far.begin(key, announce, now).await,
            Placement::Both => {}
        }
        let before = self.before(key, now);
        let begun = self.far.begin(key, announce, now).await?;
        if let BeginOutcome::Hit(entry) = &begun {
            self.place(key, before, entry).await;
        }
        Ok(begun)
    }

    async fn fill(&self, key: &K, fence: Fence, entry: Entry<V>, now: Timestamp) -> Result<FillOutcome> {
        match self.placement.place(key) {
            Placement::NearOnly => return self.near.fill(key, fence, entry, now).await,
            Placement::FarOnly => return self.far.fill(key, fence, entry, now).await,
            Placement::Both => {}
        }
        let before = self.before(key, now);
        let filled = self.far.fill(key, fence, entry.clone(), now).await?;
        if fence.is_writing() && !mutation::on("a write leaves what is near") {
            // prevents: a far read from before the write places its entry after the write
            self.forget_near(key, Ok(())).await?;
        } else if filled == FillOutcome::Stored {
            self.place(key, before, &entry.stamped(fence.stamp())).await;
        }
        Ok(filled)
    }

    async fn renew(&self, key: &K, fence: Fence, lease: Duration, now: Timestamp) -> Result<bool> {
        match self.placement.place(key) {
            Placement::NearOnly => self.near.renew(key, fence, lease, now).await,
            _ => self.far.renew(key, fence, lease, now).await,
        }
    }

    async fn release(&self, key: &K, fence: Fence, now: Timestamp) -> Result<()> {
        match self.placement.place(key) {
            Placement::NearOnly => self.near.release(key, fence, now).await,
            _ => self.far.release(key, fence, now).await,
        }
    }

    async fn put(&self, key: &K, entry: Entry<V>, now: Timestamp) -> Result<()> {
        if self.placement.place(key) == Placement::NearOnly {
            return self.near.put(key, entry, now).await;
        }
        let stored = self.far.put(key, entry, now).await;
        // the near entry may be older than the far one; the next read places that
        self.forget_near(key, stored).await
    }

    async fn remove(&self, key: &K) -> Result<()> {
        if self.placement.place(key) == Placement::NearOnly {
            return self.near.remove(key).await;
        }
        if mutation::on("the near entry goes before the far one") {
            self.raise(key);
            self.near.remove(key).await?;
            return self.far.remove(key).await;
        }
        // far first. Prevents: a read between the two finds the old far entry, and places it near after the removal
        let removed = self.far.remove(key).await;
        self.forget_near(key, removed).await
    }

    async fn remove_many(&self, keys: &[K]) -> Result<()> {
        let far: Vec<K> =
            keys.iter().filter(|key| self.placement.place(key) != Placement::NearOnly).cloned().collect();
        let removed = if far.is_empty() { Ok(()) } else { self.far.remove_many(&far).await };
        // the far tier first, then the generations, then the near tier: see `remove`
        far.iter().for_each(|key| self.raise(key));
        self.near.remove_many(keys).await?;
        removed
    }

    async fn clear(&self) -> Result<()> {
        // the far tier first, then the generations, then the near tier: see `remove`
        let cleared = self.far.clear().await;
        self.view.generations.raise_all();
        self.near.clear().await?;
        cleared
    }

    async fn invalidate_tags(&self, tags: &[Tag]) -> Result<Stamp> {
        let stamp = self.far.invalidate_tags(tags).await?;
        self.view.ended.note(tags, stamp, &self.view.generations);
        // the near tier checks the entries that only it holds
        self.near.invalidate_tags(tags).await?;
        Ok(stamp)
    }

    async fn prune_tags(&self, count: u64, longest: Duration) -> Result<Pruned> {
        let pruned = self.far.prune_tags(count, longest).await?;
        if let Pruned::Removed(_) = pruned {
            // the near ledger has its own count: this prunes the tags that were invalidated before the previous
            // pruning
            let current = self.near.invalidate_tags(&[]).await?.count();
            let past = self.near_tags.swap(current, Ordering::SeqCst);
            self.near.prune_tags(past, longest).await?;
        }
        Ok(pruned)
    }

    async fn guard(&self, key: &K, guard: WriteIntent, now: Timestamp) -> Result<()> {
        if self.placement.place(key) == Placement::NearOnly {
            return self.near.guard(key, guard, now).await;
        }
        let guarded = self.far.guard(key, guard, now).await;
        self.forget_near(key, guarded).await
    }

    async fn unguard(&self, key: &K, guard: WriteIntent, now: Timestamp) -> Result<()> {
        if self.placement.place(key) == Placement::NearOnly {
            return self.near.unguard(key, guard, now).await;
        }
        let ended = self.far.unguard(key, guard, now).await;
        self.forget_near(key, ended).await
    }
}
