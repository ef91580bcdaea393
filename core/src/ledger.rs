//! The tag ledger of a store that only this process sees.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use crate::entry::Entry;
use crate::tag::{Stamp, Tag};

/// Counts invalidations of tags, and knows the count of each tag's last one.
#[derive(Debug)]
pub(crate) struct Ledger {
    id: u64,
    /// How many invalidations there were: the one look that a hit takes while nothing was invalidated since its load.
    count: AtomicU64,
    tags: RwLock<Tags>,
}

#[derive(Debug, Default)]
struct Tags {
    invalidated: HashMap<Tag, u64>,
    /// What counts for a tag that is not there.
    floor: u64,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        // zero is the ledger of entries that have none
        Self { id: fastrand::u64(1..), count: AtomicU64::new(0), tags: RwLock::default() }
    }

    /// To be taken before a load begins.
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp::new(self.id, self.count.load(Ordering::SeqCst))
    }

    pub(crate) fn invalidate(&self, tags: &[Tag]) -> Stamp {
        let mut state = self.tags.write().unwrap_or_else(PoisonError::into_inner);
        let count = self.count.load(Ordering::SeqCst) + 1;
        state.invalidated.extend(tags.iter().map(|tag| (tag.clone(), count)));
        self.count.store(count, Ordering::SeqCst);
        Stamp::new(self.id, count)
    }

    /// Whether an entry that was stamped by this ledger still stands. One of another ledger is not for this one to judge.
    #[inline]
    pub(crate) fn allows<V>(&self, entry: &Entry<V>) -> bool {
        // what is not inlined is not given the entry, which would then have to be in memory for it
        entry.extra().is_none_or(|extra| self.allows_tagged(extra.tags(), extra.stamp()))
    }

    fn allows_tagged(&self, tags: &[Tag], stamp: Stamp) -> bool {
        if tags.is_empty() || stamp.ledger() != self.id || stamp.count() == self.count.load(Ordering::SeqCst)
        {
            return true;
        }
        let state = self.tags.read().unwrap_or_else(PoisonError::into_inner);
        tags.iter().all(|tag| state.invalidated.get(tag).copied().unwrap_or(state.floor) <= stamp.count())
    }

    pub(crate) fn prune(&self, count: u64) -> usize {
        let mut state = self.tags.write().unwrap_or_else(PoisonError::into_inner);
        let before = state.invalidated.len();
        // a floor above the count would end entries that are yet to come
        state.floor = state.floor.max(count.min(self.count.load(Ordering::SeqCst)));
        let floor = state.floor;
        state.invalidated.retain(|_, invalidated| *invalidated > floor);
        before - state.invalidated.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::time::Timestamp;

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
}
