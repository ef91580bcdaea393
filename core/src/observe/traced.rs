//! Events as `tracing` events.

use std::fmt;

use super::{BreakerState, Event, Observer, Tier};

// Each event has its own call site, as `tracing` wants it; the target is that of `Traced`.
macro_rules! tell {
    ($level:ident, $cache:expr, $event:literal $(, $name:ident = $value:expr)*) => {
        tracing::event!(target: "larder::event", tracing::Level::$level, cache = $cache, event = $event $(, $name = $value)*)
    };
}

/// Tells a cache's events to `tracing`, under the target `larder::event` with the fields `cache` (the name given here) and
/// `event` (one word), which are stable:
///
/// | `event` | level | further fields |
/// |---|---|---|
/// | `hit` | trace | `tier` = `far`. Near hits are not told: they are counted in [`Stats`](crate::Stats) |
/// | `missed` | debug | `cause`, `elapsed_us` |
/// | `joined` | trace | |
/// | `loaded` | debug | `elapsed_us` |
/// | `load_failed` | warn | `elapsed_us`, `error` |
/// | `filled` | trace | |
/// | `fill_refused` | debug | |
/// | `evicted` | trace | `count` |
/// | `invalidated` | debug | `count` |
/// | `invalidation_pending` | warn | `error` |
/// | `lock_lost` | warn | |
/// | `stale_served` | debug | |
/// | `overloaded` | warn | |
/// | `backend_failed` | warn | `operation`, `error` |
/// | `undecodable` | warn | `error` |
/// | `pushed` | trace | `count` |
/// | `near_flushed` | debug | |
/// | `near_refused` | trace | |
/// | `blind` | debug | `elapsed_us` |
/// | `breaker` | warn | `state`: `closed`, `open`, `half_open` |
///
/// Events come within the span of the caller, also those of a load, which runs on a task of its own. An observer costs a near
/// hit one call that returns at once; without any it costs nothing. Numbers over time are for `larder-metrics`, which reads
/// [`Stats`](crate::Stats) and costs hits nothing. Those who need another observer too give both, as a pair.
///
/// # Examples
/// `RUST_LOG=larder::event=debug` shows misses, loads and trouble:
/// ```
/// let builder = larder::Cache::<u64, u64>::builder().observer(larder::Traced::new("square"));
/// # let _ = builder;
/// ```
pub struct Traced(String);

impl Traced {
    /// An observer that tells the events of the cache it calls `cache`.
    ///
    /// # Examples
    /// ```
    /// let traced = larder::Traced::new("square");
    /// # let _ = traced;
    /// ```
    #[must_use]
    pub fn new(cache: impl Into<String>) -> Self {
        Self(cache.into())
    }
}

impl Observer for Traced {
    fn on_event(&self, event: &Event<'_>) {
        let cache = self.0.as_str();
        let micros = |elapsed: &std::time::Duration| u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        match event {
            Event::Hit { tier: Tier::Near } => {}
            Event::Hit { tier: Tier::Far } => tell!(TRACE, cache, "hit", tier = "far"),
            Event::Missed { elapsed, cause } => {
                tell!(DEBUG, cache, "missed", cause = cause.as_str(), elapsed_us = micros(elapsed));
            }
            Event::Joined => tell!(TRACE, cache, "joined"),
            Event::Loaded { elapsed, error: None } => {
                tell!(DEBUG, cache, "loaded", elapsed_us = micros(elapsed));
            }
            Event::Loaded { elapsed, error: Some(error) } => {
                let error = tracing::field::display(error);
                tell!(WARN, cache, "load_failed", elapsed_us = micros(elapsed), error = error);
            }
            Event::Filled => tell!(TRACE, cache, "filled"),
            Event::FillRefused => tell!(DEBUG, cache, "fill_refused"),
            Event::Evicted { count } => tell!(TRACE, cache, "evicted", count = count),
            Event::Invalidated { count } => tell!(DEBUG, cache, "invalidated", count = count),
            Event::InvalidationPending { error } => {
                tell!(WARN, cache, "invalidation_pending", error = tracing::field::display(error));
            }
            Event::LockLost => tell!(WARN, cache, "lock_lost"),
            Event::StaleServed => tell!(DEBUG, cache, "stale_served"),
            Event::Overloaded => tell!(WARN, cache, "overloaded"),
            Event::BackendFailed { operation, error } => {
                let error = tracing::field::display(error);
                tell!(WARN, cache, "backend_failed", operation = operation, error = error);
            }
            Event::Undecodable { error } => {
                tell!(WARN, cache, "undecodable", error = tracing::field::display(error));
            }
            Event::Pushed { count } => tell!(TRACE, cache, "pushed", count = count),
            Event::NearFlushed => tell!(DEBUG, cache, "near_flushed"),
            Event::NearRefused => tell!(TRACE, cache, "near_refused"),
            Event::Blind { elapsed } => tell!(DEBUG, cache, "blind", elapsed_us = micros(elapsed)),
            Event::BreakerTurned { state } => {
                let state: &BreakerState = state;
                tell!(WARN, cache, "breaker", state = state.as_str());
            }
        }
    }
}

impl fmt::Debug for Traced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Traced").field(&self.0).finish()
    }
}
