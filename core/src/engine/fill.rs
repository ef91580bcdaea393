//! Fills: storing a loaded value, if its fence is valid.

use super::flight::Outcome;
use super::load::panicked;
use super::{Engine, Key, Value};
use crate::backend::{CacheBackend, Entry, Fence, FillOutcome};
use crate::observe::Event;
use crate::source::Loaded;
use crate::{Error, ErrorKind, Result, mutation};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// The result of a load, with the facts that its fill needs.
pub(super) struct Fetch<'a, V> {
    pub(super) loaded: Loaded<V>,
    /// The entry that the load was given as known.
    pub(super) known: Option<&'a Entry<V>>,
    pub(super) cost: Duration,
    /// The moment at which the load began.
    pub(super) started: u64,
    /// Set if the backend may hold an entry that this one replaces.
    pub(super) replaces: bool,
}

/// A new entry, and the decision to store it.
pub(super) struct Made<V> {
    pub(super) entry: Entry<V>,
    pub(super) keep: bool,
}

impl<K: Key, V: Value> Engine<K, V> {
    /// Releases the fence of a load that stores nothing.
    pub(super) async fn withdraw(&self, key: &K, fence: Option<Fence>) {
        // a joined fence belongs to the loader that created it. Prevents: its fill is refused because of this load
        let Some(fence) = fence.filter(|fence| !fence.is_joined()) else { return };
        if let Err(error) = self.backend.release(key, fence, self.clock.now()).await {
            self.degraded("release", &error);
        }
    }

    /// Stores a loaded value if it is to be kept and its fence is still valid.
    pub(super) async fn fill(&self, key: &K, fence: Option<Fence>, fetch: Fetch<'_, V>) -> Outcome<V> {
        let Fetch { loaded, known, cost, started, replaces } = fetch;
        let refreshes = known.is_some();
        // Prevents: a panic ends the flight as abandoned, with the fence left behind
        let Made { entry, keep } = match self.made(key, loaded, known) {
            Ok(made) => made,
            Err(error) => {
                self.withdraw(key, fence).await;
                return Outcome::source_failed(error);
            }
        };
        let entry = entry.with_load_cost(cost);
        // taken before the fill is sent: an accepted fill proves the value current at this moment, and not later.
        // Prevents: a caller that starts after an invalidation, but before the answer to the fill, shares the value
        let sent = self.sequence.next();
        let stored = match fence {
            Some(_) if keep && refreshes && mutation::on("a refresh is stored without its fence") => {
                self.backend.put(key, entry.clone(), self.clock.now()).await.is_ok()
            }
            Some(fence) if keep => {
                self.index(key, &entry);
                self.is_stored(self.backend.fill(key, fence, entry.clone(), self.clock.now()).await)
            }
            // nothing to keep, and the old entry would be served stale although the source has another value, or none
            Some(_) if replaces => {
                self.discard(key).await;
                false
            }
            fence => {
                self.withdraw(key, fence).await;
                false
            }
        };
        // a value that was refused or not sent is only known to have been current when its load began
        let as_of = match stored {
            true if mutation::on("a fill is current when its answer comes") => self.sequence.next(),
            true => sent,
            false => started,
        };
        Outcome::loaded(entry, started, as_of)
    }

    /// Makes the entry of a loaded or written value. Tags and TTLs are user code: a panic becomes an error.
    pub(super) fn made(&self, key: &K, loaded: Loaded<V>, known: Option<&Entry<V>>) -> Result<Made<V>> {
        let made = catch_unwind(AssertUnwindSafe(|| self.make(key, loaded, known)));
        made.unwrap_or_else(|panic| Err(panicked(panic)))
    }

    fn make(&self, key: &K, loaded: Loaded<V>, known: Option<&Entry<V>>) -> Result<Made<V>> {
        let Loaded { value, ttl, store, mut tags, validator, modified } = loaded;
        let (value, validator) = match (modified, known) {
            (true, _) => (value, validator),
            (false, Some(known)) => {
                tags.extend_from_slice(known.tags());
                let kept = validator.or_else(|| known.validator().map(Into::into));
                (known.value().cloned(), kept)
            }
            (false, None) => (None, None),
        };
        if !modified && value.is_none() {
            let mend = "answer `not_modified` only to what was given as known";
            return Err(Error::new(
                ErrorKind::Source,
                format!("nothing was known that could be unmodified: {mend}"),
            ));
        }
        let settings = &self.strategy.settings;
        let ttl = self.strategy.ttl_of(ttl, value.as_deref(), fastrand::f64());
        if let Some(value) = &value {
            tags.extend(self.strategy.tags_of(value));
        }
        if let Some(of_key) = &self.tagging.of_keys {
            tags.extend(of_key(key));
        }
        let window = settings.stale.window().filter(|_| value.is_some()).unwrap_or_default();
        let life = ttl.unwrap_or_default();
        self.horizon.lives(life.saturating_add(window));
        let entry = Entry::new(value, self.clock.now(), life)
            .with_stale(window)
            .with_tags(tags)
            .with_validator(validator);
        Ok(Made { entry, keep: store && ttl.is_some() })
    }

    /// Records the tags of an entry before it is stored.
    pub(super) fn index(&self, key: &K, entry: &Entry<V>) {
        if let Some(index) = &self.tagging.index {
            index.note(key, entry.tags());
        }
    }

    /// Removes the entry of `key`. A failure is counted.
    pub(super) async fn discard(&self, key: &K) {
        if let Err(error) = self.backend.remove(key).await {
            self.degraded("remove", &error);
        }
    }

    /// Counts the answer to a fill. Returns `true` if the entry is stored.
    pub(super) fn is_stored(&self, filled: Result<FillOutcome>) -> bool {
        match filled {
            Ok(FillOutcome::Stored) => {
                self.recorder.record(&Event::Filled);
                true
            }
            Ok(FillOutcome::Refused) => {
                self.recorder.record(&Event::FillRefused);
                false
            }
            Err(error) => {
                self.degraded("fill", &error);
                false
            }
        }
    }
}
