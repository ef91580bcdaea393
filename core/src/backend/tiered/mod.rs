//! A near tier in the process before a far tier that processes share.

mod ended;
mod generations;
mod placement;
mod view;

use std::fmt;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub use self::placement::{BothTiers, Placement, PlacementPolicy};
use self::view::View;
use super::{
    BackendContext, BeginOutcome, CacheBackend, Fence, FillOutcome, IntoBackend, LoadIntent, Recency,
    Watcher, WriteIntent,
};
use crate::backend::entry::{Entry, Mark};
use crate::clock::Timestamp;
use crate::tag::{Stamp, Tag};
use crate::{Error, Result, mutation};

/// Two tiers: reads are answered `near` when they can be, and `far` is the truth.
///
/// - A read takes note of its key's *generation* before it asks far; whatever changes the key raises the generation. A near
///   entry is served only while its generation is still the current one, so a value read before an invalidation and placed
///   after it is never served, whichever of the two happens to come last.
/// - After an invalidation by this process a near read is not old at all. After one by *another* it is at most
///   [`max_staleness`](Self::max_staleness) (1 s by default) old, whatever happens to the messages: a store that tells of changes
///   ([`CacheBackend::watch`]) also proves all the time that it has told everything, and near entries are served only while
///   its last proof is younger than the bound. Meanwhile, and for a store that tells nothing, a near entry lives no longer
///   than the bound.
/// - A near entry never outlives the far one, nor [`near_ttl`](Self::near_ttl).
/// - Removal goes far first, then near; a removal that far does not acknowledge is an error.
///
/// As the far tier of a third, tiers tell nothing: each adds its bound.
///
/// # Examples
/// ```no_run
/// # use larder::backend::IntoBackend;
/// # use larder::Tiered;
/// # fn with<N: IntoBackend<u64, String>, F: IntoBackend<u64, String>>(quick: N, redis: F) {
/// let tiers = Tiered::new(quick, redis).max_staleness(std::time::Duration::from_millis(500));
/// # let _ = tiers;
/// # }
/// ```
#[derive(Clone)]
pub struct Tiered<N, F, R = BothTiers> {
    near: N,
    far: F,
    near_ttl: Option<Duration>,
    bound: Duration,
    placement: R,
}

impl<N: fmt::Debug, F: fmt::Debug, R> fmt::Debug for Tiered<N, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(f, "Tiered", &self.near, &self.far)
    }
}

fn debug(f: &mut fmt::Formatter<'_>, name: &str, near: &dyn fmt::Debug, far: &dyn fmt::Debug) -> fmt::Result {
    f.debug_struct(name).field("near", near).field("far", far).finish_non_exhaustive()
}

impl<N, F> Tiered<N, F> {
    /// `near` before `far`.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # let redis = larder::Quick::new(1_000);
    /// use larder::{Quick, Tiered};
    /// let tiers = Tiered::new(Quick::new(10_000), redis);
    /// # let _ = tiers;
    /// ```
    pub fn new(near: N, far: F) -> Self {
        Self { near, far, near_ttl: None, bound: Duration::from_secs(1), placement: BothTiers }
    }
}

impl<N, F, R> Tiered<N, F, R> {
    /// The longest life of a near entry. Default: as long as the far one's. Zero is refused by `build()`.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # let redis = larder::Quick::new(1_000);
    /// use larder::{Quick, Tiered};
    /// let tiers = Tiered::new(Quick::new(10_000), redis).near_ttl(Duration::from_secs(30));
    /// # let _ = tiers;
    /// ```
    #[must_use]
    pub fn near_ttl(mut self, near_ttl: Duration) -> Self {
        self.near_ttl = Some(near_ttl);
        self
    }

    /// The longest that another process's invalidation can go unnoticed here. Default 1 s. Changes are normally noticed in
    /// less than a millisecond: this is for when messages are late or lost. The far store is asked for a proof three times
    /// in each bound. Zero is refused by `build()`.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # let redis = larder::Quick::new(1_000);
    /// use larder::{Quick, Tiered};
    /// let tiers = Tiered::new(Quick::new(10_000), redis).max_staleness(Duration::from_millis(200));
    /// # let _ = tiers;
    /// ```
    #[must_use]
    pub fn max_staleness(mut self, bound: Duration) -> Self {
        self.bound = bound;
        self
    }

    /// Which keys are kept in which tier. Default: all in both.
    ///
    /// # Examples
    /// ```
    /// # let redis = larder::Quick::new(1_000);
    /// use larder::backend::Placement;
    /// use larder::{Quick, Tiered};
    /// let tiers = Tiered::new(Quick::new(10_000), redis).placement(|key: &u64| match key {
    ///     0..100 => Placement::NearOnly,
    ///     1_000_000.. => Placement::FarOnly,
    ///     _ => Placement::Both,
    /// });
    /// # let _ = tiers;
    /// ```
    #[must_use]
    pub fn placement<K, Q: Fn(&K) -> Placement + Send + Sync + 'static>(
        self,
        placement: Q,
    ) -> Tiered<N, F, Q> {
        let Self { near, far, near_ttl, bound, placement: _ } = self;
        Tiered { near, far, near_ttl, bound, placement }
    }
}

impl<K, V, N, F, R> IntoBackend<K, V> for Tiered<N, F, R>
where
    K: Hash + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
    N: IntoBackend<K, V>,
    F: IntoBackend<K, V>,
    R: PlacementPolicy<K>,
{
    type Backend = TieredBackend<N::Backend, F::Backend, R>;

    fn into_backend(self, scope: &BackendContext) -> Result<Self::Backend> {
        let Self { near, far, near_ttl, bound, placement } = self;
        if near_ttl.is_some_and(|ttl| ttl.is_zero()) {
            return Err(Error::config(
                "`near_ttl` of zero keeps nothing near: leave out the near tier instead",
            ));
        }
        if bound.is_zero() {
            return Err(Error::config(
                "`max_staleness` of zero serves nothing near: leave out the near tier, or give at least 10 ms",
            ));
        }
        let (near, far) = (near.into_backend(scope)?, far.into_backend(scope)?);
        let view = Arc::new(View::new(bound, scope.clone()));
        Ok(TieredBackend {
            near,
            far,
            near_ttl,
            placement,
            view,
            watching: OnceLock::new(),
            near_tags: AtomicU64::new(0),
        })
    }
}

/// An opened [`Tiered`].
pub struct TieredBackend<N, F, R = BothTiers> {
    near: N,
    far: F,
    near_ttl: Option<Duration>,
    placement: R,
    view: Arc<View>,
    /// Whether the far store tells of changes; asked at the first call that may wait, since telling takes a task.
    watching: OnceLock<bool>,
    /// The count of the near tier's own ledger when tags were last forgotten.
    near_tags: AtomicU64,
}

impl<N: fmt::Debug, F: fmt::Debug, R> fmt::Debug for TieredBackend<N, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(f, "TieredBackend", &self.near, &self.far)
    }
}

/// What was known before far was asked.
#[derive(Clone, Copy)]
struct Before {
    mark: Mark,
    /// The count of the last invalidation of a tag.
    ended: u64,
    now: Timestamp,
}

impl<N, F, R> TieredBackend<N, F, R> {
    /// Asks the far store to tell of changes, once.
    fn watch<K, V>(&self)
    where
        F: CacheBackend<K, V>,
    {
        self.watching.get_or_init(|| {
            let watcher: Arc<dyn Watcher> = Arc::clone(&self.view) as _;
            self.far.watch(Arc::downgrade(&watcher))
        });
    }

    /// To be called before far is asked.
    fn before<K, V>(&self, key: &K, now: Timestamp) -> Before
    where
        K: Hash,
        F: CacheBackend<K, V>,
    {
        self.watch();
        // by the name that the far store has for it, and will tell
        let mark = match self.far.shared_name(key) {
            Some(name) => self.view.generations.mark(name.as_str()),
            None => self.view.generations.mark(key),
        };
        Before { mark, ended: self.view.ended.last(), now }
    }

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

    /// Forgets what is near of a key, after far was told to; gives back what far answered.
    async fn forget_near<K, V>(&self, key: &K, far: Result<()>) -> Result<()>
    where
        K: Hash,
        N: CacheBackend<K, V>,
        F: CacheBackend<K, V>,
    {
        self.raise(key);
        self.near.remove(key).await?;
        far
    }

    /// Places a far entry near.
    async fn place<K, V>(&self, key: &K, before: Before, entry: &Entry<V>)
    where
        N: CacheBackend<K, V>,
    {
        let Before { mark, ended, now } = before;
        let tagged = !entry.tags().is_empty();
        // the far tier has just judged this entry: its ledger is the one that counts now
        if tagged && self.view.ended.renewed(entry.stamp(), &self.view.generations) {
            return;
        }
        let Some((mark, latest)) = self.view.placing(mark, now) else { return };
        let mut near = entry.clone().marked(mark).expiring_by(latest);
        if let Some(near_ttl) = self.near_ttl {
            near = near.expiring_by(now.saturating_add(near_ttl));
        }
        if tagged && ended > near.stamp().count() {
            // far judged it by a ledger that had come so far: a hit need not look at what was invalidated before
            near = near.stamped(Stamp::new(entry.stamp().ledger(), ended));
        }
        // a near tier that cannot take an entry costs a far read and nothing else
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
        // what is near here may be older than what the far tier tells: a tier before this one needs its own bound
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
            // prevents: what a far read has brought from before the write is placed after it
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
        // what is near may be older than what far now has; the next read brings it
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
        let removed = self.far.remove(key).await;
        self.forget_near(key, removed).await
    }

    async fn remove_many(&self, keys: &[K]) -> Result<()> {
        let far: Vec<K> =
            keys.iter().filter(|key| self.placement.place(key) != Placement::NearOnly).cloned().collect();
        let removed = if far.is_empty() { Ok(()) } else { self.far.remove_many(&far).await };
        far.iter().for_each(|key| self.raise(key));
        self.near.remove_many(keys).await?;
        removed
    }

    async fn clear(&self) -> Result<()> {
        let cleared = self.far.clear().await;
        self.view.generations.raise_all();
        self.near.clear().await?;
        cleared
    }

    async fn invalidate_tags(&self, tags: &[Tag]) -> Result<Stamp> {
        let stamp = self.far.invalidate_tags(tags).await?;
        self.view.ended.note(tags, stamp, &self.view.generations);
        // entries that are only near are judged there
        self.near.invalidate_tags(tags).await?;
        Ok(stamp)
    }

    async fn prune_tags(&self, count: u64) -> Result<usize> {
        // the near ledger counts for itself: what it forgets now was invalidated before the last time
        let current = self.near.invalidate_tags(&[]).await?.count();
        self.near.prune_tags(self.near_tags.swap(current, Ordering::SeqCst)).await?;
        self.far.prune_tags(count).await
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
