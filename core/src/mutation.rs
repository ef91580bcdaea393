//! Mechanisms that a test can take out, to see that the checker notices: only in builds with `--cfg larder_mutations`.

#[cfg(larder_mutations)]
mod active {
    use std::cell::Cell;

    thread_local! {
        static ACTIVE: Cell<&'static str> = const { Cell::new("") };
    }

    /// Takes a mechanism out, for this thread; `""` puts it back.
    pub fn set(name: &'static str) {
        ACTIVE.set(name);
    }

    /// Whether this mechanism is out.
    #[must_use]
    pub fn on(name: &str) -> bool {
        ACTIVE.get() == name
    }
}

#[cfg(larder_mutations)]
pub use active::{on, set};

#[cfg(not(larder_mutations))]
#[inline(always)]
pub(crate) const fn on(_name: &str) -> bool {
    false
}
