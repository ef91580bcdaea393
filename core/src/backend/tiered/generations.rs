//! Generations, which tell if a near entry was placed before a change.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::backend::entry::Mark;

/// The number of counters of a tier, 4 bytes each. A change also invalidates one in this many other near entries.
const SLOTS: usize = 1 << 15;
const _: () = assert!(SLOTS <= Mark::SLOTS);

/// Counters of the changes that this process knows of, one for each slot of keys.
pub(super) struct Generations {
    slots: Box<[AtomicU32; SLOTS]>,
    /// The number of changes to all slots. A slot's generation is the sum of the two counts.
    ///
    /// Both only grow, so that the sum stays the same only while neither changes. A mark that is read during a change
    /// is no younger than the entry that is read after it.
    all: AtomicU32,
    /// The seed of the slots. Tests can seed its generator, so that the same keys share a slot in each run.
    seed: u64,
}

impl fmt::Debug for Generations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generations").finish_non_exhaustive()
    }
}

impl Generations {
    pub(super) fn new() -> Self {
        // on the heap at once: an array would be built on the stack
        let slots: Box<[AtomicU32]> = (0..SLOTS).map(|_| AtomicU32::new(0)).collect();
        Self {
            slots: slots.try_into().expect("there are as many"),
            all: AtomicU32::new(0),
            seed: fastrand::u64(..),
        }
    }

    fn slot<N: Hash + ?Sized>(&self, name: &N) -> usize {
        let mut hasher = DefaultHasher::new();
        (self.seed, name).hash(&mut hasher);
        (hasher.finish() as usize) % SLOTS
    }

    /// Returns the current mark of a key. To be read *before* the far tier is asked.
    pub(super) fn mark<N: Hash + ?Sized>(&self, name: &N) -> Mark {
        self.mark_of(self.slot(name))
    }

    fn mark_of(&self, slot: usize) -> Mark {
        Mark::new(slot, self.generation(slot))
    }

    #[inline]
    fn generation(&self, slot: usize) -> u32 {
        self.slots[slot].load(Ordering::SeqCst).wrapping_add(self.all.load(Ordering::SeqCst))
    }

    /// Returns the current mark of the slot of `mark`.
    pub(super) fn now(&self, mark: Mark) -> Mark {
        self.mark_of(mark.slot() % SLOTS)
    }

    /// Returns `true` if the slot of `mark` has not changed since it was read.
    #[inline]
    pub(super) fn is_current(&self, mark: Mark) -> bool {
        self.generation(mark.slot() % SLOTS) == mark.generation()
    }

    /// Raises the generation of the slot of a key.
    pub(super) fn raise<N: Hash + ?Sized>(&self, name: &N) {
        self.slots[self.slot(name)].fetch_add(1, Ordering::SeqCst);
    }

    /// Raises the generations of all slots.
    pub(super) fn raise_all(&self) {
        self.all.fetch_add(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_current_until_its_slot_changes_or_all_do() {
        let generations = Generations::new();
        let other =
            (1..).find(|key| generations.slot(key) != generations.slot(&0)).expect("there are many slots");
        let (mark, apart) = (generations.mark(&0), generations.mark(&other));
        assert!(generations.is_current(mark) && generations.is_current(apart));
        generations.raise(&0);
        assert!(!generations.is_current(mark) && generations.is_current(apart));
        let mark = generations.mark(&0);
        generations.raise_all();
        assert!(!generations.is_current(mark) && !generations.is_current(apart));
        assert!(
            generations.is_current(generations.mark(&0)) && generations.is_current(generations.now(apart))
        );
    }
}
