//! Numbers that are never reused.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that no other process and no other call returns. It consists of 64 random bits of this process, which
/// the standard library takes from the system, and a counter.
pub(crate) fn nonce() -> u128 {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(std::process::id()));
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    u128::from(*PROCESS) << 64 | u128::from(COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// A random number of 64 bits in hex: the client's part of a name that the server makes unique at each execution.
pub(crate) fn identity() -> String {
    format!("{:016x}", RandomState::new().hash_one(nonce()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_differ() {
        assert_ne!(nonce(), nonce());
        assert_ne!(identity(), identity());
        assert_eq!(identity().len(), 16);
    }
}
