//! The tags that have invalidated near entries.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use super::generations::Generations;
use crate::backend::entry::Extra;
use crate::mutation;
use crate::tag::revision::Revision;
use crate::tag::{Stamp, Tag};

/// The tag invalidations that this process knows of, by the far ledger's count.
/// Near entries that carry one of the tags and are older are not served.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// The count of the last invalidation. The only check of a hit if nothing was invalidated since its load.
    last: AtomicU64,
    tags: RwLock<EndedTags>,
    revision: Revision,
}

#[derive(Debug, Default)]
struct EndedTags {
    ledger: u64,
    counts: HashMap<Tag, u64>,
}

impl Ended {
    /// The maximum number of tags. Above it, the near tier is emptied instead.
    const MOST: usize = 10_000;

    /// Returns the count of the last known invalidation.
    pub(super) fn last(&self) -> u64 {
        self.last.load(Ordering::SeqCst)
    }

    /// Records an invalidation. If there are too many tags, or tags of another ledger, the near tier is emptied
    /// first.
    pub(super) fn note(&self, tags: &[Tag], stamp: Stamp, near: &Generations) {
        if mutation::on("a near tier does not follow tags") {
            return;
        }
        let mut ended = self.tags.write().unwrap_or_else(PoisonError::into_inner);
        let same = ended.counts.is_empty() || ended.ledger == stamp.ledger();
        let remembered = same && ended.counts.len() + tags.len() <= Self::MOST;
        if !remembered {
            self.forget(&mut ended, near);
        }
        ended.ledger = stamp.ledger();
        for tag in tags {
            let count = ended.counts.entry(tag.clone()).or_default();
            *count = stamp.count().max(*count);
        }
        self.last.fetch_max(stamp.count(), Ordering::SeqCst);
        self.revision.advance();
    }

    /// Empties the near tier and clears all tags: only later notifications count.
    pub(super) fn clear(&self, near: &Generations) {
        let mut ended = self.tags.write().unwrap_or_else(PoisonError::into_inner);
        self.forget(&mut ended, near);
    }

    /// Empties the near tier and then clears the tags, which it no longer needs.
    ///
    /// In this order. Prevents: an entry is served in between, although its tag was invalidated.
    fn forget(&self, ended: &mut EndedTags, near: &Generations) {
        near.raise_all();
        *ended = EndedTags::default();
        self.last.store(0, Ordering::SeqCst);
        self.revision.advance();
    }

    /// Returns `true` if no known tag invalidation applies to the entry with these parts.
    #[inline]
    pub(super) fn allows(&self, extra: Option<&Extra>) -> bool {
        extra.is_none_or(|extra| extra.stood().is_at(self.revision.now()) || self.judges(extra))
    }

    /// Checks the tags of an entry, and records the revision at which it was valid.
    fn judges(&self, extra: &Extra) -> bool {
        let (tags, stamp) = (extra.tags(), extra.stamp());
        if tags.is_empty() {
            return true;
        }
        if self.last.load(Ordering::SeqCst) == 0 {
            return true;
        }
        let ended = self.tags.read().unwrap_or_else(PoisonError::into_inner);
        // read under the lock, like all that the check depends on: a later change has another revision.
        // Prevents: an entry counts as checked at a revision that it was not checked against
        let last = self.last.load(Ordering::SeqCst);
        // only the far tier knows which of two ledgers is the younger one: an entry of another ledger is not served
        let stands = ended.ledger == stamp.ledger()
            && (last <= stamp.count()
                || tags.iter().all(|tag| ended.counts.get(tag).is_none_or(|count| *count <= stamp.count())));
        if stands {
            extra.stood().note(self.revision.now());
        }
        stands
    }

    /// Clears the tags of a ledger that no longer exists. Returns `true` if there were any.
    pub(super) fn renewed(&self, stamp: Stamp, near: &Generations) -> bool {
        if self.last.load(Ordering::SeqCst) == 0 {
            return false;
        }
        let mut ended = self.tags.write().unwrap_or_else(PoisonError::into_inner);
        let renewed = ended.ledger != stamp.ledger();
        if renewed {
            self.forget(&mut ended, near);
        }
        renewed
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::backend::Entry;
    use crate::clock::Timestamp;

    #[test]
    fn news_that_come_late_end_what_was_found_to_stand() {
        let (near, ended) = (Generations::new(), Ended::default());
        let [bread, cake] = ["bread", "cake"].map(|name| Tag::new("food", name));
        let entry = Entry::new(Some(Arc::new(1)), Timestamp::ORIGIN, Duration::MAX)
            .with_tags([bread.clone()])
            .stamped(Stamp::new(1, 4));
        ended.note(&[cake], Stamp::new(1, 6), &near);
        assert!(ended.allows(entry.extra()) && ended.allows(entry.extra()), "another tag's");
        ended.note(&[bread], Stamp::new(1, 5), &near);
        assert!(!ended.allows(entry.extra()), "told of later than of one that is younger");
    }

    #[test]
    fn what_is_forgotten_of_tags_is_forgotten_of_entries_first() {
        let (near, ended) = (Generations::new(), Ended::default());
        let tags = |from: usize, count: usize| -> Vec<Tag> {
            (from..from + count).map(|number| Tag::new("number", number)).collect()
        };
        let mark = near.mark(&7);
        ended.note(&tags(0, Ended::MOST), Stamp::new(1, 1), &near);
        assert!(near.is_current(mark), "as many as are remembered");
        ended.note(&tags(Ended::MOST, 1), Stamp::new(1, 2), &near);
        assert!(!near.is_current(mark), "one more");
        let mark = near.mark(&7);
        ended.note(&tags(0, 1), Stamp::new(2, 1), &near);
        assert!(!near.is_current(mark), "another ledger's");
    }
}
