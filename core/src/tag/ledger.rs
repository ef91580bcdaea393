//! The tag ledger of a store that only this process sees.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use crate::backend::entry::{Entry, Extra};
use crate::tag::revision::Revision;
use crate::tag::{Stamp, Tag};

/// A count of tag invalidations, with the count of each tag's last one.
#[derive(Debug)]
pub(crate) struct Ledger {
    id: u64,
    /// The number of invalidations. The only check of a hit if nothing was invalidated since its load.
    count: AtomicU64,
    tags: RwLock<Tags>,
    revision: Revision,
}

#[derive(Debug, Default)]
struct Tags {
    invalidated: HashMap<Tag, u64>,
    /// The count of a tag that the ledger does not hold.
    floor: u64,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        // zero is the ledger of entries that have none
        Self {
            id: fastrand::u64(1..),
            count: AtomicU64::new(0),
            tags: RwLock::default(),
            revision: Revision::default(),
        }
    }

    /// Returns the current state. To be taken before a load begins.
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp::new(self.id, self.count.load(Ordering::SeqCst))
    }

    pub(crate) fn invalidate(&self, tags: &[Tag]) -> Stamp {
        let mut state = self.tags.write().unwrap_or_else(PoisonError::into_inner);
        let count = self.count.load(Ordering::SeqCst) + 1;
        state.invalidated.extend(tags.iter().map(|tag| (tag.clone(), count)));
        self.count.store(count, Ordering::SeqCst);
        self.revision.advance();
        Stamp::new(self.id, count)
    }

    /// Returns `true` if an entry that was stamped by this ledger is valid. Does not check entries of another ledger.
    #[inline]
    pub(crate) fn allows<V>(&self, entry: &Entry<V>) -> bool {
        // what is not inlined is not given the entry, which would then have to be in memory for it
        entry.extra().is_none_or(|extra| extra.stood().is_at(self.revision.now()) || self.judges(extra))
    }

    fn judges(&self, extra: &Extra) -> bool {
        let (tags, stamp) = (extra.tags(), extra.stamp());
        if tags.is_empty() || stamp.ledger() != self.id || stamp.count() == self.count.load(Ordering::SeqCst)
        {
            return true;
        }
        let state = self.tags.read().unwrap_or_else(PoisonError::into_inner);
        let stands = |tag| state.invalidated.get(tag).copied().unwrap_or(state.floor) <= stamp.count();
        let stands = tags.iter().all(stands);
        if stands {
            extra.stood().note(self.revision.now());
        }
        stands
    }

    pub(crate) fn prune(&self, count: u64) -> usize {
        let mut state = self.tags.write().unwrap_or_else(PoisonError::into_inner);
        let before = state.invalidated.len();
        // a floor above the count would end entries that are yet to come
        state.floor = state.floor.max(count.min(self.count.load(Ordering::SeqCst)));
        let floor = state.floor;
        state.invalidated.retain(|_, invalidated| *invalidated > floor);
        self.revision.advance();
        before - state.invalidated.len()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::clock::Timestamp;

    fn entry(ledger: &Ledger, tags: &[&str]) -> Entry<u8> {
        Entry::new(Some(Arc::new(1)), Timestamp::ORIGIN, Duration::MAX)
            .with_tags(tags.iter().map(|tag| Tag::new("t", tag)))
            .stamped(ledger.stamp())
    }

    #[test]
    fn an_invalidation_ends_what_carries_the_tag_and_is_older() {
        let ledger = Ledger::new();
        let (both, other) = (entry(&ledger, &["a", "b"]), entry(&ledger, &["b"]));
        ledger.invalidate(&[Tag::new("t", "a")]);
        assert!(!ledger.allows(&both) && ledger.allows(&other) && ledger.allows(&entry(&ledger, &["a"])));
    }

    #[test]
    fn pruning_ends_the_old_and_spares_the_young() {
        let ledger = Ledger::new();
        let old = entry(&ledger, &["b"]);
        let seen = ledger.invalidate(&[Tag::new("t", "a")]);
        let young = entry(&ledger, &["a"]);
        assert_eq!(ledger.prune(seen.count()), 1);
        assert!(!ledger.allows(&old), "below the floor: whether its tag was invalidated is forgotten");
        assert!(ledger.allows(&young));
        assert_eq!(ledger.prune(u64::MAX), 0);
        assert!(ledger.allows(&entry(&ledger, &["a"])), "entries yet to come stand");
    }

    #[test]
    fn what_stood_is_judged_again_after_each_change() {
        let ledger = Ledger::new();
        let one = entry(&ledger, &["a", "b"]);
        for other in ["c", "d"] {
            ledger.invalidate(&[Tag::new("t", other)]);
            assert!(ledger.allows(&one) && one.extra().unwrap().stood().is_at(ledger.revision.now()));
        }
        let copy = one.clone();
        assert!(copy.extra().unwrap().stood().is_at(ledger.revision.now()), "copies share what was found");
        ledger.invalidate(&[Tag::new("t", "b")]);
        assert!(!ledger.allows(&one) && !ledger.allows(&copy));
    }

    #[test]
    fn a_changed_entry_is_judged_by_what_it_is_now() {
        let ledger = Ledger::new();
        let stamp = ledger.stamp();
        ledger.invalidate(&[Tag::new("t", "a")]);
        let stood = entry(&ledger, &["a"]);
        ledger.invalidate(&[Tag::new("t", "c")]);
        assert!(ledger.allows(&stood));
        assert!(!ledger.allows(&stood.clone().stamped(stamp)), "as one that was loaded before");
        assert!(!ledger.allows(&stood.with_tags([Tag::new("t", "c")])));
    }

    #[test]
    fn one_ledger_does_not_take_the_word_of_another() {
        let (one, other) = (Ledger::new(), Ledger::new());
        let entry = entry(&one, &["a"]);
        one.invalidate(&[Tag::new("t", "b")]);
        other.invalidate(&[Tag::new("t", "b")]);
        assert!(one.allows(&entry));
        assert_ne!(one.revision.now(), other.revision.now());
        assert!(!entry.extra().unwrap().stood().is_at(other.revision.now()));
    }
}
