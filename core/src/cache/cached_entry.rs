//! A value with its origin and its times.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::entry::Extra;
use crate::engine::Answer;
use crate::observe::MissCause;
use crate::tag::Tag;

/// The origin of a value.
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
    /// The near tier (L1): this process's memory.
    Near,
    /// The far tier (L2): the shared store.
    Far,
    /// A load that this call started.
    Loaded,
    /// A load that another call had started, which this call joined.
    Joined,
    /// An entry past its soft TTL, served while it is refreshed or because its load failed.
    Stale,
}

/// A value with its origin and its times.
///
/// Returned by [`Cache::get_entry`](crate::Cache::get_entry) and
/// [`Cache::get_if_present`](crate::Cache::get_if_present).
///
/// # Examples
/// See [`Origin`].
#[non_exhaustive]
pub struct CachedEntry<V> {
    /// The value; `None` if the source said that there is none.
    pub value: Option<Arc<V>>,
    /// The origin of the value.
    pub origin: Origin,
    /// The time since it was stored; zero for a value just loaded.
    pub age: Duration,
    /// The time for which it is still fresh: zero if it was not stored or is stale, [`Duration::MAX`] if it never
    /// expires.
    pub fresh_for: Duration,
    /// The time for which it may be served stale after that; zero without a stale window.
    pub stale_for: Duration,
    /// The reason of the miss; `None` for a hit. A miss may have loaded nothing: [`origin`](Self::origin) tells if
    /// another process or another call has loaded the value.
    pub missed: Option<MissCause>,
    /// Set if the cache keeps the value. It does not if an invalidation overlapped the load, if the store failed, or
    /// if the loader or the strategy decided so.
    pub kept: bool,
    extra: Option<Arc<Extra>>,
}

impl<V> CachedEntry<V> {
    pub(crate) fn new(answer: Answer<V>) -> Self {
        let Answer { entry, origin, now, missed, kept } = answer;
        let age = entry.age(now);
        let [fresh_for, left] = match kept {
            // (a near entry may expire before its freshness ends)
            true => [entry.freshness(now).min(entry.remaining(now)), entry.remaining(now)],
            false => [Duration::ZERO; 2],
        };
        let stale_for = left.saturating_sub(fresh_for);
        let (value, extra) = entry.into_parts();
        Self { value, origin, age, fresh_for, stale_for, missed, kept, extra }
    }

    /// Returns the time until it expires: [`fresh_for`](Self::fresh_for) and [`stale_for`](Self::stale_for) together.
    #[must_use]
    pub fn expires_in(&self) -> Duration {
        self.fresh_for.saturating_add(self.stale_for)
    }

    /// Returns the tags of the entry, from the loader, the value and the key.
    ///
    /// Use them for the `Cache-Tag` or `Surrogate-Key` of a response, or to see which invalidations apply.
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

impl<V> Clone for CachedEntry<V> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), extra: self.extra.clone(), ..*self }
    }
}

impl<V: fmt::Debug> fmt::Debug for CachedEntry<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { value, origin, age, fresh_for, stale_for, missed, kept, extra: _ } = self;
        f.debug_struct("CachedEntry")
            .field("value", value)
            .field("origin", origin)
            .field("age", age)
            .field("fresh_for", fresh_for)
            .field("stale_for", stale_for)
            .field("missed", missed)
            .field("kept", kept)
            .field("tags", &self.tags())
            .finish()
    }
}
