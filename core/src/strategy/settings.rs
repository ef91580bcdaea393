//! The settings of a strategy that do not depend on values, and the freshness check of an entry.

use std::time::Duration;

use super::EarlyRefresh;
use crate::backend::Entry;
use crate::clock::Timestamp;
use crate::lock::Locking;

/// The settings of a strategy that do not depend on values.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) ttl: Duration,
    pub(crate) negative_ttl: Option<Duration>,
    pub(crate) jitter: f64,
    pub(crate) load_timeout: Duration,
    pub(crate) lease: Duration,
    pub(crate) locking: Option<Locking>,
    pub(crate) stale: Stale,
    pub(crate) early: Option<EarlyRefresh>,
    pub(crate) soft_timeout: Option<Duration>,
    pub(crate) hard_timeout: Option<Duration>,
    pub(crate) max_concurrent_loads: Option<usize>,
    pub(crate) max_queued_loads: Option<usize>,
    pub(crate) batch_window: Option<Duration>,
    pub(crate) max_batch: Option<usize>,
}

/// The windows in which an entry is served after its freshness, and the pauses of a failing source.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stale {
    /// The window in which it is served while it is refreshed.
    pub(crate) while_revalidate: Option<Duration>,
    /// The window in which it is served if the source fails.
    pub(crate) if_error: Option<Duration>,
    /// The first and the longest pause after failed loads.
    pub(crate) backoff: [Duration; 2],
}

impl Stale {
    /// Returns the time for which an entry is kept after its freshness.
    pub(crate) fn window(&self) -> Option<Duration> {
        self.while_revalidate.max(self.if_error)
    }
}

/// The maximum of loads that run at once, and of loads that wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    pub(crate) loads: usize,
    pub(crate) waiting: usize,
}

/// The batch window, which combines single misses into one load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gather {
    pub(crate) window: Duration,
    pub(crate) most: usize,
}

/// The result of a freshness check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Serve it.
    Good,
    /// Serve it, and refresh it in the background.
    Due,
    /// Serve it only if the source fails.
    Expired,
}

/// The default of `max_queued_loads`, for each load that may run.
const QUEUED_PER_LOAD: usize = 10;
/// The default of `max_batch`.
const MAX_BATCH: usize = 100;

impl Settings {
    /// Returns the limit on loads, if there is one.
    pub(crate) fn limit(&self) -> Option<Limit> {
        self.max_concurrent_loads.map(|loads| Limit {
            loads,
            waiting: self.max_queued_loads.unwrap_or(loads.saturating_mul(QUEUED_PER_LOAD)),
        })
    }

    /// Returns the batch window of single misses, if there is one.
    pub(crate) fn gather(&self) -> Option<Gather> {
        self.batch_window.map(|window| Gather { window, most: self.max_batch.unwrap_or(MAX_BATCH) })
    }

    /// Returns `true` if the strategy refreshes entries that it serves.
    pub(crate) fn refreshes(&self) -> bool {
        self.early.is_some() || self.stale.while_revalidate.is_some()
    }

    /// Checks the freshness of an entry that is alive. `random` is in 0..1.
    pub(crate) fn judge<V>(&self, entry: &Entry<V>, now: Timestamp, random: impl FnOnce() -> f64) -> Verdict {
        if entry.is_fresh(now) {
            return if self.is_early(entry, now, random) { Verdict::Due } else { Verdict::Good };
        }
        let served_until =
            self.stale.while_revalidate.map(|window| entry.fresh_until().saturating_add(window));
        match served_until {
            Some(until) if now < until && entry.value().is_some() => Verdict::Due,
            _ => Verdict::Expired,
        }
    }

    /// Returns `true` if a fresh entry is to be refreshed already.
    #[inline]
    pub(crate) fn is_early<V>(&self, entry: &Entry<V>, now: Timestamp, random: impl FnOnce() -> f64) -> bool {
        match self.early {
            None => false,
            Some(early) => early.is_due(entry, now, random),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::strategy::Strategy;

    const MINUTE: Duration = Duration::from_secs(60);

    fn entry(cost: Duration) -> Entry<u8> {
        Entry::new(Some(Arc::new(1)), Timestamp::ORIGIN, MINUTE).with_load_cost(cost).with_stale(MINUTE)
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::ORIGIN.saturating_add(Duration::from_secs(seconds))
    }

    #[test]
    fn an_entry_is_fresh_then_stale_then_only_for_errors() {
        let strategy: Strategy<u8> =
            Strategy::aside(MINUTE).stale_while_revalidate(MINUTE / 2).stale_if_error(MINUTE);
        let judge = |entry: &Entry<u8>, seconds| strategy.settings.judge(entry, at(seconds), || 0.5);
        let entry = entry(Duration::ZERO);
        assert_eq!([0, 59, 60, 89, 90, 119].map(|seconds| judge(&entry, seconds)), {
            use Verdict::{Due, Expired, Good};
            [Good, Good, Due, Due, Expired, Expired]
        });
        assert_eq!(strategy.settings.stale.window(), Some(MINUTE), "kept for the longer of the two");
        let absent = Entry::new(None, Timestamp::ORIGIN, MINUTE).with_stale(MINUTE);
        assert_eq!(judge(&absent, 60), Verdict::Expired);
        let capped = entry.expiring_by(at(10));
        assert!(!capped.is_fresh(at(10)) && capped.is_fresh(at(9)));
    }

    #[test]
    fn a_limit_has_a_queue_and_a_window_a_size_unless_they_are_set() {
        let limit =
            |strategy: Strategy<u8>| strategy.settings.limit().map(|limit| [limit.loads, limit.waiting]);
        assert_eq!(limit(Strategy::aside(MINUTE)), None);
        assert_eq!(limit(Strategy::aside(MINUTE).max_concurrent_loads(4)), Some([4, 40]));
        assert_eq!(limit(Strategy::aside(MINUTE).max_queued_loads(0).max_concurrent_loads(4)), Some([4, 0]));
        let most = |strategy: Strategy<u8>| strategy.settings.gather().map(|gather| gather.most);
        assert_eq!(most(Strategy::aside(MINUTE).batch_window(MINUTE)), Some(100));
        assert_eq!(most(Strategy::aside(MINUTE).max_batch(7).batch_window(MINUTE)), Some(7));
    }

    #[test]
    fn an_eager_refresh_is_due_after_its_share() {
        let strategy: Strategy<u8> = Strategy::aside(MINUTE).early_refresh(EarlyRefresh::after(0.5));
        let entry = entry(Duration::ZERO);
        let early = |entry: &Entry<u8>, seconds| strategy.settings.is_early(entry, at(seconds), || 0.5);
        assert!(!early(&entry, 29) && early(&entry, 30));
        // the end of a near entry's life is not the end of its freshness
        assert!(!early(&entry.expiring_by(at(20)), 19));
    }

    /// Poisson readers at a rate of 1,000/s, a load of 0.2 s, beta 1: the first refresh comes on average
    /// `cost · beta · (ln(rate · cost · beta) + 0.577)` early, 1.175 s.
    #[test]
    fn xfetch_refreshes_as_early_as_the_paper_says() {
        let strategy: Strategy<u8> = Strategy::aside(MINUTE).early_refresh(EarlyRefresh::probabilistic(1.0));
        let entry = entry(Duration::from_millis(200));
        let mut random = fastrand::Rng::with_seed(7);
        let mut early = 0.0;
        const RUNS: u32 = 2_000;
        for _ in 0..RUNS {
            let mut now = 50.0;
            loop {
                now += -(1.0 - random.f64()).ln() / 1_000.0;
                let at = Timestamp::ORIGIN.saturating_add(Duration::from_secs_f64(now));
                if strategy.settings.is_early(&entry, at, || random.f64()) {
                    early += 60.0 - now;
                    break;
                }
            }
        }
        let mean = early / f64::from(RUNS);
        assert!((1.12..1.23).contains(&mean), "{mean}");
    }

    #[test]
    fn a_costly_load_does_not_refresh_for_ever() {
        let strategy: Strategy<u8> = Strategy::aside(MINUTE).early_refresh(EarlyRefresh::probabilistic(1.0));
        let costly = entry(Duration::from_secs(300));
        let mut random = fastrand::Rng::with_seed(7);
        let due = (0..10_000).filter(|_| strategy.settings.is_early(&costly, at(1), || random.f64())).count();
        assert!(due < 200, "{due} of 10,000 hits of a young entry");
    }
}
