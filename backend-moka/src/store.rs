//! The opened store, and what it reports.

use std::fmt;
use std::hash::Hash;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use larder::{Entry, Event, LocalStore, Scope, Weigher};
use moka::Expiry;
use moka::notification::RemovalCause;
use moka::sync::Cache;

/// Longer than this is for ever: moka counts nanoseconds from now in 64 bits.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// How much longer than its entry's life moka keeps it, by moka's own clock: whether an entry may be served is judged by
/// larder's clock, and the two must not race at the end of a short life.
const SLACK: Duration = Duration::from_secs(5);

/// An opened [`Moka`](crate::Moka).
///
/// # Examples
/// ```
/// use larder::{IntoBackend, Local, Scope};
/// use larder_moka::{Moka, MokaStore};
/// let backend: Local<u64, MokaStore<u64, String>> = Moka::new(100).into_backend(&Scope::unnamed())?;
/// assert!(backend.store().is_empty());
/// # Ok::<(), larder::Error>(())
/// ```
pub struct MokaStore<K, V> {
    /// Hashed as the other stores are, by a seed that is drawn for each: moka's default takes several times as long.
    entries: Cache<K, Kept<V>, RandomState>,
}

struct Kept<V> {
    entry: Entry<V>,
    remaining: Duration,
}

impl<V> Clone for Kept<V> {
    fn clone(&self) -> Self {
        Self { entry: self.entry.clone(), remaining: self.remaining }
    }
}

impl<K, V> MokaStore<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    pub(crate) fn open(capacity: u64, weigher: impl Weigher<K, V>, scope: &Scope) -> Self {
        let scope = scope.clone();
        let entries = Cache::builder()
            .max_capacity(capacity)
            .weigher(move |key, kept: &Kept<V>| {
                kept.entry.value().map_or(1, |value| weigher.weigh(key, value)).max(1)
            })
            .expire_after(Remaining)
            .eviction_listener(move |_key, _kept, cause| {
                if cause == RemovalCause::Size {
                    scope.record(&Event::evicted(1));
                }
            })
            .build_with_hasher(RandomState::default());
        Self { entries }
    }

    /// How many entries are kept, as far as moka's housekeeping has come.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.entries.run_pending_tasks();
        self.entries.entry_count()
    }

    /// Whether nothing is kept, as far as moka's housekeeping has come.
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
    fn get(&self, key: &K) -> Option<Entry<V>> {
        self.entries.get(key).map(|kept| kept.entry)
    }

    fn insert(&self, key: K, entry: Entry<V>, remaining: Duration) {
        self.entries.insert(key, Kept { entry, remaining });
    }

    fn remove(&self, key: &K) {
        self.entries.invalidate(key);
    }

    fn clear(&self) {
        self.entries.invalidate_all();
    }
}

/// Frees the memory of expired entries; whether one may be served is judged by larder's own clock.
struct Remaining;

impl Remaining {
    fn of<V>(kept: &Kept<V>) -> Option<Duration> {
        (kept.remaining < FOR_EVER).then(|| kept.remaining + SLACK)
    }
}

impl<K, V> Expiry<K, Kept<V>> for Remaining {
    fn expire_after_create(&self, _key: &K, kept: &Kept<V>, _created_at: Instant) -> Option<Duration> {
        Self::of(kept)
    }

    fn expire_after_update(
        &self,
        _key: &K,
        kept: &Kept<V>,
        _updated_at: Instant,
        _until_expiry: Option<Duration>,
    ) -> Option<Duration> {
        Self::of(kept)
    }
}
