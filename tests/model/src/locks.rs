//! The choice of the process that loads a key: a lock beside the fence, or the fence as the lock (an exclusive request for it).

use crate::check::{Protocol, Rule, Scope, Steps};
use crate::process::{Far, Write};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Loader {
    Idle,
    Waiting,
    Locked,
    Granted(u8),
    /// The fence and the version. Set if the loader has died since, and its fill is on its way.
    Loaded(u8, u8, bool),
    Releasing,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct State {
    committed: u8,
    /// The newest acknowledged version.
    floor: u8,
    far: Far,
    /// The loader whose nonce is in the fence.
    owner: Option<usize>,
    lock: Option<usize>,
    /// Each with the number of its later loads.
    loaders: Vec<(Loader, u8)>,
    /// Each with its version, 0 before its commit.
    writers: Vec<(Write, u8)>,
    faults: u8,
    copies: u8,
}

impl State {
    fn is_valid(&self, loader: Loader) -> bool {
        matches!(loader, Loader::Granted(n) | Loader::Loaded(n, ..) if n > 0 && n == self.far.fence)
    }

    /// Returns the number of loads whose fence is valid.
    fn useful(&self) -> usize {
        self.loaders.iter().filter(|(loader, _)| self.is_valid(*loader)).count()
    }
}

pub(crate) struct Locks(Scope);

impl Locks {
    fn is_exclusive(&self) -> bool {
        self.0.has("exclusive fence")
    }

    fn is_free(&self, s: &State, i: usize) -> bool {
        let own = s.owner == Some(i) && !self.0.lacks("a begin does not recognise its own fence");
        let fence = s.far.fence == 0 || own || self.0.lacks("fences are shared");
        s.far.value.is_some() || if self.is_exclusive() { fence } else { s.lock.is_none() }
    }

    /// Requests the fence or the lock. A loader that does not get it looks again when it is free.
    fn acquire(&self, s: &mut State, i: usize) {
        s.loaders[i].0 = match s.far.value {
            Some(_) => Loader::Idle,
            None if !self.is_free(s, i) => Loader::Waiting,
            None if self.is_exclusive() => {
                s.owner = Some(i);
                Loader::Granted(s.far.grant())
            }
            None => {
                s.lock = Some(i);
                Loader::Locked
            }
        };
    }

    /// Returns `true` if a loader waits for a load that cannot be stored, and no invalidation is under way.
    fn waits_needlessly(&self, s: &State) -> bool {
        let waits = s.loaders.iter().any(|(loader, _)| *loader == Loader::Waiting) && s.far.value.is_none();
        let settled = s.writers.iter().all(|(step, _)| *step == Write::Idle);
        let revoked =
            |loader| matches!(loader, Loader::Granted(_) | Loader::Loaded(..)) && !s.is_valid(loader);
        let lock = s.lock.is_some_and(|holder| revoked(s.loaders[holder].0));
        waits && settled && if self.is_exclusive() { s.far.fence > 0 && s.useful() == 0 } else { lock }
    }

    fn loader_steps(&self, s: &State, to: &mut Steps<'_, Self>, i: usize) {
        let (loader, left) = s.loaders[i];
        match loader {
            Loader::Idle => to.add_if(left > 0, "read", |s| s.loaders[i] = (Loader::Waiting, left - 1)),
            Loader::Waiting => {
                to.add_if(self.is_free(s, i), "acquire", |s| self.acquire(s, i));
                to.add_if(s.copies > 0 && self.is_free(s, i), "acquire, executed twice", |s| {
                    s.copies -= 1;
                    self.acquire(s, i);
                    self.acquire(s, i);
                });
            }
            Loader::Locked => to.add("begin", |s| {
                let hit = s.far.value.is_some();
                s.loaders[i].0 = if hit { Loader::Releasing } else { Loader::Granted(s.far.grant()) };
            }),
            Loader::Granted(fence) => {
                to.add("load", |s| s.loaders[i].0 = Loader::Loaded(fence, s.committed, false));
                to.add("fail", |s| {
                    s.far.fence = if s.far.fence == fence { 0 } else { s.far.fence };
                    s.loaders[i].0 = Loader::Releasing;
                });
            }
            Loader::Loaded(fence, version, dead) => to.add("fill", |s| {
                s.far.fill(fence, version);
                s.loaders[i].0 = if dead { Loader::Idle } else { Loader::Releasing };
            }),
            Loader::Releasing => to.add("release", |s| {
                s.lock = s.lock.filter(|holder| *holder != i);
                s.loaders[i].0 = Loader::Idle;
            }),
        }
        to.add_if(s.faults > 0 && loader != Loader::Idle, "die", |s| {
            s.faults -= 1;
            s.loaders[i].0 = match loader {
                Loader::Loaded(fence, version, _) => Loader::Loaded(fence, version, true),
                _ => Loader::Idle,
            };
        });
    }
}

impl Protocol for Locks {
    type State = State;
    const SUBJECT: &'static str = "locks";
    const WORDS: &'static str = "loader, loads each, invalidation, fault, copy, exclusive fence, lock by key";

    fn new(scope: Scope) -> Self {
        Self(scope)
    }

    fn start(&self) -> State {
        let number = |word| self.0.number(word);
        let loaders = vec![(Loader::Idle, number("loads each").max(1)); number("loader").into()];
        let writers = vec![(Write::Idle, 0); number("invalidation").into()];
        State { loaders, writers, faults: number("fault"), copies: number("copy"), ..State::default() }
    }

    fn steps(&self, s: &State, to: &mut Steps<'_, Self>) {
        (0..s.loaders.len()).for_each(|i| self.loader_steps(s, to, i));
        for (i, (step, version)) in s.writers.iter().copied().enumerate() {
            match step {
                Write::Idle => to.add_if(version == 0, "commit", |s| {
                    s.committed += 1;
                    s.writers[i] = (Write::Committed, s.committed);
                }),
                Write::Committed | Write::Sent => to.add("remove", |s| {
                    s.far.value = None;
                    s.far.fence = if self.0.lacks("a removal leaves the fence") { s.far.fence } else { 0 };
                    s.lock = s.lock.filter(|_| !self.0.lacks("a removal deletes the lock"));
                    s.writers[i].0 = Write::Executed;
                }),
                Write::Executed => to.add("acknowledge", |s| {
                    s.writers[i].0 = Write::Idle;
                    s.floor = s.floor.max(version);
                }),
            }
        }
        to.add_if(s.faults > 0, "the lock ends", |s| (s.lock, s.faults) = (None, s.faults - 1));
        to.add_if(s.faults > 0, "the fence ends", |s| (s.far.fence, s.faults) = (0, s.faults - 1));
        to.add_if(s.faults > 0, "evict", |s| (s.far.value, s.faults) = (None, s.faults - 1));
    }

    fn tidy(s: &mut State) {
        s.owner = s.owner.filter(|_| s.far.fence > 0);
    }

    fn rules() -> Vec<Rule<Self>> {
        // after faults only freshness is promised; waiters of a lock by key wait for a limited time
        vec![
            Rule::<Self>::always("fresh", |_, s| s.far.value.is_none_or(|version| version >= s.floor)),
            Rule::<Self>::always("one load", |model, s| model.0.0.number("fault") > 0 || s.useful() <= 1),
            Rule::<Self>::always("no needless wait", |model, s| {
                let exempt = model.0.0.number("fault") > 0 || model.0.0.has("lock by key");
                exempt || !model.0.waits_needlessly(s)
            }),
            Rule::<Self>::sometimes("all have read", |_, s| {
                let done = s.loaders.iter().all(|loader| *loader == (Loader::Idle, 0));
                done && s.floor > 0 && s.far.value.is_some()
            }),
        ]
    }
}
