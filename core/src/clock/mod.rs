//! Timestamps, and the clocks that the engine reads.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
#[cfg(not(target_os = "linux"))]
use std::time::Instant;

#[cfg(target_os = "linux")]
mod suspend;

/// A point in time of one [`Clock`], in nanoseconds since the origin of this clock.
///
/// Timestamps of different processes are never compared. A shared backend converts them to the time of its server.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use larder::clock::Timestamp;
/// let now = Timestamp::from_nanos(5);
/// assert_eq!(now.saturating_add(Duration::MAX), Timestamp::NEVER);
/// assert_eq!(now.until(Timestamp::from_nanos(8)), Duration::from_nanos(3));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The clock's origin.
    pub const ORIGIN: Self = Self(0);
    /// The latest timestamp. An entry that expires then does not expire.
    pub const NEVER: Self = Self(u64::MAX);

    /// Returns the timestamp `nanos` nanoseconds after the clock's origin.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # use larder::clock::Timestamp;
    /// assert_eq!(Timestamp::from_nanos(0), Timestamp::ORIGIN);
    /// ```
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Returns the nanoseconds since the clock's origin.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # use larder::clock::Timestamp;
    /// assert_eq!(Timestamp::from_nanos(7).as_nanos(), 7);
    /// ```
    #[must_use]
    #[inline]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Returns `self + duration`, or [`Timestamp::NEVER`] on overflow.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # use larder::clock::Timestamp;
    /// assert_eq!(Timestamp::ORIGIN.saturating_add(Duration::from_nanos(7)).as_nanos(), 7);
    /// ```
    #[must_use]
    #[inline]
    pub fn saturating_add(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    /// Returns `self - duration`, or the origin if that is before it.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # use larder::clock::Timestamp;
    /// assert_eq!(Timestamp::from_nanos(7).saturating_sub(Duration::from_secs(1)), Timestamp::ORIGIN);
    /// ```
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(nanos))
    }

    /// Returns `self + CLOCK_LAG`, for the hit path.
    #[inline]
    pub(crate) fn after_lag(self) -> Self {
        const LAG: u64 = CLOCK_LAG.as_nanos() as u64;
        Self(self.0.saturating_add(LAG))
    }

    /// Returns the time from `self` until `later`, or zero if `later` is not later.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # use larder::clock::Timestamp;
    /// assert_eq!(Timestamp::from_nanos(7).until(Timestamp::from_nanos(3)), Duration::ZERO);
    /// ```
    #[must_use]
    pub fn until(self, later: Self) -> Duration {
        Duration::from_nanos(later.0.saturating_sub(self.0))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NEVER {
            f.write_str("never")
        } else {
            write!(f, "+{:?}", Duration::from_nanos(self.0))
        }
    }
}

/// The clock of one process. The engine reads it, and passes the time to backends.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use larder::clock::{Clock, ManualClock};
/// let clock = ManualClock::new();
/// let before = clock.now();
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(before.until(clock.now()), Duration::from_secs(60));
/// ```
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Returns the current time. It never goes backwards, and never reaches [`Timestamp::NEVER`].
    fn now(&self) -> Timestamp;

    /// Returns a cheap reading for the hit path: never ahead of [`Clock::now`], and at most [`CLOCK_LAG`] behind it
    /// while the machine runs.
    fn recent(&self) -> Timestamp;
}

/// The maximum lag of [`Clock::recent`] behind [`Clock::now`]: one tick of the slowest usual kernel timer (10 ms),
/// doubled.
pub const CLOCK_LAG: Duration = Duration::from_millis(20);

/// The machine's clock. It counts the time that the machine spends suspended, if the system tells it.
///
/// `recent` reads the coarse clock where the system has one (Linux), because a precise reading costs as much as a
/// fifth of a local hit. Both readings are monotonic ones, which stand still while a Linux machine is suspended. The
/// suspended time is added to them, and looked up at most once in 10 ms. After a resume, ages are right again once
/// the machine has run for [`CLOCK_LAG`].
///
/// # Examples
/// ```
/// use larder::clock::{Clock, SystemClock};
/// let clock = SystemClock::new();
/// assert!(clock.recent() <= clock.now());
/// ```
#[derive(Debug, Clone)]
pub struct SystemClock {
    #[cfg(not(target_os = "linux"))]
    origin: Instant,
    #[cfg(target_os = "linux")]
    clock: suspend::Corrected<suspend::Linux>,
}

#[cfg(target_os = "linux")]
impl SystemClock {
    /// Creates a clock whose origin is one hour before this call, so that it can represent times up to an hour ago.
    #[must_use]
    pub fn new() -> Self {
        Self { clock: suspend::Corrected::new(suspend::Linux) }
    }
}

#[cfg(target_os = "linux")]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    #[inline]
    fn recent(&self) -> Timestamp {
        self.clock.recent()
    }
}

#[cfg(not(target_os = "linux"))]
impl SystemClock {
    /// Creates a clock whose origin is this call.
    #[must_use]
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

#[cfg(not(target_os = "linux"))]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::ORIGIN.saturating_add(self.origin.elapsed())
    }

    fn recent(&self) -> Timestamp {
        self.now()
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

/// The clock of one cache. The system clock is called without dynamic dispatch, because every hit reads it.
#[derive(Debug, Clone)]
pub(crate) enum CacheClock {
    System(SystemClock),
    Given(Arc<dyn Clock>),
}

impl CacheClock {
    pub(crate) fn as_dyn(&self) -> &dyn Clock {
        match self {
            Self::System(clock) => clock,
            Self::Given(clock) => &**clock,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.as_dyn().now()
    }

    #[inline]
    pub(crate) fn recent(&self) -> Timestamp {
        match self {
            Self::System(clock) => clock.recent(),
            Self::Given(clock) => clock.recent(),
        }
    }
}

/// The latest time that a clock returns: [`Timestamp::NEVER`] is after it.
const LAST: u64 = u64::MAX - 1;

/// A clock for tests that only moves when the test calls [`advance`](Self::advance). Clones share the time.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use larder::clock::{Clock, ManualClock};
/// let clock = ManualClock::new();
/// let other = clock.clone();
/// clock.advance(Duration::from_millis(1));
/// assert_eq!(clock.now(), other.now());
/// ```
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// Creates a clock that shows one hour after its origin.
    #[must_use]
    pub fn new() -> Self {
        Self::at(Timestamp::ORIGIN.saturating_add(Duration::from_secs(3600)))
    }

    /// Creates a clock that shows `start`.
    ///
    /// # Examples
    /// ```
    /// use larder::clock::{Clock, ManualClock, Timestamp};
    /// assert_eq!(ManualClock::at(Timestamp::from_nanos(7)).now().as_nanos(), 7);
    /// ```
    #[must_use]
    pub fn at(start: Timestamp) -> Self {
        Self(Arc::new(AtomicU64::new(start.as_nanos().min(LAST))))
    }

    /// Advances the time by `duration`.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// use larder::clock::{Clock, ManualClock, Timestamp};
    /// let clock = ManualClock::at(Timestamp::ORIGIN);
    /// clock.advance(Duration::from_nanos(7));
    /// assert_eq!(clock.now().as_nanos(), 7);
    /// ```
    pub fn advance(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        // fetch_add would wrap; a clock must not go back
        let _ = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |now| {
            Some(now.saturating_add(nanos).min(LAST))
        });
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }

    fn recent(&self) -> Timestamp {
        self.now()
    }
}

/// A clock that follows tokio's, so that `tokio::time::pause` stops it and `advance` moves it.
///
/// # Examples
/// ```
/// use larder::clock::{Clock, TokioClock};
/// let clock = TokioClock::new();
/// assert!(clock.recent() <= clock.now());
/// ```
#[derive(Debug, Clone)]
pub struct TokioClock(tokio::time::Instant);

impl TokioClock {
    /// Creates a clock whose origin is this call.
    #[must_use]
    pub fn new() -> Self {
        Self(tokio::time::Instant::now())
    }
}

impl Default for TokioClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        Timestamp::ORIGIN.saturating_add(self.0.elapsed())
    }

    fn recent(&self) -> Timestamp {
        self.now()
    }
}
