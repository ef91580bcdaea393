//! A counter for the hit path that threads increment without contention.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// The number of stripes that belong to one thread each. Further threads share the last stripe.
const OWNED: usize = 63;
const SHARED: usize = OWNED;
const UNKNOWN: usize = usize::MAX;

/// The stripes that currently belong to no thread.
static FREE: Mutex<Vec<usize>> = Mutex::new(Vec::new());
/// The number of stripes assigned so far.
static GIVEN: Mutex<usize> = Mutex::new(0);

/// The ownership of a thread's stripe. Dropping it at the end of the thread frees the stripe.
struct Claim(Cell<usize>);

impl Drop for Claim {
    fn drop(&mut self) {
        if self.0.get() < OWNED {
            // increments of this thread during its end are counted on the shared stripe
            STRIPE.with(|own| own.set(SHARED));
            FREE.lock().unwrap_or_else(PoisonError::into_inner).push(self.0.get());
        }
    }
}

thread_local! {
    static STRIPE: Cell<usize> = const { Cell::new(UNKNOWN) };
    static CLAIM: Claim = const { Claim(Cell::new(UNKNOWN)) };
}

/// Assigns a stripe to this thread: its own, or the shared one.
fn claim() {
    let free = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let stripe = free.unwrap_or_else(|| {
        let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
        *given = (*given + 1).min(SHARED + 1);
        *given - 1
    });
    // a thread whose locals are being dropped counts on the shared stripe and claims nothing
    match CLAIM.try_with(|claim| claim.0.set(stripe)) {
        Ok(()) => STRIPE.with(|own| own.set(stripe)),
        Err(_) => {
            if stripe < OWNED {
                FREE.lock().unwrap_or_else(PoisonError::into_inner).push(stripe);
            }
            STRIPE.with(|own| own.set(SHARED));
        }
    }
}

/// A counter on its own cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line(AtomicU64);

/// A counter whose increment is a plain load and store on a cache line that belongs to the thread. Readers sum all
/// lines.
///
/// Exact: a stripe has one writer at a time. It passes from a thread that ended to its next owner through a lock.
#[derive(Debug)]
pub(crate) struct Striped {
    owned: [Line; OWNED],
    shared: Line,
}

impl Default for Striped {
    fn default() -> Self {
        Self { owned: [const { Line(AtomicU64::new(0)) }; OWNED], shared: Line::default() }
    }
}

impl Striped {
    #[inline]
    pub(crate) fn increment(&self) {
        match self.owned.get(STRIPE.with(Cell::get)) {
            // an atomic add would cost as much as a fifth of the whole hit
            Some(Line(own)) => own.store(own.load(Ordering::Relaxed) + 1, Ordering::Relaxed),
            None => self.increment_unowned(),
        }
    }

    /// Increments for a thread that has no stripe yet, or shares one.
    #[cold]
    fn increment_unowned(&self) {
        match STRIPE.with(Cell::get) {
            UNKNOWN => {
                claim();
                self.increment();
            }
            _ => _ = self.shared.0.fetch_add(1, Ordering::Relaxed),
        }
    }

    pub(crate) fn sum(&self) -> u64 {
        self.owned.iter().chain([&self.shared]).map(|line| line.0.load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_all_threads_are_summed_exactly() {
        let counter = Striped::default();
        // more threads at once than stripes, several times over, so that stripes are shared and passed on
        for _ in 0..4 {
            let barrier = std::sync::Barrier::new(100);
            std::thread::scope(|scope| {
                for _ in 0..100 {
                    scope.spawn(|| {
                        barrier.wait();
                        (0..1_000).for_each(|_| counter.increment());
                    });
                }
            });
        }
        assert_eq!(counter.sum(), 400_000);
    }
}
