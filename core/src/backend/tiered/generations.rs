//! Which near entries were placed before something changed.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::backend::entry::Mark;

/// How many counters a tier has, 4 bytes each. A change ends one in this many near entries with it.
const SLOTS: usize = 1 << 15;
const _: () = assert!(SLOTS <= Mark::SLOTS);

/// Counts the changes that this process knows of, for slots of keys.
pub(super) struct Generations {
    slots: Box<[AtomicU32; SLOTS]>,
    /// How many changes there were to all slots. A slot's generation is the sum of the two: both only grow, so that it stays
    /// the same only while neither has changed, and a mark that is read while they change is no younger than what was there.
    all: AtomicU32,
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

    /// The generation now; to be read *before* far is asked.
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

    /// The same slot's mark as it is now.
    pub(super) fn now(&self, mark: Mark) -> Mark {
        self.mark_of(mark.slot() % SLOTS)
    }

    #[inline]
    pub(super) fn is_current(&self, mark: Mark) -> bool {
        self.generation(mark.slot() % SLOTS) == mark.generation()
    }

    pub(super) fn raise<N: Hash + ?Sized>(&self, name: &N) {
        self.slots[self.slot(name)].fetch_add(1, Ordering::SeqCst);
    }

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
