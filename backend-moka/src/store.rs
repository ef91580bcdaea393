//! The opened store, and the evictions that it reports.

use std::any::TypeId;
use std::cell::Cell;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use larder::Result;
use larder::backend::{
    BackendContext, Displaced, Entry, EntryCount, LocalStore, Recency, Weigher, weight_of,
};
use moka::Expiry;
use moka::notification::RemovalCause;
use moka::sync::Cache;

/// The duration from which on an entry never expires: moka counts nanoseconds from now in 64 bits.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// The time for which moka keeps an entry after its life, by moka's own clock. The freshness check uses larder's
/// clock, and the two must not race at the end of a short life.
const SLACK: Duration = Duration::from_secs(5);

/// An opened [`Moka`](crate::Moka).
///
/// moka drops entries when its own garbage collection reaches them, which may be during a later change, under a
/// lock. The destructor of a value must therefore not wait for the cache; with `larder::Quick` it may.
///
/// # Examples
/// ```
/// use larder::backend::{BackendContext, IntoBackend, Local};
/// use larder_moka::{Moka, MokaStore};
/// let backend: Local<u64, MokaStore<u64, String>> = Moka::new(100).into_backend(&BackendContext::unnamed())?;
/// assert!(backend.store().is_empty());
/// # Ok::<(), larder::Error>(())
/// ```
pub struct MokaStore<K, V> {
    /// Hashed as in the other stores, by a random seed for each store: moka's default takes several times as long.
    entries: Cache<K, Entry<V>, RandomState>,
    gone: Arc<Mutex<Gone<V>>>,
    /// The weight of an entry; `None` if each weighs 1.
    weigh: Option<Arc<Weigh<K, V>>>,
    scope: BackendContext,
}

type Weigh<K, V> = dyn Fn(&K, &Entry<V>) -> Result<u32> + Send + Sync;

thread_local! {
    /// `true` while this thread changes a store under its lock.
    static LOCKED: Cell<bool> = const { Cell::new(false) };
}

/// Entries that moka's housekeeping removed during a change, to be dropped and reported when the lock is free.
struct Gone<V> {
    evicted: Vec<Entry<V>>,
    others: Vec<Entry<V>>,
}

impl<V> Default for Gone<V> {
    fn default() -> Self {
        Self { evicted: vec![], others: vec![] }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K, V> MokaStore<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    pub(crate) fn open<W: Weigher<K, V>>(
        capacity: u64,
        weigher: W,
        frees_expired: bool,
        scope: &BackendContext,
    ) -> Self {
        let (evictions, gone) = (scope.clone(), Arc::<Mutex<Gone<V>>>::default());
        let waiting = Arc::clone(&gone);
        let listener = move |_key, entry: Entry<V>, cause| match (LOCKED.get(), cause) {
            (true, RemovalCause::Size) => lock(&waiting).evicted.push(entry),
            (true, _) => lock(&waiting).others.push(entry),
            (false, RemovalCause::Size) => evictions.evicted(&entry),
            (false, _) => {}
        };
        let mut builder = Cache::builder().max_capacity(capacity).eviction_listener(listener);
        // With a weigher, moka sizes its frequency sketch when it is half full, at a quarter of the size for
        // entries that weigh 1. That costs five points of hit ratio in the example `hit_ratio`.
        let weigh = (TypeId::of::<W>() != TypeId::of::<EntryCount>())
            .then(|| -> Arc<Weigh<K, V>> { Arc::new(move |key, entry| weight_of(&weigher, key, entry)) });
        if let Some(weigh) = weigh.clone() {
            // (an entry whose weigher panics is not inserted)
            builder = builder.weigher(move |key, entry: &Entry<V>| weigh(key, entry).unwrap_or(1));
        }
        if frees_expired {
            builder = builder.expire_after(Remaining(scope.clone()));
        }
        Self { entries: builder.build_with_hasher(RandomState::default()), gone, weigh, scope: scope.clone() }
    }

    /// Changes the store under the caller's lock.
    fn change(
        &self,
        change: impl FnOnce(&Cache<K, Entry<V>, RandomState>) -> Option<Entry<V>>,
    ) -> Displaced<'_, V> {
        LOCKED.set(true);
        let removed = change(&self.entries);
        LOCKED.set(false);
        let Gone { evicted, others } = std::mem::take(&mut *lock(&self.gone));
        Displaced::evicted(evicted, &self.scope).and(removed).and_all(others)
    }

    /// Returns the number of entries. Moka's housekeeping updates it with a delay.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.entries.run_pending_tasks();
        self.entries.entry_count()
    }

    /// Returns `true` if there are no entries. Moka's housekeeping updates it with a delay.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K, V> fmt::Debug for MokaStore<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MokaStore").finish_non_exhaustive()
    }
}

impl<K, V> LocalStore<K, V> for MokaStore<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    #[inline]
    fn get(&self, key: &K, recency: Recency) -> Option<Entry<V>> {
        // moka counts every `get`, also of a missing key
        if recency == Recency::Keep && !self.entries.contains_key(key) {
            return None;
        }
        self.entries.get(key)
    }

    fn insert(&self, key: K, entry: Entry<V>, _remaining: Duration) -> Displaced<'_, V> {
        if let Some(Err(error)) = self.weigh.as_ref().map(|weigh| weigh(&key, &entry)) {
            return self.remove(&key).refused(error, &self.scope);
        }
        self.change(|entries| {
            entries.insert(key, entry);
            None
        })
    }

    fn remove(&self, key: &K) -> Displaced<'_, V> {
        self.change(|entries| entries.remove(key))
    }

    fn clear(&self) {
        self.entries.invalidate_all();
    }
}

/// The expiry that frees the memory of entries. The freshness check uses larder's own clock.
struct Remaining(BackendContext);

impl Remaining {
    fn of<V>(&self, entry: &Entry<V>) -> Option<Duration> {
        let remaining = entry.remaining(self.0.clock().now());
        (remaining < FOR_EVER).then(|| remaining + SLACK)
    }
}

impl<K, V> Expiry<K, Entry<V>> for Remaining {
    fn expire_after_create(&self, _key: &K, entry: &Entry<V>, _created_at: Instant) -> Option<Duration> {
        self.of(entry)
    }

    fn expire_after_update(
        &self,
        _key: &K,
        entry: &Entry<V>,
        _updated_at: Instant,
        _until_expiry: Option<Duration>,
    ) -> Option<Duration> {
        self.of(entry)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use larder::clock::{Clock, ManualClock};

    use super::*;

    #[test]
    fn what_is_freed_is_freed_a_little_after_its_end() {
        let clock = ManualClock::new();
        let expiry = Remaining(BackendContext::unnamed().timed(clock.clone()));
        let entry = |ttl| Entry::new(Some(Arc::new(1)), clock.now(), ttl);
        let minute = Duration::from_secs(60);
        assert_eq!(expiry.expire_after_create(&1, &entry(minute), Instant::now()), Some(minute + SLACK));
        assert_eq!(
            expiry.expire_after_update(&1, &entry(minute), Instant::now(), None),
            Some(minute + SLACK)
        );
        assert_eq!(expiry.expire_after_create(&1, &entry(Duration::MAX), Instant::now()), None);
    }
}
