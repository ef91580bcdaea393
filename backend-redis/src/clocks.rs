//! The server's clock, as this process estimates it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use larder::clock::Timestamp;

/// The maximum age of a reading. Clocks of machines drift apart by less than 1 ms in this time.
const FRESH: Duration = Duration::from_secs(10);

/// The time of one node's clock, and the time at which it was requested.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    server_us: u64,
    asked: Timestamp,
    took: Duration,
}

impl Reading {
    pub(crate) fn new(server_us: u64, asked: Timestamp, took: Duration) -> Self {
        Self { server_us, asked, took }
    }

    /// The latest time that the server's clock can show at `now`, in milliseconds. The expiry of entries is checked
    /// against it, so that a slow answer never extends the life of an entry.
    fn latest_ms(self, now: Timestamp) -> u64 {
        // in plain nanoseconds, since each hit calls this
        let passed_us = now.as_nanos().saturating_sub(self.asked.as_nanos()) / 1_000;
        self.server_us.saturating_add(passed_us) / 1_000
    }

    /// The earliest time that the server's clock can show. The life of an entry starts at it.
    fn earliest_ms(self, now: Timestamp) -> u64 {
        let took = u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        self.latest_ms(now).saturating_sub(took)
    }

    /// The server's millisecond at which a life of `remaining` ends.
    pub(crate) fn ending_in(self, remaining: Duration, now: Timestamp) -> u64 {
        match life_ms(remaining) {
            None => u64::MAX,
            Some(life) => self.earliest_ms(now).saturating_add(life),
        }
    }

    /// The server's millisecond `age` ago.
    pub(crate) fn begun_before(self, age: Duration, now: Timestamp) -> u64 {
        self.latest_ms(now).saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
    }

    /// Converts milliseconds of the server's clock to the process's times.
    pub(crate) fn to_local<const N: usize>(self, at_ms: [u64; N], now: Timestamp) -> [Timestamp; N] {
        const MILLI: u64 = 1_000_000;
        let (server, now) = (self.latest_ms(now), now.as_nanos());
        at_ms.map(|at_ms| match at_ms {
            u64::MAX => Timestamp::NEVER,
            _ if at_ms >= server => {
                Timestamp::from_nanos(now.saturating_add((at_ms - server).saturating_mul(MILLI)))
            }
            _ => Timestamp::from_nanos(now.saturating_sub((server - at_ms).saturating_mul(MILLI))),
        })
    }
}

/// A life in whole milliseconds, rounded down to 1 at least. `None` means no expiry. Redis accepts at most 2^62.
pub(crate) fn life_ms(remaining: Duration) -> Option<u64> {
    let life = u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX).max(1);
    (life < 1 << 62).then_some(life)
}

/// The readings of all nodes; in a cluster by slot, since each node has its own clock.
#[derive(Debug, Default)]
pub(crate) struct Clocks(Mutex<HashMap<u16, Reading>>);

impl Clocks {
    fn readings(&self) -> MutexGuard<'_, HashMap<u16, Reading>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a reading that is fresh enough at `now`.
    pub(crate) fn fresh(&self, slot: u16, now: Timestamp) -> Option<Reading> {
        self.readings().get(&slot).copied().filter(|reading| reading.asked.until(now) < FRESH)
    }

    /// Forgets all readings, as in a new process.
    #[cfg(test)]
    pub(crate) fn forget(&self) {
        self.readings().clear();
    }

    pub(crate) fn note(&self, slot: u16, reading: Reading) {
        self.readings().insert(slot, reading);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn a_slow_answer_lengthens_no_life() {
        // requested at 100, answered 40 ms later; the server read its clock somewhere between
        let reading = Reading::new(5_000_000, at(100), Duration::from_millis(40));
        let end = reading.ending_in(Duration::from_millis(1_000), at(200));
        assert_eq!(end, 5_000 + 100 - 41 + 1_000);
        let [local] = reading.to_local([end], at(200));
        assert_eq!(at(200).until(local), Duration::from_millis(959), "at most what was asked for");
    }

    #[test]
    fn for_ever_stays_for_ever() {
        let reading = Reading::new(5_000_000, at(100), Duration::ZERO);
        assert_eq!(reading.ending_in(Duration::MAX, at(100)), u64::MAX);
        assert_eq!(reading.to_local([u64::MAX], at(100)), [Timestamp::NEVER]);
        assert_eq!(life_ms(Duration::from_nanos(1)), Some(1));
        assert_eq!(life_ms(Duration::MAX), None);
    }

    #[test]
    fn a_reading_ages() {
        let clocks = Clocks::default();
        clocks.note(3, Reading::new(1, at(0), Duration::ZERO));
        assert!(clocks.fresh(3, at(9_999)).is_some());
        assert!(clocks.fresh(3, at(10_000)).is_none());
        assert!(clocks.fresh(4, at(0)).is_none());
    }
}
