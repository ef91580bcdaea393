//! Single flight, its `as_of` rule and pending invalidations, in one process. Another process invalidates the far tier too.
//!
//! No reader is modelled. A reader may share an outcome if it started no later than `as_of`, and joined before the flight was
//! detached. So the rule is about the landing: the value is not older than the newest version that was acknowledged, or whose
//! invalidation failed here, at the earlier of these moments.

use crate::check::{Protocol, Rule, Scope, Steps};
use crate::process::{Load, OneProcess, Own, Process};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Flight {
    load: Load,
    /// The floor at the moment at which the result was proved current.
    as_of: u8,
    /// The floor when callers could no longer join.
    detached: Option<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    process: Process,
    flights: Vec<Flight>,
    stale: bool,
}

impl State {
    fn floor(&self) -> u8 {
        self.process.acknowledged.max(self.process.returned)
    }
}

pub(crate) struct Flights(Scope);

impl OneProcess for Flights {
    fn scope(&self) -> &Scope {
        &self.0
    }

    fn process(s: &mut State) -> &mut Process {
        &mut s.process
    }

    fn returned(&self, s: &mut State, own: Own) {
        if own.version > 0 && !self.0.lacks("an invalidation detaches no flight") {
            let floor = s.floor();
            s.flights.iter_mut().for_each(|flight| flight.detached = flight.detached.or(Some(floor)));
        }
    }
}

impl Flights {
    /// Ends a flight with a version that was proved current at `as_of`, or (taken out) when its answer came.
    fn land(&self, s: &mut State, i: usize, version: u8, late: &str) {
        let flight = s.flights.remove(i);
        let late = self.0.lacks(late) || self.0.lacks("flights are shared whenever they began");
        let as_of = if late { s.floor() } else { flight.as_of };
        s.stale |= version < flight.detached.map_or(as_of, |detached| as_of.min(detached));
    }

    /// Executes a request, goes on after an answer, or where no answer is needed.
    fn proceed(&self, s: &mut State, i: usize) {
        let (floor, process, flight) = (s.floor(), &mut s.process, &mut s.flights[i]);
        match flight.load {
            // an own invalidation has failed meanwhile: the entry is replaced
            Load::Hit(_) if process.pending => flight.load = Load::Granted(process.far.grant()),
            Load::Hit(version) => self.land(s, i, version, "a hit is current when its answer comes"),
            Load::Granted(fence) => {
                (flight.load, flight.as_of) = (Load::Loaded(fence, process.committed), floor);
            }
            Load::Loaded(0, version) => self.land(s, i, version, "-"),
            Load::Loaded(fence, version) => {
                (flight.load, flight.as_of) = (Load::Filling(fence, version), floor);
            }
            Load::Stored(version) => self.land(s, i, version, "a fill is current when its answer comes"),
            load => flight.load = load.execute(&mut process.far),
        }
    }
}

impl Protocol for Flights {
    type State = State;
    const SUBJECT: &'static str = "single flight";
    const WORDS: &'static str = "load, invalidation, foreign invalidation, give-up, fault";

    fn new(scope: Scope) -> Self {
        Self(scope)
    }

    fn start(&self) -> State {
        State { process: Process::new(&self.0), flights: vec![], stale: false }
    }

    fn steps(&self, s: &State, to: &mut Steps<'_, Self>) {
        if s.stale {
            return;
        }
        s.process.steps(self, to);
        let joinable = s.flights.iter().any(|flight| flight.detached.is_none());
        to.add_if(s.process.loads > 0 && !joinable, "board", |s| {
            s.process.loads -= 1;
            // a pending key is loaded past the far tier
            let load = if s.process.pending { Load::Granted(0) } else { Load::Asked };
            s.flights.push(Flight { load, as_of: s.floor(), detached: None });
        });
        for (i, flight) in s.flights.iter().enumerate() {
            to.add("proceed", |s| self.proceed(s, i));
            let waits = !matches!(flight.load, Load::Loaded(..) | Load::Granted(0));
            to.add_if(waits && s.process.give_ups > 0, "give up the request", |s| {
                s.flights[i].load = s.process.give_up(flight.load);
            });
        }
    }

    fn tidy(s: &mut State) {
        // a value that is not stored is current as of its load, hence fresh enough for each caller that may share it
        s.flights.retain(|flight| flight.load != Load::Idle);
        s.flights.sort_unstable();
    }

    fn rules() -> Vec<Rule<Self>> {
        vec![
            Rule::<Self>::always("fresh for each caller", |_, s| !s.stale),
            Rule::<Self>::always("fresh in the far tier", |_, s| s.process.is_fresh()),
            Rule::<Self>::sometimes("a flight is older than an invalidation", |_, s| {
                s.flights.iter().any(|flight| flight.as_of < s.floor())
            }),
            Rule::<Self>::sometimes("stored after an acknowledgement", |_, s| {
                s.process.acknowledged > 0 && s.process.far.value.is_some()
            }),
        ]
    }
}
