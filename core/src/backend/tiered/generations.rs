//! Which near entries were placed before something changed.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::entry::Mark;

/// How many counters a tier has, 4 bytes each. A change ends one in this many near entries with it.
const SLOTS: usize = 1 << 15;
const _: () = assert!(SLOTS <= Mark::SLOTS);

/// Counts the changes that this process knows of, for slots of keys.
pub(super) struct Generations {
    slots: Box<[AtomicU32; SLOTS]>,
    /// Drawn from what a test can seed: which keys end each other is then the same in each run.
    seed: u64,
}

impl fmt::Debug for Generations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generations").finish_non_exhaustive()
    }
}

impl Generations {
    pub(super) fn new() -> Self {
        // on the heap at once: an array would be made on the stack
        let slots: Box<[AtomicU32]> = (0..SLOTS).map(|_| AtomicU32::new(0)).collect();
        Self { slots: slots.try_into().expect("there are as many"), seed: fastrand::u64(..) }
    }

    fn slot<N: Hash + ?Sized>(&self, name: &N) -> usize {
        let mut hasher = DefaultHasher::new();
        (self.seed, name).hash(&mut hasher);
        (hasher.finish() as usize) % SLOTS
    }

    /// The generation now; to be read *before* far is asked.
    pub(super) fn mark<N: Hash + ?Sized>(&self, name: &N) -> Mark {
        let slot = self.slot(name);
        Mark::new(slot, self.slots[slot].load(Ordering::SeqCst))
    }

    /// The same slot's mark as it is now.
    pub(super) fn now(&self, mark: Mark) -> Mark {
        let slot = mark.slot() % SLOTS;
        Mark::new(slot, self.slots[slot].load(Ordering::SeqCst))
    }

    #[inline]
    pub(super) fn is_current(&self, mark: Mark) -> bool {
        self.slots[mark.slot() % SLOTS].load(Ordering::SeqCst) == mark.generation()
    }

    pub(super) fn raise<N: Hash + ?Sized>(&self, name: &N) {
        self.slots[self.slot(name)].fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn raise_all(&self) {
        for slot in &*self.slots {
            slot.fetch_add(1, Ordering::SeqCst);
        }
    }
}
