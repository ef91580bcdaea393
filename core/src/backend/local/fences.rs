//! The fences and write guards of a local store.

use std::hash::Hash;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::backend::{Fence, LoadIntent, WriteIntent};
use crate::clock::Timestamp;
use crate::mutation;
use crate::shards::{Shard, Shards, is_sweep_due};
use crate::sync::MutexGuard;

/// A fence that was granted to a key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    pub(super) nonce: u128,
    pub(super) exclusive: bool,
    pub(super) until: Timestamp,
}

/// The fences of all keys, at most one for each.
pub(super) struct Fences<K> {
    pub(super) standing: Shards<K, Standing>,
    next: AtomicU64,
}

impl<K: Hash + Eq + Clone> Fences<K> {
    pub(super) fn new() -> Self {
        Self { standing: Shards::default(), next: AtomicU64::new(1) }
    }

    /// Locks the fences of the shard of `key`. All changes of the key's entry are made under this lock.
    pub(super) fn of(&self, key: &K) -> MutexGuard<'_, Shard<K, Standing>> {
        self.standing.of(key)
    }

    /// Grants a fence to a load of `key`: a new one, or a share of the valid one.
    pub(super) fn grant(
        &self,
        fences: &mut Shard<K, Standing>,
        key: &K,
        announce: LoadIntent,
        now: Timestamp,
    ) -> Granted {
        let until = now.saturating_add(announce.lease());
        if let Some(standing) = fences.get_mut(key).filter(|standing| standing.until > now) {
            if announce.is_exclusive() || standing.exclusive {
                return Granted::Busy(now.until(standing.until));
            }
            standing.until = standing.until.max(until);
            return Granted::Fence(Fence::joined(standing.nonce));
        }
        // a new number for each fence. Prevents: a fence that was revoked becomes valid again
        let nonce = u128::from(self.next.fetch_add(1, Ordering::Relaxed));
        let before = fences.len();
        fences.insert(key.clone(), Standing { nonce, exclusive: announce.is_exclusive(), until });
        if fences.len() > before && is_sweep_due(fences.len()) {
            fences.retain(|_, standing| standing.until > now);
        }
        Granted::Fence(Fence::created(nonce))
    }
}

/// The write guards that have not ended.
pub(super) struct Guards<K> {
    /// The number of keys with guards.
    count: AtomicUsize,
    standing: Shards<K, Vec<(WriteIntent, Timestamp)>>,
}

impl<K> Default for Guards<K> {
    fn default() -> Self {
        Self { count: AtomicUsize::new(0), standing: Shards::default() }
    }
}

impl<K: Hash + Eq + Clone> Guards<K> {
    /// Returns `true` if a guard of `key` is in place. Called only under the lock of the key's fence.
    pub(super) fn hold(&self, key: &K, now: Timestamp) -> bool {
        self.count.load(Ordering::SeqCst) > 0
            && self.change(key, |standing| {
                let holds = standing.get(key).is_some_and(|guards| stand(guards, now));
                if !holds {
                    standing.remove(key);
                }
                holds
            })
    }

    pub(super) fn add(&self, key: &K, guard: WriteIntent, now: Timestamp) {
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

    /// Ends one guard. Others of the key remain.
    pub(super) fn end(&self, key: &K, ended: WriteIntent) {
        self.change(key, |standing| {
            if let Some(guards) = standing.get_mut(key) {
                guards.retain(|(guard, _)| guard.nonce() != ended.nonce());
                if guards.is_empty() {
                    standing.remove(key);
                }
            }
        });
    }

    /// Changes the guards of the shard of `key`, and updates the number of keys with guards.
    fn change<T>(
        &self,
        key: &K,
        change: impl FnOnce(&mut Shard<K, Vec<(WriteIntent, Timestamp)>>) -> T,
    ) -> T {
        let mut standing = self.standing.of(key);
        let before = standing.len();
        let changed = change(&mut standing);
        // under the lock, and wrapping: the difference may be negative
        self.count.fetch_add(standing.len().wrapping_sub(before), Ordering::SeqCst);
        changed
    }
}

/// Returns `true` if one of `guards` is in place at `now`.
pub(super) fn stand(guards: &[(WriteIntent, Timestamp)], now: Timestamp) -> bool {
    guards.iter().any(|(_, until)| *until > now)
}

/// The answer to the request for a fence.
pub(super) enum Granted {
    Fence(Fence),
    Busy(Duration),
}

/// Returns `true` if `fence` is the valid fence of `key` at `now`.
pub(super) fn holds<K: Hash + Eq>(
    fences: &Shard<K, Standing>,
    key: &K,
    fence: Fence,
    now: Timestamp,
) -> bool {
    fences.get(key).is_some_and(|standing| standing.nonce == fence.nonce() && standing.until > now)
}
