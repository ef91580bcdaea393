//! The common part of the models of one process: a key in the far tier (L2), invalidated by this process and by another one.

use crate::check::{Protocol, Scope, Steps};

/// The version in the far tier, and the name of the valid fence (0 for none).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Far {
    pub(crate) value: Option<u8>,
    pub(crate) fence: u8,
    named: u8,
}

impl Far {
    /// Grants a fence: the valid one, or a new one.
    pub(crate) fn grant(&mut self) -> u8 {
        if self.fence == 0 {
            self.named += 1;
            self.fence = self.named;
        }
        self.fence
    }

    pub(crate) fn fill(&mut self, fence: u8, version: u8) -> bool {
        let valid = fence > 0 && self.fence == fence;
        if valid {
            (self.value, self.fence) = (Some(version), 0);
        }
        valid
    }

    pub(crate) fn remove(&mut self) {
        (self.value, self.fence) = (None, 0);
    }
}

/// A load. Fence 0 stands for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Load {
    #[default]
    Idle,
    Asked,
    Hit(u8),
    Granted(u8),
    /// The fence and the version, also below.
    Loaded(u8, u8),
    Filling(u8, u8),
    Stored(u8),
}

impl Load {
    /// Executes its request. A refused fill ends the load.
    pub(crate) fn execute(self, far: &mut Far) -> Self {
        match (self, far.value) {
            (Self::Asked, Some(version)) => Self::Hit(version),
            (Self::Asked, None) => Self::Granted(far.grant()),
            (Self::Filling(fence, version), _) if far.fill(fence, version) => Self::Stored(version),
            _ => Self::Idle,
        }
    }
}

/// The steps of an invalidation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Write {
    #[default]
    Idle,
    Committed,
    Sent,
    Executed,
}

/// An invalidation by this process. The last one is the retry of the pending ones, and has no version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Own {
    step: Write,
    pub(crate) version: u8,
    /// It was sent after the last failure, so that its success settles the pending ones.
    settles: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    pub(crate) now: u8,
    pub(crate) committed: u8,
    pub(crate) far: Far,
    /// The newest version whose invalidation was acknowledged to any process.
    pub(crate) acknowledged: u8,
    /// The newest version whose invalidation by this process has returned, `Ok` or not.
    pub(crate) returned: u8,
    pub(crate) loads: u8,
    own: Vec<Own>,
    pub(crate) pending: bool,
    /// The version that the other process has committed and not invalidated, 0 for none.
    foreign: u8,
    foreign_left: u8,
    /// The acknowledged versions of the other process, each with the time.
    pub(crate) foreign_acknowledged: Vec<(u8, u8)>,
    /// Requests whose caller has given up, and the number of such removals.
    late: Vec<Load>,
    late_removals: u8,
    pub(crate) give_ups: u8,
    pub(crate) faults: u8,
}

/// A model of one process.
pub(crate) trait OneProcess: Protocol {
    fn scope(&self) -> &Scope;
    fn process(state: &mut Self::State) -> &mut Process;
    /// Called when an invalidation by this process is sent.
    fn sent(&self, _: &mut Self::State) {}
    /// Called when it returns, before its version counts.
    fn returned(&self, state: &mut Self::State, own: Own);
}

impl Process {
    pub(crate) fn new(scope: &Scope) -> Self {
        Self {
            now: 1,
            loads: scope.number("load"),
            own: vec![Own::default(); usize::from(scope.number("invalidation")) + 1],
            foreign_left: scope.number("foreign invalidation"),
            give_ups: scope.number("give-up"),
            faults: scope.number("fault"),
            ..Self::default()
        }
    }

    /// Returns `true` if the far tier has nothing older than what was acknowledged.
    pub(crate) fn is_fresh(&self) -> bool {
        self.far.value.is_none_or(|version| version >= self.acknowledged)
    }

    /// Returns what `load` becomes when its caller stops waiting: it goes on without a fence.
    pub(crate) fn give_up(&mut self, load: Load) -> Load {
        self.give_ups -= 1;
        self.late.extend(matches!(load, Load::Asked | Load::Filling(..)).then_some(load));
        self.late.sort_unstable();
        if matches!(load, Load::Asked | Load::Hit(_) | Load::Granted(_)) {
            Load::Granted(0)
        } else {
            Load::Idle
        }
    }

    fn finish<P: OneProcess>(model: &P, state: &mut P::State, i: usize, acknowledged: bool) {
        let own = P::process(state).own[i];
        model.returned(state, own);
        let process = P::process(state);
        process.own[i].step = Write::Idle;
        process.returned = process.returned.max(own.version);
        if acknowledged {
            let all = model.scope().lacks("a success settles what failed after it began");
            process.pending &= !(own.settles || all);
            process.acknowledged = process.acknowledged.max(own.version);
        } else {
            process.give_ups -= 1;
            process.late_removals += u8::from(own.step == Write::Sent);
            process.pending |= !model.scope().lacks("a failed invalidation is forgotten");
            process.own.iter_mut().for_each(|other| other.settles = false);
        }
    }

    /// Adds the steps of the invalidations, of requests whose caller has given up, and of evictions.
    pub(crate) fn steps<P: OneProcess>(&self, model: &P, to: &mut Steps<'_, P>) {
        for (i, own) in self.own.iter().enumerate() {
            let send = |s: &mut P::State| {
                (P::process(s).own[i].step, P::process(s).own[i].settles) = (Write::Sent, true);
                model.sent(s);
            };
            match own.step {
                Write::Idle if i + 1 == self.own.len() => to.add_if(self.pending, "retry", send),
                Write::Idle => to.add_if(own.version == 0, "commit", |s| {
                    let process = P::process(s);
                    process.committed += 1;
                    process.own[i] =
                        Own { step: Write::Committed, version: process.committed, settles: false };
                }),
                Write::Committed => to.add("invalidate", send),
                Write::Sent => to.add("remove", |s| {
                    P::process(s).far.remove();
                    P::process(s).own[i].step = Write::Executed;
                }),
                Write::Executed => to.add("acknowledge", |s| Self::finish(model, s, i, true)),
            }
            let waits = matches!(own.step, Write::Sent | Write::Executed);
            to.add_if(waits && self.give_ups > 0, "give up", |s| Self::finish(model, s, i, false));
        }
        to.add_if(self.foreign == 0 && self.foreign_left > 0, "foreign commit", |s| {
            let process = P::process(s);
            process.committed += 1;
            (process.foreign, process.foreign_left) = (process.committed, process.foreign_left - 1);
        });
        to.add_if(self.foreign > 0, "foreign invalidation", |s| {
            let process = P::process(s);
            process.far.remove();
            process.foreign_acknowledged.push((self.foreign, self.now));
            (process.acknowledged, process.foreign) = (process.acknowledged.max(self.foreign), 0);
        });
        for (i, load) in self.late.iter().enumerate() {
            to.add("late request", |s| {
                load.execute(&mut P::process(s).far);
                P::process(s).late.remove(i);
            });
        }
        to.add_if(self.late_removals > 0, "late removal", |s| {
            P::process(s).far.remove();
            P::process(s).late_removals -= 1;
        });
        to.add_if(self.faults > 0, "evict", |s| {
            P::process(s).far.remove();
            P::process(s).faults -= 1;
        });
    }
}
