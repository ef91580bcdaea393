//! Keys whose loads fail: when the source is asked for them again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Key;
use crate::time::Timestamp;

/// How many keys there may be before those whose time has passed are swept out.
const SWEEP_ABOVE: usize = 1_024;

/// The failing keys of this process. A key is here from a failed load on, until one succeeds.
#[derive(Debug)]
pub(super) struct Holdoffs<K> {
    any: AtomicBool,
    keys: Mutex<HashMap<K, Holdoff>>,
    backoff: [Duration; 2],
}

#[derive(Debug, Clone, Copy)]
struct Holdoff {
    until: Timestamp,
    failures: u32,
}

impl<K: Key> Holdoffs<K> {
    pub(super) fn new(backoff: [Duration; 2]) -> Self {
        Self { any: AtomicBool::new(false), keys: Mutex::new(HashMap::new()), backoff }
    }

    fn keys(&self) -> MutexGuard<'_, HashMap<K, Holdoff>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the source is not to be asked for `key` now.
    pub(super) fn hold(&self, key: &K, now: Timestamp) -> bool {
        self.any.load(Ordering::Acquire) && self.keys().get(key).is_some_and(|holdoff| now < holdoff.until)
    }

    pub(super) fn failed(&self, key: &K, now: Timestamp) {
        let [first, longest] = self.backoff;
        let mut keys = self.keys();
        if keys.len() >= SWEEP_ABOVE {
            // who has not failed again for so long begins anew
            keys.retain(|_, holdoff| now < holdoff.until.saturating_add(longest));
        }
        let failures = keys.get(key).map_or(0, |holdoff| holdoff.failures);
        let pause = first.saturating_mul(1 << failures.min(20)).min(longest);
        let holdoff = Holdoff { until: now.saturating_add(pause), failures: failures.saturating_add(1) };
        keys.insert(key.clone(), holdoff);
        self.any.store(true, Ordering::Release);
    }

    pub(super) fn succeeded(&self, key: &K) {
        if !self.any.load(Ordering::Acquire) {
            return;
        }
        let mut keys = self.keys();
        keys.remove(key);
        self.any.store(!keys.is_empty(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_end_with_a_success() {
        let second = Duration::from_secs(1);
        let holdoffs = Holdoffs::new([second, 5 * second]);
        let mut now = Timestamp::ORIGIN;
        for pause in [1, 2, 4, 5, 5] {
            assert!(!holdoffs.hold(&1, now));
            holdoffs.failed(&1, now);
            now = now.saturating_add(pause * second);
            assert!(holdoffs.hold(&1, now.saturating_sub(Duration::from_nanos(1))), "{pause}");
        }
        holdoffs.failed(&1, now);
        holdoffs.succeeded(&1);
        assert!(!holdoffs.hold(&1, now));
        holdoffs.failed(&1, now);
        assert!(!holdoffs.hold(&1, now.saturating_add(second)), "back to the first pause");
        assert!(!holdoffs.hold(&2, now));
    }

    #[test]
    fn keys_that_fail_once_do_not_pile_up() {
        let holdoffs = Holdoffs::new([Duration::from_secs(1), Duration::from_secs(2)]);
        for key in 0..10_000u64 {
            holdoffs.failed(&key, Timestamp::ORIGIN.saturating_add(Duration::from_secs(key)));
        }
        assert!(holdoffs.keys().len() <= SWEEP_ABOVE);
    }
}
