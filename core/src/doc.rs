//! What the examples in this crate's documentation stand on. Not part of the public interface.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::{
    Cache, Displaced, Entry, IntoBackend, Local, LocalStore, Recency, Result, Scope, Strategy, source_fn,
};

/// An unbounded map: enough for an example, and for nothing else.
#[derive(Debug, Default, Clone, Copy)]
pub struct Store;

impl<K, V> IntoBackend<K, V> for Store
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    type Backend = Local<K, Map<K, V>>;

    fn into_backend(self, _scope: &Scope) -> Result<Self::Backend> {
        Ok(Local::new(Map(Mutex::default())))
    }
}

/// The map of a [`Store`].
pub struct Map<K, V>(Mutex<HashMap<K, Entry<V>>>);

impl<K, V> Map<K, V> {
    fn entries(&self) -> MutexGuard<'_, HashMap<K, Entry<V>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, V> fmt::Debug for Map<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").finish_non_exhaustive()
    }
}

impl<K, V> LocalStore<K, V> for Map<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    fn get(&self, key: &K, _recency: Recency) -> Option<Entry<V>> {
        self.entries().get(key).cloned()
    }
    fn insert(&self, key: K, entry: Entry<V>, _remaining: Duration) -> Displaced<'_, V> {
        self.entries().insert(key, entry).into()
    }
    fn remove(&self, key: &K) -> Displaced<'_, V> {
        self.entries().remove(key).into()
    }
    fn clear(&self) {
        self.entries().clear();
    }
}

/// A cache of squares.
///
/// # Errors
/// None.
pub fn squares() -> Result<Cache<u64, u64>> {
    Cache::builder()
        .backend(Store)
        .source(source_fn(|number: u64| async move { Ok::<_, std::io::Error>(Some(number * number)) }))
        .strategy(Strategy::aside(Duration::from_secs(60)))
        .build()
}
