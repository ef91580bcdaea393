//! A histogram of latencies: logarithmic buckets with four steps in each doubling, so within 25 % of the truth.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Steps in each doubling.
const STEPS: usize = 4;
/// 1 us to 2^36 us (19 hours).
const BUCKETS: usize = 36 * STEPS;

#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: Box<[AtomicU64; BUCKETS]>,
    sum_us: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: Box::new([const { AtomicU64::new(0) }; BUCKETS]), sum_us: AtomicU64::new(0) }
    }
}

/// Returns the bucket of a latency, from its doubling and the quarter within it.
fn bucket(micros: u64) -> usize {
    let micros = micros.max(1);
    let doubling = micros.ilog2() as usize;
    let quarter = ((micros << 2) >> doubling) as usize & (STEPS - 1);
    (doubling * STEPS + quarter).min(BUCKETS - 1)
}

/// Returns the upper edge of a bucket, in microseconds.
fn edge(bucket: usize) -> u64 {
    let (doubling, quarter) = (bucket / STEPS, bucket % STEPS);
    ((1u64 << doubling) * (STEPS + quarter + 1) as u64).div_ceil(STEPS as u64)
}

impl Histogram {
    pub(crate) fn record(&self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket(micros)].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(micros, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Latency {
        let buckets: Vec<u64> = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let count = buckets.iter().sum();
        Latency { count, sum_us: self.sum_us.load(Ordering::Relaxed), buckets }
    }
}

/// A summary of latencies: their number, mean and percentiles (within 25 %, rounded up).
///
/// # Examples
/// ```
/// let stats = larder::Stats::default();
/// assert_eq!(stats.miss_latency.count(), 0);
/// assert_eq!(stats.miss_latency.percentile(0.99), std::time::Duration::ZERO);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Latency {
    count: u64,
    sum_us: u64,
    buckets: Vec<u64>,
}

impl Latency {
    /// Returns the number of recorded latencies.
    ///
    /// # Examples
    /// ```
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
    /// let latency = squares.stats().load_latency;
    /// assert_eq!(latency.count(), 0);
    /// # Ok::<(), larder::Error>(())
    /// ```
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns the mean, or zero if there are none.
    ///
    /// # Examples
    /// ```
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
    /// let latency = squares.stats().load_latency;
    /// assert!(latency.mean().is_zero());
    /// # Ok::<(), larder::Error>(())
    /// ```
    #[must_use]
    pub fn mean(&self) -> Duration {
        Duration::from_micros(self.sum_us.checked_div(self.count).unwrap_or(0))
    }

    /// Returns the sum.
    ///
    /// # Examples
    /// ```
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
    /// assert!(squares.stats().load_latency.total().is_zero());
    /// # Ok::<(), larder::Error>(())
    /// ```
    #[must_use]
    pub fn total(&self) -> Duration {
        Duration::from_micros(self.sum_us)
    }

    /// Returns the non-empty buckets in rising order, for exporters. Each is its upper edge (no latency in it is
    /// longer) and its count. A bucket is at most a quarter wide.
    ///
    /// # Examples
    /// ```
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
    /// for (edge, count) in squares.stats().load_latency.buckets() {
    ///     println!("{count} loads took up to {edge:?}");
    /// }
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        let counted = self.buckets.iter().enumerate().filter(|(_, count)| **count > 0);
        counted.map(|(bucket, count)| (Duration::from_micros(edge(bucket)), *count))
    }

    /// Returns the latencies recorded since an `earlier` reading of the same summary.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
    /// let earlier = squares.stats().load_latency;
    /// squares.get(&2).await?;
    /// assert_eq!(squares.stats().load_latency.since(&earlier).count(), 1);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |bucket: usize| earlier.buckets.get(bucket).copied().unwrap_or(0);
        let buckets: Vec<u64> = (self.buckets.iter().enumerate())
            .map(|(bucket, count)| count.saturating_sub(before(bucket)))
            .collect();
        Self { count: buckets.iter().sum(), sum_us: self.sum_us.saturating_sub(earlier.sum_us), buckets }
    }

    /// Returns the percentile of a `share` from 0 to 1 (0.5: the median), or zero if there are no latencies.
    ///
    /// # Examples
    /// ```
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
    /// let latency = squares.stats().load_latency;
    /// println!("median {:?}, p99 {:?}", latency.percentile(0.5), latency.percentile(0.99));
    /// # Ok::<(), larder::Error>(())
    /// ```
    #[must_use]
    pub fn percentile(&self, share: f64) -> Duration {
        let rank = (self.count as f64 * share.clamp(0.0, 1.0)).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_micros(edge(bucket));
            }
        }
        Duration::ZERO
    }
}

/// Prints the mean and the percentiles.
impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| self.percentile(share));
        write!(f, "mean {:?}, p50 {p50:?}, p99 {p99:?}, p99.9 {p999:?}", self.mean())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_lies_below_the_edge_of_its_bucket_and_near_it() {
        for micros in (1..5_000u64).chain([1 << 20, (1 << 30) + 12_345]) {
            let edge = edge(bucket(micros));
            assert!(edge > micros || micros < 4, "{micros} in a bucket up to {edge}");
            assert!(edge as f64 <= micros as f64 * 1.25 + 2.0, "{micros} in a bucket up to {edge}");
        }
    }

    #[test]
    fn percentiles_and_mean() {
        let histogram = Histogram::default();
        (1..=100).for_each(|millis| histogram.record(Duration::from_millis(millis)));
        let latency = histogram.snapshot();
        assert_eq!(latency.count(), 100);
        assert_eq!(latency.mean(), Duration::from_micros(50_500));
        let median = latency.percentile(0.5).as_millis();
        assert!((50..=63).contains(&median), "{median}");
        assert!(latency.percentile(1.0) >= Duration::from_millis(100));
    }

    #[test]
    fn a_later_reading_less_an_earlier_one_is_what_came_between() {
        let histogram = Histogram::default();
        (0..100).for_each(|_| histogram.record(Duration::from_secs(1)));
        let earlier = histogram.snapshot();
        (0..10).for_each(|_| histogram.record(Duration::from_millis(1)));
        let lately = histogram.snapshot().since(&earlier);
        assert_eq!((lately.count(), lately.total()), (10, Duration::from_millis(10)));
        assert!(lately.percentile(1.0) < Duration::from_millis(2), "{lately}");
        assert_eq!(lately.buckets().map(|(_, count)| count).collect::<Vec<_>>(), [10]);
        assert_eq!(histogram.snapshot().since(&Latency::default()).count(), 110);
    }
}
