//! A limit on the time of a call to a source.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use super::{BatchResults, BatchSource, ConditionalSource, KnownValue, Loaded, Source};
use crate::error::BoxError;
use crate::{Error, Result};

/// A source whose calls are dropped if they take longer than a limit.
///
/// The cache already bounds each load as a whole ([`Strategy::load_timeout`](crate::Strategy::load_timeout)). This
/// bounds one call to one source, so that a [`Retry`](crate::source::Retry) or a
/// [`Fallback`](crate::source::Fallback) around it has time left for another call. The future of a timed-out call
/// is dropped; its query may continue in the database.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use larder::source::{SourceTimeout, SourceTimeoutError};
/// use larder::{Source, source_fn};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let slow = source_fn(|_id: u64| async { std::future::pending::<std::io::Result<Option<u64>>>().await });
/// let bounded = SourceTimeout::new(slow, Duration::from_millis(5));
/// assert!(matches!(bounded.load(&7).await, Err(SourceTimeoutError::Elapsed { .. })));
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct SourceTimeout<S> {
    inner: S,
    limit: Duration,
}

impl<S> SourceTimeout<S> {
    /// Limits each call to `inner` to `limit`. Zero is refused by `build()`.
    ///
    /// # Examples
    /// See [`SourceTimeout`].
    pub fn new(inner: S, limit: Duration) -> Self {
        Self { inner, limit }
    }

    async fn bounded<T, E>(
        &self,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, SourceTimeoutError<E>> {
        match tokio::time::timeout(self.limit, call).await {
            Ok(answer) => answer.map_err(SourceTimeoutError::Source),
            Err(_elapsed) => Err(SourceTimeoutError::Elapsed { limit: self.limit }),
        }
    }
}

impl<K: Sync, S: Source<K>> Source<K> for SourceTimeout<S> {
    type Value = S::Value;
    type Error = SourceTimeoutError<S::Error>;

    async fn load(&self, key: &K) -> Result<Option<S::Value>, Self::Error> {
        self.bounded(self.inner.load(key)).await
    }

    fn check(&self) -> Result<()> {
        if self.limit.is_zero() {
            return Err(Error::config("a source timeout of zero lets no load succeed: give at least 1 ms"));
        }
        self.inner.check()
    }
}

impl<K: Sync, S: BatchSource<K>> BatchSource<K> for SourceTimeout<S> {
    async fn load_many(&self, keys: &[K]) -> Result<Vec<Option<S::Value>>, Self::Error> {
        self.bounded(self.inner.load_many(keys)).await
    }

    async fn load_each(&self, keys: &[K]) -> Result<BatchResults<S::Value, Self::Error>, Self::Error> {
        let each = self.bounded(self.inner.load_each(keys)).await?;
        Ok(each.into_iter().map(|answer| answer.map_err(SourceTimeoutError::Source)).collect())
    }
}

impl<K: Sync, S: ConditionalSource<K>> ConditionalSource<K> for SourceTimeout<S> {
    async fn load_if_modified(
        &self,
        key: &K,
        known: Option<KnownValue<'_, S::Value>>,
    ) -> Result<Loaded<S::Value>, Self::Error> {
        self.bounded(self.inner.load_if_modified(key, known)).await
    }
}

/// The error of a [`SourceTimeout`]: the source's own error, unchanged, or a timeout.
///
/// # Examples
/// ```
/// use larder::source::SourceTimeoutError;
/// use larder::Error;
/// let inner = std::io::Error::other("down");
/// let error = Error::from_source(SourceTimeoutError::Source(inner));
/// assert_eq!(error.source_as::<std::io::Error>().unwrap().to_string(), "down");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceTimeoutError<E> {
    /// The source took longer than its limit.
    Elapsed {
        /// The limit.
        limit: Duration,
    },
    /// The source's own error.
    Source(E),
}

impl<E: Into<BoxError>> From<SourceTimeoutError<E>> for BoxError {
    fn from(error: SourceTimeoutError<E>) -> Self {
        match error {
            SourceTimeoutError::Elapsed { limit } => Error::timeout("a call to the source", limit).into(),
            SourceTimeoutError::Source(error) => error.into(),
        }
    }
}

impl<E: fmt::Display> fmt::Display for SourceTimeoutError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Elapsed { limit } => write!(f, "the source took longer than {limit:?}"),
            Self::Source(error) => error.fmt(f),
        }
    }
}
