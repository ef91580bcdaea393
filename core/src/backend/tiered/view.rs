//! The state of the far tier as this process knows it, without asking.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::ended::Ended;
use super::generations::Generations;
use crate::backend::entry::{Entry, Mark};
use crate::backend::{BackendContext, Watcher};
use crate::clock::{CLOCK_LAG, Timestamp};
use crate::mutation;
use crate::observe::Event;
use crate::tag::{Stamp, Tag};

/// The validity check of near entries. Receives changes from this process, and notifications from the far store.
#[derive(Debug)]
pub(super) struct View {
    pub(super) generations: Generations,
    pub(super) ended: Ended,
    bound: Duration,
    /// The last heartbeat: all changes acknowledged before this moment are known here. In nanoseconds of the clock; 0
    /// before the first heartbeat.
    proven: AtomicU64,
    /// The first reading of the clock, which may lag, at which the last heartbeat is too old. Derived from it for
    /// the hit path.
    unproven_from: AtomicU64,
    /// The moment until which the unverified time has been counted.
    counted: AtomicU64,
    scope: BackendContext,
}

impl View {
    pub(super) fn new(bound: Duration, scope: BackendContext) -> Self {
        Self {
            generations: Generations::new(),
            ended: Ended::default(),
            bound,
            proven: AtomicU64::new(0),
            unproven_from: AtomicU64::new(0),
            counted: AtomicU64::new(0),
            scope,
        }
    }

    /// Returns `true` if a near entry may be served.
    #[inline]
    pub(super) fn allows<V>(&self, entry: &Entry<V>, now: Timestamp) -> bool {
        let (mark, extra) = (entry.mark(), entry.extra());
        // in this order, because `Ended` raises the generations before it clears its tags.
        // Prevents: the generation check passes, the tags are cleared, and then the tag check passes too
        (mark.is_unverified() || self.is_proven(now))
            && self.ended.allows(extra)
            && self.generations.is_current(mark)
    }

    /// Returns `true` if all changes that were acknowledged `max_staleness` ago are known here.
    #[inline]
    pub(super) fn is_proven(&self, now: Timestamp) -> bool {
        mutation::on("a near tier is served without proof")
            || now.as_nanos() < self.unproven_from.load(Ordering::SeqCst)
    }

    /// Returns the mark and the latest expiry of an entry that was requested at `asked`; `None` if it must not be
    /// placed near.
    pub(super) fn placing(&self, mark: Mark, asked: Timestamp) -> Option<(Mark, Timestamp)> {
        let late = mutation::on("a near entry is of the generation in which it arrives");
        let mark = if late { self.generations.now(mark) } else { mark };
        // Prevents: an entry that was read before a change is placed after it
        if !self.generations.is_current(mark) {
            self.scope.record(&Event::NearRefused);
            return None;
        }
        Some(match self.is_proven(asked) {
            true => (mark, Timestamp::from_nanos(u64::MAX)),
            // there are no heartbeats: the entry's own age is limited instead
            false if mutation::on("what is placed unproven has no bound") => {
                (mark.unverified(), Timestamp::from_nanos(u64::MAX))
            }
            false => (mark.unverified(), asked.saturating_add(self.bound)),
        })
    }

    /// Counts the unverified time: the time without a heartbeat.
    fn count_unverified(&self, now: Timestamp) {
        let proven = self.proven.load(Ordering::SeqCst);
        if proven == 0 {
            return;
        }
        let now = now.as_nanos();
        let until = Timestamp::from_nanos(proven).saturating_add(self.bound).as_nanos();
        let from = until.max(self.counted.swap(now, Ordering::SeqCst));
        if now > from {
            self.scope.record(&Event::Unverified { elapsed: Duration::from_nanos(now - from) });
        }
    }
}

impl Watcher for View {
    fn changed(&self, name: &str) {
        self.generations.raise(name);
        self.scope.record(&Event::Pushed { count: 1 });
    }

    fn tags_ended(&self, tags: &[Tag], at: Stamp) {
        self.ended.note(tags, at, &self.generations);
        self.scope.record(&Event::Pushed { count: 1 });
    }

    fn lost(&self) {
        // also while the store does not answer, so that no heartbeat asks for the time
        self.count_unverified(self.scope.clock().now());
        // the tags too: a server that went back to old data counts their invalidations again
        self.ended.clear(&self.generations);
        self.scope.record(&Event::NearFlushed);
    }

    fn now(&self) -> Timestamp {
        let now = self.scope.clock().now();
        self.count_unverified(now);
        now
    }

    fn proven(&self, since: Timestamp) {
        self.proven.fetch_max(since.as_nanos(), Ordering::SeqCst);
        let last = since.saturating_add(self.bound).saturating_sub(CLOCK_LAG);
        self.unproven_from.fetch_max(last.as_nanos().saturating_add(1), Ordering::SeqCst);
    }

    fn max_staleness(&self) -> Duration {
        self.bound
    }
}
