//! A source with retries.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use super::{BatchResults, BatchSource, ConditionalSource, KnownValue, Loaded, Source};
use crate::{Error, Result};

/// The defaults: the pause after the first failure, and the longest one.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A source that is called again if it fails. Pauses double, and jitter shortens them by up to a half, so that
/// calls that failed together are not retried together.
///
/// All attempts and pauses are within the one budget of the load
/// ([`Strategy::load_timeout`](crate::Strategy::load_timeout)). If keys of a batch fail one by one, only those are
/// retried. `Ok(None)` is not a failure.
///
/// # Examples
/// ```
/// use larder::source::Retry;
/// use larder::{Source, source_fn};
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// static CALLS: AtomicU32 = AtomicU32::new(0);
/// let shaky = source_fn(|id: u64| async move {
///     match CALLS.fetch_add(1, Ordering::Relaxed) {
///         0 => Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
///         _ => Ok(Some(id * 2)),
///     }
/// });
/// let patient = Retry::new(shaky, 3).when(|error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionReset);
/// assert_eq!(patient.load(&7).await?, Some(14));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Retry<S, W = AlwaysRetry> {
    inner: S,
    attempts: u32,
    policy: W,
    first: Duration,
    longest: Duration,
}

/// The policy that decides which errors are retried: a closure over the error, or [`AlwaysRetry`].
///
/// # Examples
/// ```
/// use larder::source::{AlwaysRetry, RetryPolicy};
/// assert!(AlwaysRetry.should_retry(&"any error"));
/// assert!((|error: &&str| error.starts_with("busy")).should_retry(&"busy now"));
/// ```
pub trait RetryPolicy<E>: Send + Sync + 'static {
    /// Returns `true` if the same call may succeed when it is made again.
    fn should_retry(&self, error: &E) -> bool;
}

/// The policy that retries after every error.
///
/// # Examples
/// See [`RetryPolicy`].
#[derive(Debug, Clone, Copy, Default)]
pub struct AlwaysRetry;

impl<E> RetryPolicy<E> for AlwaysRetry {
    fn should_retry(&self, _error: &E) -> bool {
        true
    }
}

impl<E, F: Fn(&E) -> bool + Send + Sync + 'static> RetryPolicy<E> for F {
    fn should_retry(&self, error: &E) -> bool {
        self(error)
    }
}

impl<S> Retry<S> {
    /// Calls `inner` up to `attempts` times in all; zero is refused by `build()`. The pauses begin at 50 ms and
    /// double up to 1 s.
    ///
    /// # Examples
    /// See [`Retry`].
    pub fn new(inner: S, attempts: u32) -> Self {
        Self { inner, attempts, policy: AlwaysRetry, first: FIRST_PAUSE, longest: LONGEST_PAUSE }
    }
}

impl<S, W> Retry<S, W> {
    /// Retries only after errors for which `policy` returns `true`. Default: after all.
    ///
    /// # Examples
    /// See [`Retry`].
    #[must_use]
    pub fn when<E, F: Fn(&E) -> bool>(self, policy: F) -> Retry<S, F> {
        let Self { inner, attempts, policy: _, first, longest } = self;
        Retry { inner, attempts, policy, first, longest }
    }

    /// Sets the pause after the first failure. It doubles with each further one, up to
    /// [`max_backoff`](Self::max_backoff). Default: 50 ms.
    ///
    /// # Examples
    /// ```
    /// # use larder::source::Retry;
    /// # use larder::source_fn;
    /// # let source = source_fn(|id: u64| async move { Ok::<_, std::io::Error>(Some(id)) });
    /// use std::time::Duration;
    /// let eager =
    ///     Retry::new(source, 5).min_backoff(Duration::from_millis(5)).max_backoff(Duration::from_millis(100));
    /// # let _ = eager;
    /// ```
    #[must_use]
    pub fn min_backoff(self, pause: Duration) -> Self {
        Self { first: pause, ..self }
    }

    /// Sets the maximum pause between two attempts. Default: 1 s.
    ///
    /// # Examples
    /// See [`min_backoff`](Self::min_backoff).
    #[must_use]
    pub fn max_backoff(self, pause: Duration) -> Self {
        Self { longest: pause, ..self }
    }

    /// Waits after the failure of attempt `failed` (from 1). Returns `false` if it was the last.
    async fn pause(&self, failed: u32) -> bool {
        if failed >= self.attempts {
            return false;
        }
        let doubled = self.first.saturating_mul(2u32.saturating_pow(failed - 1)).min(self.longest);
        tokio::time::sleep(doubled.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        true
    }

    async fn repeat<T, E, Fut>(&self, mut call: impl FnMut() -> Fut) -> Result<T, E>
    where
        W: RetryPolicy<E>,
        Fut: Future<Output = Result<T, E>>,
    {
        let mut attempt = 1;
        loop {
            match call().await {
                Err(error) if attempt < self.attempts && self.policy.should_retry(&error) => {}
                answer => return answer,
            }
            self.pause(attempt).await;
            attempt += 1;
        }
    }
}

impl<S: fmt::Debug, W> fmt::Debug for Retry<S, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("inner", &self.inner)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

impl<K: Sync, S: Source<K>, W: RetryPolicy<S::Error>> Source<K> for Retry<S, W> {
    type Value = S::Value;
    type Error = S::Error;

    async fn load(&self, key: &K) -> Result<Option<S::Value>, S::Error> {
        self.repeat(|| self.inner.load(key)).await
    }

    fn check(&self) -> Result<()> {
        if self.attempts == 0 {
            return Err(Error::config(
                "a source that is asked zero times loads nothing: give at least 1 attempt",
            ));
        }
        self.inner.check()
    }
}

impl<K: Clone + Send + Sync, S: BatchSource<K>, W: RetryPolicy<S::Error>> BatchSource<K> for Retry<S, W> {
    async fn load_many(&self, keys: &[K]) -> Result<Vec<Option<S::Value>>, S::Error> {
        self.repeat(|| self.inner.load_many(keys)).await
    }

    async fn load_each(&self, keys: &[K]) -> Result<BatchResults<S::Value, S::Error>, S::Error> {
        let mut answers = self.repeat(|| self.inner.load_each(keys)).await?;
        let mut attempt = 1;
        loop {
            let worth = |answer: &Result<_, _>| {
                answer.as_ref().err().is_some_and(|error| self.policy.should_retry(error))
            };
            let failed: Vec<usize> = (0..answers.len()).filter(|&at| worth(&answers[at])).collect();
            let again: Vec<K> = failed.iter().filter_map(|&at| keys.get(at).cloned()).collect();
            if again.is_empty() || !self.pause(attempt).await {
                return Ok(answers);
            }
            // if the whole second call fails, each key keeps its first error
            if let Ok(each) = self.inner.load_each(&again).await {
                failed.into_iter().zip(each).for_each(|(at, answer)| answers[at] = answer);
            }
            attempt += 1;
        }
    }
}

impl<K: Sync, S: ConditionalSource<K>, W: RetryPolicy<S::Error>> ConditionalSource<K> for Retry<S, W> {
    async fn load_if_modified(
        &self,
        key: &K,
        known: Option<KnownValue<'_, S::Value>>,
    ) -> Result<Loaded<S::Value>, S::Error> {
        self.repeat(|| self.inner.load_if_modified(key, known)).await
    }
}
