//! Events, counters and latencies of a cache.

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

/// An observer of a cache, which receives its events as they happen.
///
/// Events are dispatched on the caller's task: return quickly, and do not call the cache.
///
/// # Examples
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use larder::observe::{Event, Observer};
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
    /// Receives one event.
    fn on_event(&self, event: &Event<'_>);
}

/// A pair of observers. Both receive each event, the first one first.
///
/// # Examples
/// ```
/// use larder::observe::{Event, Observer, Traced};
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

/// A shared observer, for several caches or for reading its state later.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// let traced = Arc::new(larder::observe::Traced::new("square"));
/// let builder = larder::Cache::<u64, u64>::builder().observer(Arc::clone(&traced));
/// # let _ = builder;
/// ```
impl<O: Observer> Observer for std::sync::Arc<O> {
    fn on_event(&self, event: &Event<'_>) {
        O::on_event(self, event);
    }
}

/// An event of a cache.
///
/// # Examples
/// ```
/// use larder::observe::Event;
/// fn is_trouble(event: &Event<'_>) -> bool {
///     match event {
///         Event::Overloaded | Event::LockLost => true,
///         Event::BackendFailed { .. } | Event::Undecodable { .. } => true,
///         _ => false,
///     }
/// }
/// assert!(is_trouble(&Event::Overloaded));
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A read was answered from the cache, without a load.
    #[non_exhaustive]
    Hit {
        /// The tier that held the value.
        tier: Tier,
    },
    /// A read found no valid entry. It returned the result of a load (as leader or follower), or an error.
    #[non_exhaustive]
    Missed {
        /// The time from the start of the read to its result.
        elapsed: Duration,
        /// The reason for the miss.
        cause: MissCause,
    },
    /// A caller joined a flight as follower: it waited for a load that another caller had started.
    Joined,
    /// A load ended.
    #[non_exhaustive]
    Loaded {
        /// The time that the source took.
        elapsed: Duration,
        /// The error, if it failed.
        error: Option<&'a Error>,
    },
    /// A loaded value was stored in the backend.
    Filled,
    /// A loaded value was not stored, because the key was invalidated or written during the load.
    FillRefused,
    /// Entries that had not expired were evicted from a bounded store.
    #[non_exhaustive]
    Evicted {
        /// The number of entries.
        count: u64,
    },
    /// The backend acknowledged an invalidation.
    #[non_exhaustive]
    Invalidated {
        /// The number of keys; 1 for a tag or a whole namespace.
        count: u64,
    },
    /// The backend did not acknowledge an invalidation. It is now a pending invalidation, which is retried. Until it
    /// succeeds, its keys bypass the cache.
    #[non_exhaustive]
    InvalidationPending {
        /// The error of the backend.
        error: &'a Error,
    },
    /// The lock of a running load was lost: another process may load the key as well.
    LockLost,
    /// A stale value was served.
    StaleServed,
    /// A load was refused, because too many loads were running.
    Overloaded,
    /// The backend failed, and the operation fell back, for example from a read to the source.
    #[non_exhaustive]
    BackendFailed {
        /// The operation that failed.
        operation: &'static str,
        /// The error.
        error: &'a Error,
    },
    /// Stored bytes were not a value of this cache. The read is a miss.
    #[non_exhaustive]
    Undecodable {
        /// The reason.
        error: &'a Error,
    },
    /// Change notifications of the far tier (L2, the shared store) were received, for changes by this process or
    /// another.
    #[non_exhaustive]
    Pushed {
        /// The number of changes.
        count: u64,
    },
    /// All entries of the near tier (L1, this process's memory) were dropped, because change notifications may have
    /// been lost.
    NearFlushed,
    /// A value from the far tier was not placed in the near tier, because it changed during the read.
    NearRefused,
    /// Unverified time: no heartbeat confirmed that all change notifications had arrived. Reads went to the far tier.
    #[non_exhaustive]
    Unverified {
        /// The unverified time since the last such event.
        elapsed: Duration,
    },
    /// A circuit breaker changed its state.
    #[non_exhaustive]
    BreakerTurned {
        /// The new state.
        state: BreakerState,
    },
}

impl Event<'_> {
    /// Returns the event of `count` entries that were evicted from a bounded store, for backends to report.
    ///
    /// If the evicted entries are available, use [`BackendContext::evicted`](crate::backend::BackendContext::evicted)
    /// instead, which does not count expired ones.
    ///
    /// # Examples
    /// ```
    /// larder::backend::BackendContext::unnamed().record(&larder::observe::Event::evicted(1));
    /// ```
    #[must_use]
    pub fn evicted(count: u64) -> Self {
        Self::Evicted { count }
    }
}

impl<'a> Event<'a> {
    /// Returns the event of an operation that failed and fell back, such as one part of a batch, for backends to
    /// report.
    ///
    /// # Examples
    /// ```
    /// let error = larder::Error::backend("get_many", "one node of three is down");
    /// larder::backend::BackendContext::unnamed().record(&larder::observe::Event::backend_failed("get_many", &error));
    /// ```
    #[must_use]
    pub fn backend_failed(operation: &'static str, error: &'a Error) -> Self {
        Self::BackendFailed { operation, error }
    }

    /// Returns the event of stored bytes that are not an entry, for backends to report.
    ///
    /// # Examples
    /// ```
    /// let error = larder::Error::codec("decode", "not a value");
    /// larder::backend::BackendContext::unnamed().record(&larder::observe::Event::undecodable(&error));
    /// ```
    #[must_use]
    pub fn undecodable(error: &'a Error) -> Self {
        Self::Undecodable { error }
    }
}

/// The reason why a read missed, as far as the store can tell.
///
/// No store records why an entry is absent: never loaded, evicted, invalidated, or past its hard expiry.
///
/// # Examples
/// ```
/// # use larder::observe::MissCause;
/// # use larder::Result;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
/// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
/// assert_eq!(squares.get_entry(&2).await?.missed, Some(MissCause::Absent));
/// assert_eq!(squares.get_entry(&2).await?.missed, None);
/// assert_eq!(squares.stats().misses_by(MissCause::Absent), 1);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MissCause {
    /// The store returned no entry.
    Absent,
    /// The store held an expired entry.
    Expired,
    /// The store failed, and the read fell back to the source.
    Unreachable,
    /// The key has a pending invalidation of this process, so the read bypassed the store.
    Unacknowledged,
    /// The caller dropped the read before the store answered, so the reason is unknown.
    Abandoned,
}

impl MissCause {
    /// All causes.
    ///
    /// # Examples
    /// ```
    /// assert!(larder::observe::MissCause::ALL.contains(&larder::observe::MissCause::Expired));
    /// ```
    pub const ALL: [Self; 5] =
        [Self::Absent, Self::Expired, Self::Unreachable, Self::Unacknowledged, Self::Abandoned];

    /// Returns one word for logs and labels of metrics. The words are stable.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::observe::MissCause::Absent.as_str(), "absent");
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

/// The tier that held a value.
///
/// # Examples
/// ```
/// assert_ne!(larder::observe::Tier::Near, larder::observe::Tier::Far);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tier {
    /// The near tier (L1): this process's memory.
    Near,
    /// The far tier (L2): the shared store.
    Far,
}

/// The state of a circuit breaker.
///
/// # Examples
/// ```
/// assert_eq!(larder::observe::BreakerState::default(), larder::observe::BreakerState::Closed);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum BreakerState {
    /// Calls reach the backend.
    #[default]
    Closed,
    /// Calls fail at once, without reaching the backend.
    Open,
    /// One trial call reaches the backend. Its result decides the next state.
    HalfOpen,
}

impl BreakerState {
    /// Returns one word for logs and labels of metrics. The words are stable.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::observe::BreakerState::HalfOpen.as_str(), "half_open");
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
