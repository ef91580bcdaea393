//! What a cache tells of itself.

mod histogram;
mod recorder;
mod stats;
mod striped;
mod traced;

use std::fmt::Debug;
use std::time::Duration;

pub use histogram::Latency;
pub(crate) use recorder::Recorder;
pub use stats::Stats;
pub use traced::Traced;

use crate::Error;

/// Is told what a cache does, as it happens. Called on the caller's task: be quick, and do not call the cache.
///
/// # Examples
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use larder::{Event, Observer};
///
/// #[derive(Debug, Default)]
/// struct SlowLoads(AtomicU64);
///
/// impl Observer for SlowLoads {
///     fn on_event(&self, event: &Event<'_>) {
///         if let Event::Loaded { elapsed, .. } = event {
///             if elapsed.as_millis() > 500 {
///                 self.0.fetch_add(1, Ordering::Relaxed);
///             }
///         }
///     }
/// }
/// ```
pub trait Observer: Debug + Send + Sync + 'static {
    /// Something happened.
    fn on_event(&self, event: &Event<'_>);
}

/// Both are told, the first one first.
///
/// # Examples
/// ```
/// use larder::{Event, Observer, Traced};
/// #[derive(Debug)]
/// struct Console;
/// impl Observer for Console {
///     fn on_event(&self, event: &Event<'_>) {
///         println!("{event:?}");
///     }
/// }
/// let builder = larder::Cache::<u64, u64>::builder().observer((Traced::new("square"), Console));
/// # let _ = builder;
/// ```
impl<A: Observer, B: Observer> Observer for (A, B) {
    fn on_event(&self, event: &Event<'_>) {
        self.0.on_event(event);
        self.1.on_event(event);
    }
}

/// One observer for several caches, or one that is asked later what it has seen.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// let traced = Arc::new(larder::Traced::new("square"));
/// let builder = larder::Cache::<u64, u64>::builder().observer(Arc::clone(&traced));
/// # let _ = builder;
/// ```
impl<O: Observer> Observer for std::sync::Arc<O> {
    fn on_event(&self, event: &Event<'_>) {
        O::on_event(self, event);
    }
}

/// What happened.
///
/// # Examples
/// See [`Observer`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A read was answered without a load.
    #[non_exhaustive]
    Hit {
        /// By which tier.
        tier: Tier,
    },
    /// A read found nothing and was answered by a load (its own or one under way), or by an error.
    #[non_exhaustive]
    Missed {
        /// From the start of the read to its answer.
        elapsed: Duration,
        /// What the read found in place of a value.
        cause: MissCause,
    },
    /// A caller waited for a load that another one had started.
    #[non_exhaustive]
    Joined,
    /// A load ended.
    #[non_exhaustive]
    Loaded {
        /// How long the source took.
        elapsed: Duration,
        /// The error, if it failed.
        error: Option<&'a Error>,
    },
    /// What was loaded is in the backend.
    #[non_exhaustive]
    Filled,
    /// What was loaded was not stored, because the key was invalidated or written meanwhile.
    #[non_exhaustive]
    FillRefused,
    /// Entries that were alive left a bounded store to make room.
    #[non_exhaustive]
    Evicted {
        /// How many.
        count: u64,
    },
    /// An invalidation was acknowledged.
    #[non_exhaustive]
    Invalidated {
        /// How many keys; 1 for a tag or a whole namespace.
        count: u64,
    },
    /// An invalidation was not acknowledged: it is tried again, and the keys are not served from the cache meanwhile.
    #[non_exhaustive]
    InvalidationPending {
        /// Why.
        error: &'a Error,
    },
    /// The lock of a load under way was lost: another process may load too.
    #[non_exhaustive]
    LockLost,
    /// A stale value was served.
    #[non_exhaustive]
    StaleServed,
    /// A load was refused, since too many were under way.
    #[non_exhaustive]
    Overloaded,
    /// The backend failed; the read was answered in another way.
    #[non_exhaustive]
    BackendFailed {
        /// Which operation.
        operation: &'static str,
        /// The error.
        error: &'a Error,
    },
    /// Stored bytes were not a value of this cache: a miss.
    #[non_exhaustive]
    Undecodable {
        /// Why.
        error: &'a Error,
    },
    /// The far store told of changes, by this process or another.
    #[non_exhaustive]
    Pushed {
        /// How many.
        count: u64,
    },
    /// Everything near was forgotten, since changes may have been missed.
    #[non_exhaustive]
    NearFlushed,
    /// What was read far was not placed near, because it changed meanwhile.
    #[non_exhaustive]
    NearRefused,
    /// The far store could not prove that it had told of all changes: reads went to the far tier.
    #[non_exhaustive]
    Blind {
        /// For how long, since the last such event.
        elapsed: Duration,
    },
    /// A circuit breaker changed its state.
    #[non_exhaustive]
    BreakerTurned {
        /// The state now.
        state: BreakerState,
    },
}

impl Event<'_> {
    /// The event of `count` entries that left a bounded store to make room: for backends to report. Where the entries are at
    /// hand, [`Scope::evicted`](crate::Scope::evicted) does, and leaves out what had expired.
    ///
    /// # Examples
    /// ```
    /// larder::Scope::unnamed().record(&larder::Event::evicted(1));
    /// ```
    #[must_use]
    pub fn evicted(count: u64) -> Self {
        Self::Evicted { count }
    }
}

impl<'a> Event<'a> {
    /// The event of an operation that failed and was answered in another way, such as one part of a batch: for backends
    /// to report.
    ///
    /// # Examples
    /// ```
    /// let error = larder::Error::backend("get_many", "one node of three is down");
    /// larder::Scope::unnamed().record(&larder::Event::backend_failed("get_many", &error));
    /// ```
    #[must_use]
    pub fn backend_failed(operation: &'static str, error: &'a Error) -> Self {
        Self::BackendFailed { operation, error }
    }

    /// The event of stored bytes that are no entry: for backends to report.
    ///
    /// # Examples
    /// ```
    /// let error = larder::Error::codec("decode", "not a value");
    /// larder::Scope::unnamed().record(&larder::Event::undecodable(&error));
    /// ```
    #[must_use]
    pub fn undecodable(error: &'a Error) -> Self {
        Self::Undecodable { error }
    }
}

/// What a read that missed found in place of a value: as much as the store can tell. Why an entry is not there (never
/// loaded, evicted, removed, ended by a tag, past its hard expiry) no store remembers.
///
/// # Examples
/// ```
/// # use larder::{doc::squares, MissCause, Result};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
/// # let squares = squares()?;
/// assert_eq!(squares.fetch(&2).await?.missed, Some(MissCause::Absent));
/// assert_eq!(squares.fetch(&2).await?.missed, None);
/// assert_eq!(squares.stats().misses_by(MissCause::Absent), 1);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MissCause {
    /// Nothing.
    Absent,
    /// An entry past its end.
    Expired,
    /// The store failed, and the source was asked instead.
    Unreachable,
    /// The store was not asked, because an invalidation of the key by this process waits for its acknowledgement.
    Unacknowledged,
    /// Not known: the caller left before the store answered.
    Abandoned,
}

impl MissCause {
    /// All causes.
    ///
    /// # Examples
    /// ```
    /// assert!(larder::MissCause::ALL.contains(&larder::MissCause::Expired));
    /// ```
    pub const ALL: [Self; 5] =
        [Self::Absent, Self::Expired, Self::Unreachable, Self::Unacknowledged, Self::Abandoned];

    /// One word, for logs and labels of metrics; stable.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::MissCause::Absent.as_str(), "absent");
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Expired => "expired",
            Self::Unreachable => "unreachable",
            Self::Unacknowledged => "unacknowledged",
            Self::Abandoned => "abandoned",
        }
    }
}

/// Which tier answered.
///
/// # Examples
/// ```
/// assert_ne!(larder::Tier::Near, larder::Tier::Far);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tier {
    /// This process's memory.
    Near,
    /// The shared store.
    Far,
}

/// The state of a circuit breaker.
///
/// # Examples
/// ```
/// assert_eq!(larder::BreakerState::default(), larder::BreakerState::Closed);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum BreakerState {
    /// Calls go through.
    #[default]
    Closed,
    /// Calls fail at once.
    Open,
    /// One call is let through to see.
    HalfOpen,
}

impl BreakerState {
    /// One word, for logs and labels of metrics; stable.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::BreakerState::HalfOpen.as_str(), "half_open");
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}
