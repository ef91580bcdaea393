//! The numbers of a cache over time.

use std::collections::VecDeque;

use larder::Stats;
use larder::observe::Latency;
use serde::Serialize;

use crate::reading::Reading;

/// The changes between two readings. Rates are per second, latencies in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Point {
    /// Milliseconds since 1970.
    at: u64,
    near: f64,
    far: f64,
    misses: f64,
    loads: f64,
    load_errors: f64,
    joins: f64,
    stale: f64,
    refused: f64,
    evictions: f64,
    errors: f64,
    invalidations_per_minute: f64,
    load_ms: Percentiles,
    miss_ms: Percentiles,
    in_flight: usize,
}

/// The percentiles of a latency. `None` if there were no measurements.
#[derive(Debug, Clone, Copy, Serialize)]
struct Percentiles {
    p50: Option<f64>,
    p99: Option<f64>,
}

impl Percentiles {
    fn of(latency: &Latency) -> Self {
        let millis = |share| (latency.count() > 0).then(|| latency.percentile(share).as_secs_f64() * 1_000.0);
        Self { p50: millis(0.5), p99: millis(0.99) }
    }
}

#[derive(Debug)]
pub(super) struct Series {
    last: Stats,
    points: VecDeque<Point>,
    most: usize,
}

impl Series {
    pub(super) fn new(start: Stats, most: usize) -> Self {
        Self { last: start, points: VecDeque::new(), most }
    }

    pub(super) fn sample(&mut self, reading: Reading, now: u64) {
        let lately = reading.stats.since(&self.last);
        if lately.elapsed.is_zero() {
            return;
        }
        let a_second = |count| lately.per_minute(count) / 60.0;
        if self.points.len() == self.most {
            self.points.pop_front();
        }
        self.points.push_back(Point {
            at: now,
            near: a_second(lately.near_hits),
            far: a_second(lately.far_hits),
            misses: a_second(lately.misses),
            loads: a_second(lately.loads),
            load_errors: a_second(lately.load_errors),
            joins: a_second(lately.joins),
            stale: a_second(lately.stale_served),
            refused: a_second(lately.refused_fills),
            evictions: a_second(lately.evictions),
            errors: a_second(lately.backend_errors + lately.undecodable),
            invalidations_per_minute: lately.invalidations_per_minute(),
            load_ms: Percentiles::of(&lately.load_latency),
            miss_ms: Percentiles::of(&lately.miss_latency),
            in_flight: reading.in_flight,
        });
        self.last = reading.stats;
    }

    pub(super) fn after(&self, since: u64) -> Vec<Point> {
        self.points.iter().filter(|point| point.at > since).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn reading(seconds: u64, hits: u64, invalidations: u64) -> Reading {
        let mut stats = Stats::default();
        stats.elapsed = Duration::from_secs(seconds);
        stats.near_hits = hits;
        stats.invalidations = invalidations;
        Reading { stats, ..Reading::default() }
    }

    #[test]
    fn a_point_is_what_happened_since_the_last_one() {
        let mut series = Series::new(reading(100, 1_000, 5).stats, 3);
        series.sample(reading(102, 1_500, 6), 2_000);
        let point = series.after(0)[0];
        assert_eq!((point.near, point.invalidations_per_minute, point.load_ms.p50), (250.0, 30.0, None));
        // a second reading at the same moment adds no point
        series.sample(reading(102, 1_600, 6), 2_000);
        assert_eq!(series.after(0).len(), 1);
    }

    #[test]
    fn the_past_is_bounded() {
        let mut series = Series::new(Stats::default(), 3);
        (1..=10).for_each(|second| series.sample(reading(second, second, 0), second * 1_000));
        assert_eq!(series.after(0).iter().map(|point| point.at).collect::<Vec<_>>(), [8_000, 9_000, 10_000]);
        assert_eq!(series.after(9_000).len(), 1);
    }
}
