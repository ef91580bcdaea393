//! The erased form of the user's sources.

use std::collections::HashMap;
use std::future::Future;
use std::marker::PhantomData;

use async_trait::async_trait;

use super::{Key, Value};
use crate::backend::Entry;
use crate::error::BoxError;
use crate::source::{BatchSource, ConditionalSource, KnownValue, Loaded, Source};
use crate::{Error, ErrorKind, Result};

#[async_trait]
pub(crate) trait DynSource<K, V>: Send + Sync + 'static {
    /// Returns the configuration error of the source, as far as it can be known before the first load.
    fn check_dyn(&self) -> Result<()>;
    /// Loads one key; `known` is its cached entry, fresh or not.
    async fn load_dyn(&self, key: &K, known: Option<Entry<V>>) -> Result<Loaded<V>>;
    /// Returns `true` if many keys can be loaded at once.
    fn is_batched(&self) -> bool;
    /// Returns `true` if a known entry can spare the transfer of a value.
    fn is_conditional(&self) -> bool;
    /// Loads the values of `keys`, aligned with them.
    async fn load_each_dyn(&self, keys: &[K]) -> Result<Vec<Result<Loaded<V>>>>;
}

/// A source that loads one key at a time.
pub(crate) struct Single<S>(pub(crate) S);

#[async_trait]
impl<K: Key, V: Value, S: Source<K, Value = V>> DynSource<K, V> for Single<S> {
    fn check_dyn(&self) -> Result<()> {
        self.0.check()
    }

    async fn load_dyn(&self, key: &K, _known: Option<Entry<V>>) -> Result<Loaded<V>> {
        Ok(self.0.load(key).await.map_err(Error::from_source)?.into())
    }

    fn is_batched(&self) -> bool {
        false
    }

    fn is_conditional(&self) -> bool {
        false
    }

    async fn load_each_dyn(&self, keys: &[K]) -> Result<Vec<Result<Loaded<V>>>> {
        one_by_one(self, keys).await
    }
}

/// A source that can answer that nothing has changed.
pub(crate) struct Conditional<S>(pub(crate) S);

#[async_trait]
impl<K: Key, V: Value, S: ConditionalSource<K, Value = V>> DynSource<K, V> for Conditional<S> {
    fn check_dyn(&self) -> Result<()> {
        self.0.check()
    }

    async fn load_dyn(&self, key: &K, known: Option<Entry<V>>) -> Result<Loaded<V>> {
        let known = known.as_ref().and_then(KnownValue::of);
        self.0.load_if_modified(key, known).await.map_err(Error::from_source)
    }

    fn is_batched(&self) -> bool {
        false
    }

    fn is_conditional(&self) -> bool {
        true
    }

    async fn load_each_dyn(&self, keys: &[K]) -> Result<Vec<Result<Loaded<V>>>> {
        one_by_one(self, keys).await
    }
}

async fn one_by_one<K: Key, V: Value>(
    source: &impl DynSource<K, V>,
    keys: &[K],
) -> Result<Vec<Result<Loaded<V>>>> {
    let mut values = Vec::with_capacity(keys.len());
    for key in keys {
        values.push(source.load_dyn(key, None).await);
    }
    Ok(values)
}

/// A source that loads many keys at once.
pub(crate) struct Batched<S>(pub(crate) S);

#[async_trait]
impl<K: Key, V: Value, S: BatchSource<K, Value = V>> DynSource<K, V> for Batched<S> {
    fn check_dyn(&self) -> Result<()> {
        self.0.check()
    }

    async fn load_dyn(&self, key: &K, _known: Option<Entry<V>>) -> Result<Loaded<V>> {
        Ok(self.0.load(key).await.map_err(Error::from_source)?.into())
    }

    fn is_batched(&self) -> bool {
        true
    }

    fn is_conditional(&self) -> bool {
        false
    }

    async fn load_each_dyn(&self, keys: &[K]) -> Result<Vec<Result<Loaded<V>>>> {
        let values = self.0.load_each(keys).await.map_err(Error::from_source)?;
        if values.len() == keys.len() {
            return Ok(values
                .into_iter()
                .map(|value| value.map(Into::into).map_err(Error::from_source))
                .collect());
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

/// The batch loader of a call. It returns pairs, and no pair for an absent key.
pub(crate) struct GivenMany<F, I>(F, PhantomData<fn() -> I>);

impl<F, I> GivenMany<F, I> {
    pub(crate) fn new(loader: F) -> Self {
        Self(loader, PhantomData)
    }
}

#[async_trait]
impl<K, V, F, Fut, I, T, E> DynSource<K, V> for GivenMany<F, (I, Fut)>
where
    K: Key,
    V: Value,
    F: Fn(Vec<K>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<I, E>> + Send + 'static,
    I: IntoIterator<Item = (K, T)> + Send + 'static,
    T: Into<Loaded<V>>,
    E: Into<BoxError>,
{
    fn check_dyn(&self) -> Result<()> {
        Ok(())
    }

    async fn load_dyn(&self, key: &K, _known: Option<Entry<V>>) -> Result<Loaded<V>> {
        let mut loaded = self.load_each_dyn(std::slice::from_ref(key)).await?;
        loaded.pop().unwrap_or_else(|| Ok(Loaded::absent()))
    }

    fn is_batched(&self) -> bool {
        true
    }

    fn is_conditional(&self) -> bool {
        false
    }

    async fn load_each_dyn(&self, keys: &[K]) -> Result<Vec<Result<Loaded<V>>>> {
        let answered = (self.0)(keys.to_vec()).await.map_err(Error::from_source)?;
        let mut found: HashMap<K, Loaded<V>> =
            answered.into_iter().map(|(key, value)| (key, value.into())).collect();
        Ok(keys.iter().map(|key| Ok(found.remove(key).unwrap_or_else(Loaded::absent))).collect())
    }
}
