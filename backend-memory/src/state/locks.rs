//! Locks with a lease.

use std::time::Duration;

use larder::lock::{Acquired, LockToken};

use crate::mutation;

use super::{Millis, State, millis_up};

#[derive(Debug, Clone, Copy)]
pub(super) struct Lock {
    token: u128,
    until: Millis,
}

impl State {
    pub(crate) fn lock(&mut self, lock: &str, token: LockToken, lease: Duration, now: Millis) -> Acquired {
        if self.holds_lock(lock, token, now) {
            // the same request, executed twice
            return Acquired::Held(token);
        }
        if let Some(held) = self.data.locks.get(lock).filter(|held| held.until > now) {
            return Acquired::Busy(Duration::from_millis(held.until - now));
        }
        let until = now.saturating_add(millis_up(lease));
        self.data.locks.insert(lock.to_owned(), Lock { token: token.get(), until });
        Acquired::Held(token)
    }

    fn holds_lock(&self, lock: &str, token: LockToken, now: Millis) -> bool {
        self.data.locks.get(lock).is_some_and(|held| held.token == token.get() && held.until > now)
    }

    pub(crate) fn renew_lock(&mut self, lock: &str, token: LockToken, lease: Duration, now: Millis) -> bool {
        let held = self.holds_lock(lock, token, now);
        if held {
            let until = now.saturating_add(millis_up(lease));
            self.data.locks.insert(lock.to_owned(), Lock { token: token.get(), until });
        }
        held
    }

    pub(crate) fn unlock(&mut self, lock: &str, token: LockToken, now: Millis) -> bool {
        let held =
            self.holds_lock(lock, token, now) || mutation::on("a lock is given back without its token");
        if held {
            self.data.locks.remove(lock);
        }
        held
    }

    /// Returns the time for which the lock is still held, or `None` if it is free.
    pub(crate) fn locked_for(&self, lock: &str, now: Millis) -> Option<Duration> {
        let held = self.data.locks.get(lock).filter(|held| held.until > now)?;
        Some(Duration::from_millis(held.until - now))
    }
}
