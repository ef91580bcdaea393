//! How a cache behaves between a miss and a fill.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::lock::Locking;
use crate::source::Loaded;
use crate::{Error, Result};

type TtlOf<V> = Arc<dyn Fn(&V) -> Option<Duration> + Send + Sync>;

/// What a cache does with its entries: how long they live, what is kept of absent things, how long a load may take.
///
/// Single flight, fenced fills and near fill are always on. Calls may come in any order.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use larder::Strategy;
/// let strategy: Strategy<String> = Strategy::aside(Duration::from_secs(600))
///     .negative_ttl(Duration::from_secs(5))
///     .jitter(0.1)
///     .ttl_by(|text: &String| text.is_empty().then_some(Duration::from_secs(1)));
/// # let _ = strategy;
/// ```
pub struct Strategy<V> {
    ttl: Duration,
    negative_ttl: Option<Duration>,
    jitter: f64,
    ttl_by: Option<TtlOf<V>>,
    pub(crate) load_timeout: Duration,
    pub(crate) lease: Duration,
    pub(crate) locking: Option<Locking>,
}

impl<V> Strategy<V> {
    /// Cache-aside: a miss loads, fills and answers; an entry lives for `ttl`, from 1 ms to [`Duration::MAX`] (never
    /// expires). Zero is refused by `build()`.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// let strategy: larder::Strategy<String> = larder::Strategy::aside(Duration::from_secs(60));
    /// # let _ = strategy;
    /// ```
    #[must_use]
    pub fn aside(ttl: Duration) -> Self {
        Self {
            ttl,
            negative_ttl: None,
            jitter: 0.0,
            ttl_by: None,
            load_timeout: Duration::from_secs(30),
            lease: Duration::from_secs(10),
            locking: None,
        }
    }

    /// Keeps the knowledge that something is absent, for this long. By default absence is not kept.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// let strategy: larder::Strategy<String> = larder::Strategy::aside(Duration::from_secs(60)).negative_ttl(Duration::from_secs(5));
    /// # let _ = strategy;
    /// ```
    #[must_use]
    pub fn negative_ttl(mut self, ttl: Duration) -> Self {
        self.negative_ttl = Some(ttl);
        self
    }

    /// Shortens each TTL at random by up to this share (0.1: between 90 and 100 %), so that entries filled together do
    /// not expire together. Never lengthens it. Default 0; must be at least 0 and below 1.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// let strategy: larder::Strategy<String> = larder::Strategy::aside(Duration::from_secs(60)).jitter(0.1);
    /// # let _ = strategy;
    /// ```
    #[must_use]
    pub fn jitter(mut self, share: f64) -> Self {
        self.jitter = share;
        self
    }

    /// Lets the loaded value decide its own TTL; `None` leaves the strategy's, zero does not keep the value. A TTL that
    /// the loader gives ([`Loaded::ttl`]) comes before both.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// let strategy: larder::Strategy<String> = larder::Strategy::aside(Duration::from_secs(60))
    ///     .ttl_by(|page: &String| page.contains("breaking").then_some(Duration::from_secs(2)));
    /// # let _ = strategy;
    /// ```
    #[must_use]
    pub fn ttl_by(mut self, decide: impl Fn(&V) -> Option<Duration> + Send + Sync + 'static) -> Self {
        self.ttl_by = Some(Arc::new(decide));
        self
    }

    /// How long a load may take before it is given up with a timeout error. Default 30 s. Callers may give up earlier;
    /// the load then goes on and fills.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// let strategy: larder::Strategy<String> = larder::Strategy::aside(Duration::from_secs(60)).load_timeout(Duration::from_secs(2));
    /// # let _ = strategy;
    /// ```
    #[must_use]
    pub fn load_timeout(mut self, budget: Duration) -> Self {
        self.load_timeout = budget;
        self
    }

    /// How long the announcement of a load stands in the backend unless renewed, which happens every third of it while
    /// the load runs. Default 10 s. When it ends, a fill is refused; nothing worse.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// let strategy: larder::Strategy<String> = larder::Strategy::aside(Duration::from_secs(60)).lease(Duration::from_secs(5));
    /// # let _ = strategy;
    /// ```
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Elects one loader of a missing key among all processes: the others wait for it, are woken when it has filled or
    /// failed, and read. A lock provider, or a [`Locking`] that says more. By default every process loads for itself.
    ///
    /// Saves loads, and nothing rests on it: when the lock is lost or the provider cannot be reached, more than one loads,
    /// and the fence keeps the data right. With a backend that only this process sees there is nobody to elect.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use larder::{LockProvider, Strategy};
    ///
    /// fn strategy(redis_locks: impl LockProvider) -> Strategy<String> {
    ///     Strategy::aside(Duration::from_secs(60)).locked(redis_locks)
    /// }
    /// ```
    #[must_use]
    pub fn locked(mut self, locking: impl Into<Locking>) -> Self {
        self.locking = Some(locking.into());
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        let Self { ttl, negative_ttl, jitter, ttl_by: _, load_timeout, lease, locking: _ } = self;
        let zero = |name: &str| {
            let mend = "give at least 1 ms, or `Duration::MAX` for no limit";
            Err(Error::config(format!("{name} of zero: {mend}")))
        };
        if ttl.is_zero() {
            return zero("a TTL");
        }
        if negative_ttl.is_some_and(|ttl| ttl.is_zero()) {
            return zero("`negative_ttl`");
        }
        if load_timeout.is_zero() {
            return zero("`load_timeout`");
        }
        if lease.is_zero() {
            return zero("`lease`");
        }
        if !(0.0..1.0).contains(jitter) {
            return Err(Error::config(format!(
                "jitter is {jitter}: give a share from 0 to below 1, such as 0.1"
            )));
        }
        Ok(())
    }

    /// How long to keep what was loaded; `None` not to keep it. `random` is in 0..1.
    pub(crate) fn ttl_of(&self, loaded: &Loaded<V>, random: f64) -> Option<Duration> {
        let own = loaded.ttl.or_else(|| match (&loaded.value, &self.ttl_by) {
            (Some(value), Some(decide)) => decide(value),
            _ => None,
        });
        let ttl = own.or(if loaded.value.is_some() { Some(self.ttl) } else { self.negative_ttl })?;
        (loaded.store && !ttl.is_zero()).then(|| shortened(ttl, self.jitter * random))
    }
}

fn shortened(ttl: Duration, share: f64) -> Duration {
    if share == 0.0 || ttl == Duration::MAX {
        return ttl;
    }
    ttl.mul_f64(1.0 - share).clamp(Duration::from_millis(1).min(ttl), ttl)
}

impl<V> Clone for Strategy<V> {
    fn clone(&self) -> Self {
        let Self { ttl, negative_ttl, jitter, ttl_by, load_timeout, lease, locking } = self;
        Self {
            ttl: *ttl,
            negative_ttl: *negative_ttl,
            jitter: *jitter,
            ttl_by: ttl_by.clone(),
            load_timeout: *load_timeout,
            lease: *lease,
            locking: locking.clone(),
        }
    }
}

impl<V> fmt::Debug for Strategy<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ttl, negative_ttl, jitter, ttl_by, load_timeout, lease, locking } = self;
        f.debug_struct("Strategy")
            .field("ttl", ttl)
            .field("negative_ttl", negative_ttl)
            .field("jitter", jitter)
            .field("ttl_by", &ttl_by.is_some())
            .field("load_timeout", load_timeout)
            .field("lease", lease)
            .field("locking", locking)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn the_loader_decides_before_the_value_and_the_value_before_the_strategy() {
        let strategy = Strategy::aside(MINUTE).ttl_by(|number: &u8| (*number > 1).then_some(2 * MINUTE));
        assert_eq!(strategy.ttl_of(&Loaded::new(1), 0.0), Some(MINUTE));
        assert_eq!(strategy.ttl_of(&Loaded::new(2), 0.0), Some(2 * MINUTE));
        assert_eq!(strategy.ttl_of(&Loaded::new(2).ttl(3 * MINUTE), 0.0), Some(3 * MINUTE));
        assert_eq!(strategy.ttl_of(&Loaded::new(2).no_store(), 0.0), None);
        assert_eq!(strategy.ttl_of(&Loaded::new(2).ttl(Duration::ZERO), 0.0), None);
    }

    #[test]
    fn absence_is_kept_only_on_request() {
        let strategy = Strategy::<u8>::aside(MINUTE);
        assert_eq!(strategy.ttl_of(&Loaded::absent(), 0.0), None);
        let strategy = strategy.negative_ttl(Duration::from_secs(5));
        assert_eq!(strategy.ttl_of(&Loaded::absent(), 0.0), Some(Duration::from_secs(5)));
    }

    #[test]
    fn jitter_only_shortens() {
        let strategy = Strategy::aside(MINUTE).jitter(0.25);
        for step in 0..100 {
            let ttl = strategy.ttl_of(&Loaded::new(1), f64::from(step) / 100.0).unwrap();
            assert!(ttl <= MINUTE && ttl >= MINUTE.mul_f64(0.75), "{ttl:?}");
        }
        let brief = Strategy::aside(Duration::from_millis(1)).jitter(0.9);
        assert_eq!(brief.ttl_of(&Loaded::new(1), 0.99), Some(Duration::from_millis(1)));
        let endless = Strategy::aside(Duration::MAX).jitter(0.5);
        assert_eq!(endless.ttl_of(&Loaded::new(1), 0.99), Some(Duration::MAX));
    }
}
