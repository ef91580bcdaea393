//! The distributed lock: the choice of the process that loads a key.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::time::{Instant, timeout};

use super::load::Approach;
use super::{Engine, Key, Value};
use crate::backend::{CacheBackend, Entry, Fence};
use crate::lock::{Acquired, LockTimeout, LockToken, Locking};
use crate::observe::Event;
use crate::{Error, ErrorKind, Result};

/// The period at which a load that holds a lock checks that its fence is still valid.
/// The next load of a key that was invalidated begins no later than this.
const FENCE_CHECK: Duration = Duration::from_millis(100);

/// A lock that this process holds.
pub(super) struct Held {
    name: String,
    token: LockToken,
    /// Set once it was released, or found lost.
    ended: AtomicBool,
}

/// The result of asking for the lock of a key.
pub(super) enum Elected<V> {
    /// This process is to load, and to release the lock if there is one.
    Chosen(Option<Held>),
    /// Another process has loaded: the entry, and the moment before it was read.
    Found(Entry<V>, u64),
    /// The lock holder takes too long: this process is to load, and to store nothing.
    Unelected,
}

impl<K: Key, V: Value> Engine<K, V> {
    /// Returns `true` if the strategy lets only the lock holder load.
    pub(super) fn elects(&self) -> bool {
        self.strategy.settings.locking.is_some()
    }

    /// Asks once for the lock of `key`. Returns `None` if another process holds it.
    pub(super) async fn try_elect(&self, key: &K) -> Option<Elected<V>> {
        let Some(locking) = &self.strategy.settings.locking else { return Some(Elected::Chosen(None)) };
        let Some(name) = self.backend.shared_name(key) else { return Some(Elected::Chosen(None)) };
        match self.try_acquire(locking, &name).await {
            Ok(Acquired::Held(token)) => {
                Some(Elected::Chosen(Some(Held { name, token, ended: AtomicBool::new(false) })))
            }
            Ok(Acquired::Busy(_)) => None,
            // without locks every process loads by itself; the fence keeps the data right
            Err(error) => {
                self.degraded("lock", &error);
                Some(Elected::Chosen(None))
            }
        }
    }

    /// Waits until this process may load `key`, or until another process has loaded it.
    /// If the wait times out, a `known` entry can be served.
    pub(super) async fn elect(
        &self,
        key: &K,
        approach: Approach,
        known: Option<&Entry<V>>,
    ) -> Result<Elected<V>> {
        let began = Instant::now();
        let mut has_stale = known.is_some_and(|known| self.is_kept_for_errors(known));
        loop {
            if let Some(elected) = self.try_elect(key).await {
                return Ok(elected);
            }
            let Some((locking, name)) =
                self.strategy.settings.locking.as_ref().zip(self.backend.shared_name(key))
            else {
                return Ok(Elected::Chosen(None));
            };
            let left = locking.wait.saturating_sub(began.elapsed());
            if left.is_zero() {
                return in_vain(locking, has_stale);
            }
            if let Err(error) = locking.provider.released(&name, left).await {
                self.degraded("lock", &error);
                return Ok(Elected::Chosen(None));
            }
            // a refresh needs a load that begins after its call, and the other process's load may have begun before
            if approach == Approach::Refresh {
                continue;
            }
            // taken before the read. Prevents: a caller that starts after an invalidation shares an entry read
            // before it
            let asked = self.sequence.next();
            let found = self.read_far(key).await;
            // the entry may have expired or been invalidated during the wait
            has_stale = found.as_ref().is_some_and(|found| self.is_kept_for_errors(found));
            if let Some(entry) = found.filter(|entry| self.is_news(key, entry, known)) {
                return Ok(Elected::Found(entry, asked));
            }
        }
    }

    async fn try_acquire(&self, locking: &Locking, name: &str) -> Result<Acquired> {
        let lease = self.strategy.settings.lease;
        // the user's lock provider may hang
        match timeout(lease, locking.provider.try_acquire(name, lease)).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(Error::timeout("taking the lock", lease)),
        }
    }

    /// Renews the fence and the lock of a load while its source works.
    ///
    /// Prevents: a slow load outlives its lease, so that its fill is refused, or another process loads too.
    pub(super) async fn keep(&self, key: &K, fence: Option<Fence>, held: Option<&Held>) {
        let period = (self.strategy.settings.lease / 3).max(Duration::from_millis(1));
        match (fence, held) {
            (None, None) => {}
            (Some(fence), None) => self.keep_announced(key, fence, period).await,
            (None, Some(held)) => self.keep_elected(held, period).await,
            (Some(fence), Some(held)) => {
                let announced = pin!(self.keep_announced(key, fence, period.min(FENCE_CHECK)));
                match select(announced, pin!(self.keep_elected(held, period))).await {
                    // Prevents: a reader after an invalidation waits for the lock of a load that can store nothing
                    // any more
                    Either::Left(((), _)) => self.release(held).await,
                    Either::Right(((), announced)) => announced.await,
                }
            }
        }
    }

    /// Renews a lock every `period`, until it is lost.
    async fn keep_elected(&self, held: &Held, period: Duration) {
        let Some(locking) = &self.strategy.settings.locking else { return };
        let lease = self.strategy.settings.lease;
        loop {
            tokio::time::sleep(period).await;
            match locking.provider.renew(&held.name, held.token, lease).await {
                Ok(true) => {}
                // another process may load too now; this load goes on, since its value is as good
                Ok(false) => {
                    return self.lost(held);
                }
                Err(error) => self.degraded("renew the lock", &error),
            }
        }
    }

    /// Releases the lock of a load that has ended.
    pub(super) async fn resign(&self, held: Option<Held>) {
        if let Some(held) = held {
            self.release(&held).await;
        }
    }

    fn lost(&self, held: &Held) {
        held.ended.store(true, Ordering::Relaxed);
        tracing::debug!(name = held.name, "the lock was lost while its holder loaded");
        self.recorder.record(&Event::LockLost);
    }

    /// Releases a lock, which wakes its waiters. Does nothing if it was released or lost before.
    async fn release(&self, held: &Held) {
        let Some(locking) = &self.strategy.settings.locking else { return };
        if held.ended.swap(true, Ordering::Relaxed) {
            return;
        }
        match locking.provider.release(&held.name, held.token).await {
            Ok(true) => {}
            Ok(false) => self.lost(held),
            // the lock ends with its lease
            Err(error) => self.degraded("release the lock", &error),
        }
    }
}

fn in_vain<V>(locking: &Locking, has_stale: bool) -> Result<Elected<V>> {
    if locking.timeout == LockTimeout::Fail || has_stale {
        return Err(Error::new(
            ErrorKind::Timeout,
            format!("another process has been loading the key for {:?}", locking.wait),
        )
        .transient());
    }
    Ok(Elected::Unelected)
}
