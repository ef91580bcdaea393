//! An approximate index from tags to entries, for inspection and for freeing memory.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::tag::Tag;

/// An approximate index of the entries that carry a tag. Use it to inspect tags, and to free the memory of entries
/// that a tag has invalidated.
///
/// Correctness does not depend on it: the tag ledger decides whether a tag has invalidated an entry
/// ([`guide::tagged`](crate::guide::tagged)).
///
/// It lists entries that *this process* has stored since it started. It is bounded: the oldest tags are removed
/// first. Entries that have expired, were evicted or were invalidated remain listed.
///
/// Pass it to [`CacheBuilder::tag_index`](crate::CacheBuilder::tag_index).
/// [`Cache::reclaim_tag`](crate::Cache::reclaim_tag) invalidates a tag and removes its listed entries. Cheap to
/// clone; clones share one index.
///
/// # Examples
/// ```
/// # use larder::tag::TagIndex;
/// # use larder::{Cache, Quick, Result, Strategy, Tag, source_fn};
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
/// let index = TagIndex::new(100_000);
/// let parity: Cache<u64, u64> = Cache::builder()
///     .backend(Quick::new(10_000))
///     .source(source_fn(|number: u64| async move { Ok::<_, std::io::Error>(Some(number % 2)) }))
///     .strategy(Strategy::aside(Duration::from_secs(60)).tagged(|parity| [Tag::new("parity", *parity)]))
///     .tag_index(index.clone())
///     .build()?;
/// parity.get_many(&[1, 2, 3]).await?;
/// assert_eq!(index.count(&Tag::new("parity", 1)), 2);
/// assert_eq!(parity.reclaim_tag(&Tag::new("parity", 1)).await?, 2);
/// # Ok(()) }
/// ```
pub struct TagIndex<K>(Arc<Shared<K>>);

struct Shared<K> {
    most: usize,
    state: Mutex<State<K>>,
}

struct State<K> {
    keys: HashMap<Tag, HashSet<K>>,
    /// The tags in the order in which they were first seen.
    order: VecDeque<Tag>,
    /// The number of keys in all sets.
    pairs: usize,
}

impl<K: Hash + Eq + Clone> TagIndex<K> {
    /// Creates an index of at most `most` pairs of tag and key.
    ///
    /// # Examples
    /// See [`TagIndex`].
    #[must_use]
    pub fn new(most: usize) -> Self {
        let state = State { keys: HashMap::new(), order: VecDeque::new(), pairs: 0 };
        Self(Arc::new(Shared { most, state: Mutex::new(state) }))
    }

    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the approximate number of entries that carry `tag`.
    ///
    /// # Examples
    /// See [`TagIndex`].
    #[must_use]
    pub fn count(&self, tag: &Tag) -> usize {
        self.state().keys.get(tag).map_or(0, HashSet::len)
    }

    /// Returns the keys of some of the entries that carry `tag`, in no order.
    ///
    /// # Examples
    /// See [`TagIndex`].
    #[must_use]
    pub fn keys(&self, tag: &Tag) -> Vec<K> {
        self.state().keys.get(tag).map_or_else(Vec::new, |keys| keys.iter().cloned().collect())
    }

    /// Returns all tags, each with the approximate number of entries that carry it, the most used first.
    ///
    /// # Examples
    /// See [`TagIndex`].
    #[must_use]
    pub fn tags(&self) -> Vec<(Tag, usize)> {
        let mut tags: Vec<_> =
            self.state().keys.iter().map(|(tag, keys)| (tag.clone(), keys.len())).collect();
        tags.sort_by(|(one, fewer), (other, more)| more.cmp(fewer).then_with(|| one.cmp(other)));
        tags
    }

    /// Adds a stored entry.
    pub(crate) fn note(&self, key: &K, tags: &[Tag]) {
        if tags.is_empty() {
            return;
        }
        let mut state = self.state();
        for tag in tags {
            if !state.keys.contains_key(tag) {
                state.order.push_back(tag.clone());
            }
            let added = state.keys.entry(tag.clone()).or_default().insert(key.clone());
            state.pairs += usize::from(added);
        }
        while state.pairs > self.0.most {
            let Some(oldest) = state.order.pop_front() else { return };
            state.forget(&oldest);
        }
    }

    /// Removes a tag, and returns its keys.
    pub(crate) fn take(&self, tag: &Tag) -> Vec<K> {
        let mut state = self.state();
        state.order.retain(|other| other != tag);
        state.forget(tag)
    }
}

impl<K: Hash + Eq + Clone> State<K> {
    fn forget(&mut self, tag: &Tag) -> Vec<K> {
        let keys = self.keys.remove(tag).unwrap_or_default();
        self.pairs -= keys.len();
        keys.into_iter().collect()
    }
}

impl<K> Clone for TagIndex<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> fmt::Debug for TagIndex<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TagIndex").field("most", &self.0.most).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_forgets_the_oldest_tags() {
        let index = TagIndex::new(100);
        let tag = |number: u64| Tag::new("t", number);
        for key in 0..1_000u64 {
            index.note(&key, &[tag(key / 10), tag(key / 10)]);
            index.note(&key, &[tag(key / 10)]);
        }
        assert_eq!(index.count(&tag(99)), 10);
        assert_eq!(index.count(&tag(0)), 0);
        assert_eq!(index.tags().iter().map(|(_, count)| count).sum::<usize>(), 100);
        assert_eq!(index.take(&tag(99)).len(), 10);
        assert_eq!(index.count(&tag(99)), 0);
        let state = index.state();
        assert_eq!((state.pairs, state.order.len()), (90, 9));
    }
}
