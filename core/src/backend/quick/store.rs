//! The opened store, and its eviction reports.

use std::fmt;
use std::hash::Hash;
use std::time::Duration;

use crate::backend::{BackendContext, Displaced, Entry, EntryCount, LocalStore, Recency, Weigher, weight_of};
use crate::{Error, Result};
use quick_cache::sync::Cache;
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter};

/// An opened [`Quick`](crate::Quick).
///
/// # Examples
/// ```
/// use larder::backend::{BackendContext, IntoBackend, Local, QuickStore};
/// use larder::Quick;
/// let backend: Local<u64, QuickStore<u64, String>> = Quick::new(100).into_backend(&BackendContext::unnamed())?;
/// assert!(backend.store().is_empty());
/// # Ok::<(), larder::Error>(())
/// ```
pub struct QuickStore<K, V, W = EntryCount> {
    entries: Cache<K, Entry<V>, Weights<W>, DefaultHashBuilder, Evictions>,
    weigher: W,
    scope: BackendContext,
}

impl<K, V, W> QuickStore<K, V, W>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
    W: Weigher<K, V>,
{
    pub(crate) fn open(capacity: u64, expected: u64, weigher: W, scope: &BackendContext) -> Result<Self> {
        // tables grow if the guess was too low
        let expected = usize::try_from(expected.clamp(1, 1 << 20)).unwrap_or(1 << 20);
        let options = OptionsBuilder::new()
            .weight_capacity(capacity)
            .estimated_items_capacity(expected)
            .build()
            .map_err(|cause| {
                Error::config("quick_cache refuses this capacity").with_source(format!("{cause:?}"))
            })?;
        let entries =
            Cache::with_options(options, Weights(weigher.clone()), DefaultHashBuilder::default(), Evictions);
        Ok(Self { entries, weigher, scope: scope.clone() })
    }

    /// Returns the number of entries, expired ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns `true` if the store holds no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<K, V, W> fmt::Debug for QuickStore<K, V, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuickStore").finish_non_exhaustive()
    }
}

impl<K, V, W> LocalStore<K, V> for QuickStore<K, V, W>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
    W: Weigher<K, V>,
{
    #[inline]
    fn get(&self, key: &K, recency: Recency) -> Option<Entry<V>> {
        match recency {
            Recency::Touch => self.entries.get(key),
            Recency::Keep => self.entries.peek(key),
        }
    }

    fn insert(&self, key: K, entry: Entry<V>, _remaining: Duration) -> Displaced<'_, V> {
        if let Err(error) = weight_of(&self.weigher, &key, &entry) {
            return self.remove(&key).refused(error, &self.scope);
        }
        let mut gone = Gone::default();
        self.entries.insert_with_lifecycle(key, entry, &mut gone);
        Displaced::evicted(gone.evicted, &self.scope).and(gone.replaced)
    }

    fn remove(&self, key: &K) -> Displaced<'_, V> {
        self.entries.remove(key).map(|(_key, entry)| entry).into()
    }

    fn clear(&self) {
        // not its `clear`, which drops entries under its locks
        self.entries.drain().for_each(drop);
    }
}

#[derive(Clone)]
struct Weights<W>(W);

impl<K, V, W: Weigher<K, V>> Weighter<K, Entry<V>> for Weights<W> {
    fn weight(&self, key: &K, entry: &Entry<V>) -> u64 {
        // (an entry whose weigher panics is not inserted; this runs under quick_cache's locks)
        weight_of(&self.0, key, entry).map_or(1, u64::from)
    }
}

/// The lifecycle that carries evicted and replaced entries out of quick_cache's locks.
#[derive(Clone)]
struct Evictions;

/// The entries that an insert took out.
struct Gone<V> {
    /// Set if the next entry that leaves is evicted.
    evicts: bool,
    evicted: Vec<Entry<V>>,
    replaced: Option<Entry<V>>,
}

impl<V> Default for Gone<V> {
    fn default() -> Self {
        Self { evicts: false, evicted: vec![], replaced: None }
    }
}

impl<K, V> Lifecycle<K, Entry<V>> for Evictions {
    type RequestState = Gone<V>;

    /// Called for entries that make room, and not for those that are replaced.
    fn before_evict(&self, gone: &mut Gone<V>, _key: &K, _entry: &mut Entry<V>) {
        gone.evicts = true;
    }

    fn on_evict(&self, gone: &mut Gone<V>, _key: K, entry: Entry<V>) {
        match std::mem::take(&mut gone.evicts) {
            true => gone.evicted.push(entry),
            false => gone.replaced = Some(entry),
        }
    }
}
