//! A map that many threads change: each key belongs to one of several locks.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};

use foldhash::fast::RandomState;

use crate::sync::{Mutex, MutexGuard, lock};

/// How many locks a map is spread over. Only misses and writes take one.
const SHARDS: usize = 64;

/// A shard is not swept while it has fewer keys.
const SWEEP_ABOVE: usize = 64;

/// Returns `true` if a shard that has just grown to this size is to be swept of what has ended. Each key that was added pays
/// for two: a sweep at every insert would make many keys that stand at once quadratic work under one lock.
pub(crate) const fn is_sweep_due(len: usize) -> bool {
    len >= SWEEP_ABOVE && len.is_power_of_two()
}

/// The keys that belong to one lock.
pub(crate) type Shard<K, T> = HashMap<K, T, RandomState>;

/// Hashed by seeds that are drawn for each map, as fast as a local store hashes.
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
    /// Locks the keys that `key` is one of.
    pub(crate) fn of(&self, key: &K) -> MutexGuard<'_, Shard<K, T>> {
        lock(&self.shards[(self.hasher.hash_one(key) as usize) % SHARDS])
    }
}

impl<K, T> Shards<K, T> {
    /// Forgets everything, one lock after the other. Keys and values are dropped when their lock is free again.
    pub(crate) fn clear(&self) {
        self.drain(drop);
    }

    /// Empties one lock's keys after the other, and gives them to `each` when that lock is free again.
    pub(crate) fn drain(&self, mut each: impl FnMut(Shard<K, T>)) {
        self.shards.iter().for_each(|shard| each(std::mem::take(&mut *lock(shard))));
    }

    /// How many keys there are, counted one lock after the other.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }
}
