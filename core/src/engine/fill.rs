//! Storing what was loaded, if its fence is valid.

use super::flight::Outcome;
use super::load::panicked;
use super::{Engine, Key, Value};
use crate::backend::{CacheBackend, Entry, Fence, FillOutcome};
use crate::observe::Event;
use crate::source::Loaded;
use crate::{Error, ErrorKind, Result, mutation};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// What a load came to.
pub(super) struct Fetch<'a, V> {
    pub(super) loaded: Loaded<V>,
    pub(super) known: Option<&'a Entry<V>>,
    pub(super) cost: Duration,
    pub(super) started: u64,
    /// Whether there may be an entry that this one replaces.
    pub(super) replaces: bool,
}

/// An entry, and whether it is to be kept.
pub(super) struct Made<V> {
    pub(super) entry: Entry<V>,
    pub(super) keep: bool,
}

impl<K: Key, V: Value> Engine<K, V> {
    /// Ends the announcement of a load that stores nothing.
    pub(super) async fn withdraw(&self, key: &K, fence: Option<Fence>) {
        // a shared announcement belongs to the loader that made it
        let Some(fence) = fence.filter(|fence| !fence.is_joined()) else { return };
        if let Err(error) = self.backend.release(key, fence, self.clock.now()).await {
            self.degraded("release", &error);
        }
    }

    /// Stores what was loaded, if it is to be stored and its announcement still stands.
    pub(super) async fn fill(&self, key: &K, fence: Option<Fence>, fetch: Fetch<'_, V>) -> Outcome<V> {
        let Fetch { loaded, known, cost, started, replaces } = fetch;
        let refreshes = known.is_some();
        // tags and TTLs are the user's code too
        let made = catch_unwind(AssertUnwindSafe(|| self.make(key, loaded, known)));
        let Made { entry, keep } = match made.unwrap_or_else(|panic| Err(panicked(panic))) {
            Ok(made) => made,
            Err(error) => {
                self.withdraw(key, fence).await;
                return Outcome::source_failed(error);
            }
        };
        let entry = entry.with_load_cost(cost);
        let sent = self.sequence.next();
        let stored = match fence {
            Some(_) if keep && refreshes && mutation::on("a refresh is stored without its fence") => {
                self.backend.put(key, entry.clone(), self.clock.now()).await.is_ok()
            }
            Some(fence) if keep => {
                self.index(key, &entry);
                self.is_stored(self.backend.fill(key, fence, entry.clone(), self.clock.now()).await)
            }
            // what is there would be served stale although the source has something else, or nothing
            Some(_) if replaces => {
                self.discard(key).await;
                false
            }
            fence => {
                self.withdraw(key, fence).await;
                false
            }
        };
        // a refused or unsent value is only known to have been current when its load began
        let as_of = match stored {
            true if mutation::on("a fill is current when its answer comes") => self.sequence.next(),
            true => sent,
            false => started,
        };
        Outcome::loaded(entry, started, as_of)
    }

    /// The entry of what a loader or a writer gave.
    pub(super) fn make(&self, key: &K, loaded: Loaded<V>, known: Option<&Entry<V>>) -> Result<Made<V>> {
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

    /// Notes which tags an entry carries that is about to be stored.
    pub(super) fn index(&self, key: &K, entry: &Entry<V>) {
        if let Some(index) = &self.tagging.index {
            index.note(key, entry.tags());
        }
    }

    pub(super) async fn discard(&self, key: &K) {
        if let Err(error) = self.backend.remove(key).await {
            self.degraded("remove", &error);
        }
    }

    /// Counts the answer to a fill; returns `true` if the entry is stored.
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
