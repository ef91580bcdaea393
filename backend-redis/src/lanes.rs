//! Threads, a few to a lane: what one lane uses, the others do not fight over.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many lanes there are.
pub(crate) const LANES: usize = 4;

/// The lane of this thread.
pub(crate) fn lane() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % LANES;
    }
    // a thread that is ending has no locals any more
    OWN.try_with(|own| *own).unwrap_or(0)
}
