//! Revisions of validity checks, so that an entry is not checked twice against the same state.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::mutation;

/// The revision of a validity check, for example of a tag ledger. No two states have the same number, of one check or
/// of different ones in this process.
#[derive(Debug)]
pub(crate) struct Revision(AtomicU64);

impl Default for Revision {
    fn default() -> Self {
        Self(AtomicU64::new(Self::fresh()))
    }
}

impl Revision {
    fn fresh() -> u64 {
        // zero is the revision of an entry that was never checked
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NEXT.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes a new number. Call it after the state of the check has changed, while holding the lock that excludes
    /// other changes.
    pub(crate) fn advance(&self) {
        if !mutation::on("what stood once is not judged again") {
            self.0.store(Self::fresh(), Ordering::SeqCst);
        }
    }

    /// Returns the current number. Read it while the state cannot change, or before the check.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// The last revision at which an entry was valid. Copies of an entry share it.
#[derive(Debug, Default)]
pub(crate) struct Stood(AtomicU64);

/// A clone starts unchecked, because the cloned entry may be changed.
impl Clone for Stood {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Stood {
    #[inline]
    pub(crate) fn is_at(&self, revision: u64) -> bool {
        self.0.load(Ordering::Relaxed) == revision
    }

    pub(crate) fn note(&self, revision: u64) {
        self.0.store(revision, Ordering::Relaxed);
    }
}
