//! Pauses after failed loads: the keys whose source is not called for a while.

use std::time::Duration;

use super::Key;
use crate::clock::Timestamp;
use crate::shards::{Shard, Shards, is_sweep_due};
use crate::sync::atomic::{AtomicUsize, Ordering};

/// The maximum of keys in a shard: 65,536 in a cache. Beyond it, half of them are dropped, which costs a load each.
const MOST: usize = 1_024;

/// The failing keys of this process. A key stays here from a failed load until one succeeds.
pub(super) struct Holdoffs<K> {
    count: AtomicUsize,
    keys: Shards<K, Holdoff>,
    backoff: [Duration; 2],
}

#[derive(Debug, Clone, Copy)]
struct Holdoff {
    until: Timestamp,
    failures: u32,
}

impl<K: Key> Holdoffs<K> {
    pub(super) fn new(backoff: [Duration; 2]) -> Self {
        Self { count: AtomicUsize::new(0), keys: Shards::default(), backoff }
    }

    /// Returns `true` if the source must not be called for `key` now.
    pub(super) fn hold(&self, key: &K, now: Timestamp) -> bool {
        self.count.load(Ordering::Acquire) > 0
            && self.keys.of(key).get(key).is_some_and(|holdoff| now < holdoff.until)
    }

    pub(super) fn failed(&self, key: &K, now: Timestamp) {
        let [first, longest] = self.backoff;
        let mut keys = self.keys.of(key);
        let failures = keys.get(key).map_or(0, |holdoff| holdoff.failures);
        let pause = first.saturating_mul(1 << failures.min(20)).min(longest);
        let holdoff = Holdoff { until: now.saturating_add(pause), failures: failures.saturating_add(1) };
        let before = keys.len();
        if failures == 0 && is_sweep_due(before + 1) {
            sweep(&mut keys, now, longest);
        }
        keys.insert(key.clone(), holdoff);
        // under the lock, and wrapping: the difference may be negative
        self.count.fetch_add(keys.len().wrapping_sub(before), Ordering::Release);
    }

    pub(super) fn succeeded(&self, key: &K) {
        if self.count.load(Ordering::Acquire) > 0 && self.keys.of(key).remove(key).is_some() {
            self.count.fetch_sub(1, Ordering::Release);
        }
    }
}

/// Removes the keys that have not failed again for so long that their next pause is the first one again.
fn sweep<K>(keys: &mut Shard<K, Holdoff>, now: Timestamp, longest: Duration) {
    keys.retain(|_, holdoff| now < holdoff.until.saturating_add(longest));
    if keys.len() + 1 >= MOST {
        let mut at = 0;
        keys.retain(|_, _| {
            at += 1;
            at % 2 == 0
        });
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
        for key in 0..100_000u64 {
            holdoffs.failed(&key, Timestamp::ORIGIN.saturating_add(Duration::from_secs(key)));
        }
        assert!(holdoffs.keys.len() <= 64 * 64, "{}", holdoffs.keys.len());
        assert_eq!(holdoffs.count.load(Ordering::Acquire), holdoffs.keys.len());
    }

    #[test]
    fn a_million_keys_that_fail_at_once_are_capped() {
        let holdoffs = Holdoffs::new([Duration::from_secs(1), Duration::from_secs(2)]);
        for key in 0..1_000_000u64 {
            holdoffs.failed(&key, Timestamp::ORIGIN);
            assert!(holdoffs.hold(&key, Timestamp::ORIGIN) || key % 64 > 0, "the last one is held off");
        }
        let count = holdoffs.keys.len();
        assert!(count <= 64 * MOST && count > 64 * MOST / 3, "{count}");
        assert_eq!(holdoffs.count.load(Ordering::Acquire), count);
    }
}
