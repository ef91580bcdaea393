//! The clocks of processes, which differ from each other.

use std::time::Duration;

use larder::clock::{Clock, Timestamp};

/// A clock that is ahead of tokio's, which may be paused, by a fixed time.
#[derive(Debug, Clone)]
pub(super) struct Apart {
    origin: tokio::time::Instant,
    ahead: Duration,
}

impl Apart {
    pub(super) fn by(ahead: Duration) -> Self {
        Self { origin: tokio::time::Instant::now(), ahead }
    }
}

impl Clock for Apart {
    fn now(&self) -> Timestamp {
        Timestamp::ORIGIN.saturating_add(self.ahead + self.origin.elapsed())
    }

    /// Lags as a coarse clock does.
    fn recent(&self) -> Timestamp {
        const TICK: u64 = 16_000_000;
        let now = self.now().as_nanos();
        Timestamp::from_nanos(now - now % TICK)
    }
}
