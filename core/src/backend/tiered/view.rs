//! What this process knows of the far tier without asking it.

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

/// Judges near entries. Told of changes by this process, and by the far store as far as that can.
#[derive(Debug)]
pub(super) struct View {
    pub(super) generations: Generations,
    pub(super) ended: Ended,
    bound: Duration,
    /// Everything acknowledged before this is known here, in nanoseconds of the clock; 0 when nothing ever was.
    proven: AtomicU64,
    /// What follows for a hit: the first reading of the clock, which may lag, at which the last proof is too old.
    unproven_from: AtomicU64,
    /// Until when the time without proof has been counted.
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

    /// Whether a near entry may be served.
    #[inline]
    pub(super) fn allows<V>(&self, entry: &Entry<V>, now: Timestamp) -> bool {
        let (mark, extra) = (entry.mark(), entry.extra());
        // in this order: whatever makes the first forget an invalidation has made the second refuse what is near
        (mark.is_unverified() || self.is_proven(now))
            && self.ended.allows(extra)
            && self.generations.is_current(mark)
    }

    /// Whether all changes that were acknowledged a bound ago are known here.
    #[inline]
    pub(super) fn is_proven(&self, now: Timestamp) -> bool {
        mutation::on("a near tier is served without proof")
            || now.as_nanos() < self.unproven_from.load(Ordering::SeqCst)
    }

    /// The mark and the end of an entry that was asked for at `asked`, if it may be placed near at all.
    pub(super) fn placing(&self, mark: Mark, asked: Timestamp) -> Option<(Mark, Timestamp)> {
        let late = mutation::on("a near entry is of the generation in which it arrives");
        let mark = if late { self.generations.now(mark) } else { mark };
        if !self.generations.is_current(mark) {
            self.scope.record(&Event::NearRefused);
            return None;
        }
        Some(match self.is_proven(asked) {
            true => (mark, Timestamp::from_nanos(u64::MAX)),
            // nobody tells of changes: the entry's own age is its bound
            false if mutation::on("what is placed unproven has no bound") => {
                (mark.unverified(), Timestamp::from_nanos(u64::MAX))
            }
            false => (mark.unverified(), asked.saturating_add(self.bound)),
        })
    }

    /// Counts how long nothing was proven.
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
        // the counts too: a server that went back to old data counts them again
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
