//! A value with its story.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::Answer;

/// Where a value came from.
///
/// # Examples
/// ```
/// # use larder::{doc::squares, Origin, Result};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
/// # let squares = squares()?;
/// assert_eq!(squares.fetch(&2).await?.origin, Origin::Loaded);
/// assert_eq!(squares.fetch(&2).await?.origin, Origin::Near);
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

/// A value with its story: what [`Cache::fetch`](crate::Cache::fetch) and [`Cache::lookup`](crate::Cache::lookup) return.
///
/// # Examples
/// See [`Origin`].
#[non_exhaustive]
pub struct Fetched<V> {
    /// The value; `None` when the source said that there is none.
    pub value: Option<Arc<V>>,
    /// Where it came from.
    pub origin: Origin,
    /// How long ago it was stored; zero for one just loaded.
    pub age: Duration,
    /// How long it has left to live; zero for one that was not stored, [`Duration::MAX`] for one that never expires.
    pub expires_in: Duration,
}

impl<V> Fetched<V> {
    pub(crate) fn new(answer: Answer<V>) -> Self {
        let Answer { entry, origin, now } = answer;
        let (age, expires_in) = (entry.age(now), entry.remaining(now));
        Self { value: entry.into_value(), origin, age, expires_in }
    }
}

impl<V: fmt::Debug> fmt::Debug for Fetched<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { value, origin, age, expires_in } = self;
        f.debug_struct("Fetched")
            .field("value", value)
            .field("origin", origin)
            .field("age", age)
            .field("expires_in", expires_in)
            .finish()
    }
}
