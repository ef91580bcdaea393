//! The recorder, through which all events of a cache pass.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use std::time::Duration;

use super::histogram::Histogram;
use super::striped::Striped;
use super::{BreakerState, Event, MissCause, Observer, Stats, Tier};
use crate::error::panic_text;

/// A recorder that counts every event and dispatches it to the user's observer.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    observer: Option<Arc<dyn Observer>>,
    near_hits: Striped,
    far_hits: Striped,
    joins: AtomicU64,
    fills: AtomicU64,
    refused_fills: AtomicU64,
    load_errors: AtomicU64,
    evictions: AtomicU64,
    invalidations: AtomicU64,
    pending: AtomicU64,
    stale_served: AtomicU64,
    overloaded: AtomicU64,
    locks_lost: AtomicU64,
    backend_errors: AtomicU64,
    undecodable: AtomicU64,
    panics: AtomicU64,
    pushes: AtomicU64,
    near_flushes: AtomicU64,
    near_refused: AtomicU64,
    unverified_nanos: AtomicU64,
    breaker: AtomicU8,
    misses: Histogram,
    causes: [AtomicU64; MissCause::ALL.len()],
    loads: Histogram,
}

impl Recorder {
    pub(crate) fn new(observer: Option<Arc<dyn Observer>>) -> Self {
        Self { observer, ..Self::default() }
    }

    /// Records a near hit. Separate from [`record`](Self::record), because it is on the hit path.
    #[inline]
    pub(crate) fn near_hit(&self) {
        self.near_hits.increment();
        if self.observer.is_some() {
            self.tell(&Event::Hit { tier: Tier::Near });
        }
    }

    /// Counts an event, and dispatches it to the observer.
    pub(crate) fn record(&self, event: &Event<'_>) {
        self.count(event);
        self.tell(event);
    }

    /// Dispatches an event to the observer, and catches its panics. Prevents: a panic of the observer ends a load, or
    /// the task that retries invalidations.
    #[inline(never)]
    fn tell(&self, event: &Event<'_>) {
        if let Some(observer) = &self.observer
            && let Err(panic) = catch_unwind(AssertUnwindSafe(|| observer.on_event(event)))
        {
            self.panics.fetch_add(1, Ordering::Relaxed);
            tracing::error!(panic = panic_text(&*panic), "the cache's observer panicked: fix its `on_event`");
        }
    }

    fn count(&self, event: &Event<'_>) {
        let add = |counter: &AtomicU64, count| counter.fetch_add(count, Ordering::Relaxed);
        match *event {
            Event::Hit { tier: Tier::Near } => self.near_hits.increment(),
            Event::Hit { tier: Tier::Far } => self.far_hits.increment(),
            Event::Missed { elapsed, cause } => {
                self.misses.record(elapsed);
                _ = add(&self.causes[cause as usize], 1);
            }
            Event::Joined => _ = add(&self.joins, 1),
            Event::Loaded { elapsed, error } => {
                self.loads.record(elapsed);
                add(&self.load_errors, u64::from(error.is_some()));
            }
            Event::Filled => _ = add(&self.fills, 1),
            Event::FillRefused => _ = add(&self.refused_fills, 1),
            Event::Evicted { count } => _ = add(&self.evictions, count),
            Event::Invalidated { count } => _ = add(&self.invalidations, count),
            Event::InvalidationPending { .. } => _ = add(&self.pending, 1),
            Event::LockLost => _ = add(&self.locks_lost, 1),
            Event::StaleServed => _ = add(&self.stale_served, 1),
            Event::Overloaded => _ = add(&self.overloaded, 1),
            Event::BackendFailed { .. } => _ = add(&self.backend_errors, 1),
            Event::Undecodable { .. } => _ = add(&self.undecodable, 1),
            Event::Pushed { count } => _ = add(&self.pushes, count),
            Event::NearFlushed => _ = add(&self.near_flushes, 1),
            Event::NearRefused => _ = add(&self.near_refused, 1),
            Event::Unverified { elapsed } => {
                _ = add(&self.unverified_nanos, u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX));
            }
            Event::BreakerTurned { state } => self.breaker.store(state as u8, Ordering::Relaxed),
        }
    }

    pub(crate) fn snapshot(&self, elapsed: Duration) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (miss_latency, load_latency) = (self.misses.snapshot(), self.loads.snapshot());
        Stats {
            elapsed,
            near_hits: self.near_hits.sum(),
            far_hits: self.far_hits.sum(),
            misses: miss_latency.count(),
            causes: MissCause::ALL.map(|cause| read(&self.causes[cause as usize])),
            loads: load_latency.count(),
            load_errors: read(&self.load_errors),
            joins: read(&self.joins),
            fills: read(&self.fills),
            refused_fills: read(&self.refused_fills),
            stale_served: read(&self.stale_served),
            overloaded: read(&self.overloaded),
            locks_lost: read(&self.locks_lost),
            evictions: read(&self.evictions),
            invalidations: read(&self.invalidations),
            unacknowledged_invalidations: read(&self.pending),
            backend_errors: read(&self.backend_errors),
            undecodable: read(&self.undecodable),
            panics: read(&self.panics),
            pushes: read(&self.pushes),
            near_flushes: read(&self.near_flushes),
            near_refused: read(&self.near_refused),
            unverified: Duration::from_nanos(read(&self.unverified_nanos)),
            breaker: match self.breaker.load(Ordering::Relaxed) {
                state if state == BreakerState::Open as u8 => BreakerState::Open,
                state if state == BreakerState::HalfOpen as u8 => BreakerState::HalfOpen,
                _ => BreakerState::Closed,
            },
            miss_latency,
            load_latency,
        }
    }
}
