//! Fences around a store that lives in the process.

use std::fmt::{self, Debug};
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::{Announce, Begun, CacheBackend, Fence, Filled, Guard, IntoBackend, Scope};
use crate::Result;
use crate::entry::Entry;
use crate::ledger::Ledger;
use crate::mutation;
use crate::shards::{Shard, Shards, is_sweep_due};
use crate::sync::MutexGuard;
use crate::tag::{Stamp, Tag};
use crate::time::Timestamp;

/// A map in this process that keeps typed entries, bounds itself, and knows nothing of loads: moka, quick_cache, one's
/// own. [`Local`] makes a [`CacheBackend`] of it.
///
/// # Examples
/// ```
/// use std::{collections::HashMap, sync::Mutex, time::Duration};
/// use larder::{Entry, Local, LocalStore};
///
/// #[derive(Debug, Default)]
/// struct Unbounded(Mutex<HashMap<u64, Entry<String>>>);
///
/// impl LocalStore<u64, String> for Unbounded {
///     fn get(&self, key: &u64) -> Option<Entry<String>> {
///         self.0.lock().unwrap().get(key).cloned()
///     }
///     fn insert(&self, key: u64, entry: Entry<String>, _remaining: Duration) {
///         self.0.lock().unwrap().insert(key, entry);
///     }
///     fn remove(&self, key: &u64) {
///         self.0.lock().unwrap().remove(key);
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
    /// The entry of `key`, dead or alive.
    fn get(&self, key: &K) -> Option<Entry<V>>;
    /// Keeps an entry, which is of no use after `remaining`.
    fn insert(&self, key: K, entry: Entry<V>, remaining: Duration);
    /// Forgets `key`: a later `get` does not see it.
    fn remove(&self, key: &K);
    /// Forgets everything.
    fn clear(&self);
}

/// A [`LocalStore`] as a backend: adds the fences, judges expiry, and answers hits by a synchronous look.
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
    /// A backend over `store`.
    pub fn new(store: S) -> Self {
        Self { store, fences: Fences::new(), guards: Guards::default(), ledger: Ledger::new() }
    }

    /// The store.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// How many announced loads have neither filled nor ended.
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

#[derive(Debug, Clone, Copy)]
struct Standing {
    nonce: u128,
    exclusive: bool,
    until: Timestamp,
}

struct Fences<K> {
    standing: Shards<K, Standing>,
    next: AtomicU64,
}

impl<K: Hash + Eq + Clone> Fences<K> {
    fn new() -> Self {
        Self { standing: Shards::default(), next: AtomicU64::new(1) }
    }

    fn of(&self, key: &K) -> MutexGuard<'_, Shard<K, Standing>> {
        self.standing.of(key)
    }

    fn grant(&self, fences: &mut Shard<K, Standing>, key: &K, announce: Announce, now: Timestamp) -> Granted {
        let until = now.saturating_add(announce.lease());
        if let Some(standing) = fences.get_mut(key).filter(|standing| standing.until > now) {
            if announce.is_exclusive() || standing.exclusive {
                return Granted::Busy(now.until(standing.until));
            }
            standing.until = standing.until.max(until);
            return Granted::Fence(Fence::joined(standing.nonce));
        }
        let nonce = u128::from(self.next.fetch_add(1, Ordering::Relaxed));
        let before = fences.len();
        fences.insert(key.clone(), Standing { nonce, exclusive: announce.is_exclusive(), until });
        if fences.len() > before && is_sweep_due(fences.len()) {
            fences.retain(|_, standing| standing.until > now);
        }
        Granted::Fence(Fence::created(nonce))
    }
}

/// Writes that were announced and have not ended.
struct Guards<K> {
    /// How many keys have guards.
    count: AtomicUsize,
    standing: Shards<K, Vec<(Guard, Timestamp)>>,
}

impl<K> Default for Guards<K> {
    fn default() -> Self {
        Self { count: AtomicUsize::new(0), standing: Shards::default() }
    }
}

impl<K: Hash + Eq + Clone> Guards<K> {
    /// Returns `true` if a guard of `key` stands. Asked only under the lock of the key's fence.
    fn hold(&self, key: &K, now: Timestamp) -> bool {
        self.count.load(Ordering::SeqCst) > 0
            && self.change(key, |standing| {
                let holds = standing.get(key).is_some_and(|guards| stand(guards, now));
                if !holds {
                    standing.remove(key);
                }
                holds
            })
    }

    fn add(&self, key: &K, guard: Guard, now: Timestamp) {
        let until = now.saturating_add(guard.life());
        self.change(key, |standing| {
            let before = standing.len();
            let guards = standing.entry(key.clone()).or_default();
            guards.retain(|(_, until)| *until > now);
            if mutation::on("a guard has one slot (in process)") {
                guards.clear();
            }
            guards.push((guard, until));
            if standing.len() > before && is_sweep_due(standing.len()) {
                standing.retain(|_, guards| stand(guards, now));
            }
        });
    }

    fn end(&self, key: &K, ended: Guard) {
        self.change(key, |standing| {
            if let Some(guards) = standing.get_mut(key) {
                guards.retain(|(guard, _)| guard.nonce() != ended.nonce());
                if guards.is_empty() {
                    standing.remove(key);
                }
            }
        });
    }

    /// Changes the guards that `key` has a lock with, and counts their keys.
    fn change<T>(&self, key: &K, change: impl FnOnce(&mut Shard<K, Vec<(Guard, Timestamp)>>) -> T) -> T {
        let mut standing = self.standing.of(key);
        let before = standing.len();
        let changed = change(&mut standing);
        // under the lock, and wrapping: the difference may be negative
        self.count.fetch_add(standing.len().wrapping_sub(before), Ordering::SeqCst);
        changed
    }
}

fn stand(guards: &[(Guard, Timestamp)], now: Timestamp) -> bool {
    guards.iter().any(|(_, until)| *until > now)
}

enum Granted {
    Fence(Fence),
    Busy(Duration),
}

fn holds<K: Hash + Eq>(fences: &Shard<K, Standing>, key: &K, fence: Fence, now: Timestamp) -> bool {
    fences.get(key).is_some_and(|standing| standing.nonce == fence.nonce() && standing.until > now)
}

impl<K, V, S> CacheBackend<K, V> for Local<K, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: LocalStore<K, V>,
{
    #[inline]
    fn look<T>(&self, key: &K, now: Timestamp, look: impl FnOnce(&mut Entry<V>) -> Option<T>) -> Option<T> {
        let mut found = self.store.get(key);
        let entry = found.as_mut()?;
        if entry.is_alive(now) && self.ledger.allows(entry) { look(entry) } else { None }
    }

    fn shared_name(&self, _key: &K) -> Option<String> {
        None
    }

    fn watch(&self, _watcher: std::sync::Weak<dyn super::Watcher>) -> bool {
        // only this process changes it
        false
    }

    fn is_bounded(&self) -> bool {
        // it never waits
        true
    }

    async fn get(&self, key: &K, now: Timestamp) -> Result<Option<Entry<V>>> {
        Ok(self.peek(key, now))
    }

    async fn get_many(&self, keys: &[K], now: Timestamp) -> Result<Vec<Option<Entry<V>>>> {
        Ok(keys.iter().map(|key| self.peek(key, now)).collect())
    }

    async fn begin(&self, key: &K, announce: Announce, now: Timestamp) -> Result<Begun<V>> {
        let mut fences = self.fences.of(key);
        if !announce.ignores_hit()
            && let Some(entry) = self.peek(key, now)
        {
            return Ok(Begun::Hit(entry));
        }
        if self.guards.hold(key, now) {
            return Ok(Begun::Guarded);
        }
        Ok(match self.fences.grant(&mut fences, key, announce, now) {
            Granted::Fence(fence) => Begun::Granted(fence.stamped(self.ledger.stamp())),
            Granted::Busy(lease) => Begun::Busy(lease),
        })
    }

    async fn fill(&self, key: &K, fence: Fence, entry: Entry<V>, now: Timestamp) -> Result<Filled> {
        let mut fences = self.fences.of(key);
        if !holds(&fences, key, fence, now) {
            return Ok(Filled::Refused);
        }
        fences.remove(key);
        let entry = entry.stamped(fence.stamp());
        if !self.ledger.allows(&entry) {
            return Ok(Filled::Refused);
        }
        // under the lock: a removal after this sees the entry, one before it took the fence
        let remaining = entry.remaining(now);
        self.store.insert(key.clone(), entry, remaining);
        Ok(Filled::Stored)
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
        // a stamp that is there already is a far tier's
        let entry =
            if entry.stamp() == Stamp::default() { entry.stamped(self.ledger.stamp()) } else { entry };
        let mut fences = self.fences.of(key);
        fences.remove(key);
        if self.guards.hold(key, now) {
            self.store.remove(key);
            return Ok(());
        }
        let remaining = entry.remaining(now);
        self.store.insert(key.clone(), entry, remaining);
        Ok(())
    }

    async fn remove(&self, key: &K) -> Result<()> {
        let mut fences = self.fences.of(key);
        if !mutation::on("a removal leaves the fence (in process)") {
            fences.remove(key);
        }
        self.store.remove(key);
        Ok(())
    }

    async fn remove_many(&self, keys: &[K]) -> Result<()> {
        for key in keys {
            <Self as CacheBackend<K, V>>::remove(self, key).await?;
        }
        Ok(())
    }

    async fn clear(&self) -> Result<()> {
        // fences first: a fill that still finds its fence is wiped by what follows
        self.fences.standing.clear();
        self.store.clear();
        Ok(())
    }

    async fn invalidate_tags(&self, tags: &[Tag]) -> Result<Stamp> {
        Ok(self.ledger.invalidate(tags))
    }

    async fn prune_tags(&self, count: u64) -> Result<usize> {
        Ok(self.ledger.prune(count))
    }

    async fn guard(&self, key: &K, guard: Guard, now: Timestamp) -> Result<()> {
        let mut fences = self.fences.of(key);
        self.guards.add(key, guard, now);
        fences.remove(key);
        self.store.remove(key);
        Ok(())
    }

    async fn unguard(&self, key: &K, guard: Guard, _now: Timestamp) -> Result<()> {
        let mut fences = self.fences.of(key);
        self.guards.end(key, guard);
        fences.remove(key);
        self.store.remove(key);
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

    fn into_backend(self, _scope: &Scope) -> Result<Self> {
        Ok(self)
    }
}

/// How much of a store's capacity an entry takes: 1 each ([`Count`]), or what a closure says.
///
/// # Examples
/// ```
/// use larder::{Count, Weigher};
/// assert_eq!(Count.weigh(&1, &"one"), 1);
/// let by_length = |_key: &u64, value: &String| value.len() as u32;
/// assert_eq!(by_length.weigh(&1, &"bread".to_owned()), 5);
/// ```
pub trait Weigher<K, V>: Clone + Send + Sync + 'static {
    /// The weight of a value. Negative entries weigh 1.
    fn weigh(&self, key: &K, value: &V) -> u32;
}

/// Every entry weighs 1: the capacity is a number of entries.
///
/// # Examples
/// See [`Weigher`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Count;

impl<K, V> Weigher<K, V> for Count {
    fn weigh(&self, _key: &K, _value: &V) -> u32 {
        1
    }
}

impl<K, V, F: Fn(&K, &V) -> u32 + Clone + Send + Sync + 'static> Weigher<K, V> for F {
    fn weigh(&self, key: &K, value: &V) -> u32 {
        self(key, value)
    }
}
