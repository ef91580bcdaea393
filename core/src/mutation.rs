//! Mutations: mechanisms that a test can disable to see that the checker notices. Only with `--cfg larder_mutations`.

#[cfg(larder_mutations)]
mod active {
    use std::cell::Cell;

    thread_local! {
        static ACTIVE: Cell<&'static str> = const { Cell::new("") };
    }

    /// Disables a mechanism for this thread; `""` enables it again.
    pub fn set(name: &'static str) {
        ACTIVE.set(name);
    }

    /// Returns `true` if this mechanism is disabled.
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
