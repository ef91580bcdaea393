//! Exports the numbers of caches to the `metrics` facade.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use larder::cache::{Key, Value};
use larder::observe::{BreakerState, Latency, MissCause};
use larder::{Cache, Stats};
use metrics::{SharedString, Unit};

use crate::names::{self, Kind, METRICS, Metric};
use crate::reading::{Gauge, Reading};

/// Exports the numbers of caches to the [`metrics`] facade on request: at a scrape, or at intervals.
///
/// It *pulls*: the cache counts hits on a counter that belongs to the thread, and the counter is only read here. So
/// a hit costs the same with and without it. Counters are exported as absolute values, so that nothing is counted
/// twice or lost, however often this is called. Histograms get the values since the last call, so one exporter
/// belongs to one recorder.
///
/// # Examples
/// ```
/// use larder_metrics::Exporter;
/// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../core/doc/squares.rs"))?;
/// let exporter = Exporter::new();
/// exporter.add("square", &squares);
/// exporter.export(); // to the recorder that the process has installed
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Exporter {
    caches: Mutex<Vec<Exported>>,
}

#[derive(Debug)]
struct Exported {
    name: SharedString,
    gauge: Gauge,
    last: Stats,
}

impl Exporter {
    /// Returns an exporter without caches.
    ///
    /// # Examples
    /// See [`Exporter`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `cache` under `name`, the value of the label `cache`. If the name exists already, its cache is
    /// replaced.
    ///
    /// # Examples
    /// See [`Exporter`].
    pub fn add<K: Key, V: Value>(&self, name: &str, cache: &Cache<K, V>) {
        let exported =
            Exported { name: name.to_owned().into(), gauge: Gauge::of(cache), last: Stats::default() };
        let mut caches = self.caches.lock().unwrap_or_else(PoisonError::into_inner);
        caches.retain(|other| other.name != exported.name);
        caches.push(exported);
    }

    /// Exports all numbers to the installed recorder (see [`metrics::set_global_recorder`]).
    ///
    /// # Examples
    /// See [`Exporter`].
    pub fn export(&self) {
        METRICS.iter().for_each(describe);
        for cache in self.caches.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            let reading = cache.gauge.read();
            cache.tell(&reading);
            cache.last = reading.stats;
        }
    }

    /// Exports every `period`, for ever. Spawn it if the recorder does not pull. Needs a tokio runtime with time.
    ///
    /// # Cancellation safety
    /// Dropping it ends the exports.
    ///
    /// # Examples
    /// ```no_run
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
    /// use std::sync::Arc;
    /// use std::time::Duration;
    /// let exporter = Arc::new(larder_metrics::Exporter::new());
    /// tokio::spawn({
    ///     let exporter = Arc::clone(&exporter);
    ///     async move { exporter.run(Duration::from_secs(10)).await }
    /// });
    /// # Ok(()) }
    /// ```
    pub async fn run(&self, period: Duration) {
        loop {
            self.export();
            tokio::time::sleep(period).await;
        }
    }
}

fn describe(metric: &Metric) {
    match metric.kind {
        Kind::Counter => metrics::describe_counter!(metric.name, metric.help),
        Kind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
        Kind::Histogram => metrics::describe_histogram!(metric.name, Unit::Seconds, metric.help),
    }
}

impl Exported {
    fn tell(&self, reading: &Reading) {
        let Reading { stats, in_flight, unacknowledged } = reading;
        self.count_by(names::HITS, "near", stats.near_hits);
        self.count_by(names::HITS, "far", stats.far_hits);
        for cause in MissCause::ALL {
            self.count_by(names::MISSES, cause.as_str(), stats.misses_by(cause));
        }
        self.count_by(names::FILLS, "stored", stats.fills);
        self.count_by(names::FILLS, "refused", stats.refused_fills);
        for (metric, value) in [
            (names::JOINS, stats.joins),
            (names::STALE_SERVED, stats.stale_served),
            (names::LOADS, stats.loads),
            (names::LOAD_ERRORS, stats.load_errors),
            (names::OVERLOADED, stats.overloaded),
            (names::LOCKS_LOST, stats.locks_lost),
            (names::EVICTIONS, stats.evictions),
            (names::INVALIDATIONS, stats.invalidations),
            (names::INVALIDATIONS_UNACKNOWLEDGED, stats.unacknowledged_invalidations),
            (names::BACKEND_ERRORS, stats.backend_errors),
            (names::UNDECODABLE, stats.undecodable),
            (names::PUSHES, stats.pushes),
            (names::NEAR_FLUSHES, stats.near_flushes),
            (names::NEAR_REFUSED, stats.near_refused),
            (names::UNVERIFIED, u64::try_from(stats.unverified.as_millis()).unwrap_or(u64::MAX)),
        ] {
            metrics::counter!(metric.name, "cache" => self.name.clone()).absolute(value);
        }
        self.set(names::LOADS_IN_FLIGHT, *in_flight);
        self.set(names::INVALIDATIONS_PENDING, *unacknowledged);
        for state in [BreakerState::Closed, BreakerState::Open, BreakerState::HalfOpen] {
            let (metric, is_so) = (names::BREAKER, f64::from(u8::from(stats.breaker == state)));
            metrics::gauge!(metric.name, "cache" => self.name.clone(), metric.labels[1] => state.as_str())
                .set(is_so);
        }
        self.record(names::LOAD_DURATION, &stats.load_latency.since(&self.last.load_latency));
        self.record(names::MISS_DURATION, &stats.miss_latency.since(&self.last.miss_latency));
    }

    fn count_by(&self, metric: Metric, value: &'static str, count: u64) {
        metrics::counter!(metric.name, "cache" => self.name.clone(), metric.labels[1] => value)
            .absolute(count);
    }

    fn set(&self, metric: Metric, value: usize) {
        metrics::gauge!(metric.name, "cache" => self.name.clone()).set(value as f64);
    }

    fn record(&self, metric: Metric, latency: &Latency) {
        // registered even without values, so that a dashboard finds it
        let histogram = metrics::histogram!(metric.name, "cache" => self.name.clone());
        for (edge, count) in latency.buckets() {
            histogram.record_many(edge.as_secs_f64(), usize::try_from(count).unwrap_or(usize::MAX));
        }
    }
}
