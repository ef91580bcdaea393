//! Write guards, which keep keys out of the cache while the source is written.

use std::fmt;

use crate::Result;
use crate::backend::WriteIntent;
use crate::cache::Cache;
use crate::engine::{Key, Value};

/// A handle to a write guard, made by [`Cache::write_guard`].
///
/// If it is dropped without [`finish`](Self::finish), the guard stays in force until its `life` has passed, because
/// the write may have been committed.
///
/// # Examples
/// See [`Cache::write_guard`].
#[must_use = "call `finish` after the commit or the rollback: until then the keys are not cached"]
pub struct WriteGuard<K: Key, V> {
    pub(crate) cache: Cache<K, V>,
    pub(crate) keys: Vec<K>,
    pub(crate) guard: WriteIntent,
}

impl<K: Key, V: Value> WriteGuard<K, V> {
    /// Ends the guard. Call it after the commit or the rollback. A read that starts after this returned `Ok` sees the
    /// write.
    ///
    /// # Errors
    /// As [`Cache::invalidate`]. The guard then ends after its `life`.
    ///
    /// # Cancellation safety
    /// As [`Cache::invalidate`].
    ///
    /// # Examples
    /// See [`Cache::write_guard`].
    pub async fn finish(self) -> Result<()> {
        let Self { cache, keys, guard } = self;
        cache.end_write(&keys, guard).await
    }
}

impl<K: Key, V> fmt::Debug for WriteGuard<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteGuard").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}
