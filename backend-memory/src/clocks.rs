//! Conversion of an entry's times between the clock of the process and that of the server.

use std::time::Duration;

use larder::clock::Timestamp;

use crate::mutation;
use crate::state::{Millis, NEVER, millis};

/// The two clocks at one moment: the process's, which callers use, and the server's, which decides expiry.
///
/// They may be hours apart, and have different origins. Only durations are converted: the remaining life and the age of
/// an entry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clocks {
    pub(crate) local: Timestamp,
    pub(crate) server: Timestamp,
}

impl Clocks {
    /// Returns the server's millisecond in which an entry with `remaining` life expires, rounded down.
    ///
    /// The entry never lives longer than requested, with one exception. If its end is in the current millisecond, it is
    /// rounded up to the next one, so that the entry lives at all. An expired entry stays expired.
    pub(crate) fn ending_in(self, remaining: Duration) -> Millis {
        let now = millis(self.server);
        match self.server.saturating_add(remaining) {
            Timestamp::NEVER => NEVER,
            _ if remaining.is_zero() => now,
            end => millis(end).max(now + 1),
        }
    }

    /// Returns the server's millisecond `age` ago, or the server's origin.
    pub(crate) fn begun_before(self, age: Duration) -> Millis {
        millis(self.server.saturating_sub(age))
    }

    /// Converts a millisecond of the server's clock to the process's time.
    pub(crate) fn to_local(self, at: Millis) -> Timestamp {
        if at == NEVER {
            return Timestamp::NEVER;
        }
        let at = Timestamp::from_nanos(at.saturating_mul(1_000_000));
        if mutation::on("the server's times are read by the process's clock") {
            return at;
        }
        match at >= self.server {
            true => self.local.saturating_add(self.server.until(at)),
            false => self.local.saturating_sub(at.until(self.server)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(local_us: u64, server_us: u64) -> Clocks {
        let [local, server] = [local_us, server_us].map(|us| Timestamp::from_nanos(us * 1_000));
        Clocks { local, server }
    }

    #[test]
    fn ends_are_rounded_down_to_the_millisecond_but_not_to_nothing() {
        let clocks = at(0, 7_400);
        let ending_in_us = |us| clocks.ending_in(Duration::from_micros(us));
        assert_eq!([0, 1, 599, 600, 1_600, 2_599].map(ending_in_us), [7, 8, 8, 8, 9, 9]);
        assert_eq!(clocks.ending_in(Duration::MAX), NEVER);
        assert_eq!(clocks.to_local(NEVER), Timestamp::NEVER);
    }

    #[test]
    fn no_life_is_lengthened_by_a_millisecond() {
        for (server_us, ttl_us, later_us) in
            (0..1_000).step_by(37).flat_map(|s| [1, 40, 999, 1_000, 5_250].map(move |ttl| (s, ttl, s + 700)))
        {
            let stored = at(1_000_000, server_us);
            let end = stored.ending_in(Duration::from_micros(ttl_us));
            let read = at(1_000_000 + later_us - server_us, later_us);
            let (asked, found) =
                (Duration::from_micros(1_000_000 + ttl_us), Timestamp::ORIGIN.until(read.to_local(end)));
            assert!(
                found <= asked + Duration::from_micros(999),
                "{ttl_us} us at {server_us} us became {found:?} of {asked:?}"
            );
        }
    }

    #[test]
    fn what_passed_is_carried_over_whatever_the_origins() {
        let hours_apart = at(36_000_000_000, 5_000_000);
        let created = hours_apart.begun_before(Duration::from_secs(2));
        assert_eq!(created, 3_000);
        assert_eq!(hours_apart.to_local(created), Timestamp::from_nanos(35_998_000_000_000));
    }
}
