//! A map that many threads change: each key belongs to one of several locks.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::sync::PoisonError;

use foldhash::fast::RandomState;

use crate::sync::{Mutex, MutexGuard};

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

fn locked<T>(shard: &Mutex<T>) -> MutexGuard<'_, T> {
    // nothing in here can be left half done: a poisoned lock is as good as new
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K: Hash, T> Shards<K, T> {
    /// Locks the keys that `key` is one of.
    pub(crate) fn of(&self, key: &K) -> MutexGuard<'_, Shard<K, T>> {
        locked(&self.shards[(self.hasher.hash_one(key) as usize) % SHARDS])
    }
}

impl<K, T> Shards<K, T> {
    /// Forgets everything, one lock after the other.
    pub(crate) fn clear(&self) {
        self.shards.iter().for_each(|shard| locked(shard).clear());
    }

    /// How many keys there are, counted one lock after the other.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| locked(shard).len()).sum()
    }
}
