//! The near tier (L1) of one process, in ticks of its clock; `max_staleness` is one tick. Requests and notifications are late or lost.
//!
//! No reader is modelled. The near entry that would be served now is not older than what was acknowledged elsewhere
//! `max_staleness` ago, nor than what this process has invalidated, `Ok` or not.

use crate::check::{Protocol, Rule, Scope, Steps};
use crate::process::{Load, OneProcess, Own, Process};

/// The notification of a change. Each other number is a heartbeat: the tick at which it was asked for.
const CHANGE: u8 = 0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Entry {
    version: u8,
    asked: u8,
    unverified: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct State {
    process: Process,
    /// The value of the far tier of which the last notification was sent.
    notified: Option<u8>,
    notifications: Vec<u8>,
    /// The listener has no connection.
    deaf: bool,
    /// Notifications of its last connection, which may arrive at any time.
    strays: Vec<u8>,
    near: Option<Entry>,
    /// The tick of the last heartbeat.
    proven: u8,
    load: Load,
    /// The tick at which the far tier was asked.
    asked: u8,
    /// The generation has not changed since.
    current: bool,
    cuts: u8,
}

impl State {
    /// Raises the generation.
    fn raise(&mut self) {
        (self.near, self.current) = (None, false);
    }

    fn lose_listener(&mut self) {
        self.deaf = true;
        self.strays.append(&mut self.notifications);
    }
}

pub(crate) struct Near(Scope);

impl OneProcess for Near {
    fn scope(&self) -> &Scope {
        &self.0
    }

    fn process(s: &mut State) -> &mut Process {
        &mut s.process
    }

    fn sent(&self, s: &mut State) {
        if self.0.lacks("the near entry goes before the far one") {
            s.raise();
        }
    }

    fn returned(&self, s: &mut State, _: Own) {
        if !self.0.lacks("a write leaves what is near")
            && !self.0.lacks("the near entry goes before the far one")
        {
            s.raise();
        }
    }
}

impl Near {
    fn is_proven(&self, s: &State, at: u8) -> bool {
        at <= s.proven || self.0.lacks("a near tier is served without proof")
    }

    fn served(&self, s: &State) -> Option<u8> {
        let unbounded = self.0.lacks("what is placed unproven has no bound");
        let is_alive = |entry: &Entry| match entry.unverified {
            true => s.process.now == entry.asked || unbounded,
            false => self.is_proven(s, s.process.now),
        };
        s.near.filter(|entry| !s.process.pending && is_alive(entry)).map(|entry| entry.version)
    }

    fn place(&self, s: &mut State, version: u8) {
        s.load = Load::Idle;
        if s.current || self.0.lacks("a near entry is of the generation in which it arrives") {
            let asked =
                if self.0.lacks("a near entry is as old as its answer") { s.process.now } else { s.asked };
            s.near = Some(Entry { version, asked, unverified: !self.is_proven(s, asked) });
        }
    }

    fn load_steps(&self, s: &State, to: &mut Steps<'_, Self>) {
        let mut ask = |name, load| {
            to.add(name, |s| {
                s.process.loads -= u8::from(load == Load::Asked);
                (s.load, s.asked, s.current) = (load, s.process.now, true);
            });
        };
        match s.load {
            Load::Idle if s.process.pending || s.process.loads == 0 || self.served(s).is_some() => {}
            Load::Idle => ask("read", Load::Asked),
            Load::Loaded(0, _) => ask("end", Load::Idle),
            Load::Loaded(fence, version) => ask("fill", Load::Filling(fence, version)),
            Load::Hit(version) | Load::Stored(version) => to.add("place", |s| self.place(s, version)),
            Load::Granted(fence) => to.add("load", |s| s.load = Load::Loaded(fence, s.process.committed)),
            load => to.add("execute", |s| s.load = load.execute(&mut s.process.far)),
        }
        let waits = !matches!(s.load, Load::Idle | Load::Loaded(..) | Load::Granted(0));
        to.add_if(waits && s.process.give_ups > 0, "give up the request", |s| {
            s.load = s.process.give_up(s.load);
        });
    }

    fn receive(s: &mut State, notification: u8) {
        match notification {
            CHANGE => s.raise(),
            heartbeat => s.proven = s.proven.max(heartbeat),
        }
    }

    fn listener_steps(&self, s: &State, to: &mut Steps<'_, Self>) {
        to.add_if(s.cuts > 0 && !s.deaf, "cut", |s| {
            s.cuts -= 1;
            s.lose_listener();
        });
        to.add_if(s.deaf, "listen", |s| {
            s.deaf = false;
            if !self.0.lacks("lost pushes are not noticed") {
                s.raise();
            }
        });
        let due =
            s.proven < s.process.now && s.notifications.iter().all(|notification| *notification == CHANGE);
        to.add_if(due && !s.deaf, "heartbeat", |s| {
            if self.0.lacks("a heartbeat counts when it is answered") {
                s.proven = s.process.now;
            }
            s.notifications.push(s.process.now);
        });
        to.add_if(!s.notifications.is_empty(), "notification", |s| {
            let notification = s.notifications.remove(0);
            Self::receive(s, notification);
        });
        to.add_if(!s.strays.is_empty(), "stray notification", |s| {
            let notification = s.strays.remove(0);
            Self::receive(s, notification);
        });
    }
}

impl Protocol for Near {
    type State = State;
    const SUBJECT: &'static str = "near tier";
    const WORDS: &'static str = "tick, load, invalidation, foreign invalidation, give-up, cut, fault";

    fn new(scope: Scope) -> Self {
        Self(scope)
    }

    fn start(&self) -> State {
        State { process: Process::new(&self.0), proven: 1, cuts: self.0.number("cut"), ..State::default() }
    }

    fn steps(&self, s: &State, to: &mut Steps<'_, Self>) {
        s.process.steps(self, to);
        to.add_if(s.process.now < self.0.number("tick"), "tick", |s| s.process.now += 1);
        self.load_steps(s, to);
        self.listener_steps(s, to);
        to.add_if(s.process.faults > 0, "restart", |s| {
            s.process.faults -= 1;
            s.process.far.remove();
            s.lose_listener();
        });
    }

    fn tidy(s: &mut State) {
        if s.process.far.value != s.notified && !s.deaf {
            s.notifications.push(CHANGE);
        }
        s.notified = s.process.far.value;
        if s.load == Load::Idle {
            // not read any more
            (s.asked, s.current) = (0, false);
        }
    }

    fn rules() -> Vec<Rule<Self>> {
        vec![
            Rule::<Self>::always("fresh within `max_staleness`", |model, s| {
                let known = s.process.foreign_acknowledged.iter().filter(|(_, at)| *at < s.process.now);
                let floor = known.map(|(version, _)| *version).max().max(Some(s.process.returned));
                model.0.served(s).is_none() || model.0.served(s) >= floor
            }),
            Rule::<Self>::always("fresh in the far tier", |_, s| s.process.is_fresh()),
            Rule::<Self>::sometimes("served after an acknowledgement", |model, s| {
                s.process.acknowledged > 0 && model.0.served(s).is_some()
            }),
        ]
    }
}
