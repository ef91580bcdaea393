//! Fences for a store in this process.

mod fences;
mod weigher;

use std::fmt::{self, Debug};
use std::hash::Hash;
use std::time::Duration;

use self::fences::{Fences, Granted, Guards, holds};
pub use self::weigher::{EntryCount, Weigher, weight_of};
use super::{
    BackendContext, BeginOutcome, CacheBackend, Fence, FillOutcome, IntoBackend, LoadIntent, WriteIntent,
};
use crate::backend::Entry;
use crate::clock::Timestamp;
use crate::observe::Event;
use crate::tag::ledger::Ledger;
use crate::tag::{Pruned, Stamp, Tag};
use crate::{Error, Result, mutation};

/// A bounded map in this process that keeps typed entries and has no fences: moka, quick_cache, your own.
/// [`Local`] makes a [`CacheBackend`] of it.
///
/// # Examples
/// ```
/// use std::{collections::HashMap, sync::Mutex, time::Duration};
/// use larder::backend::{Displaced, Entry, Local, LocalStore, Recency};
///
/// #[derive(Debug, Default)]
/// struct Unbounded(Mutex<HashMap<u64, Entry<String>>>);
///
/// impl LocalStore<u64, String> for Unbounded {
///     fn get(&self, key: &u64, _recency: Recency) -> Option<Entry<String>> {
///         self.0.lock().unwrap().get(key).cloned()
///     }
///     fn insert(&self, key: u64, entry: Entry<String>, _remaining: Duration) -> Displaced<'_, String> {
///         self.0.lock().unwrap().insert(key, entry).into()
///     }
///     fn remove(&self, key: &u64) -> Displaced<'_, String> {
///         self.0.lock().unwrap().remove(key).into()
///     }
///     fn clear(&self) {
///         self.0.lock().unwrap().clear();
///     }
/// }
///
/// let backend = Local::new(Unbounded::default()); // ready for `Cache::builder().backend(..)`
/// # let _: &dyn std::fmt::Debug = &backend as &Local<u64, Unbounded>;
/// ```
pub trait LocalStore<K, V>: Debug + Send + Sync + 'static {
    /// Returns the entry of `key`, expired or not. `recency` says if this counts as a use of the key.
    fn get(&self, key: &K, recency: Recency) -> Option<Entry<V>>;
    /// Stores an entry, which has expired after `remaining`. Returns the entries that it displaced.
    ///
    /// Called under a lock. An implementation must not drop entries in here, because a value's destructor may use the
    /// cache.
    fn insert(&self, key: K, entry: Entry<V>, remaining: Duration) -> Displaced<'_, V>;
    /// Removes `key`, so that a later `get` does not see it. Returns the removed entry. Called under a lock, like
    /// `insert`.
    fn remove(&self, key: &K) -> Displaced<'_, V>;
    /// Removes all entries.
    fn clear(&self);
}

/// The decision if a look at an entry counts as a use of its key, for stores that evict by recency or frequency.
///
/// A read looks several times, and counts once. If a miss counted several times, every new key would look more
/// popular than those that it competes with, and admission policies such as TinyLFU would degrade to LRU.
///
/// # Examples
/// See [`LocalStore`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Recency {
    /// It counts: the look that answers a read, or that finds a miss.
    Touch,
    /// It does not count: a check.
    Keep,
}

/// The entries that a change took out of a store. They are dropped after its locks are released, because the
/// destructor of a value may use the cache. Evicted ones are reported then.
///
/// # Examples
/// See [`LocalStore`].
#[must_use = "to be given back to the caller, who drops it when its locks are free"]
pub struct Displaced<'a, V> {
    replaced: Option<Entry<V>>,
    others: Vec<Entry<V>>,
    evicted: Vec<Entry<V>>,
    refused: Option<Box<Error>>,
    scope: Option<&'a BackendContext>,
}

impl<'a, V> Displaced<'a, V> {
    /// Returns no entries.
    pub const fn none() -> Self {
        Self { replaced: None, others: vec![], evicted: vec![], refused: None, scope: None }
    }

    /// Returns entries that were evicted to make room, to be recorded with `scope`.
    pub const fn evicted(evicted: Vec<Entry<V>>, scope: &'a BackendContext) -> Self {
        Self { replaced: None, others: vec![], evicted, refused: None, scope: Some(scope) }
    }
}

impl<'a, V> Displaced<'a, V> {
    /// Adds the error of an insert that was refused, such as one of [`weight_of`], to be recorded with `scope`.
    pub fn refused(mut self, error: Error, scope: &'a BackendContext) -> Self {
        (self.refused, self.scope) = (Some(Box::new(error)), Some(scope));
        self
    }

    /// Adds an entry that was replaced.
    pub fn and(mut self, replaced: Option<Entry<V>>) -> Self {
        self.replaced = replaced;
        self
    }

    /// Adds entries that were removed or had expired.
    pub fn and_all(mut self, others: Vec<Entry<V>>) -> Self {
        self.others = others;
        self
    }
}

impl<V> From<Option<Entry<V>>> for Displaced<'_, V> {
    fn from(replaced: Option<Entry<V>>) -> Self {
        Self::none().and(replaced)
    }
}

impl<V> Drop for Displaced<'_, V> {
    fn drop(&mut self) {
        drop((self.replaced.take(), std::mem::take(&mut self.others)));
        if let Some(scope) = self.scope {
            self.evicted.iter().for_each(|entry| scope.evicted(entry));
            if let Some(error) = &self.refused {
                scope.record(&Event::backend_failed("insert", error));
            }
        }
    }
}

impl<V> Debug for Displaced<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.evicted.len() + self.others.len() + usize::from(self.replaced.is_some());
        f.debug_tuple("Displaced").field(&count).finish()
    }
}

/// A [`LocalStore`] as a backend. Adds fences, expiry and synchronous hits.
///
/// # Examples
/// See [`LocalStore`].
pub struct Local<K, S> {
    store: S,
    fences: Fences<K>,
    guards: Guards<K>,
    ledger: Ledger,
}

impl<K: Hash + Eq + Clone, S> Local<K, S> {
    /// Creates a backend on `store`.
    pub fn new(store: S) -> Self {
        Self { store, fences: Fences::new(), guards: Guards::default(), ledger: Ledger::new() }
    }

    /// Returns the store.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// Returns the number of keys with a fence that no fill, release or removal has ended.
    /// Includes fences whose lease has ended, until they are swept.
    #[must_use]
    pub fn fences(&self) -> usize {
        self.fences.standing.len()
    }
}

impl<K, S: Debug> Debug for Local<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Local").field(&self.store).finish()
    }
}

impl<K: Hash + Eq + Clone, S> Local<K, S> {
    /// Removes the entry and the fence of `key`, and changes its guards, in one step.
    fn forget<V>(&self, key: &K, change: impl FnOnce(&Guards<K>))
    where
        S: LocalStore<K, V>,
    {
        let mut fences = self.fences.of(key);
        change(&self.guards);
        if !mutation::on("a removal leaves the fence (in process)") {
            fences.remove(key);
        }
        let displaced = self.store.remove(key);
        drop(fences);
        drop(displaced);
    }
}

impl<K, V, S> CacheBackend<K, V> for Local<K, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: LocalStore<K, V>,
{
    const IS_IMMEDIATE: bool = true;

    #[inline]
    fn look<T>(
        &self,
        key: &K,
        now: Timestamp,
        recency: Recency,
        look: impl FnOnce(&mut Entry<V>) -> Option<T>,
    ) -> Option<T> {
        let mut found = self.store.get(key, recency);
        let entry = found.as_mut()?;
        if entry.is_alive(now) && self.ledger.allows(entry) { look(entry) } else { None }
    }

    fn shared_name(&self, _key: &K) -> Option<String> {
        None
    }

    fn watch(&self, _watcher: std::sync::Weak<dyn super::Watcher>) -> bool {
        // only this process changes the store
        false
    }

    fn is_bounded(&self) -> bool {
        // the store never waits
        true
    }

    async fn get(&self, key: &K, now: Timestamp) -> Result<Option<Entry<V>>> {
        Ok(self.peek(key, now))
    }

    async fn get_many(&self, keys: &[K], now: Timestamp) -> Result<Vec<Option<Entry<V>>>> {
        Ok(keys.iter().map(|key| self.peek(key, now)).collect())
    }

    async fn begin(&self, key: &K, announce: LoadIntent, now: Timestamp) -> Result<BeginOutcome<V>> {
        let mut fences = self.fences.of(key);
        if !announce.ignores_hit()
            && let Some(entry) = self.peek(key, now)
        {
            return Ok(BeginOutcome::Hit(entry));
        }
        if self.guards.hold(key, now) {
            return Ok(BeginOutcome::Guarded);
        }
        Ok(match self.fences.grant(&mut fences, key, announce, now) {
            Granted::Fence(fence) => BeginOutcome::Granted(fence.stamped(self.ledger.stamp())),
            Granted::Busy(lease) => BeginOutcome::Busy(lease),
        })
    }

    async fn fill(&self, key: &K, fence: Fence, entry: Entry<V>, now: Timestamp) -> Result<FillOutcome> {
        let entry = entry.stamped(fence.stamp());
        let (remaining, allowed) = (entry.remaining(now), self.ledger.allows(&entry));
        let mut fences = self.fences.of(key);
        if !holds(&fences, key, fence, now) {
            return Ok(FillOutcome::Refused);
        }
        fences.remove(key);
        if !allowed {
            return Ok(FillOutcome::Refused);
        }
        // under the fence's lock: a later removal finds the entry, an earlier one has revoked the fence.
        // Prevents: a fill after the invalidation
        let displaced = self.store.insert(key.clone(), entry, remaining);
        drop(fences);
        drop(displaced);
        Ok(FillOutcome::Stored)
    }

    async fn renew(&self, key: &K, fence: Fence, lease: Duration, now: Timestamp) -> Result<bool> {
        let mut fences = self.fences.of(key);
        let held = holds(&fences, key, fence, now);
        if let Some(standing) = fences.get_mut(key).filter(|_| held) {
            standing.until = standing.until.max(now.saturating_add(lease));
        }
        Ok(held)
    }

    async fn release(&self, key: &K, fence: Fence, now: Timestamp) -> Result<()> {
        let mut fences = self.fences.of(key);
        if holds(&fences, key, fence, now) {
            fences.remove(key);
        }
        Ok(())
    }

    async fn put(&self, key: &K, entry: Entry<V>, now: Timestamp) -> Result<()> {
        // an entry with a stamp comes from a far tier (L2)
        let entry =
            if entry.stamp() == Stamp::default() { entry.stamped(self.ledger.stamp()) } else { entry };
        let remaining = entry.remaining(now);
        let mut fences = self.fences.of(key);
        fences.remove(key);
        let displaced = match self.guards.hold(key, now) {
            true => self.store.remove(key),
            false => self.store.insert(key.clone(), entry, remaining),
        };
        drop(fences);
        drop(displaced);
        Ok(())
    }

    async fn remove(&self, key: &K) -> Result<()> {
        self.forget(key, |_| {});
        Ok(())
    }

    async fn remove_many(&self, keys: &[K]) -> Result<()> {
        keys.iter().for_each(|key| self.forget(key, |_| {}));
        Ok(())
    }

    async fn clear(&self) -> Result<()> {
        // fences first. Prevents: a fill after the clear; one that still finds its fence is removed by the next step
        self.fences.standing.clear();
        self.store.clear();
        Ok(())
    }

    async fn invalidate_tags(&self, tags: &[Tag]) -> Result<Stamp> {
        Ok(self.ledger.invalidate(tags))
    }

    async fn prune_tags(&self, count: u64, _longest: Duration) -> Result<Pruned> {
        // the entries of this process alone, whose lives the caller knows
        Ok(Pruned::Removed(self.ledger.prune(count)))
    }

    async fn guard(&self, key: &K, guard: WriteIntent, now: Timestamp) -> Result<()> {
        self.forget(key, |guards| guards.add(key, guard, now));
        Ok(())
    }

    async fn unguard(&self, key: &K, guard: WriteIntent, _now: Timestamp) -> Result<()> {
        self.forget(key, |guards| guards.end(key, guard));
        Ok(())
    }
}

impl<K, V, S> IntoBackend<K, V> for Local<K, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: LocalStore<K, V>,
{
    type Backend = Self;

    fn into_backend(self, _scope: &BackendContext) -> Result<Self> {
        Ok(self)
    }
}
