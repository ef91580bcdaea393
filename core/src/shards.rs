//! A map that many threads change: each key belongs to one of several locks.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};

use foldhash::fast::RandomState;

use crate::sync::{Mutex, MutexGuard, lock};

/// How many locks a map is spread over. Only misses and writes take one.
const SHARDS: usize = 64;

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
    /// Forgets everything, one lock after the other.
    pub(crate) fn clear(&self) {
        self.shards.iter().for_each(|shard| lock(shard).clear());
    }

    /// How many keys there are, counted one lock after the other.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }
}
