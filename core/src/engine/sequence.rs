//! The order of events in this process, without a clock.

use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers that grow in the order in which they are taken.
///
/// The `as_of` rule compares "before" and "after" within one process. Clocks cannot decide it: two events in one tick
/// look simultaneous, and a test's clock stands still.
#[derive(Debug)]
pub(super) struct Sequence(AtomicU64);

impl Sequence {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(1))
    }

    /// Returns the number of an event that others are ordered by: a result proved current, or the start of a load.
    pub(super) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }

    /// Returns the number of a caller that arrives: above that of every event before it, and not above any later
    /// one's. Writes nothing, so that readers do not contend for the counter.
    pub(super) fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_are_ordered_with_events() {
        let sequence = Sequence::new();
        let before = sequence.now();
        let event = sequence.next();
        let after = sequence.now();
        assert!(before <= event && event < after && after <= sequence.next());
    }
}
