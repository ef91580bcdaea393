//! A near tier in the process before a far tier that processes share.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use super::{Announce, Begun, CacheBackend, Fence, Filled, Guard, IntoBackend, Scope};
use crate::entry::{Entry, Mark};
use crate::tag::{Stamp, Tag};
use crate::time::Timestamp;
use crate::{Error, Result};

/// How many generation counters a tier has. An invalidation ends one in this many near entries with it.
const SLOTS: usize = 1 << 14;
const _: () = assert!(SLOTS <= Mark::SLOTS);

/// Two tiers: reads are answered `near` when they can be, and `far` is the truth.
///
/// - A read takes note of its key's *generation* before it asks far; an invalidation raises the generation. A near entry
///   is served only while its generation is still the current one, so a value read before an invalidation and placed
///   after it is never served, whichever of the two happens to come last.
/// - A near entry lives at most as long as the far one, and at most [`near_ttl`](Self::near_ttl) (1 s by default): that
///   is how old a near read can be after an invalidation *by another process*. After one by this process it is not old
///   at all.
/// - Removal goes far first, then near; a removal that far does not acknowledge is an error.
///
/// # Examples
/// ```no_run
/// # use larder::{Tiered, IntoBackend};
/// # fn with<N: IntoBackend<u64, String>, F: IntoBackend<u64, String>>(quick: N, redis: F) {
/// let tiers = Tiered::new(quick, redis).near_ttl(std::time::Duration::from_millis(500));
/// # let _ = tiers;
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Tiered<N, F> {
    near: N,
    far: F,
    near_ttl: Duration,
}

impl<N, F> Tiered<N, F> {
    /// `near` before `far`.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # use larder::{doc::Store as Redis, Breaker, Tiered, Timeout, Prefix};
    /// let tiers = Tiered::new(Redis, Redis);
    /// # let _ = tiers;
    /// ```
    pub fn new(near: N, far: F) -> Self {
        Self { near, far, near_ttl: Duration::from_secs(1) }
    }

    /// The longest life of a near entry, and so the longest that another process's invalidation can go unnoticed here.
    /// Default 1 s; zero is refused by `build()`.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # use larder::{doc::Store as Redis, Breaker, Tiered, Timeout, Prefix};
    /// let tiers = Tiered::new(Redis, Redis).near_ttl(Duration::from_millis(200));
    /// # let _ = tiers;
    /// ```
    #[must_use]
    pub fn near_ttl(mut self, near_ttl: Duration) -> Self {
        self.near_ttl = near_ttl;
        self
    }
}

impl<K, V, N, F> IntoBackend<K, V> for Tiered<N, F>
where
    K: Hash + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
    N: IntoBackend<K, V>,
    F: IntoBackend<K, V>,
{
    type Backend = TieredBackend<N::Backend, F::Backend>;

    fn into_backend(self, scope: &Scope) -> Result<Self::Backend> {
        let Self { near, far, near_ttl } = self;
        if near_ttl.is_zero() {
            return Err(Error::config(
                "`near_ttl` of zero keeps nothing near: leave out the near tier instead",
            ));
        }
        let (near, far) = (near.into_backend(scope)?, far.into_backend(scope)?);
        let (generations, ended) = (Generations::new(), Ended::default());
        Ok(TieredBackend { near, far, near_ttl, generations, ended })
    }
}

/// An opened [`Tiered`].
#[derive(Debug)]
pub struct TieredBackend<N, F> {
    near: N,
    far: F,
    near_ttl: Duration,
    generations: Generations,
    ended: Ended,
}

/// Counts the invalidations that this process knows of, for slots of keys.
struct Generations {
    slots: Box<[AtomicU64]>,
    hasher: RandomState,
}

impl std::fmt::Debug for Generations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generations").finish_non_exhaustive()
    }
}

impl Generations {
    fn new() -> Self {
        Self { slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(), hasher: RandomState::new() }
    }

    /// The key's generation now; to be read *before* far is asked.
    fn mark<K: Hash>(&self, key: &K) -> Mark {
        let slot = (self.hasher.hash_one(key) as usize) % SLOTS;
        Mark::new(slot, self.slots[slot].load(Ordering::SeqCst))
    }

    fn is_current(&self, mark: Mark) -> bool {
        let slot = mark.slot();
        self.slots.get(slot).is_some_and(|counter| Mark::new(slot, counter.load(Ordering::SeqCst)) == mark)
    }

    fn raise<K: Hash>(&self, key: &K) {
        self.slots[self.mark(key).slot()].fetch_add(1, Ordering::SeqCst);
    }

    fn raise_all(&self) {
        for slot in &self.slots {
            slot.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// The tags that this process invalidated, by the far ledger's count: near entries that carry one and are older are not
/// served. What other processes invalidate is bounded by the near life.
#[derive(Debug, Default)]
struct Ended {
    /// The count of the last invalidation: the one look that a hit takes while nothing was invalidated since its load.
    last: AtomicU64,
    tags: RwLock<EndedTags>,
}

#[derive(Debug, Default)]
struct EndedTags {
    ledger: u64,
    counts: HashMap<Tag, u64>,
}

impl Ended {
    /// How many tags are remembered; above, the near tier is emptied instead.
    const MOST: usize = 10_000;

    /// Notes an invalidation. When there are too many to remember, or another ledger's are, everything near goes first.
    fn note(&self, tags: &[Tag], stamp: Stamp, near: &Generations) {
        let mut ended = self.tags.write().unwrap_or_else(PoisonError::into_inner);
        let same = ended.counts.is_empty() || ended.ledger == stamp.ledger();
        let remembered = same && ended.counts.len() + tags.len() <= Self::MOST;
        if !remembered {
            self.forget(&mut ended, near);
        }
        ended.ledger = stamp.ledger();
        for tag in tags {
            let count = ended.counts.entry(tag.clone()).or_default();
            *count = stamp.count().max(*count);
        }
        self.last.fetch_max(stamp.count(), Ordering::SeqCst);
    }

    /// Empties the near tier and then forgets what it needs no longer: in the other order it would be served in between.
    fn forget(&self, ended: &mut EndedTags, near: &Generations) {
        near.raise_all();
        *ended = EndedTags::default();
        self.last.store(0, Ordering::SeqCst);
    }

    fn allows<V>(&self, entry: &Entry<V>) -> bool {
        let (tags, stamp) = (entry.tags(), entry.stamp());
        let last = self.last.load(Ordering::SeqCst);
        if tags.is_empty() || last == 0 {
            return true;
        }
        let ended = self.tags.read().unwrap_or_else(PoisonError::into_inner);
        // of which of two ledgers is the younger nobody here knows: the far tier does
        ended.ledger == stamp.ledger()
            && (last <= stamp.count()
                || tags.iter().all(|tag| ended.counts.get(tag).is_none_or(|count| *count <= stamp.count())))
    }

    /// Forgets what belongs to a ledger that is no more; `true` when there was something to forget.
    fn renewed(&self, stamp: Stamp, near: &Generations) -> bool {
        if self.last.load(Ordering::SeqCst) == 0 {
            return false;
        }
        let mut ended = self.tags.write().unwrap_or_else(PoisonError::into_inner);
        let renewed = ended.ledger != stamp.ledger();
        if renewed {
            self.forget(&mut ended, near);
        }
        renewed
    }
}

impl<N, F> TieredBackend<N, F> {
    /// Forgets what is near of a key, after far was told to; gives back what far answered.
    async fn forget_near<K, V>(&self, key: &K, far: Result<()>) -> Result<()>
    where
        K: Hash,
        N: CacheBackend<K, V>,
    {
        self.generations.raise(key);
        self.near.remove(key).await?;
        far
    }

    /// Places a far entry near. `mark` was read before far was asked.
    async fn place<K, V>(&self, key: &K, mark: Mark, entry: &Entry<V>, now: Timestamp)
    where
        N: CacheBackend<K, V>,
    {
        // the far tier has just judged this entry: its ledger is the one that counts now
        if !entry.tags().is_empty() && self.ended.renewed(entry.stamp(), &self.generations) {
            return;
        }
        let near = entry.clone().marked(mark).expiring_by(now.saturating_add(self.near_ttl));
        // a near tier that cannot take an entry costs a far read and nothing else
        if let Err(error) = self.near.put(key, near, now).await {
            tracing::debug!(%error, "the near tier did not take an entry");
        }
    }
}

impl<K, V, N, F> CacheBackend<K, V> for TieredBackend<N, F>
where
    K: Hash + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
    N: CacheBackend<K, V>,
    F: CacheBackend<K, V>,
{
    fn peek(&self, key: &K, now: Timestamp) -> Option<Entry<V>> {
        let entry = self.near.peek(key, now)?;
        // in this order: whatever makes the first forget an invalidation has made the second refuse what is near
        (self.ended.allows(&entry) && self.generations.is_current(entry.mark())).then_some(entry)
    }

    fn shared_name(&self, key: &K) -> Option<String> {
        self.far.shared_name(key).or_else(|| self.near.shared_name(key))
    }

    fn is_bounded(&self) -> bool {
        self.near.is_bounded() && self.far.is_bounded()
    }

    async fn get(&self, key: &K, now: Timestamp) -> Result<Option<Entry<V>>> {
        if let Some(entry) = self.peek(key, now) {
            return Ok(Some(entry));
        }
        let mark = self.generations.mark(key);
        let found = self.far.get(key, now).await?;
        if let Some(entry) = &found {
            self.place(key, mark, entry, now).await;
        }
        Ok(found)
    }

    async fn get_many(&self, keys: &[K], now: Timestamp) -> Result<Vec<Option<Entry<V>>>> {
        let mut found: Vec<_> = keys.iter().map(|key| self.peek(key, now)).collect();
        let missing: Vec<usize> = (0..keys.len()).filter(|&index| found[index].is_none()).collect();
        if missing.is_empty() {
            return Ok(found);
        }
        let marks: Vec<_> = missing.iter().map(|&index| self.generations.mark(&keys[index])).collect();
        let asked: Vec<K> = missing.iter().map(|&index| keys[index].clone()).collect();
        let answers = self.far.get_many(&asked, now).await?;
        for ((index, mark), answer) in missing.into_iter().zip(marks).zip(answers) {
            if let Some(entry) = &answer {
                self.place(&keys[index], mark, entry, now).await;
            }
            found[index] = answer;
        }
        Ok(found)
    }

    async fn begin(&self, key: &K, announce: Announce, now: Timestamp) -> Result<Begun<V>> {
        let mark = self.generations.mark(key);
        let begun = self.far.begin(key, announce, now).await?;
        if let Begun::Hit(entry) = &begun {
            self.place(key, mark, entry, now).await;
        }
        Ok(begun)
    }

    async fn fill(&self, key: &K, fence: Fence, entry: Entry<V>, now: Timestamp) -> Result<Filled> {
        let mark = self.generations.mark(key);
        let filled = self.far.fill(key, fence, entry.clone(), now).await?;
        if filled == Filled::Stored {
            self.place(key, mark, &entry.stamped(fence.stamp()), now).await;
        }
        Ok(filled)
    }

    async fn renew(&self, key: &K, fence: Fence, lease: Duration, now: Timestamp) -> Result<bool> {
        self.far.renew(key, fence, lease, now).await
    }

    async fn release(&self, key: &K, fence: Fence, now: Timestamp) -> Result<()> {
        self.far.release(key, fence, now).await
    }

    async fn put(&self, key: &K, entry: Entry<V>, now: Timestamp) -> Result<()> {
        let stored = self.far.put(key, entry, now).await;
        // what is near may be older than what far now has; the next read brings it
        self.forget_near(key, stored).await
    }

    async fn remove(&self, key: &K) -> Result<()> {
        let removed = self.far.remove(key).await;
        self.forget_near(key, removed).await
    }

    async fn remove_many(&self, keys: &[K]) -> Result<()> {
        let removed = self.far.remove_many(keys).await;
        keys.iter().for_each(|key| self.generations.raise(key));
        self.near.remove_many(keys).await?;
        removed
    }

    async fn clear(&self) -> Result<()> {
        let cleared = self.far.clear().await;
        self.generations.raise_all();
        self.near.clear().await?;
        cleared
    }

    async fn invalidate_tags(&self, tags: &[Tag]) -> Result<Stamp> {
        let stamp = self.far.invalidate_tags(tags).await?;
        self.ended.note(tags, stamp, &self.generations);
        Ok(stamp)
    }

    async fn prune_tags(&self, count: u64) -> Result<usize> {
        self.far.prune_tags(count).await
    }

    async fn guard(&self, key: &K, guard: Guard, now: Timestamp) -> Result<()> {
        let guarded = self.far.guard(key, guard, now).await;
        self.forget_near(key, guarded).await
    }

    async fn unguard(&self, key: &K, guard: Guard, now: Timestamp) -> Result<()> {
        let ended = self.far.unguard(key, guard, now).await;
        self.forget_near(key, ended).await
    }
}
