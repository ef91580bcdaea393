//! The invalidations that bind a read.

use std::collections::HashMap;
use std::time::Duration;

use super::history::Scope;
use super::versions::Moment;

/// An invalidation from which a guarantee follows.
#[derive(Debug, Clone, Copy)]
struct Bound {
    /// The moment from which it binds.
    from: Moment,
    /// The event of its request: no value that was replaced before it may be read.
    asked: usize,
    /// The largest `asked` up to this invalidation.
    most: usize,
    /// `true` if it was not acknowledged. Then it binds its own process only, and no longer once the store has
    /// forgotten.
    doubtful: bool,
}

/// The invalidations of one scope, in the order in which they began to bind.
#[derive(Debug, Default)]
struct Log(Vec<Bound>);

impl Log {
    fn add(&mut self, from: Moment, asked: usize, doubtful: bool) {
        let most = self.0.last().map_or(0, |last| last.most).max(asked);
        self.0.push(Bound { from, asked, most, doubtful });
    }

    /// The largest `asked` of the invalidations that bind a read from `start`, or 0 if none does. A notification
    /// takes at most `bound`.
    fn before(&self, start: Moment, bound: Duration) -> usize {
        let binds = |known: &Bound| {
            let (event, at) = known.from;
            event < start.0 && (bound.is_zero() || at.saturating_add(bound) < start.1)
        };
        match self.0.partition_point(binds) {
            0 => 0,
            count => self.0[count - 1].most,
        }
    }

    fn forget_since(&mut self, since: usize) {
        let kept: Vec<Bound> =
            self.0.drain(..).filter(|known| known.from.0 < since && !known.doubtful).collect();
        kept.into_iter().for_each(|known| self.add(known.from, known.asked, false));
    }
}

/// All invalidations.
#[derive(Debug, Default)]
pub(super) struct Floors {
    all: HashMap<Scope, Log>,
    own: HashMap<(Scope, u32), Log>,
}

/// The floors of a read: the events before which no value that it returns may have been replaced. One holds for all
/// processes, one for its own.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Floor {
    pub(super) all: usize,
    pub(super) own: usize,
}

impl Floors {
    /// Records an invalidation that was acknowledged at `from`.
    pub(super) fn acknowledged(&mut self, scope: Scope, process: u32, from: Moment, asked: usize) {
        self.all.entry(scope).or_default().add(from, asked, false);
        self.own.entry((scope, process)).or_default().add(from, asked, false);
    }

    /// Records an invalidation that may or may not have happened, as far as its process knows.
    pub(super) fn doubtful(&mut self, scope: Scope, process: u32, from: Moment, asked: usize) {
        self.own.entry((scope, process)).or_default().add(from, asked, true);
    }

    /// The floors of a read that starts at `start`.
    pub(super) fn of(
        &self,
        scopes: impl Iterator<Item = Scope>,
        process: u32,
        start: Moment,
        bound: Duration,
    ) -> Floor {
        let mut floor = Floor::default();
        for scope in scopes {
            let of = |log: Option<&Log>, bound| log.map_or(0, |log| log.before(start, bound));
            floor.all = floor.all.max(of(self.all.get(&scope), bound));
            floor.own = floor.own.max(of(self.own.get(&(scope, process)), Duration::ZERO));
        }
        floor
    }

    /// Removes the invalidations that were acknowledged after the event `since`, and the unacknowledged ones.
    pub(super) fn forget_since(&mut self, since: usize) {
        self.all.values_mut().chain(self.own.values_mut()).for_each(|log| log.forget_since(since));
    }
}
