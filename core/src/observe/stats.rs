//! The counters of a cache, read at one moment.

use std::fmt;
use std::time::Duration;

use super::{BreakerState, Latency, MissCause};

/// The counters of a cache since it was built, or [`since`](Self::since) an earlier reading. `Display` prints a short
/// report.
///
/// Each counter is exact. They are read one after the other while other threads count, so a sum of several may be off
/// by the events in between.
///
/// # Examples
/// ```
/// let stats = larder::Stats::default();
/// assert_eq!(stats.hit_rate(), 0.0);
/// println!("{stats}");
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Stats {
    /// The time covered by the counters, by the cache's clock.
    pub elapsed: Duration,
    /// Reads that the near tier (L1, this process's memory) answered.
    pub near_hits: u64,
    /// Reads that the far tier (L2, the shared store) answered.
    pub far_hits: u64,
    /// Reads that returned the result of a load (as leader or follower), or an error.
    pub misses: u64,
    /// Calls to the source or a loader.
    pub loads: u64,
    /// Loads that failed.
    pub load_errors: u64,
    /// Followers: callers that waited for a load that another caller had started.
    pub joins: u64,
    /// Loads whose value was stored.
    pub fills: u64,
    /// Loads whose value was not stored, because the key was invalidated or written during the load.
    pub refused_fills: u64,
    /// Reads that returned a stale value.
    pub stale_served: u64,
    /// Loads that were refused, because too many were running.
    pub overloaded: u64,
    /// Locks that were lost while the lock holder loaded.
    pub locks_lost: u64,
    /// Entries that were evicted from a bounded store.
    pub evictions: u64,
    /// Invalidations that the backend acknowledged.
    pub invalidations: u64,
    /// Invalidations that the backend did not acknowledge at once, and that became pending.
    pub unacknowledged_invalidations: u64,
    /// Failures of the backend that an operation tolerated.
    pub backend_errors: u64,
    /// Reads of stored bytes that were not a value of this cache.
    pub undecodable: u64,
    /// Caught panics of user code other than sources and loaders: observers, codecs, keys.
    pub panics: u64,
    /// Changes in the far tier, by this process or another, that were received as notifications.
    pub pushes: u64,
    /// The number of times that the near tier was emptied, because change notifications may have been lost.
    pub near_flushes: u64,
    /// Values from the far tier that were not placed in the near tier, because they changed during the read.
    pub near_refused: u64,
    /// Unverified time: the time in which no heartbeat confirmed that all change notifications had arrived. Reads
    /// then go to the far tier.
    pub unverified: Duration,
    /// The state of the circuit breaker, if there is one.
    pub breaker: BreakerState,
    /// Latencies of reads that missed, from the start of the read to its result.
    pub miss_latency: Latency,
    /// Latencies of the source.
    pub load_latency: Latency,
    pub(super) causes: [u64; MissCause::ALL.len()],
}

impl Stats {
    /// Returns the number of reads that were answered without a load.
    ///
    /// # Examples
    /// ```
    /// # let mut stats = larder::Stats::default();
    /// stats.near_hits = 3;
    /// stats.far_hits = 1;
    /// assert_eq!(stats.hits(), 4);
    /// ```
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.near_hits + self.far_hits
    }

    /// Returns the number of all reads.
    ///
    /// # Examples
    /// ```
    /// # let mut stats = larder::Stats::default();
    /// stats.near_hits = 3;
    /// stats.misses = 1;
    /// assert_eq!(stats.reads(), 4);
    /// ```
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.hits() + self.misses
    }

    /// Returns the number of reads that missed because of `cause`.
    ///
    /// # Examples
    /// ```
    /// use larder::observe::MissCause;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
    /// squares.get_many(&[2, 3]).await?;
    /// assert_eq!(squares.stats().misses_by(MissCause::Absent), 2);
    /// assert_eq!(squares.stats().misses_by(MissCause::Unreachable), 0);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn misses_by(&self, cause: MissCause) -> u64 {
        self.causes[cause as usize]
    }

    /// Returns the rate per minute of `count` events in the covered time, or 0 if that time is zero.
    ///
    /// # Examples
    /// ```
    /// # let mut stats = larder::Stats::default();
    /// stats.elapsed = std::time::Duration::from_secs(30);
    /// stats.loads = 6;
    /// assert_eq!(stats.per_minute(stats.loads), 12.0);
    /// ```
    #[must_use]
    pub fn per_minute(&self, count: u64) -> f64 {
        if self.elapsed.is_zero() { 0.0 } else { count as f64 * 60.0 / self.elapsed.as_secs_f64() }
    }

    /// Returns the number of acknowledged invalidations per minute.
    ///
    /// # Examples
    /// ```
    /// # let mut stats = larder::Stats::default();
    /// stats.elapsed = std::time::Duration::from_secs(120);
    /// stats.invalidations = 6;
    /// assert_eq!(stats.invalidations_per_minute(), 3.0);
    /// ```
    #[must_use]
    pub fn invalidations_per_minute(&self) -> f64 {
        self.per_minute(self.invalidations)
    }

    /// Returns the counters since an `earlier` reading of the same cache, for example for percentiles and rates of
    /// the last minute. `breaker` is the current state.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
    /// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
    /// squares.get(&2).await?;
    /// let earlier = squares.stats();
    /// squares.get(&2).await?;
    /// let lately = squares.stats().since(&earlier);
    /// assert_eq!((lately.hits(), lately.misses, lately.hit_rate()), (1, 0, 1.0));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        // a field that is forgotten here does not compile
        let Self {
            elapsed,
            near_hits,
            far_hits,
            misses,
            loads,
            load_errors,
            joins,
            fills,
            refused_fills,
            stale_served,
            overloaded,
            locks_lost,
            evictions,
            invalidations,
            unacknowledged_invalidations,
            backend_errors,
            undecodable,
            panics,
            pushes,
            near_flushes,
            near_refused,
            unverified,
            breaker,
            miss_latency,
            load_latency,
            causes,
        } = self;
        Self {
            elapsed: elapsed.saturating_sub(earlier.elapsed),
            near_hits: near_hits.saturating_sub(earlier.near_hits),
            far_hits: far_hits.saturating_sub(earlier.far_hits),
            misses: misses.saturating_sub(earlier.misses),
            loads: loads.saturating_sub(earlier.loads),
            load_errors: load_errors.saturating_sub(earlier.load_errors),
            joins: joins.saturating_sub(earlier.joins),
            fills: fills.saturating_sub(earlier.fills),
            refused_fills: refused_fills.saturating_sub(earlier.refused_fills),
            stale_served: stale_served.saturating_sub(earlier.stale_served),
            overloaded: overloaded.saturating_sub(earlier.overloaded),
            locks_lost: locks_lost.saturating_sub(earlier.locks_lost),
            evictions: evictions.saturating_sub(earlier.evictions),
            invalidations: invalidations.saturating_sub(earlier.invalidations),
            unacknowledged_invalidations: unacknowledged_invalidations
                .saturating_sub(earlier.unacknowledged_invalidations),
            backend_errors: backend_errors.saturating_sub(earlier.backend_errors),
            undecodable: undecodable.saturating_sub(earlier.undecodable),
            panics: panics.saturating_sub(earlier.panics),
            pushes: pushes.saturating_sub(earlier.pushes),
            near_flushes: near_flushes.saturating_sub(earlier.near_flushes),
            near_refused: near_refused.saturating_sub(earlier.near_refused),
            unverified: unverified.saturating_sub(earlier.unverified),
            breaker: *breaker,
            miss_latency: miss_latency.since(&earlier.miss_latency),
            load_latency: load_latency.since(&earlier.load_latency),
            causes: std::array::from_fn(|cause| causes[cause].saturating_sub(earlier.causes[cause])),
        }
    }

    /// Returns the share of reads that were answered without a load, from 0 to 1, or 0 if there were no reads.
    ///
    /// # Examples
    /// ```
    /// # let mut stats = larder::Stats::default();
    /// stats.near_hits = 3;
    /// stats.misses = 1;
    /// assert_eq!(stats.hit_rate(), 0.75);
    /// ```
    #[must_use]
    pub fn hit_rate(&self) -> f64 {
        match self.reads() {
            0 => 0.0,
            reads => self.hits() as f64 / reads as f64,
        }
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "reads         {} in {:.1?} ({:.2} % hits: {} near, {} far; {} misses, {} joined)",
            self.reads(),
            self.elapsed,
            self.hit_rate() * 100.0,
            self.near_hits,
            self.far_hits,
            self.misses,
            self.joins
        )?;
        if self.misses > 0 {
            write!(f, "missed        ")?;
            for (at, cause) in MissCause::ALL.into_iter().enumerate() {
                let comma = if at > 0 { ", " } else { "" };
                write!(f, "{comma}{} {}", self.misses_by(cause), cause.as_str())?;
            }
            writeln!(f)?;
        }
        for (name, latency) in [("miss latency", &self.miss_latency), ("load latency", &self.load_latency)] {
            writeln!(f, "{name}  {latency}")?;
        }
        writeln!(
            f,
            "loads         {} ({} failed; {} stored, {} refused by an invalidation)",
            self.loads, self.load_errors, self.fills, self.refused_fills
        )?;
        writeln!(
            f,
            "invalidations {} ({:.1} a minute; {} not acknowledged at once), evictions {}",
            self.invalidations,
            self.invalidations_per_minute(),
            self.unacknowledged_invalidations,
            self.evictions
        )?;
        if self.pushes + self.near_flushes > 0 {
            writeln!(
                f,
                "near tier     {} pushes, {} flushes, {} placements refused, unverified for {:.1?}",
                self.pushes, self.near_flushes, self.near_refused, self.unverified
            )?;
        }
        write!(
            f,
            "trouble       {} backend errors, {} undecodable, {} stale served, {} overloaded, {} locks lost, {} panics, breaker {}",
            self.backend_errors,
            self.undecodable,
            self.stale_served,
            self.overloaded,
            self.locks_lost,
            self.panics,
            self.breaker.as_str()
        )
    }
}
