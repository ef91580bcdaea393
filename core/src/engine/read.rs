//! The pipeline of a read that this process's memory did not answer.

use std::sync::Arc;

use super::flight::Outcome;
use super::load::{Approach, Boarded};
use super::{DynSource, Engine, Key, Loader, Value};
use crate::backend::CacheBackend;
use crate::cache::Origin;
use crate::entry::Entry;
use crate::observe::Event;
use crate::time::Timestamp;
use crate::{Error, Result};

/// The answer to a read: the entry, and where it came from.
pub(crate) struct Answer<V> {
    pub(crate) entry: Entry<V>,
    pub(crate) origin: Origin,
    pub(crate) now: Timestamp,
}

impl<K: Key, V: Value> Engine<K, V> {
    /// A loader that asks the registered source.
    pub(crate) fn source_loader(&self, key: &K) -> Result<Loader<V>> {
        let source = Arc::clone(self.registered()?);
        let key = key.clone();
        Ok(Box::new(move || Box::pin(async move { Ok(source.load_dyn(&key).await?.into()) })))
    }

    /// The registered source.
    pub(crate) fn registered(&self) -> Result<&Arc<dyn DynSource<K, V>>> {
        self.source.as_ref().ok_or_else(|| {
            Error::config("this cache has no source: call `.source(..)` on its builder, or use `get_or_load`")
        })
    }

    /// Reads far, and loads if that does not have it.
    /// The loader is only made when it is needed.
    pub(crate) async fn read(
        self: &Arc<Self>,
        key: &K,
        loader: impl FnOnce() -> Result<Loader<V>> + Send,
    ) -> Result<Answer<V>> {
        let began = self.clock.now();
        // taken before anything is sent: what is proved current at or after this is fresh enough for this caller
        let start = self.sequence.now();
        let approach = match self.ask_far_at(key, began).await {
            Ok(Some(answer)) => {
                self.recorder.far_hit();
                return Ok(answer);
            }
            Ok(None) => Approach::Missing,
            Err(error) => {
                self.degraded("get", &error);
                Approach::Alone
            }
        };
        // boxed, since a far hit need not carry the room for a load
        let answer = Box::pin(self.read_source(key, start, loader()?, approach)).await;
        self.recorder.record(&Event::Missed { elapsed: began.until(self.clock.now()) });
        answer
    }

    /// Loads, or waits for a load under way. Counts nothing: one read is one hit or one miss, whatever it took.
    pub(super) async fn read_source(
        self: &Arc<Self>,
        key: &K,
        start: u64,
        loader: Loader<V>,
        approach: Approach,
    ) -> Result<Answer<V>> {
        let mut loader = Some(loader);
        loop {
            let Boarded { flight, leads } = self.board(key, &mut loader, approach)?;
            let outcome = flight.outcome().await;
            if let Some(answer) = self.acceptable(&outcome, start, leads) {
                return answer;
            }
            // that load began before this caller did, and the key may have been invalidated between
            if let Some(entry) = self.read_far(key).await {
                return Ok(self.answer(entry, Origin::Joined));
            }
        }
    }

    /// The `as_of` rule: a shared result is only for those who started no later than it was proved current.
    pub(super) fn acceptable(
        &self,
        outcome: &Outcome<V>,
        start: u64,
        leads: bool,
    ) -> Option<Result<Answer<V>>> {
        if start > outcome.as_of {
            return None;
        }
        let origin = match (leads, outcome.loaded_from) {
            (false, _) => Origin::Joined,
            (true, Some(_)) => Origin::Loaded,
            (true, None) => Origin::Far,
        };
        Some(outcome.result.clone().map(|entry| self.answer(entry, origin)))
    }

    /// The answer of the hit path.
    pub(crate) fn near_answer(&self, entry: Entry<V>) -> Answer<V> {
        self.answer(entry, Origin::Near)
    }

    pub(super) fn answer(&self, entry: Entry<V>, origin: Origin) -> Answer<V> {
        Answer { entry, origin, now: self.clock.now() }
    }

    /// What the backend has, wherever it keeps it. A failure is noted and counts as nothing found.
    pub(super) async fn read_far(&self, key: &K) -> Option<Entry<V>> {
        let asked = self.ask_far(key).await.unwrap_or_else(|error| {
            self.degraded("get", &error);
            None
        });
        asked.map(|answer| answer.entry)
    }

    async fn ask_far(&self, key: &K) -> Result<Option<Answer<V>>> {
        self.ask_far_at(key, self.clock.now()).await
    }

    async fn ask_far_at(&self, key: &K, now: Timestamp) -> Result<Option<Answer<V>>> {
        if self.pending.holds(key) {
            return Ok(None);
        }
        let found = self.backend.get(key, now).await?;
        let now = self.clock.recent().max(now);
        // an invalidation of our own that failed meanwhile may have been meant for what was read
        let found = found.filter(|entry| self.is_alive(entry, now) && !self.pending.holds(key));
        Ok(found.map(|entry| Answer { entry, origin: Origin::Far, now }))
    }

    /// Reads what is cached and never loads.
    pub(crate) async fn lookup(&self, key: &K) -> Result<Option<Answer<V>>> {
        if let Some(entry) = self.peek(key) {
            return Ok(Some(self.answer(entry, Origin::Near)));
        }
        let found = self.ask_far(key).await?;
        if found.is_some() {
            self.recorder.far_hit();
        }
        Ok(found)
    }

    /// Loads whatever is cached, and puts the result in its place.
    pub(crate) async fn refresh(self: &Arc<Self>, key: &K, loader: Loader<V>) -> Result<Answer<V>> {
        let start = self.sequence.now();
        let mut loader = Some(loader);
        loop {
            let Boarded { flight, leads } = self.board(key, &mut loader, Approach::Refresh)?;
            let outcome = flight.outcome().await;
            // a load that began before this call may have read what this call is meant to replace
            if outcome.loaded_from.is_some_and(|from| from >= start)
                && let Some(answer) = self.acceptable(&outcome, start, leads)
            {
                return answer;
            }
        }
    }
}
