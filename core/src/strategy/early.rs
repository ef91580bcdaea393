//! Refreshes of entries that are still fresh.

use crate::backend::Entry;
use crate::clock::Timestamp;

/// The moment at which a fresh entry is refreshed in the background, for
/// [`Strategy::early_refresh`](crate::Strategy::early_refresh).
///
/// # Examples
/// ```
/// use larder::strategy::EarlyRefresh;
/// let [random, fixed] = [EarlyRefresh::probabilistic(1.0), EarlyRefresh::after(0.9)];
/// # let _ = (random, fixed);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct EarlyRefresh(pub(super) Early);

#[derive(Debug, Clone, Copy)]
pub(super) enum Early {
    Random(f64),
    Share(f64),
}

impl EarlyRefresh {
    /// Refreshes at random, with a probability that grows towards the end of freshness and with the cost of the load
    /// ("XFetch": Vattani, Chierichetti, Lowenstein, *Optimal Probabilistic Cache Stampede Prevention*, PVLDB 8(8),
    /// 2015).
    ///
    /// A hit refreshes if `now − cost · beta · ln(random) ≥ end of freshness`. The cost is the time that the entry's
    /// load took; at most a tenth of its TTL counts. `beta` 1.0 is the paper's; a higher one refreshes earlier. It
    /// must be positive.
    ///
    /// Without a lock, on average `e^(1/beta)` processes refresh one expiry. With
    /// [`locked`](crate::Strategy::locked) one does.
    #[must_use]
    pub const fn probabilistic(beta: f64) -> Self {
        Self(Early::Random(beta))
    }

    /// Refreshes at the first hit after this share of the TTL. 0.9 is usual; it must be above 0 and below 1.
    #[must_use]
    pub const fn after(share: f64) -> Self {
        Self(Early::Share(share))
    }

    /// Returns `true` if a fresh entry is to be refreshed. `random` is in 0..1.
    pub(crate) fn is_due<V>(self, entry: &Entry<V>, now: Timestamp, random: impl FnOnce() -> f64) -> bool {
        let (created, end) = (entry.created(), entry.fresh_until());
        if end == Timestamp::NEVER {
            return false;
        }
        let (life, left) = (created.until(end).as_secs_f64(), now.until(end).as_secs_f64());
        match self.0 {
            Early::Share(share) => life - left >= life * share,
            Early::Random(beta) => {
                // a load that once took as long as the whole life would be repeated at every hit
                let cost = entry.load_cost().as_secs_f64().min(life / 10.0) * beta;
                // no random number is smaller than 2⁻⁵³, and most hits are too early for any
                left <= cost * 37.0 && -(1.0 - random()).ln() * cost >= left
            }
        }
    }
}
