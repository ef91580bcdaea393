//! One key in the far tier (L2): loads, refreshes, invalidations, inserts and write guards. The network delays, loses and repeats
//! their requests.
//!
//! No reader is modelled. "A read that starts after an acknowledgement returns nothing older" is equivalent to an invariant of the
//! state: the stored value is not older than the newest acknowledged version. A client that dies takes no further step.

use crate::check::{Protocol, Rule, Scope, Steps};
use crate::process::Load;

/// The recipient of an answer that no client waits for.
const NONE: usize = usize::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Request {
    /// Despite a hit; the client's nonce, 0 if it does not matter.
    Begin(bool, u8),
    /// The fence and the version.
    Fill(u8, u8),
    /// The value; the fence.
    Delete(bool, bool),
    /// Places or ends the write guard of a writer.
    Guard(usize, bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Idle,
    Guarding,
    Guarded,
    Committed,
    Beginning,
    Filling,
    /// The number of unanswered deletes.
    Removing(u8),
    Pending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Invalidates,
    Inserts,
    Guards,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct State {
    committed: u8,
    /// The newest acknowledged version.
    floor: u8,
    /// The versions whose insert overlapped with another commit, as bits. Nothing is promised of them.
    exempt: u8,
    /// The version, and in a store of one slot the name of this content.
    value: Option<(u8, u8)>,
    /// The name of the valid fence, 0 for none.
    fence: u8,
    /// The last name that was given.
    named: u8,
    /// The writers whose guards are in place, as bits.
    guards: u8,
    /// A guard has ended before its writer, or was never acknowledged.
    unguarded: bool,
    /// Requests on their way, each with the client that waits for its answer.
    network: Vec<(usize, Request)>,
    /// Each with the number of its later loads.
    loaders: Vec<(Load, u8)>,
    /// Each with its version, 0 before its commit.
    writers: Vec<(Kind, Step, u8)>,
    faults: u8,
    copies: u8,
    give_ups: u8,
}

pub(crate) struct Store(Scope);

impl Store {
    /// Names a fence, or the value in a slot.
    fn name(&self, s: &mut State, nonce: u8) -> u8 {
        if self.0.lacks("all loads have one nonce") {
            return 1;
        }
        s.named += u8::from(nonce == 0);
        if nonce == 0 { s.named } else { nonce }
    }

    /// Executes a request. Returns the fence of a granted one, 0 if there is none to name, `None` if it is refused.
    fn execute(&self, s: &mut State, request: Request) -> Option<u8> {
        let slot = self.0.has("one slot");
        match request {
            Request::Begin(false, _) if s.value.is_some() => None,
            Request::Begin(..) if s.guards > 0 && !self.0.lacks("a guard stops no announcement") => None,
            Request::Begin(_, nonce) => {
                let name = s.value.map(|(_, name)| name).filter(|_| slot);
                if name.is_none() && s.fence == 0 {
                    s.fence = self.name(s, nonce);
                }
                name.or(Some(s.fence))
            }
            Request::Fill(fence, version) => {
                let valid = s.fence == fence || slot && s.value.is_some_and(|(_, name)| name == fence);
                let put = fence == 0 || self.0.lacks("a fill needs no fence");
                if valid || put {
                    let name = if slot { self.name(s, 0) } else { 0 };
                    (s.value, s.fence) = (Some((version, name)), 0);
                }
                (valid || put).then_some(0)
            }
            Request::Delete(value, fence) => self.delete(s, value, fence),
            Request::Guard(writer, placed) => {
                let others = if self.0.lacks("a guard has one slot") { 0 } else { s.guards & !(1 << writer) };
                s.guards = others | u8::from(placed) << writer;
                self.delete(s, true, true)
            }
        }
    }

    fn delete(&self, s: &mut State, value: bool, fence: bool) -> Option<u8> {
        s.value = s.value.filter(|_| !value);
        s.fence = if fence && !self.0.lacks("a removal leaves the fence") { 0 } else { s.fence };
        if self.0.lacks("names start again with the key") && s.value.is_none() && s.fence == 0 {
            s.named = 0;
        }
        Some(0)
    }

    fn begin(&self, s: &mut State, client: usize, despite_hit: bool) {
        let named_by_client = self.0.lacks("a fence is named by its client");
        let nonce = if named_by_client { self.name(s, 0) } else { 0 };
        s.network.push((client, Request::Begin(despite_hit, nonce)));
    }

    fn send(s: &mut State, writer: usize, step: Step, request: Request) {
        s.network.push((s.loaders.len() + writer, request));
        s.writers[writer].1 = step;
    }

    /// Sends an invalidation: one command, or in a cluster the fence's delete, and the value's after its answer.
    fn remove(&self, s: &mut State, writer: usize, left: u8) {
        let first = (left == 2) != self.0.lacks("the value is deleted before the fence");
        let request =
            if self.0.has("cluster") { Request::Delete(!first, first) } else { Request::Delete(true, true) };
        Self::send(s, writer, Step::Removing(left), request);
        if left == 2 && self.0.lacks("both deletes are sent at once") {
            Self::send(s, writer, Step::Removing(2), Request::Delete(true, false));
        }
    }

    /// Sends the first request of a writer after its commit, or its retry.
    fn ask(&self, s: &mut State, writer: usize) {
        let (kind, step, version) = s.writers[writer];
        match kind {
            Kind::Guards if step == Step::Committed => {
                Self::send(s, writer, Step::Removing(1), Request::Guard(writer, false));
            }
            Kind::Inserts if step == Step::Committed && self.0.lacks("an insert is a put") => {
                Self::send(s, writer, Step::Filling, Request::Fill(0, version));
            }
            Kind::Inserts if step == Step::Committed => {
                s.writers[writer].1 = Step::Beginning;
                self.begin(s, s.loaders.len() + writer, true);
            }
            _ => self.remove(s, writer, 1 + u8::from(self.0.has("cluster"))),
        }
    }

    fn receive(&self, s: &mut State, client: usize, answer: Option<u8>) {
        if client < s.loaders.len() {
            s.loaders[client].0 = answer.map_or(Load::Idle, Load::Granted);
            return;
        }
        let writer = client - s.loaders.len();
        let (_, step, version) = s.writers[writer];
        match (step, answer) {
            (Step::Guarding, _) => s.writers[writer].1 = Step::Guarded,
            (Step::Beginning, Some(fence)) => {
                Self::send(s, writer, Step::Filling, Request::Fill(fence, version));
            }
            // prevents: a load from before the commit has filled with the fence that the insert joined
            (Step::Beginning | Step::Filling, None) if !self.0.lacks("a refused insert removes nothing") => {
                self.remove(s, writer, 1 + u8::from(self.0.has("cluster")));
            }
            (Step::Removing(2), _) if self.0.lacks("both deletes are sent at once") => {
                s.writers[writer].1 = Step::Removing(1);
            }
            (Step::Removing(2), _) => self.remove(s, writer, 1),
            _ => {
                s.floor = s.floor.max(version);
                s.writers[writer].1 = Step::Idle;
            }
        }
    }

    fn commit(s: &mut State, writer: usize) {
        for (kind, step, version) in &s.writers {
            s.exempt |= u8::from(*kind == Kind::Inserts && *step != Step::Idle) << version;
        }
        s.committed += 1;
        let (kind, step, version) = &mut s.writers[writer];
        (*step, *version) = (Step::Committed, s.committed);
        // a commit under a guard that is in place counts as acknowledged
        if *kind == Kind::Guards && !s.unguarded {
            s.floor = s.committed;
        }
    }

    fn give_up(s: &mut State, writer: usize) {
        s.give_ups -= 1;
        let client = s.loaders.len() + writer;
        s.network.iter_mut().filter(|(to, _)| *to == client).for_each(|(to, _)| *to = NONE);
        let uncommitted = s.writers[writer].1 == Step::Guarding;
        s.unguarded |= uncommitted;
        s.writers[writer].1 = if uncommitted { Step::Guarded } else { Step::Pending };
    }

    /// Loses what `lost` has bits for: the value, the fence, the guards; all of them in a restart.
    fn lose(&self, s: &mut State, lost: usize) {
        s.faults -= 1;
        s.unguarded |= lost & 4 > 0 && s.guards > 0;
        s.guards = if lost & 4 > 0 { 0 } else { s.guards };
        self.delete(s, lost & 1 > 0, lost & 2 > 0);
        if lost == 7 && self.0.lacks("names start again with the store") {
            s.named = 0;
        }
    }
}

impl Protocol for Store {
    type State = State;
    const SUBJECT: &'static str = "far tier";
    const WORDS: &'static str = "loader, loads each, refresh, invalidation, insert, write guard, copy, give-up, fault, cluster, one slot";

    fn new(scope: Scope) -> Self {
        Self(scope)
    }

    fn start(&self) -> State {
        let number = |word| self.0.number(word);
        let kinds =
            [("invalidation", Kind::Invalidates), ("insert", Kind::Inserts), ("write guard", Kind::Guards)];
        let writers = kinds.map(|(word, kind)| vec![(kind, Step::Idle, 0); number(word).into()]).concat();
        let loaders = vec![(Load::Idle, number("loads each").max(1)); number("loader").into()];
        let (faults, copies, give_ups) = (number("fault"), number("copy"), number("give-up"));
        State { loaders, writers, faults, copies, give_ups, ..State::default() }
    }

    fn steps(&self, s: &State, to: &mut Steps<'_, Self>) {
        let read = |s: &mut State, i: usize, despite_hit| {
            s.loaders[i] = (Load::Asked, s.loaders[i].1 - 1);
            self.begin(s, i, despite_hit);
        };
        for (i, (load, left)) in s.loaders.iter().copied().enumerate() {
            match load {
                Load::Idle if left > 0 => {
                    to.add("read", |s| read(s, i, false));
                    to.add_if(self.0.has("refresh") && s.value.is_some(), "refresh", |s| read(s, i, true));
                }
                Load::Granted(fence) => to.add("load", |s| s.loaders[i].0 = Load::Loaded(fence, s.committed)),
                Load::Loaded(fence, version) => to.add("fill", |s| {
                    s.loaders[i].0 = Load::Idle;
                    s.network.push((NONE, Request::Fill(fence, version)));
                }),
                _ => {}
            }
        }
        for (i, (kind, step, version)) in s.writers.iter().copied().enumerate() {
            match step {
                Step::Idle if version > 0 => {}
                Step::Idle if kind == Kind::Guards => {
                    to.add("guard", |s| Self::send(s, i, Step::Guarding, Request::Guard(i, true)));
                }
                Step::Idle | Step::Guarded => to.add("commit", |s| Self::commit(s, i)),
                Step::Committed | Step::Pending => to.add("invalidate", |s| self.ask(s, i)),
                _ => to.add_if(s.give_ups > 0, "give up", |s| Self::give_up(s, i)),
            }
        }
        for (i, (client, request)) in s.network.iter().copied().enumerate() {
            to.add("deliver", |s| {
                s.network.remove(i);
                let answer = self.execute(s, request);
                if client != NONE {
                    self.receive(s, client, answer);
                }
            });
            to.add_if(s.copies > 0, "repeat", |s| {
                s.copies -= 1;
                s.network.push((NONE, request));
            });
        }
        for lost in [1, 2, 4, 7] {
            to.add_if(s.faults > 0, "lose", |s| self.lose(s, lost));
        }
    }

    fn tidy(s: &mut State) {
        s.network.sort_unstable();
    }

    fn rules() -> Vec<Rule<Self>> {
        vec![
            Rule::<Self>::always("fresh", |_, s| {
                s.value.is_none_or(|(version, _)| version >= s.floor || s.exempt >> version & 1 == 1)
            }),
            Rule::<Self>::sometimes("stored after an acknowledgement", |_, s| {
                s.floor > 0 && s.value.is_some()
            }),
            Rule::<Self>::sometimes("all have done their work", |_, s| {
                let written = s.writers.iter().all(|(_, step, version)| *step == Step::Idle && *version > 0);
                written && s.loaders.iter().all(|loader| *loader == (Load::Idle, 0)) && s.network.is_empty()
            }),
        ]
    }
}
