//! Cache warming: loading keys before they are first read.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};

use crate::cache::Cache;
use crate::engine::{For, Key, Value};
use crate::{Error, Result};

/// The pause before the first retry; doubled before each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The maximum number of keys in a batch. Each takes memory before it is requested.
const MOST_KEYS: usize = 65_536;

type OnProgress = Box<dyn FnMut(&WarmProgress) + Send>;

/// A builder of a warming run, made by [`Cache::warm`] and started by [`run`](Self::run). Keys that are cached
/// already are not loaded.
///
/// # Examples
/// ```
/// # use larder::Result;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
/// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
/// let report = squares
///     .warm(1..=1_000)
///     .batch(100)
///     .concurrency(4)
///     .retries(3)
///     .on_progress(|progress| println!("{} ready, {} failed", progress.ready, progress.failed))
///     .run()
///     .await;
/// let again: Vec<u64> = report.failed.into_iter().map(|(key, _error)| key).collect();
/// assert!(again.is_empty());
/// # Ok(()) }
/// ```
#[must_use = "a warming does nothing until `run` is awaited"]
pub struct Warm<K: Key, V, S> {
    cache: Cache<K, V>,
    keys: S,
    concurrency: usize,
    batch: usize,
    retries: u32,
    on_progress: Option<OnProgress>,
}

/// The progress of a warming run.
///
/// # Examples
/// See [`Warm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct WarmProgress {
    /// The number of keys that are in the cache now, or are known to be absent.
    pub ready: u64,
    /// The number of keys that could not be loaded yet.
    pub failed: u64,
}

/// The result of a warming run.
///
/// # Examples
/// See [`Warm`].
#[derive(Debug)]
#[non_exhaustive]
pub struct WarmReport<K> {
    /// The number of keys that are in the cache now, or are known to be absent.
    pub ready: u64,
    /// The keys that could not be loaded, each with its error. Warm them again later.
    pub failed: Vec<(K, Error)>,
}

impl<K: Key, V: Value, S: Stream<Item = K>> Warm<K, V, S> {
    pub(crate) fn new(cache: Cache<K, V>, keys: S) -> Self {
        Self { cache, keys, concurrency: 4, batch: 100, retries: 0, on_progress: None }
    }

    /// Sets the number of batches that are loaded at the same time, at least 1.
    ///
    /// Default: 4.
    ///
    /// # Examples
    /// See [`Warm`].
    pub fn concurrency(mut self, batches: usize) -> Self {
        self.concurrency = batches.max(1);
        self
    }

    /// Sets the number of keys in a batch, at least 1 and at most 65,536. A batch is one read of the backend, and one
    /// [`load_many`](crate::source::BatchSource::load_many) if the source supports it.
    ///
    /// Default: 100.
    ///
    /// # Examples
    /// See [`Warm`].
    pub fn batch(mut self, keys: usize) -> Self {
        self.batch = keys.clamp(1, MOST_KEYS);
        self
    }

    /// Sets the number of retries of failed keys. Retries start when all other keys are done. The first waits 100 ms,
    /// each further one twice as long.
    ///
    /// Default: 0.
    ///
    /// # Examples
    /// See [`Warm`].
    pub fn retries(mut self, times: u32) -> Self {
        self.retries = times;
        self
    }

    /// Sets a callback that is called after each batch.
    ///
    /// # Examples
    /// See [`Warm`].
    pub fn on_progress(mut self, call: impl FnMut(&WarmProgress) + Send + 'static) -> Self {
        self.on_progress = Some(Box::new(call));
        self
    }

    /// Loads the keys that are missing. If keys fail, continues with the others and reports the failed ones.
    ///
    /// # Cancellation safety
    /// If the future is dropped, no further batch starts. Running batches complete, and loaded values stay cached.
    ///
    /// # Examples
    /// See [`Warm`].
    pub async fn run(self) -> WarmReport<K> {
        let Self { cache, keys, concurrency, batch, retries, on_progress } = self;
        let state = Mutex::new((WarmProgress::default(), on_progress));
        let mut failed = warm(&cache, keys, batch, concurrency, &state).await;
        for retry in 0..retries {
            if failed.is_empty() {
                break;
            }
            tokio::time::sleep(FIRST_PAUSE.saturating_mul(1 << retry.min(16))).await;
            lock(&state).0.failed = 0;
            let keys = futures_util::stream::iter(failed.into_iter().map(|(key, _)| key));
            failed = warm(&cache, keys, batch, concurrency, &state).await;
        }
        let ready = lock(&state).0.ready;
        WarmReport { ready, failed }
    }
}

type State = Mutex<(WarmProgress, Option<OnProgress>)>;

fn lock(state: &State) -> MutexGuard<'_, (WarmProgress, Option<OnProgress>)> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn warm<K: Key, V: Value>(
    cache: &Cache<K, V>,
    keys: impl Stream<Item = K>,
    batch: usize,
    concurrency: usize,
    state: &State,
) -> Vec<(K, Error)> {
    let concurrency = cache.engine().batches_at_once(concurrency);
    let batches = keys.chunks(batch).map(|keys| async move {
        let engine = cache.engine();
        let answers = match engine.registered() {
            Ok(source) => engine.read_many(&keys, source, For::Warming, drop).await,
            Err(error) => Err(error),
        };
        failures(keys, answers)
    });
    let mut batches = std::pin::pin!(batches.buffer_unordered(concurrency));
    let mut all = Vec::new();
    while let Some((ready, failed)) = batches.next().await {
        let (progress, on_progress) = &mut *lock(state);
        progress.ready += ready;
        progress.failed += failed.len() as u64;
        all.extend(failed);
        if let Some(call) = on_progress {
            call(progress);
        }
    }
    all
}

/// Returns the number of ready keys of a batch, and the keys that failed.
fn failures<K, T>(keys: Vec<K>, answers: Result<Vec<Result<T>>>) -> (u64, Vec<(K, Error)>) {
    match answers {
        Err(error) => (0, keys.into_iter().map(|key| (key, error.clone())).collect()),
        Ok(answers) => {
            let asked = keys.len();
            let failed: Vec<_> = keys
                .into_iter()
                .zip(answers)
                .filter_map(|(key, answer)| Some((key, answer.err()?)))
                .collect();
            ((asked - failed.len()) as u64, failed)
        }
    }
}

impl<K: Key, V, S> fmt::Debug for Warm<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Warm")
            .field("concurrency", &self.concurrency)
            .field("batch", &self.batch)
            .field("retries", &self.retries)
            .finish_non_exhaustive()
    }
}
