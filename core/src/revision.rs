//! What an entry was found to stand against, so that it is not judged twice by the same knowledge.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::mutation;

/// The state of a judge of entries: unlike every other state of it, and of any other judge in this process.
#[derive(Debug)]
pub(crate) struct Revision(AtomicU64);

impl Default for Revision {
    fn default() -> Self {
        Self(AtomicU64::new(Self::fresh()))
    }
}

impl Revision {
    fn fresh() -> u64 {
        // zero is the revision of nobody
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NEXT.fetch_add(1, Ordering::Relaxed)
    }

    /// To be called after the judge has learnt something, by whoever keeps others from changing it.
    pub(crate) fn advance(&self) {
        if !mutation::on("what stood once is not judged again") {
            self.0.store(Self::fresh(), Ordering::SeqCst);
        }
    }

    /// To be read while nobody can change the judge, or before it is asked.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// The last revision at which an entry stood. Copies of an entry share it.
#[derive(Debug, Default)]
pub(crate) struct Stood(AtomicU64);

/// A changed entry is to be judged anew.
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
