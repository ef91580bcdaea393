//! The names of the exported metrics.

/// The kind of a metric.
///
/// # Examples
/// ```
/// use larder_metrics::{Kind, METRICS};
/// assert!(METRICS.iter().any(|metric| metric.kind == Kind::Histogram));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A number that only grows while the process lives.
    Counter,
    /// The current state.
    Gauge,
    /// Durations in seconds.
    Histogram,
}

/// One metric: its name is stable.
///
/// # Examples
/// ```
/// use larder_metrics::METRICS;
/// for metric in METRICS {
///     println!("{} {:?} {:?}: {}", metric.name, metric.kind, metric.labels, metric.help);
/// }
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Metric {
    /// The name.
    pub name: &'static str,
    /// The kind.
    pub kind: Kind,
    /// Its labels; all metrics have `cache`.
    pub labels: &'static [&'static str],
    /// The description.
    pub help: &'static str,
}

/// All exported metrics.
///
/// # Examples
/// ```
/// assert!(larder_metrics::METRICS.iter().all(|metric| metric.name.starts_with("larder_")));
/// ```
pub const METRICS: &[Metric] = &[
    HITS,
    MISSES,
    JOINS,
    STALE_SERVED,
    LOADS,
    LOAD_ERRORS,
    FILLS,
    OVERLOADED,
    LOCKS_LOST,
    EVICTIONS,
    INVALIDATIONS,
    INVALIDATIONS_UNACKNOWLEDGED,
    BACKEND_ERRORS,
    UNDECODABLE,
    PUSHES,
    NEAR_FLUSHES,
    NEAR_REFUSED,
    UNVERIFIED,
    LOADS_IN_FLIGHT,
    INVALIDATIONS_PENDING,
    BREAKER,
    LOAD_DURATION,
    MISS_DURATION,
];

const CACHE: &[&str] = &["cache"];

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, labels, help }
}

const fn histogram(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram, labels: CACHE, help }
}

pub(crate) const HITS: Metric =
    counter("larder_hits_total", &["cache", "tier"], "Reads answered without a load, by tier: near, far");
pub(crate) const MISSES: Metric = counter(
    "larder_misses_total",
    &["cache", "cause"],
    "Reads answered by a load or an error, by what was found: absent, expired, unreachable, unacknowledged",
);
pub(crate) const JOINS: Metric =
    counter("larder_joins_total", CACHE, "Callers that waited for a load which another had started");
pub(crate) const STALE_SERVED: Metric =
    counter("larder_stale_served_total", CACHE, "Reads answered by a stale value");
pub(crate) const LOADS: Metric =
    counter("larder_loads_total", CACHE, "Calls to the source or a loader, failed ones included");
pub(crate) const LOAD_ERRORS: Metric = counter("larder_load_errors_total", CACHE, "Loads that failed");
pub(crate) const FILLS: Metric = counter(
    "larder_fills_total",
    &["cache", "outcome"],
    "Loaded values by what became of them: stored, or refused because of an invalidation meanwhile",
);
pub(crate) const OVERLOADED: Metric =
    counter("larder_overloaded_total", CACHE, "Loads refused because too many were under way");
pub(crate) const LOCKS_LOST: Metric =
    counter("larder_locks_lost_total", CACHE, "Locks that were lost while their holder loaded");
pub(crate) const EVICTIONS: Metric =
    counter("larder_evictions_total", CACHE, "Entries that left a bounded store to make room");
pub(crate) const INVALIDATIONS: Metric = counter(
    "larder_invalidations_total",
    CACHE,
    "Keys whose invalidation was acknowledged; a tag or a whole cache is one",
);
pub(crate) const INVALIDATIONS_UNACKNOWLEDGED: Metric = counter(
    "larder_invalidations_unacknowledged_total",
    CACHE,
    "Invalidations that the store did not acknowledge at once",
);
pub(crate) const BACKEND_ERRORS: Metric =
    counter("larder_backend_errors_total", CACHE, "Failures of the store that a read or fill tolerated");
pub(crate) const UNDECODABLE: Metric =
    counter("larder_undecodable_total", CACHE, "Stored bytes that were no value of this cache");
pub(crate) const PUSHES: Metric = counter("larder_pushes_total", CACHE, "Changes that the far store told of");
pub(crate) const NEAR_FLUSHES: Metric =
    counter("larder_near_flushes_total", CACHE, "How often everything near was forgotten");
pub(crate) const NEAR_REFUSED: Metric = counter(
    "larder_near_refused_total",
    CACHE,
    "Values read far that were not placed near, because they changed meanwhile",
);
pub(crate) const UNVERIFIED: Metric = counter(
    "larder_unverified_milliseconds_total",
    CACHE,
    "How long the far store could not prove that it had told of all changes",
);
pub(crate) const LOADS_IN_FLIGHT: Metric =
    gauge("larder_loads_in_flight", CACHE, "Keys that are being loaded now");
pub(crate) const INVALIDATIONS_PENDING: Metric = gauge(
    "larder_invalidations_pending",
    CACHE,
    "Invalidations that wait for the store's acknowledgement now",
);
pub(crate) const BREAKER: Metric = gauge(
    "larder_breaker_state",
    &["cache", "state"],
    "1 for the state of the circuit breaker, 0 for the others: closed, open, half_open",
);
pub(crate) const LOAD_DURATION: Metric =
    histogram("larder_load_duration_seconds", "How long the source took");
pub(crate) const MISS_DURATION: Metric =
    histogram("larder_miss_duration_seconds", "From the start of a read that missed to its answer");
