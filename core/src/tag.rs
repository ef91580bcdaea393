//! Tags, and the ledger that says when each was last invalidated.

use std::fmt;
use std::future::Future;

use crate::Result;
use crate::key::{CacheKey, KeyWriter};

/// A name for a group of entries that are invalidated together, such as all products of a category.
///
/// Kind and key are encoded injectively, like a [`CacheKey`](trait@CacheKey): `Tag::new("a", "b")` is not `Tag::new("a:b", "")`.
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
    /// The tag of the thing `key` of the kind `kind`.
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

    /// The tag as the ledger keeps it: printable ASCII.
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
    /// The tag that a store names: the reverse of [`as_str`](Self::as_str).
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

/// A point in the life of a namespace's ledger, read before a load begins and kept with the entry.
///
/// # Examples
/// ```
/// use larder::Stamp;
/// let stamp = Stamp::new(0xfeed, 41);
/// assert_eq!((stamp.ledger(), stamp.count()), (0xfeed, 41));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Stamp {
    ledger: u64,
    count: u64,
}

impl Stamp {
    /// The stamp of the ledger with this identity at this count.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::Stamp::new(1, 2).count(), 2);
    /// ```
    #[must_use]
    pub const fn new(ledger: u64, count: u64) -> Self {
        Self { ledger, count }
    }

    /// The identity of the ledger: random, made when the ledger is.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::Stamp::new(1, 2).ledger(), 1);
    /// ```
    #[must_use]
    pub const fn ledger(self) -> u64 {
        self.ledger
    }

    /// How many invalidations the ledger had counted.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::Stamp::new(1, 2).count(), 2);
    /// ```
    #[must_use]
    pub const fn count(self) -> u64 {
        self.count
    }
}

/// What a ledger says of some tags: its identity, and the count of each tag's last invalidation.
///
/// # Examples
/// A tag that was invalidated after the stamp was taken ends the entry; so does another ledger.
/// ```
/// use larder::{LedgerView, Stamp};
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
    /// The view of the ledger with this identity; `counts` are aligned with the tags that were asked for, and a tag that
    /// the ledger does not hold has its floor.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::LedgerView::new(1, vec![3]).counts(), [3]);
    /// ```
    #[must_use]
    pub fn new(ledger: u64, counts: Vec<u64>) -> Self {
        Self { ledger, counts }
    }

    /// The identity of the ledger.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::LedgerView::new(1, vec![3]).ledger(), 1);
    /// ```
    #[must_use]
    pub fn ledger(&self) -> u64 {
        self.ledger
    }

    /// The counts, aligned with the tags that were asked for.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::LedgerView::new(1, vec![3, 0]).counts(), [3, 0]);
    /// ```
    #[must_use]
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Whether an entry with this stamp, carrying these tags, still stands.
    ///
    /// # Examples
    /// ```
    /// assert!(larder::LedgerView::new(1, vec![3]).allows(larder::Stamp::new(1, 3)));
    /// ```
    #[must_use]
    pub fn allows(&self, stamp: Stamp) -> bool {
        self.ledger == stamp.ledger() && self.counts.iter().all(|&count| count <= stamp.count())
    }
}

/// An extra ability of a shared store: one ledger of tag invalidations for each namespace.
///
/// No member sets, no clocks: an invalidation raises a counter and notes it for the tag, whatever number of entries
/// carry the tag. A ledger that was lost comes back with another identity, which ends all entries stamped before.
///
/// # Examples
/// `larder-memory` has one; see its documentation.
pub trait TagLedger: fmt::Debug + Send + Sync + 'static {
    /// The ledger's identity and count now; makes the ledger when there is none.
    ///
    /// # Errors
    /// When the store cannot be reached.
    fn stamp(&self) -> impl Future<Output = Result<Stamp>> + Send;

    /// Invalidates every entry that carries one of `tags` and was stamped before. One round trip.
    ///
    /// # Errors
    /// When the store did not acknowledge; the invalidation may or may not have happened.
    fn invalidate(&self, tags: &[Tag]) -> impl Future<Output = Result<Stamp>> + Send;

    /// What the ledger says of `tags`.
    ///
    /// # Errors
    /// When the store cannot be reached; the entry is then no hit.
    fn view(&self, tags: &[Tag]) -> impl Future<Output = Result<LedgerView>> + Send;

    /// Forgets the tags invalidated at or before `count` by raising the floor to it; returns how many.
    ///
    /// # Errors
    /// When the store cannot be reached.
    fn prune(&self, count: u64) -> impl Future<Output = Result<usize>> + Send;
}
