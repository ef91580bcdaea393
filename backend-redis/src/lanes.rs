//! Assigns each thread to one of a few lanes, so that threads of different lanes do not contend.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The number of lanes.
pub(crate) const LANES: usize = 4;

/// The lane of this thread.
pub(crate) fn lane() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % LANES;
    }
    // a thread that is ending has no thread-locals any more
    OWN.try_with(|own| *own).unwrap_or(0)
}
