//! The two clocks that an entry's times are carried between.

use std::time::Duration;

use larder::Timestamp;

use crate::mutation;
use crate::state::{Millis, NEVER, millis};

/// The two clocks at one moment: the process's, which callers speak, and the server's, which entries are judged by.
/// They may be hours apart, and differ in their origins: only what remains and what has passed is carried over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clocks {
    pub(crate) local: Timestamp,
    pub(crate) server: Timestamp,
}

impl Clocks {
    /// The millisecond in which an entry ends that has `remaining` to live, rounded down: it never lives longer than
    /// asked, but for the part of a millisecond without which it would not live at all. One that is dead stays dead.
    pub(crate) fn ending_in(self, remaining: Duration) -> Millis {
        let now = millis(self.server);
        match self.server.saturating_add(remaining) {
            Timestamp::NEVER => NEVER,
            _ if remaining.is_zero() => now,
            end => millis(end).max(now + 1),
        }
    }

    /// The millisecond `age` ago, or the server's origin.
    pub(crate) fn begun_before(self, age: Duration) -> Millis {
        millis(self.server.saturating_sub(age))
    }

    /// The process's time at a millisecond of the server's.
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
