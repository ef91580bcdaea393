//! The counters of a cache, read at one moment.

use std::fmt;
use std::time::Duration;

use super::{BreakerState, Latency};

/// What a cache has counted since it was built.
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
    /// Reads answered by this process's memory.
    pub near_hits: u64,
    /// Reads answered by the shared store.
    pub far_hits: u64,
    /// Reads answered by a load, their own or one under way, or by an error.
    pub misses: u64,
    /// Calls to the source or a loader.
    pub loads: u64,
    /// Loads that failed.
    pub load_errors: u64,
    /// Callers that waited for a load which another had started.
    pub joins: u64,
    /// Loads whose value was stored.
    pub fills: u64,
    /// Loads whose value was not stored, because the key was invalidated or written meanwhile.
    pub refused_fills: u64,
    /// Reads answered by a stale value.
    pub stale_served: u64,
    /// Loads that were refused because too many were under way.
    pub overloaded: u64,
    /// Locks that were lost while their holder loaded.
    pub locks_lost: u64,
    /// Entries that left a bounded store to make room.
    pub evictions: u64,
    /// Acknowledged invalidations.
    pub invalidations: u64,
    /// Invalidations that the backend did not acknowledge at once.
    pub unacknowledged_invalidations: u64,
    /// Failures of the backend that a read or fill got over.
    pub backend_errors: u64,
    /// Stored bytes that were no value of this cache.
    pub undecodable: u64,
    /// Changes that the far store told of, by this process or another.
    pub pushes: u64,
    /// How often everything near was forgotten, since changes may have been missed.
    pub near_flushes: u64,
    /// Values read far that were not placed near, because they changed meanwhile.
    pub near_refused: u64,
    /// How long the far store could not prove that it had told of all changes, so that reads went to it.
    pub blind: Duration,
    /// The state of the circuit breaker, if there is one.
    pub breaker: BreakerState,
    /// From the start of a read that missed to its answer.
    pub miss_latency: Latency,
    /// How long the source took.
    pub load_latency: Latency,
}

impl Stats {
    /// Reads answered without a load.
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

    /// All reads.
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

    /// The share of reads answered without a load, from 0 to 1; 0 when there was none.
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
        let percentile = |latency: &Latency, share| latency.percentile(share);
        writeln!(
            f,
            "reads         {} ({:.2} % hits: {} near, {} far; {} misses, {} joined)",
            self.reads(),
            self.hit_rate() * 100.0,
            self.near_hits,
            self.far_hits,
            self.misses,
            self.joins
        )?;
        for (name, latency) in [("miss latency", &self.miss_latency), ("load latency", &self.load_latency)] {
            writeln!(
                f,
                "{name}  mean {:?}, p50 {:?}, p99 {:?}, p99.9 {:?}",
                latency.mean(),
                percentile(latency, 0.5),
                percentile(latency, 0.99),
                percentile(latency, 0.999)
            )?;
        }
        writeln!(
            f,
            "loads         {} ({} failed; {} stored, {} refused by an invalidation)",
            self.loads, self.load_errors, self.fills, self.refused_fills
        )?;
        writeln!(
            f,
            "invalidations {} ({} not acknowledged at once), evictions {}",
            self.invalidations, self.unacknowledged_invalidations, self.evictions
        )?;
        if self.pushes + self.near_flushes > 0 {
            writeln!(
                f,
                "near tier     {} pushes, {} flushes, {} placements refused, blind for {:.1?}",
                self.pushes, self.near_flushes, self.near_refused, self.blind
            )?;
        }
        write!(
            f,
            "trouble       {} backend errors, {} undecodable, {} stale served, {} overloaded, breaker {:?}",
            self.backend_errors, self.undecodable, self.stale_served, self.overloaded, self.breaker
        )
    }
}
