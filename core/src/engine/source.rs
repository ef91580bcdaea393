//! The erased form of the user's sources.

use async_trait::async_trait;

use super::{Key, Value};
use crate::source::{BatchSource, Source};
use crate::{Error, ErrorKind, Result};

#[async_trait]
pub(crate) trait DynSource<K, V>: Send + Sync + 'static {
    async fn load_dyn(&self, key: &K) -> Result<Option<V>>;
    /// Whether many keys can be loaded at once.
    fn is_batched(&self) -> bool;
    /// The values of `keys`, aligned with them.
    async fn load_many_dyn(&self, keys: &[K]) -> Result<Vec<Option<V>>>;
}

/// A source that loads one key at a time.
pub(crate) struct Single<S>(pub(crate) S);

#[async_trait]
impl<K: Key, V: Value, S: Source<K, Value = V>> DynSource<K, V> for Single<S> {
    async fn load_dyn(&self, key: &K) -> Result<Option<V>> {
        self.0.load(key).await.map_err(Error::from_source)
    }

    fn is_batched(&self) -> bool {
        false
    }

    async fn load_many_dyn(&self, keys: &[K]) -> Result<Vec<Option<V>>> {
        let mut values = Vec::with_capacity(keys.len());
        for key in keys {
            values.push(self.load_dyn(key).await?);
        }
        Ok(values)
    }
}

/// A source that loads many keys at once.
pub(crate) struct Batched<S>(pub(crate) S);

#[async_trait]
impl<K: Key, V: Value, S: BatchSource<K, Value = V>> DynSource<K, V> for Batched<S> {
    async fn load_dyn(&self, key: &K) -> Result<Option<V>> {
        self.0.load(key).await.map_err(Error::from_source)
    }

    fn is_batched(&self) -> bool {
        true
    }

    async fn load_many_dyn(&self, keys: &[K]) -> Result<Vec<Option<V>>> {
        let values = self.0.load_many(keys).await.map_err(Error::from_source)?;
        if values.len() == keys.len() {
            return Ok(values);
        }
        let (found, asked) = (values.len(), keys.len());
        Err(Error::new(
            ErrorKind::Source,
            format!(
                "`load_many` answered {found} values for {asked} keys: answer one for each, `None` for an absent one"
            ),
        ))
    }
}
