//! Reading and warming many keys.

use std::future::Future;
use std::sync::Arc;

use super::{Cache, CachedEntry, Key, Value, Warm};
use crate::engine::{Answer, DynSource, For, GivenMany};
use crate::error::BoxError;
use crate::source::Loaded;
use crate::{Error, ErrorKind, Result};

impl<K: Key, V: Value> Cache<K, V> {
    /// Returns the values of `keys`, aligned with them. A key may occur more than once. Missing values are loaded
    /// with one [`load_many`](crate::source::BatchSource::load_many) if the source has it, else up to 32 at a time.
    ///
    /// # Errors
    /// Fails if a key could not be loaded. The error names the positions that failed; its source is the first error.
    /// The other values are cached nevertheless; [`get_many_entries`](Self::get_many_entries) returns them.
    ///
    /// # Cancellation safety
    /// As [`get`](Self::get).
    ///
    /// # Examples
    /// ```
    /// # use larder::Result;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
    /// let found = squares.get_many(&[2, 3, 2]).await?;
    /// assert_eq!(found.iter().map(|value| value.as_deref().copied()).collect::<Vec<_>>(), [Some(4), Some(9), Some(4)]);
    /// # Ok(()) }
    /// ```
    pub async fn get_many(&self, keys: &[K]) -> Result<Vec<Option<Arc<V>>>> {
        all_values(Box::pin(self.read_many(keys, value)).await?)
    }

    /// Returns a result for each of `keys`, aligned with them, each with its origin and its age. Unlike
    /// [`get_many`](Self::get_many) it does not fail if some keys fail.
    ///
    /// # Errors
    /// The outer error is that of the whole call (no source, a cache that was shut down). The inner errors are those
    /// of single keys.
    ///
    /// # Cancellation safety
    /// As [`get`](Self::get).
    ///
    /// # Examples
    /// ```
    /// # use larder::Result;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
    /// for (key, answer) in [2, 3].iter().zip(squares.get_many_entries(&[2, 3]).await?) {
    ///     match answer {
    ///         Ok(square) => println!("{key}: {:?}, {:?}", square.value, square.origin),
    ///         Err(error) => println!("{key} could not be loaded: {error}"),
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn get_many_entries(&self, keys: &[K]) -> Result<Vec<Result<CachedEntry<V>>>> {
        Box::pin(self.read_many(keys, CachedEntry::new)).await
    }

    async fn read_many<T: Clone + Send>(
        &self,
        keys: &[K],
        take: impl Fn(Answer<V>) -> T + Copy + Send + Sync,
    ) -> Result<Vec<Result<T>>> {
        self.engine.read_many(keys, self.engine.registered()?, For::Reader, take).await
    }

    /// Returns the values of `keys`, aligned with them. `loader` is called with the missing keys that this process is
    /// not loading, and returns pairs of key and value. A key without a pair is absent.
    ///
    /// Each value may be an `Option` or a [`Loaded`] with a TTL of its own. The loader runs on its own task, so it
    /// owns what it uses. It may be called more than once, with keys that another process was loading.
    ///
    /// # Errors
    /// As [`get_many`](Self::get_many), with the loader's error.
    ///
    /// # Cancellation safety
    /// As [`get`](Self::get).
    ///
    /// # Examples
    /// ```
    /// # use larder::Result;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
    /// # let cache = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
    /// let cubes = |missing: Vec<u64>| async move {
    ///     Ok::<_, std::io::Error>(missing.into_iter().map(|key| (key, key.pow(3))).collect::<Vec<_>>())
    /// };
    /// let found = cache.get_many_or_load(&[2, 3], cubes).await?;
    /// assert_eq!(found.iter().map(|value| value.as_deref().copied()).collect::<Vec<_>>(), [Some(8), Some(27)]);
    /// # Ok(()) }
    /// ```
    pub async fn get_many_or_load<F, Fut, I, T, E>(
        &self,
        keys: &[K],
        loader: F,
    ) -> Result<Vec<Option<Arc<V>>>>
    where
        F: Fn(Vec<K>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<I, E>> + Send + 'static,
        I: IntoIterator<Item = (K, T)> + Send + 'static,
        T: Into<Loaded<V>> + 'static,
        E: Into<BoxError> + 'static,
    {
        let source: Arc<dyn DynSource<K, V>> = Arc::new(GivenMany::<F, (I, Fut)>::new(loader));
        all_values(Box::pin(self.engine.read_many(keys, &source, For::Reader, value)).await?)
    }

    /// Loads keys before they are first read: in batches, some concurrently, and on if some fail. See [`Warm`].
    ///
    /// # Examples
    /// ```
    /// # use larder::Result;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
    /// let report = squares.warm(1..=1_000).concurrency(4).run().await;
    /// assert_eq!((report.ready, report.failed.len()), (1_000, 0));
    /// # Ok(()) }
    /// ```
    pub fn warm<I>(&self, keys: I) -> Warm<K, V, futures_util::stream::Iter<I::IntoIter>>
    where
        I: IntoIterator<Item = K>,
    {
        self.warm_stream(futures_util::stream::iter(keys))
    }

    /// Loads keys from a stream, such as the rows of a query, like [`warm`](Self::warm).
    ///
    /// # Examples
    /// ```
    /// # use larder::Result;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
    /// let keys = futures_util::stream::iter([1, 2, 3]);
    /// assert_eq!(squares.warm_stream(keys).run().await.ready, 3);
    /// # Ok(()) }
    /// ```
    pub fn warm_stream<S>(&self, keys: S) -> Warm<K, V, S>
    where
        S: futures_util::Stream<Item = K>,
    {
        Warm::new(self.clone(), keys)
    }
}

fn value<V>(answer: Answer<V>) -> Option<Arc<V>> {
    answer.entry.into_value()
}

/// Returns the values of a batch, or one error if a key failed.
fn all_values<V>(values: Vec<Result<Option<Arc<V>>>>) -> Result<Vec<Option<Arc<V>>>> {
    if values.iter().any(Result::is_err) {
        return Err(partial(&values));
    }
    Ok(values.into_iter().flatten().collect())
}

/// Returns the error of a batch in which some keys failed.
fn partial<T>(answers: &[Result<T>]) -> Error {
    /// The maximum of positions in the message.
    const NAMED: usize = 10;
    let failed = answers.iter().enumerate().filter_map(|(at, answer)| Some((at, answer.as_ref().err()?)));
    let failed: Vec<(usize, &Error)> = failed.collect();
    let Some((_, first)) = failed.first() else { return Error::new(ErrorKind::Source, "no key failed") };
    if answers.len() == 1 {
        return Error::clone(first);
    }
    let named: Vec<String> = failed.iter().take(NAMED).map(|(at, _)| at.to_string()).collect();
    let more = if failed.len() > NAMED { ", ..." } else { "" };
    let message = format!(
        "{} of {} keys failed, at {}{more} (`get_many_entries` returns the others); the first: {first}",
        failed.len(),
        answers.len(),
        named.join(", ")
    );
    let error = Error::new(first.kind(), message).with_source(Error::clone(first));
    if first.is_transient() { error.transient() } else { error }
}
