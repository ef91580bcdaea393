//! A map for concurrent changes: each key belongs to one of several locks.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};

use foldhash::fast::RandomState;

use crate::sync::{Mutex, MutexGuard, lock};

/// The number of locks of a map. Only misses and writes take one.
const SHARDS: usize = 64;

/// The number of keys below which a shard is not swept.
const SWEEP_ABOVE: usize = 64;

/// Returns `true` if a shard that has just grown to this size is to be swept of ended entries.
///
/// Each added key pays for two. A sweep at every insert would be quadratic work under one lock if many keys are
/// valid.
pub(crate) const fn is_sweep_due(len: usize) -> bool {
    len >= SWEEP_ABOVE && len.is_power_of_two()
}

/// The keys that belong to one lock.
pub(crate) type Shard<K, T> = HashMap<K, T, RandomState>;

/// A map of several locks. Hashed by seeds that are drawn for each map, as fast as a local store hashes.
pub(crate) struct Shards<K, T> {
    shards: Box<[Mutex<Shard<K, T>>]>,
    hasher: RandomState,
}

impl<K, T> Default for Shards<K, T> {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), hasher: RandomState::default() }
    }
}

impl<K: Hash, T> Shards<K, T> {
    /// Locks the shard of `key`.
    pub(crate) fn of(&self, key: &K) -> MutexGuard<'_, Shard<K, T>> {
        lock(&self.shards[(self.hasher.hash_one(key) as usize) % SHARDS])
    }
}

impl<K, T> Shards<K, T> {
    /// Removes all keys, one shard after the other. Keys and values are dropped after their lock is released.
    pub(crate) fn clear(&self) {
        self.drain(drop);
    }

    /// Empties one shard after the other, and passes its content to `each` after its lock is released.
    pub(crate) fn drain(&self, mut each: impl FnMut(Shard<K, T>)) {
        self.shards.iter().for_each(|shard| each(std::mem::take(&mut *lock(shard))));
    }

    /// Returns the number of keys, counted one shard after the other.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }
}
