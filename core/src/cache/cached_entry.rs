//! A value with its story.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::entry::Extra;
use crate::engine::Answer;
use crate::observe::MissCause;
use crate::tag::Tag;

/// Where a value came from.
///
/// # Examples
/// ```
/// # use larder::cache::Origin;
/// # use larder::Result;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
/// # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/squares.rs"))?;
/// assert_eq!(squares.get_entry(&2).await?.origin, Origin::Loaded);
/// assert_eq!(squares.get_entry(&2).await?.origin, Origin::Near);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// This process's memory.
    Near,
    /// The shared store.
    Far,
    /// A load that this call started.
    Loaded,
    /// A load that another call had started.
    Joined,
    /// An entry past its soft TTL, served while it is refreshed or because its load failed.
    Stale,
}

/// A value with its story: what [`Cache::get_entry`](crate::Cache::get_entry) and [`Cache::get_if_present`](crate::Cache::get_if_present) return.
///
/// # Examples
/// See [`Origin`].
#[non_exhaustive]
pub struct CachedEntry<V> {
    /// The value; `None` when the source said that there is none.
    pub value: Option<Arc<V>>,
    /// Where it came from.
    pub origin: Origin,
    /// How long ago it was stored; zero for one just loaded.
    pub age: Duration,
    /// How long it has left to live; zero for one that was not stored, [`Duration::MAX`] for one that never expires.
    pub expires_in: Duration,
    /// What the read found in place of a good entry; `None` for a hit. A miss need not have loaded: [`origin`](Self::origin)
    /// tells whether another process had, or another call.
    pub missed: Option<MissCause>,
    /// Whether the cache keeps it: not when an invalidation overlapped the load, when the store failed, or when the loader
    /// or the strategy said so.
    pub kept: bool,
    extra: Option<Arc<Extra>>,
}

impl<V> CachedEntry<V> {
    pub(crate) fn new(answer: Answer<V>) -> Self {
        let Answer { entry, origin, now, missed, kept } = answer;
        let age = entry.age(now);
        let expires_in = if kept { entry.remaining(now) } else { Duration::ZERO };
        let (value, extra) = entry.into_parts();
        Self { value, origin, age, expires_in, missed, kept, extra }
    }

    /// The tags that it carries, as the loader, the value and the key gave them: for the `Cache-Tag` or `Surrogate-Key` of a
    /// response, or to see what would end it.
    ///
    /// # Examples
    /// ```
    /// # use larder::{Cache, Quick, Result, Strategy, Tag, source_fn};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
    /// let parity: Cache<u64, u64> = Cache::builder()
    ///     .backend(Quick::new(10_000))
    ///     .source(source_fn(|number: u64| async move { Ok::<_, std::io::Error>(Some(number % 2)) }))
    ///     .strategy(Strategy::aside(Duration::from_secs(60)).tagged(|parity| [Tag::new("parity", *parity)]))
    ///     .build()?;
    /// assert_eq!(parity.get_entry(&3).await?.tags(), [Tag::new("parity", 1)]);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn tags(&self) -> &[Tag] {
        self.extra.as_deref().map_or(&[], Extra::tags)
    }
}

impl<V: fmt::Debug> fmt::Debug for CachedEntry<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { value, origin, age, expires_in, missed, kept, extra: _ } = self;
        f.debug_struct("Fetched")
            .field("value", value)
            .field("origin", origin)
            .field("age", age)
            .field("expires_in", expires_in)
            .field("missed", missed)
            .field("kept", kept)
            .field("tags", &self.tags())
            .finish()
    }
}
