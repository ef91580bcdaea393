//! The tag ledger of the far tier, and one entry that carries the tag. The ledger's head and its tags can be evicted alone, or come
//! back old, while the entry survives on another server.

use crate::check::{Protocol, Rule, Scope, Steps};

/// The identity of a ledger (in strict mode with the number of the server's restarts), and its count.
type Stamp = ((u8, u8), u8);
/// Identity and count, in one of the ledger's two keys.
type Key = Option<(u8, u8)>;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct State {
    committed: u8,
    /// The newest acknowledged version.
    floor: u8,
    head: Key,
    tags: Key,
    identities: u8,
    restarts: u8,
    /// Head, tags and floor as they were saved.
    saved: Option<(Key, Key, u8)>,
    entry: Option<(Stamp, u8)>,
    /// Each with its stamp, and the version that it has loaded.
    loaders: Vec<Option<(Stamp, Option<u8>)>>,
    loads: u8,
    /// Each with the version that it has not invalidated yet, 0 for none.
    writers: Vec<u8>,
    writes: u8,
    evictions: u8,
    restores: u8,
    served: bool,
    stale: bool,
}

pub(crate) struct Tags(Scope);

impl Tags {
    fn begin_ledger(&self, s: &mut State) -> (u8, u8) {
        s.identities = if self.0.lacks("any ledger will do") { 1 } else { s.identities + 1 };
        (s.head, s.tags) = (Some((s.identities, 0)), None);
        (s.identities, 0)
    }

    /// Returns identity and count. A part that was evicted alone ends the ledger.
    fn whole(&self, s: &mut State) -> (u8, u8) {
        match (s.head, s.tags) {
            (Some((id, 0)), _) => (id, 0),
            (Some((id, count)), Some(tags)) if tags.0 == id => (id, count),
            (Some(head), _) if self.0.lacks("tags that are evicted alone are not noticed") => head,
            _ => self.begin_ledger(s),
        }
    }

    fn stamp(&self, s: &mut State) -> Stamp {
        let (id, count) = s.head.unwrap_or_else(|| self.begin_ledger(s));
        let is_strict = !self.0.lacks("a restart keeps the identity");
        ((id, if is_strict { s.restarts } else { 0 }), count)
    }

    fn fill(&self, s: &mut State, i: usize, stamp: Stamp, version: u8) {
        let late = self.0.lacks("the stamp is taken after the load");
        s.entry = Some((if late { self.stamp(s) } else { stamp }, version));
        s.loaders[i] = None;
    }

    fn read(&self, s: &mut State, (identity, count): Stamp, version: u8) {
        let mut valid = s.head.is_some() && self.stamp(s).0 == identity;
        if valid && self.stamp(s).1 != count {
            self.whole(s);
            valid = self.stamp(s).0 == identity && s.tags.is_none_or(|tags| tags.1 <= count);
        }
        s.entry = s.entry.filter(|_| valid);
        s.served |= valid;
        s.stale |= valid && version < s.floor;
    }

    fn invalidate(&self, s: &mut State, i: usize) {
        let (id, count) = self.whole(s);
        (s.head, s.tags) = (Some((id, count + 1)), Some((id, count + 1)));
        (s.floor, s.writers[i]) = (s.floor.max(s.writers[i]), 0);
    }
}

impl Protocol for Tags {
    type State = State;
    const SUBJECT: &'static str = "tag ledger";
    const WORDS: &'static str = "loader, load, writer, invalidation, eviction, restart with old data";

    fn new(scope: Scope) -> Self {
        Self(scope)
    }

    fn start(&self) -> State {
        let number = |word| self.0.number(word);
        let (loaders, writers) = (vec![None; number("loader").into()], vec![0; number("writer").into()]);
        let (loads, writes) = (number("load"), number("invalidation"));
        let (evictions, restores) = (number("eviction"), number("restart with old data"));
        State { loaders, writers, loads, writes, evictions, restores, ..State::default() }
    }

    fn steps(&self, s: &State, to: &mut Steps<'_, Self>) {
        if s.stale {
            return;
        }
        for (i, loader) in s.loaders.iter().copied().enumerate() {
            match loader {
                None => to.add_if(s.loads > 0, "stamp", |s| {
                    s.loads -= 1;
                    s.loaders[i] = Some((self.stamp(s), None));
                }),
                Some((stamp, None)) => to.add("load", |s| s.loaders[i] = Some((stamp, Some(s.committed)))),
                Some((stamp, Some(version))) => to.add("fill", |s| self.fill(s, i, stamp, version)),
            }
        }
        for (i, version) in s.writers.iter().enumerate() {
            to.add_if(*version == 0 && s.writes > 0, "commit", |s| {
                (s.committed, s.writes) = (s.committed + 1, s.writes - 1);
                s.writers[i] = s.committed;
            });
            to.add_if(*version > 0, "invalidate", |s| self.invalidate(s, i));
        }
        if let Some((stamp, version)) = s.entry {
            to.add("read", |s| self.read(s, stamp, version));
        }
        to.add_if(s.evictions > 0, "evict the head", |s| (s.head, s.evictions) = (None, s.evictions - 1));
        to.add_if(s.evictions > 0, "evict the tags", |s| (s.tags, s.evictions) = (None, s.evictions - 1));
        match s.saved {
            None => to.add_if(s.restores > 0, "save", |s| s.saved = Some((s.head, s.tags, s.floor))),
            // only what is acknowledged after the restart is promised
            Some(saved) => to.add_if(s.restores > 0, "restart with old data", |s| {
                (s.head, s.tags, s.floor) = saved;
                (s.restores, s.restarts) = (s.restores - 1, s.restarts + 1);
            }),
        }
    }

    fn tidy(_: &mut State) {}

    fn rules() -> Vec<Rule<Self>> {
        vec![
            Rule::<Self>::always("fresh", |_, s| !s.stale),
            Rule::<Self>::sometimes("served after an acknowledgement", |_, s| s.served && s.floor > 0),
        ]
    }
}
