//! Why a read missed, as far as it can honestly be told.

use std::fmt;
use std::time::Duration;

use larder::Tag;

/// Why a read missed: what the cache found, together with what was seen through this [`Watched`](crate::Watched) before. A
/// store does not remember why an entry is not in it, so this is what this process knows and no more.
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
    /// Not read here before, or so long ago that it was forgotten.
    FirstRead,
    /// Its time was over, this long ago as far as this process knows.
    Expired(Duration),
    /// It was invalidated here, this long ago.
    Invalidated(Duration),
    /// A tag that it carried was invalidated here, this long ago.
    TagEnded(Tag, Duration),
    /// The whole cache was cleared here, this long ago.
    Cleared(Duration),
    /// What was loaded last was not stored: an invalidation overlapped the load, or loader or strategy said so.
    NotKept,
    /// Its last load failed.
    LoadFailed,
    /// The store failed.
    StoreFailed,
    /// An invalidation of it waits for the store's acknowledgement.
    Unacknowledged,
    /// It was stored and its time is not over: evicted, or removed by another process, or lost by the store.
    Gone,
}

impl Why {
    /// One word, stable: `first_read`, `expired`, `invalidated`, `tag_ended`, `cleared`, `not_kept`, `load_failed`,
    /// `store_failed`, `unacknowledged`, `gone`.
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

/// A duration for people.
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
    /// Counts the misses of a cache from 1.
    pub number: u64,
    /// The key.
    pub key: K,
    /// Why.
    pub why: Why,
    /// How it was answered.
    pub outcome: Outcome,
    /// The tags of what was found.
    pub tags: Vec<Tag>,
    /// From the start of the read to its answer.
    pub took: Duration,
    /// How long ago it was answered.
    pub ago: Duration,
}

/// How a read that missed was answered.
///
/// # Examples
/// ```
/// assert_eq!(larder_metrics::Outcome::Loaded.as_str(), "loaded");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// A load that it started.
    Loaded,
    /// A load that was under way.
    Joined,
    /// Another process had loaded it meanwhile.
    FoundFar,
    /// A stale value, since the load failed or took too long.
    Stale,
    /// The source has none.
    None,
    /// An error, in these words.
    Failed(String),
}

impl Outcome {
    /// One word, stable: `loaded`, `joined`, `found_far`, `stale`, `none`, `failed`.
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
