//! The reasons of misses, as far as they are known.

use std::fmt;
use std::time::Duration;

use larder::Tag;

/// The reason of a miss, from the cache's answer and the history of this [`Watched`](crate::Watched). A store does
/// not remember why an entry is absent, so the reason is limited to the knowledge of this process.
///
/// # Examples
/// ```
/// use larder_metrics::{Watched, Why};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
/// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../core/doc/squares.rs"))?;
/// let squares = Watched::new(squares);
/// squares.get(&3).await?;
/// squares.invalidate(&3).await?;
/// squares.get(&3).await?;
/// let whys: Vec<Why> = squares.misses().into_iter().map(|miss| miss.why).collect();
/// assert!(matches!(whys[..], [Why::FirstRead, Why::Invalidated(_)]));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// The key was not read here before, or so long ago that it was forgotten.
    FirstRead,
    /// The entry expired, this long ago as far as this process knows.
    Expired(Duration),
    /// The key was invalidated here, this long ago.
    Invalidated(Duration),
    /// A tag of the entry was invalidated here, this long ago.
    TagEnded(Tag, Duration),
    /// The whole cache was cleared here, this long ago.
    Cleared(Duration),
    /// The last loaded value was not stored: an invalidation overlapped the load, or the loader or strategy
    /// prevented it.
    NotKept,
    /// The last load of the key failed.
    LoadFailed,
    /// The store failed.
    StoreFailed,
    /// The key has a pending invalidation, which the store has not acknowledged.
    Unacknowledged,
    /// The entry was stored and has not expired: it was evicted, removed by another process, or lost by the store.
    Gone,
}

impl Why {
    /// Returns one stable word: `first_read`, `expired`, `invalidated`, `tag_ended`, `cleared`, `not_kept`,
    /// `load_failed`, `store_failed`, `unacknowledged`, `gone`.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder_metrics::Why::FirstRead.as_str(), "first_read");
    /// ```
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::FirstRead => "first_read",
            Self::Expired(_) => "expired",
            Self::Invalidated(_) => "invalidated",
            Self::TagEnded(..) => "tag_ended",
            Self::Cleared(_) => "cleared",
            Self::NotKept => "not_kept",
            Self::LoadFailed => "load_failed",
            Self::StoreFailed => "store_failed",
            Self::Unacknowledged => "unacknowledged",
            Self::Gone => "gone",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstRead => f.write_str("not read here before"),
            Self::Expired(ago) => write!(f, "expired {} ago", Ago(*ago)),
            Self::Invalidated(ago) => write!(f, "invalidated {} ago", Ago(*ago)),
            Self::TagEnded(tag, ago) => write!(f, "tag {tag} invalidated {} ago", Ago(*ago)),
            Self::Cleared(ago) => write!(f, "cache cleared {} ago", Ago(*ago)),
            Self::NotKept => f.write_str("what was loaded last was not stored"),
            Self::LoadFailed => f.write_str("its last load failed"),
            Self::StoreFailed => f.write_str("the store failed"),
            Self::Unacknowledged => f.write_str("an invalidation waits for the store"),
            Self::Gone => f.write_str("evicted, or removed elsewhere"),
        }
    }
}

/// A duration for human readers.
struct Ago(Duration);

impl fmt::Display for Ago {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            0 => write!(f, "{} ms", self.0.as_millis()),
            seconds @ 1..120 => write!(f, "{seconds} s"),
            seconds @ 120..7200 => write!(f, "{} min", seconds / 60),
            seconds => write!(f, "{} h", seconds / 3600),
        }
    }
}

/// A read that missed.
///
/// # Examples
/// See [`Watched::misses`](crate::Watched::misses).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Miss<K> {
    /// The number of the miss; the misses of a cache are counted from 1.
    pub number: u64,
    /// The key.
    pub key: K,
    /// The reason.
    pub why: Why,
    /// The outcome of the read.
    pub outcome: Outcome,
    /// The tags of the returned entry.
    pub tags: Vec<Tag>,
    /// The time from the start of the read to its answer.
    pub took: Duration,
    /// The time since the answer.
    pub ago: Duration,
}

/// The outcome of a read that missed.
///
/// # Examples
/// ```
/// assert_eq!(larder_metrics::Outcome::Loaded.as_str(), "loaded");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The value of a load that the read started.
    Loaded,
    /// The value of a running load that the read joined.
    Joined,
    /// A value that another process had loaded meanwhile.
    FoundFar,
    /// A stale value, since the load failed or took too long.
    Stale,
    /// No value, since the source has none.
    None,
    /// An error, with its text.
    Failed(String),
}

impl Outcome {
    /// Returns one stable word: `loaded`, `joined`, `found_far`, `stale`, `none`, `failed`.
    ///
    /// # Examples
    /// See [`Outcome`].
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Joined => "joined",
            Self::FoundFar => "found_far",
            Self::Stale => "stale",
            Self::None => "none",
            Self::Failed(_) => "failed",
        }
    }
}
