//! What a history is judged by, and what can be said of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The tags that a version of a key carries (`None`: the row's absence).
pub type TagsOf = Arc<dyn Fn(u64, Option<u64>) -> Vec<u64> + Send + Sync>;

/// What was promised, as far as it depends on the configuration.
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
    /// The bound of the near tier; zero (the default) when there is none.
    pub near_bound: Duration,
    /// How long after it was replaced a value may be served that nobody invalidated: its life, the windows in which it is
    /// served stale, the longest load and the longest fill. Default [`Duration::MAX`], no limit.
    pub max_age: Duration,
    /// Who may load a key while somebody does. Default [`Loads::Any`].
    pub loads: Loads,
    /// Within which time every operation ends. Default [`Duration::MAX`]: some time before the history does.
    pub answered_within: Duration,
    /// Whether every read must be answered: the source never fails. Default `false`: a read may fail for the source's sake.
    pub source_is_sound: bool,
    /// The tags that a version carries. Default none.
    pub tags: TagsOf,
}

/// Who may load a key while somebody does.
///
/// # Examples
/// See [`Rules`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loads {
    /// Anybody.
    Any,
    /// Other processes, unless the key has been invalidated, written or refreshed.
    OnePerProcess {
        /// How long before a load that must not have happened: the longest that a load waits before it asks the source.
        calm_for: Duration,
    },
    /// Nobody, unless the key has been invalidated, written or refreshed.
    OnePerCluster {
        /// How long before a load that must not have happened: the longest that a load waits before it asks the source.
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

/// A promise. See the table of the [module](super).
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
    Leak,
}

/// A broken promise.
///
/// # Examples
/// See [`check`](super::check).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which promise.
    pub rule: Rule,
    /// The number of the event that breaks it.
    pub event: usize,
    /// Whose value it is about.
    pub key: Option<u64>,
    /// What is wrong, in a sentence.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at event {}: {}", self.rule, self.event, self.message)
    }
}

impl std::error::Error for Violation {}

/// What a history without violation was made of: a check of nothing finds nothing.
///
/// # Examples
/// See [`History`](super::History).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Operations asked of the cache.
    pub operations: u64,
    /// Reads that were answered with a value or an absence.
    pub reads: u64,
    /// Of these, those of keys with an invalidation acknowledged before they started.
    pub bound_reads: u64,
    /// Writes of the source.
    pub commits: u64,
    /// Invalidations, inserts and guards that were acknowledged.
    pub acknowledged: u64,
    /// Loads of the source.
    pub loads: u64,
}
