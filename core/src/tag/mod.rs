//! Tags, and the tag ledger, which records the last invalidation of each.

mod index;
pub(crate) mod ledger;
pub(crate) mod revision;

use std::fmt;
use std::future::Future;
use std::time::Duration;

pub use self::index::TagIndex;
use crate::Result;
use crate::key::{CacheKey, KeyWriter};

/// A name for a group of entries that are invalidated together, such as all products of a category.
///
/// Kind and key are encoded injectively, like a [`CacheKey`](trait@CacheKey): `Tag::new("a", "b")` is not
/// `Tag::new("a:b", "")`.
///
/// # Examples
/// ```
/// use larder::Tag;
/// assert_eq!(Tag::new("category", 7).as_str(), "category:7");
/// assert_ne!(Tag::new("category", 7), Tag::new("category", "7"));
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(Box<str>);

impl Tag {
    /// Creates the tag of the object `key` of the kind `kind`.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::Tag::new("shop", ("north", 7)).as_str(), "shop:(=north,7)");
    /// ```
    pub fn new(kind: &str, key: impl CacheKey) -> Self {
        let mut writer = KeyWriter::new();
        writer.escaped(kind);
        writer.punctuation(':');
        key.encode(&mut writer);
        Self(writer.finish().as_str().into())
    }

    /// Returns the tag as the ledger stores it: printable ASCII.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::Tag::new("shop", "a b").as_str(), "shop:=a%20b");
    /// ```
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Tag {
    /// Returns the tag that a store names: the reverse of [`as_str`](Self::as_str).
    ///
    /// # Examples
    /// ```
    /// use larder::Tag;
    /// let tag = Tag::new("category", 7);
    /// assert_eq!(Tag::from_stored(tag.as_str()), tag);
    /// ```
    #[must_use]
    pub fn from_stored(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({})", self.0)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A state of a namespace's tag ledger, read before a load begins and stored with the entry.
///
/// # Examples
/// ```
/// use larder::tag::Stamp;
/// let stamp = Stamp::new(0xfeed, 41);
/// assert_eq!((stamp.ledger(), stamp.count()), (0xfeed, 41));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Stamp {
    ledger: u64,
    count: u64,
}

impl Stamp {
    /// Returns the stamp of the ledger with this identity at this count.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::tag::Stamp::new(1, 2).count(), 2);
    /// ```
    #[must_use]
    pub const fn new(ledger: u64, count: u64) -> Self {
        Self { ledger, count }
    }

    /// Returns the identity of the ledger: random, drawn when the ledger is created.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::tag::Stamp::new(1, 2).ledger(), 1);
    /// ```
    #[must_use]
    pub const fn ledger(self) -> u64 {
        self.ledger
    }

    /// Returns the number of invalidations that the ledger had counted.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::tag::Stamp::new(1, 2).count(), 2);
    /// ```
    #[must_use]
    pub const fn count(self) -> u64 {
        self.count
    }
}

/// The answer of a tag ledger for some tags: its identity, and the count of each tag's last invalidation.
///
/// # Examples
/// An entry is invalid if one of its tags was invalidated after its stamp, or if the ledger is another one.
/// ```
/// use larder::tag::{LedgerView, Stamp};
/// let view = LedgerView::new(1, vec![3, 0]);
/// assert!(view.allows(Stamp::new(1, 3)));
/// assert!(!view.allows(Stamp::new(1, 2)));
/// assert!(!view.allows(Stamp::new(2, 9)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerView {
    ledger: u64,
    counts: Vec<u64>,
}

impl LedgerView {
    /// Creates the view of the ledger with this identity. `counts` are in the order of the requested tags. A tag that
    /// the ledger does not hold has the count of its floor.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::tag::LedgerView::new(1, vec![3]).counts(), [3]);
    /// ```
    #[must_use]
    pub fn new(ledger: u64, counts: Vec<u64>) -> Self {
        Self { ledger, counts }
    }

    /// Returns the identity of the ledger.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::tag::LedgerView::new(1, vec![3]).ledger(), 1);
    /// ```
    #[must_use]
    pub fn ledger(&self) -> u64 {
        self.ledger
    }

    /// Returns the counts, in the order of the requested tags.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::tag::LedgerView::new(1, vec![3, 0]).counts(), [3, 0]);
    /// ```
    #[must_use]
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Returns `true` if an entry with this stamp that carries these tags is valid.
    ///
    /// # Examples
    /// ```
    /// assert!(larder::tag::LedgerView::new(1, vec![3]).allows(larder::tag::Stamp::new(1, 3)));
    /// ```
    #[must_use]
    pub fn allows(&self, stamp: Stamp) -> bool {
        self.ledger == stamp.ledger() && self.counts.iter().all(|&count| count <= stamp.count())
    }
}

/// The answer to the removal of old tags from a ledger.
///
/// # Examples
/// ```
/// use larder::tag::Pruned;
/// use std::time::Duration;
/// assert_ne!(Pruned::Removed(0), Pruned::TooEarly(Duration::from_secs(60)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pruned {
    /// This many tags were removed.
    Removed(usize),
    /// Nothing was removed: entries of this ledger live as long as this, some of them in other processes' caches.
    /// A tag can be removed once its invalidation is older.
    TooEarly(Duration),
}

/// The tag ledger of a namespace in a shared store: its set of tag invalidations.
///
/// An invalidation increments a counter and records it for the tag, so its cost does not depend on the number of
/// entries with the tag. There are no sets of members and no clocks. If a ledger is lost, the next one has another
/// identity, which invalidates all entries that were stamped before.
///
/// # Examples
/// `larder-memory` has one; see its documentation.
pub trait TagLedger: fmt::Debug + Send + Sync + 'static {
    /// Returns the current identity and count of the ledger. Creates the ledger if none exists.
    ///
    /// # Errors
    /// If the store cannot be reached.
    fn stamp(&self) -> impl Future<Output = Result<Stamp>> + Send;

    /// Invalidates every entry that carries one of `tags` and was stamped before. One round trip.
    ///
    /// # Errors
    /// If the store did not acknowledge. The invalidation may or may not have been executed.
    fn invalidate(&self, tags: &[Tag]) -> impl Future<Output = Result<Stamp>> + Send;

    /// Returns the counts of `tags`.
    ///
    /// # Errors
    /// If the store cannot be reached. The read is then a miss.
    fn view(&self, tags: &[Tag]) -> impl Future<Output = Result<LedgerView>> + Send;

    /// Removes the tags whose last invalidation is at or before `count`, and raises the floor to `count`. Removes
    /// nothing if an entry may live longer than `longest`.
    ///
    /// # Errors
    /// If the store cannot be reached.
    fn prune(&self, count: u64, longest: Duration) -> impl Future<Output = Result<Pruned>> + Send;
}
