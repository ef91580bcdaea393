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

    pub(super) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}
