//! The rules for the check of a history, and the results of the check.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The tags that a version of a key carries (`None`: the row's absence).
pub type TagsOf = Arc<dyn Fn(u64, Option<u64>) -> Vec<u64> + Send + Sync>;

/// The guarantees, as far as they depend on the configuration.
///
/// # Examples
/// One process or a far tier alone, a TTL of a minute, loads of at most 30 s:
/// ```
/// use std::time::Duration;
/// use larder_testkit::check::Rules;
/// let rules = Rules { max_age: Duration::from_secs(60 + 30), ..Rules::default() };
/// # let _ = rules;
/// ```
#[derive(Clone)]
pub struct Rules {
    /// The `max_staleness` of the near tier (L1); zero (the default) without a near tier.
    pub near_bound: Duration,
    /// The maximum time for which a value may be served after it was replaced, if it was not invalidated. It is the
    /// sum of its life, the windows in which it is served stale, the longest load and the longest fill. Default
    /// [`Duration::MAX`], no limit.
    pub max_age: Duration,
    /// The loads of a key that may run in parallel. Default [`Loads::Any`].
    pub loads: Loads,
    /// The time within which every operation ends. Default [`Duration::MAX`]: before the end of the history.
    pub answered_within: Duration,
    /// `true` if every read must be answered, since the source never fails. Default `false`: a read may fail
    /// because the source does.
    pub source_is_sound: bool,
    /// The tags that a version carries. Default none.
    pub tags: TagsOf,
}

/// The loads of a key that may run in parallel.
///
/// # Examples
/// See [`Rules`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loads {
    /// Any loads.
    Any,
    /// Loads of other processes, unless the key has been invalidated, written or refreshed.
    OnePerProcess {
        /// The time before a forbidden load without such an event: the longest that a load waits before it asks the
        /// source.
        calm_for: Duration,
    },
    /// No loads, unless the key has been invalidated, written or refreshed.
    OnePerCluster {
        /// The time before a forbidden load without such an event: the longest that a load waits before it asks the
        /// source.
        calm_for: Duration,
    },
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            near_bound: Duration::ZERO,
            max_age: Duration::MAX,
            loads: Loads::Any,
            answered_within: Duration::MAX,
            source_is_sound: false,
            tags: Arc::new(|_, _| vec![]),
        }
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules")
            .field("near_bound", &self.near_bound)
            .field("max_age", &self.max_age)
            .field("loads", &self.loads)
            .finish_non_exhaustive()
    }
}

/// A guarantee. See the table of the [module](super).
///
/// # Examples
/// See [`check`](super::check).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the module's table has a line for each")]
pub enum Rule {
    FreshAfterAck,
    ReadYourWrites,
    Unwritten,
    TooOld,
    NotRefreshed,
    NotConverged,
    LoadsAtOnce,
    TwoHolders,
    NeedlessError,
    Unanswered,
    Protocol,
    Leak,
}

/// A violation of a guarantee.
///
/// # Examples
/// See [`check`](super::check).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The guarantee that is violated.
    pub rule: Rule,
    /// The number of the event that breaks it.
    pub event: usize,
    /// The key of the value.
    pub key: Option<u64>,
    /// A sentence that describes the violation.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at event {}: {}", self.rule, self.event, self.message)
    }
}

impl std::error::Error for Violation {}

/// The contents of a history without violation. A check of an empty history finds nothing.
///
/// # Examples
/// See [`History`](super::History).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Operations of the cache.
    pub operations: u64,
    /// Reads that were answered with a value or an absence.
    pub reads: u64,
    /// Reads of these whose keys had an invalidation acknowledged before they started.
    pub bound_reads: u64,
    /// Writes of the source.
    pub commits: u64,
    /// Invalidations, inserts and guards that were acknowledged.
    pub acknowledged: u64,
    /// Loads of the source.
    pub loads: u64,
}
