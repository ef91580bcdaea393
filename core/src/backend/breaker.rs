//! A circuit breaker. Prevents: a dead store costs each read a timeout.

use std::sync::PoisonError;
use std::time::Duration;

use super::{
    BackendContext, BeginOutcome, CacheBackend, Fence, FillOutcome, IntoBackend, LoadIntent, Recency,
    WriteIntent,
};
use crate::backend::Entry;
use crate::clock::Timestamp;
use crate::observe::{BreakerState, Event};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::tag::{Pruned, Stamp, Tag};
use crate::{Error, ErrorKind, Result};

/// A circuit breaker: stops calling a store that keeps failing, and tries it again after a pause.
///
/// - Closed, it counts failures in a row. At [`failures`](Self::failures) it opens, and reads and fills fail at once
///   without a call. A timeout opens it at once, because it has cost its caller the whole time limit.
/// - After a pause one call is let through. Its success closes the breaker, its failure opens it for twice as long.
/// - The first pause is an eighth of [`pause`](Self::pause), the longest is `pause`.
/// - Removals always go through, because invalidations must not be skipped. One that succeeds closes the breaker.
/// - Only the store's own failures count: errors of kind [`ErrorKind::Backend`] and [`ErrorKind::Timeout`].
///
/// # Examples
/// ```no_run
/// # use larder::backend::{Breaker, IntoBackend};
/// # fn with<S: IntoBackend<u64, String>>(redis: S) {
/// let patient = Breaker::new(redis).failures(10).pause(std::time::Duration::from_secs(2));
/// # let _ = patient;
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Breaker<S> {
    inner: S,
    failures: u32,
    pause: Duration,
}

impl<S> Breaker<S> {
    /// Creates a breaker around `inner`. By default 5 failures in a row open it, for at most 1 s.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # let redis = larder::Quick::new(1_000);
    /// use larder::backend::Breaker;
    /// let guarded = Breaker::new(redis);
    /// # let _ = guarded;
    /// ```
    pub fn new(inner: S) -> Self {
        Self { inner, failures: 5, pause: Duration::from_secs(1) }
    }

    /// Sets the number of failures in a row that open it. Default: 5. Zero is refused by `build()`.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # let redis = larder::Quick::new(1_000);
    /// use larder::backend::Breaker;
    /// let patient = Breaker::new(redis).failures(20);
    /// # let _ = patient;
    /// ```
    #[must_use]
    pub fn failures(mut self, failures: u32) -> Self {
        self.failures = failures;
        self
    }

    /// Sets the longest pause before a try. Default: 1 s. Zero is refused by `build()`.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # let redis = larder::Quick::new(1_000);
    /// use larder::backend::Breaker;
    /// let patient = Breaker::new(redis).pause(Duration::from_secs(5));
    /// # let _ = patient;
    /// ```
    #[must_use]
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }
}

impl<K, V, S: IntoBackend<K, V>> IntoBackend<K, V> for Breaker<S>
where
    K: Sync + 'static,
    V: Send + Sync + 'static,
{
    type Backend = BreakerBackend<S::Backend>;

    fn into_backend(self, scope: &BackendContext) -> Result<Self::Backend> {
        if self.failures == 0 || self.pause.is_zero() {
            return Err(Error::config("a breaker needs at least 1 failure and a pause of at least 1 ms"));
        }
        Ok(BreakerBackend {
            inner: self.inner.into_backend(scope)?,
            failures: self.failures,
            pause: self.pause,
            state: Mutex::new(State::Closed { failures: 0 }),
            is_calm: AtomicBool::new(true),
            scope: scope.clone(),
        })
    }
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Timestamp,
        pause: Duration,
    },
    /// One call is under way. If it never answers, the next call is let through after another pause.
    Trying {
        until: Timestamp,
        pause: Duration,
    },
}

/// An opened [`Breaker`].
#[derive(Debug)]
pub struct BreakerBackend<B> {
    inner: B,
    failures: u32,
    pause: Duration,
    state: Mutex<State>,
    /// Set if the state is "closed, without failures". The only check of a call while the store works.
    is_calm: AtomicBool,
    scope: BackendContext,
}

impl<B> BreakerBackend<B> {
    /// Records the answer to an admitted call.
    fn noted<T>(&self, now: Timestamp, answer: Result<T>) -> Result<T> {
        match &answer {
            Err(error) if error.kind() == ErrorKind::Timeout => self.failed(now, self.failures),
            Err(error) if error.kind() == ErrorKind::Backend => self.failed(now, 1),
            _ => self.succeeded(),
        }
        answer
    }

    /// Records the answer to a removal, which goes through in any state. Its success shows that the store is back.
    fn removed<T>(&self, answer: Result<T>) -> Result<T> {
        if answer.is_ok() {
            self.succeeded();
        }
        answer
    }

    fn admit(&self, now: Timestamp) -> Result<()> {
        if self.is_calm.load(Ordering::Acquire) {
            return Ok(());
        }
        self.turn(|state| match state {
            State::Closed { .. } => (state, Ok(())),
            State::Open { until, pause } | State::Trying { until, pause } if now >= until => {
                (State::Trying { until: now.saturating_add(self.pause), pause }, Ok(()))
            }
            State::Open { .. } | State::Trying { .. } => {
                (state, Err(Error::new(ErrorKind::Backend, "the breaker is open").transient()))
            }
        })
    }

    /// Records a failed call, with the weight of this many failures.
    fn failed(&self, now: Timestamp, weight: u32) {
        self.turn(|state| {
            let pause = match state {
                State::Closed { failures } if failures.saturating_add(weight) < self.failures => {
                    return (State::Closed { failures: failures + weight }, ());
                }
                State::Closed { .. } => self.pause / 8,
                State::Trying { pause, .. } => (pause * 2).min(self.pause),
                // a call from before the breaker opened
                open @ State::Open { .. } => return (open, ()),
            };
            let pause = pause.max(Duration::from_millis(1));
            (State::Open { until: now.saturating_add(pause), pause }, ())
        });
    }

    fn succeeded(&self) {
        if self.is_calm.load(Ordering::Acquire) {
            return;
        }
        self.turn(|_| (State::Closed { failures: 0 }, ()));
    }

    /// Changes the state, and records an event if it has changed. All changes go through here.
    fn turn<T>(&self, step: impl FnOnce(State) -> (State, T)) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = seen(*state);
        let (next, answer) = step(*state);
        *state = next;
        self.is_calm.store(matches!(next, State::Closed { failures: 0 }), Ordering::Release);
        drop(state);
        if seen(next) != before {
            self.scope.record(&Event::BreakerTurned { state: seen(next) });
        }
        answer
    }
}

fn seen(state: State) -> BreakerState {
    match state {
        State::Closed { .. } => BreakerState::Closed,
        State::Open { .. } => BreakerState::Open,
        State::Trying { .. } => BreakerState::HalfOpen,
    }
}

impl<K, V, B: CacheBackend<K, V>> CacheBackend<K, V> for BreakerBackend<B>
where
    K: Sync + 'static,
    V: Send + Sync + 'static,
{
    #[inline]
    fn look<T>(
        &self,
        key: &K,
        now: Timestamp,
        recency: Recency,
        look: impl FnOnce(&mut Entry<V>) -> Option<T>,
    ) -> Option<T> {
        self.inner.look(key, now, recency, look)
    }
    fn shared_name(&self, key: &K) -> Option<String> {
        self.inner.shared_name(key)
    }
    fn watch(&self, watcher: std::sync::Weak<dyn super::Watcher>) -> bool {
        self.inner.watch(watcher)
    }
    fn is_bounded(&self) -> bool {
        self.inner.is_bounded()
    }
    async fn get(&self, key: &K, now: Timestamp) -> Result<Option<Entry<V>>> {
        self.admit(now)?;
        self.noted(now, self.inner.get(key, now).await)
    }
    async fn get_many(&self, keys: &[K], now: Timestamp) -> Result<Vec<Option<Entry<V>>>> {
        self.admit(now)?;
        self.noted(now, self.inner.get_many(keys, now).await)
    }
    async fn begin(&self, key: &K, announce: LoadIntent, now: Timestamp) -> Result<BeginOutcome<V>> {
        self.admit(now)?;
        self.noted(now, self.inner.begin(key, announce, now).await)
    }
    async fn fill(&self, key: &K, fence: Fence, entry: Entry<V>, now: Timestamp) -> Result<FillOutcome> {
        self.admit(now)?;
        self.noted(now, self.inner.fill(key, fence, entry, now).await)
    }
    async fn renew(&self, key: &K, fence: Fence, lease: Duration, now: Timestamp) -> Result<bool> {
        self.admit(now)?;
        self.noted(now, self.inner.renew(key, fence, lease, now).await)
    }
    async fn release(&self, key: &K, fence: Fence, now: Timestamp) -> Result<()> {
        self.admit(now)?;
        self.noted(now, self.inner.release(key, fence, now).await)
    }
    async fn put(&self, key: &K, entry: Entry<V>, now: Timestamp) -> Result<()> {
        self.admit(now)?;
        self.noted(now, self.inner.put(key, entry, now).await)
    }
    async fn remove(&self, key: &K) -> Result<()> {
        self.removed(self.inner.remove(key).await)
    }
    async fn remove_many(&self, keys: &[K]) -> Result<()> {
        self.removed(self.inner.remove_many(keys).await)
    }
    async fn clear(&self) -> Result<()> {
        self.removed(self.inner.clear().await)
    }
    async fn invalidate_tags(&self, tags: &[Tag]) -> Result<Stamp> {
        self.removed(self.inner.invalidate_tags(tags).await)
    }
    async fn prune_tags(&self, count: u64, longest: Duration) -> Result<Pruned> {
        self.removed(self.inner.prune_tags(count, longest).await)
    }
    async fn guard(&self, key: &K, guard: WriteIntent, now: Timestamp) -> Result<()> {
        self.removed(self.inner.guard(key, guard, now).await)
    }
    async fn unguard(&self, key: &K, guard: WriteIntent, now: Timestamp) -> Result<()> {
        self.removed(self.inner.unguard(key, guard, now).await)
    }
}

#[cfg(all(test, shuttle))]
#[path = "breaker_schedules.rs"]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod schedules;
