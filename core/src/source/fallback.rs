//! A source with a fallback for failures.

use std::fmt;

use super::{BatchResults, BatchSource, ConditionalSource, KnownValue, Loaded, Source};
use crate::Result;
use crate::error::BoxError;

/// A source with a fallback that is asked if the first source *fails*. `Ok(None)` is not a failure.
///
/// **Effect of a lagging fallback on freshness.** A replica, a copy or a second region may lack a write that was
/// already committed and invalidated. Its value is as old as its lag, and it would be cached for a whole TTL, since
/// the invalidation has already happened. There are two safe ways:
///
/// - The fallback is as current as the first source, such as another server of one synchronous cluster.
/// - Its values are not cached: pass the `Fallback` to
///   [`CacheBuilder::conditional_source`](crate::CacheBuilder::conditional_source). Values of the fallback are then
///   returned to the leader and followers, and not stored. A read may be as old as the lag, and only while the
///   first source fails. The first source is then asked by [`load`](Source::load), even if it is a conditional one.
///
/// For a source that fails, [`stale_if_error`](crate::Strategy::stale_if_error) is often the better choice: it
/// never serves an invalidated entry.
///
/// # Examples
/// ```
/// use larder::source::Fallback;
/// use larder::{Source, source_fn};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let primary = source_fn(|_id: u64| async { Err::<Option<u64>, _>(std::io::Error::other("down")) });
/// let replica = source_fn(|id: u64| async move { Ok::<_, std::io::Error>(Some(id * 2)) });
/// assert_eq!(Fallback::new(primary, replica).load(&7).await.unwrap(), Some(14));
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Fallback<F, S> {
    first: F,
    second: S,
}

impl<F, S> Fallback<F, S> {
    /// Asks `first`, and `second` if that fails. If the first may hang, put a
    /// [`SourceTimeout`](crate::source::SourceTimeout) around it.
    ///
    /// # Examples
    /// See [`Fallback`].
    pub fn new(first: F, second: S) -> Self {
        Self { first, second }
    }
}

/// The error of a [`Fallback`] if both failed: displays the second's error and has the first's as its source.
///
/// # Examples
/// ```
/// use larder::source::Fallback;
/// use larder::{Error, Source, source_fn};
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let primary = source_fn(|_id: u64| async { Err::<Option<u64>, _>(std::io::Error::other("down")) });
/// let replica = source_fn(|_id: u64| async { Err::<Option<u64>, _>("down too") });
/// let error = Error::from_source(Fallback::new(primary, replica).load(&7).await.unwrap_err());
/// assert_eq!(error.source_as::<std::io::Error>().unwrap().to_string(), "down");
/// # }
/// ```
#[derive(Debug)]
pub struct BothFailed {
    first: BoxError,
    second: BoxError,
}

impl BothFailed {
    fn boxed(first: impl Into<BoxError>, second: impl Into<BoxError>) -> BoxError {
        Self { first: first.into(), second: second.into() }.into()
    }
}

impl fmt::Display for BothFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the source failed, and its fallback: {}", self.second)
    }
}

impl std::error::Error for BothFailed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.first)
    }
}

impl<K, F, S> Source<K> for Fallback<F, S>
where
    K: Sync,
    F: Source<K>,
    S: Source<K, Value = F::Value>,
{
    type Value = F::Value;
    type Error = BoxError;

    async fn load(&self, key: &K) -> Result<Option<F::Value>, BoxError> {
        match self.first.load(key).await {
            Ok(value) => Ok(value),
            Err(first) => self.second.load(key).await.map_err(|second| BothFailed::boxed(first, second)),
        }
    }

    fn check(&self) -> Result<()> {
        self.first.check()?;
        self.second.check()
    }
}

impl<K, F, S> BatchSource<K> for Fallback<F, S>
where
    K: Clone + Send + Sync,
    F: BatchSource<K>,
    S: BatchSource<K, Value = F::Value>,
{
    async fn load_many(&self, keys: &[K]) -> Result<Vec<Option<F::Value>>, BoxError> {
        match self.first.load_many(keys).await {
            Ok(values) => Ok(values),
            Err(first) => {
                self.second.load_many(keys).await.map_err(|second| BothFailed::boxed(first, second))
            }
        }
    }

    /// Asks the fallback for the keys of a batch that failed one by one.
    async fn load_each(&self, keys: &[K]) -> Result<BatchResults<F::Value, BoxError>, BoxError> {
        let each = match self.first.load_each(keys).await {
            Ok(each) => each,
            Err(first) => {
                let second = self.second.load_each(keys).await;
                let each = second.map_err(|second| BothFailed::boxed(first, second))?;
                return Ok(each.into_iter().map(|answer| answer.map_err(Into::into)).collect());
            }
        };
        let mut answers: BatchResults<F::Value, BoxError> =
            each.into_iter().map(|answer| answer.map_err(Into::into)).collect();
        let failed: Vec<usize> = (0..answers.len()).filter(|&at| answers[at].is_err()).collect();
        let again: Vec<K> = failed.iter().filter_map(|&at| keys.get(at).cloned()).collect();
        if again.is_empty() {
            return Ok(answers);
        }
        // if the whole second call fails, each key keeps its first error
        if let Ok(each) = self.second.load_each(&again).await {
            for (at, answer) in failed.into_iter().zip(each) {
                let first = std::mem::replace(&mut answers[at], Ok(None));
                answers[at] = match (first, answer) {
                    (_, Ok(value)) => Ok(value),
                    (Err(first), Err(second)) => Err(BothFailed::boxed(first, second)),
                    (first, Err(_)) => first,
                };
            }
        }
        Ok(answers)
    }
}

impl<K, F, S> ConditionalSource<K> for Fallback<F, S>
where
    K: Sync,
    F: Source<K>,
    S: Source<K, Value = F::Value>,
{
    /// Returns values of the fallback without storing them.
    async fn load_if_modified(
        &self,
        key: &K,
        _known: Option<KnownValue<'_, F::Value>>,
    ) -> Result<Loaded<F::Value>, BoxError> {
        match self.first.load(key).await {
            Ok(value) => Ok(value.into()),
            Err(first) => match self.second.load(key).await {
                Ok(value) => Ok(Loaded::from(value).no_store()),
                Err(second) => Err(BothFailed::boxed(first, second)),
            },
        }
    }
}
