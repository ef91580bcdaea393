//! The horizon of tags: the moment from which an invalidated tag can be removed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::tag::Stamp;

/// A record of the invalidations that are older than any entry that can still be alive.
/// Their tags can be removed, because no entry is left that they could invalidate.
#[derive(Debug)]
pub(super) struct Horizon {
    /// The longest life that an entry was given, in nanoseconds.
    longest: AtomicU64,
    seen: Mutex<Seen>,
}

/// Some counts of one ledger, each with its moment.
#[derive(Debug, Default)]
struct Seen {
    ledger: u64,
    counts: VecDeque<(Timestamp, u64)>,
}

impl Horizon {
    /// The number of moments that are kept.
    const MOMENTS: u64 = 16;

    pub(super) fn new(longest: Duration) -> Self {
        let horizon = Self { longest: AtomicU64::new(0), seen: Mutex::default() };
        horizon.lives(longest);
        horizon
    }

    /// Records that an entry was given this life.
    pub(super) fn lives(&self, life: Duration) {
        let life = u64::try_from(life.as_nanos()).unwrap_or(u64::MAX);
        if life > self.longest.load(Ordering::Relaxed) {
            self.longest.fetch_max(life, Ordering::Relaxed);
        }
    }

    /// Records an invalidation that brought the ledger to this state.
    /// If it is time, returns the count up to which tags can be removed, with the longest life that this process knows
    /// of. Counts of another ledger are not comparable.
    pub(super) fn invalidated(&self, stamp: Stamp, now: Timestamp) -> Option<(u64, Duration)> {
        let longest = self.longest.load(Ordering::Relaxed);
        if longest == u64::MAX {
            return None;
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.ledger != stamp.ledger() {
            *seen = Seen { ledger: stamp.ledger(), counts: VecDeque::new() };
        }
        let seen = &mut seen.counts;
        let apart = Duration::from_nanos(longest / Self::MOMENTS);
        if seen.back().is_none_or(|(at, _)| at.until(now) >= apart) {
            seen.push_back((now, stamp.count()));
        }
        let mut past = None;
        while let Some((_, count)) =
            seen.front().filter(|(at, _)| at.until(now) > Duration::from_nanos(longest))
        {
            past = Some(*count);
            seen.pop_front();
        }
        past.map(|count| (count, Duration::from_nanos(longest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn tags_are_forgotten_when_no_entry_can_carry_them() {
        let horizon = Horizon::new(Duration::from_secs(60));
        let at = |seconds| Timestamp::ORIGIN.saturating_add(Duration::from_secs(seconds));
        assert_eq!(horizon.invalidated(Stamp::new(1, 1), at(0)), None);
        assert_eq!(horizon.invalidated(Stamp::new(1, 2), at(1)), None, "near enough to the first");
        assert_eq!(horizon.invalidated(Stamp::new(1, 3), at(60)), None);
        assert_eq!(horizon.invalidated(Stamp::new(1, 4), at(61)), Some((1, MINUTE)));
        assert_eq!(horizon.invalidated(Stamp::new(1, 5), at(62)), None);
        horizon.lives(Duration::from_secs(600));
        assert_eq!(
            horizon.invalidated(Stamp::new(1, 6), at(200)),
            None,
            "an entry may still be older than that"
        );
        assert_eq!(horizon.invalidated(Stamp::new(1, 7), at(661)), Some((3, 10 * MINUTE)));
        horizon.lives(Duration::MAX);
        assert_eq!(horizon.invalidated(Stamp::new(1, 8), at(100_000)), None);
    }

    #[test]
    fn the_counts_of_a_ledger_that_is_no_more_are_forgotten() {
        let horizon = Horizon::new(Duration::from_secs(60));
        let at = |seconds| Timestamp::ORIGIN.saturating_add(Duration::from_secs(seconds));
        assert_eq!(horizon.invalidated(Stamp::new(1, 90), at(0)), None);
        assert_eq!(
            horizon.invalidated(Stamp::new(2, 1), at(61)),
            None,
            "what it had counted is not the other's"
        );
        assert_eq!(horizon.invalidated(Stamp::new(2, 2), at(122)), Some((1, MINUTE)));
    }

    #[test]
    fn moments_do_not_pile_up() {
        let horizon = Horizon::new(Duration::from_secs(60));
        for second in 0..10_000 {
            horizon.invalidated(
                Stamp::new(1, second),
                Timestamp::ORIGIN.saturating_add(Duration::from_secs(second)),
            );
        }
        assert!(horizon.seen.lock().is_ok_and(|seen| seen.counts.len() <= 18));
    }
}
