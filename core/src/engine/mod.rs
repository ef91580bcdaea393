//! The pipeline of a read: peek, check freshness, read the backend, join a flight, request a fence, load, fill.

mod batch;
mod batch_load;
mod chain;
mod elect;
mod fill;
mod flight;
mod gate;
mod gather;
mod holdoff;
mod horizon;
mod load;
#[cfg(feature = "macros")]
mod patient;
mod pending;
mod read;
#[cfg(all(test, shuttle))]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
pub(crate) mod schedules;
mod sequence;
mod source;
mod wait;
mod write;

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

pub(crate) use self::chain::Chain;
use self::flight::Flights;
use self::gate::Gate;
use self::gather::Gathering;
use self::holdoff::Holdoffs;
use self::horizon::Horizon;
pub(crate) use self::load::{Load, LoadFuture};
use self::pending::Pending;
pub(crate) use self::read::Answer;
use self::sequence::Sequence;
pub(crate) use self::source::{Batched, Conditional, DynSource, GivenMany, Single};
pub(crate) use self::wait::For;
#[cfg(feature = "macros")]
pub(crate) use self::{
    load::{Approach, Loader},
    patient::is_of_load,
};
pub(crate) use crate::backend::Seen;
use crate::backend::entry::{Entry, Hit};
use crate::backend::{CacheBackend, Erased, Recency};
use crate::clock::{CacheClock, Timestamp};
use crate::observe::{Event, Recorder, Stats};
use crate::strategy::Strategy;
use crate::tag::{Tag, TagIndex};
use crate::{Error, ErrorKind, Result};

/// The requirements on a cache key. Implemented for all types that meet them.
///
/// # Examples
/// ```
/// fn takes_a_key<K: larder::cache::Key>(_key: &K) {}
/// takes_a_key(&("tenant".to_owned(), 7u64));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a cache key",
    note = "a key is `Hash + Eq + Clone + Send + Sync + 'static`: derive `Hash, PartialEq, Eq, Clone` and own its parts"
)]
pub trait Key: Hash + Eq + Clone + Send + Sync + 'static {}

impl<K: Hash + Eq + Clone + Send + Sync + 'static> Key for K {}

/// The requirements on a cached value. Implemented for all types that meet them.
///
/// # Examples
/// ```
/// fn takes_a_value<V: larder::cache::Value>(_value: &V) {}
/// takes_a_value(&"bread");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a cached value",
    note = "a value is `Send + Sync + 'static`, since threads share it"
)]
pub trait Value: Send + Sync + 'static {}

impl<V: Send + Sync + 'static> Value for V {}

/// A function from a key to the tags of its entry.
pub(crate) type TagsOf<K> = Arc<dyn Fn(&K) -> Vec<Tag> + Send + Sync>;

/// The builder's settings of tags.
pub(crate) struct Tagging<K> {
    pub(crate) of_keys: Option<TagsOf<K>>,
    pub(crate) index: Option<TagIndex<K>>,
}

/// The parts of a cache, assembled by the builder and shared by all its handles.
pub(crate) struct Engine<K: Key, V> {
    id: u64,
    backend: Erased<K, V>,
    source: Option<Arc<dyn DynSource<K, V>>>,
    strategy: Strategy<V>,
    clock: CacheClock,
    recorder: Arc<Recorder>,
    flights: Arc<Flights<K, V>>,
    pending: Pending<K>,
    holdoffs: Holdoffs<K>,
    gate: Gate,
    gathering: Gathering<K, V>,
    horizon: Horizon,
    tagging: Tagging<K>,
    sequence: Sequence,
    born: Timestamp,
    closed: AtomicBool,
}

impl<K: Key, V: Value> Engine<K, V> {
    pub(crate) fn new(
        backend: Erased<K, V>,
        source: Option<Arc<dyn DynSource<K, V>>>,
        strategy: Strategy<V>,
        tagging: Tagging<K>,
        clock: CacheClock,
        recorder: Arc<Recorder>,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let settings = &strategy.settings;
        let window = settings.stale.window().unwrap_or_default();
        let (holdoffs, gate) = (Holdoffs::new(settings.stale.backoff), Gate::new(settings.limit()));
        let horizon = Horizon::new(settings.ttl.saturating_add(window));
        let born = clock.now();
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            backend,
            source,
            strategy,
            clock,
            recorder,
            flights: Arc::new(Flights::new()),
            pending: Pending::new(),
            holdoffs,
            gate,
            gathering: Gathering::default(),
            horizon,
            tagging,
            sequence: Sequence::new(),
            born,
            closed: AtomicBool::new(false),
        }
    }

    /// The hit path: answers from this process's memory, or returns `None`.
    ///
    /// `inline(always)`: compilers do not inline this on their own, and the call costs a thirtieth of a hit.
    #[inline(always)]
    pub(crate) fn hit(&self, key: &K, seen: &mut Seen) -> Option<Hit<V>> {
        if self.strategy.settings.early.is_none()
            && !self.pending.any()
            && let Some(hit) = self.backend.peek_fresh(key, self.clock.recent(), seen)
        {
            self.recorder.near_hit();
            return Some(hit);
        }
        self.hit_slowly(key, seen)
    }

    /// The rest of the hit path: for early refresh, pending invalidations, and entries that the first look did not
    /// accept.
    #[inline(never)]
    fn hit_slowly(&self, key: &K, seen: &mut Seen) -> Option<Hit<V>> {
        let looked = self.strategy.settings.early.is_none() && !self.pending.any();
        if looked && *seen == Seen::Nothing {
            return None;
        }
        *seen = Seen::Something;
        let recency = if looked { Recency::Keep } else { Recency::Touch };
        self.peek_at(key, self.clock.recent(), recency).map(|mut entry| entry.take_hit())
    }

    /// Returns the whole entry of a [`hit`](Self::hit), with its freshness checked to the nanosecond.
    pub(crate) fn peek(&self, key: &K) -> Option<Entry<V>> {
        self.peek_at(key, self.clock.recent(), Recency::Touch)
    }

    /// Acts as [`peek`](Self::peek), at a reading of the clock that was just taken.
    fn peek_at(&self, key: &K, recent: Timestamp, recency: Recency) -> Option<Entry<V>> {
        if self.pending.any() && self.pending.holds(key) {
            return None;
        }
        let entry = self.backend.look(key, recent, recency, |entry| Some(entry.take()))?;
        if !self.is_fresh(&entry, recent) || (self.pending.any() && self.pending.ends(&entry)) {
            return None;
        }
        if self.strategy.settings.is_early(&entry, recent, fastrand::f64) {
            return None;
        }
        self.recorder.near_hit();
        Some(entry)
    }

    /// Returns `true` if an entry is fresh at a cheap reading of the clock. That may lag, so near the end the precise
    /// one decides.
    #[inline]
    fn is_fresh(&self, entry: &Entry<V>, recent: Timestamp) -> bool {
        entry.is_fresh(recent.after_lag()) || entry.is_fresh(self.clock.now())
    }

    /// Returns `true` if an entry from the backend makes the load needless that is about to begin.
    /// It must be fresh, and younger than `known`, which is being replaced.
    fn is_news(&self, key: &K, entry: &Entry<V>, known: Option<&Entry<V>>) -> bool {
        // A backend keeps times by another clock, and not twice to the same millisecond. Half of the age is margin
        // enough, since no refresh replaces a young entry.
        let now = self.clock.now();
        let younger = |known: &Entry<V>| known.created().saturating_add(known.age(now) / 2) < entry.created();
        entry.is_fresh(now) && known.is_none_or(younger) && self.stands(key, entry)
    }

    pub(crate) fn stats(&self) -> Stats {
        self.recorder.snapshot(self.born.until(self.clock.now()))
    }

    /// Returns the number of keys that are being loaded.
    pub(crate) fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Returns the number of invalidations that wait for the backend's acknowledgement.
    pub(crate) fn unacknowledged(&self) -> usize {
        self.pending.len()
    }

    /// Ends background work: waits for the loads under way, then retries the pending invalidations once.
    pub(crate) async fn shutdown(&self) -> Result<()> {
        self.closed.store(true, Ordering::SeqCst);
        self.flights.landed().await;
        self.retry_pending_once().await;
        match self.pending.len() {
            0 => Ok(()),
            left => Err(Error::new(
                ErrorKind::Backend,
                format!(
                    "{left} invalidations were never acknowledged: other processes may serve old values until they expire"
                ),
            )),
        }
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Records a failure that a read or a load tolerates: counted, sent to the observer, traced.
    fn degraded(&self, operation: &'static str, error: &Error) {
        tracing::debug!(operation, %error, "the cache backend failed; going on without it");
        self.recorder.record(&Event::BackendFailed { operation, error });
    }
}

impl<K: Key, V> fmt::Debug for Engine<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("backend", &self.backend)
            .field("strategy", &self.strategy)
            .finish_non_exhaustive()
    }
}
