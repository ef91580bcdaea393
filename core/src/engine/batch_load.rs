//! Loads of many keys with one task.

use super::chain::Chain;
use super::elect::{Elected, Held};
use super::fill::Fetch;
use super::flight::{Flight, Landing, Outcome, Role};
use super::load::{Announced, Approach, Boarded, Leading, Load, Plan};
use super::{DynSource, Engine, Key, Value};
use crate::Result;
use crate::backend::{Entry, Fence};
use crate::observe::Event;
use crate::source::Loaded;
use futures_util::future::{Either, join_all};
use std::sync::Arc;
use std::time::Duration;

/// A key of a batch that is to be loaded, and filled with its fence.
pub(super) struct Ready<K: Key, V> {
    landing: Landing<K, V>,
    fence: Option<Fence>,
    held: Option<Held>,
    known: Option<Entry<V>>,
}

impl<K: Key, V: Value> Engine<K, V> {
    /// Joins or starts the flights of keys, each with its known entry.
    /// If the source loads many keys at once, one task runs all new flights; otherwise each has its own.
    pub(super) fn board_all(
        self: &Arc<Self>,
        source: &Arc<dyn DynSource<K, V>>,
        keys: Vec<(&K, Option<Entry<V>>)>,
        approach: Approach,
        patience: Option<Duration>,
    ) -> Result<Vec<Boarded<V>>> {
        if source.is_batched() {
            return self.board_many(source, keys, approach, patience);
        }
        let board = |(key, known)| {
            let plan = Plan::new(Load::From(Arc::clone(source)), approach).knowing(known);
            self.board(key, &mut Some(plan), patience)
        };
        keys.into_iter().map(board).collect()
    }

    /// Joins the flights that are under way, and starts one task for all other keys.
    pub(super) fn board_many(
        self: &Arc<Self>,
        source: &Arc<dyn DynSource<K, V>>,
        keys: Vec<(&K, Option<Entry<V>>)>,
        approach: Approach,
        patience: Option<Duration>,
    ) -> Result<Vec<Boarded<V>>> {
        let mut boarded = Vec::with_capacity(keys.len());
        let mut leading: Leading<K, V> = Vec::new();
        // all keys before the first flight. Prevents: a refusal half way abandons flights that other callers have
        // joined
        keys.iter().try_for_each(|(key, _)| self.admit(key))?;
        for (key, known) in keys {
            let flight: Arc<Flight<V>> = match self.flights.join(key, patience) {
                Role::Follow(flight) => {
                    self.recorder.record(&Event::Joined);
                    boarded.push(Boarded { flight, leads: false });
                    continue;
                }
                Role::Lead(landing) => {
                    let flight = landing.flight();
                    leading.push((landing, known));
                    flight
                }
            };
            boarded.push(Boarded { flight, leads: true });
        }
        if !leading.is_empty() {
            let keys = leading.iter().map(|(landing, _)| landing.key().clone());
            let chain = Chain::batch(Chain::waiting(patience), self.id, keys);
            leading.iter().for_each(|(landing, _)| landing.flight().run_by(&chain));
            let (engine, source) = (Arc::clone(self), Arc::clone(source));
            Self::spawn(chain.scope(async move { engine.fly_many(source, leading, approach).await }))?;
        }
        Ok(boarded)
    }

    /// Loads the keys together whose locks this process holds, then waits for the loads of other processes.
    ///
    /// In this order. Prevents: two processes wait for each other's keys while they hold their own, without end.
    pub(super) async fn fly_many(
        &self,
        source: Arc<dyn DynSource<K, V>>,
        leading: Leading<K, V>,
        approach: Approach,
    ) {
        let busy = match self.enter().await {
            Ok(_permit) => {
                let (ready, busy) = self.announce_many(leading, approach).await;
                if !ready.is_empty() {
                    self.fly_elected_many(Arc::clone(&source), ready).await;
                }
                busy
            }
            Err(error) => {
                leading
                    .into_iter()
                    .for_each(|(landing, _)| self.land(landing, Outcome::failed(error.clone())));
                vec![]
            }
        };
        join_all(busy.into_iter().map(|(landing, known)| {
            let load = Load::From(Arc::clone(&source));
            async move {
                let outcome = self.fly(landing.key(), load, approach, known.as_ref()).await;
                self.land(landing, outcome);
            }
        }))
        .await;
    }

    pub(super) async fn fly_elected_many(&self, source: Arc<dyn DynSource<K, V>>, ready: Vec<Ready<K, V>>) {
        let started = self.sequence.next();
        let keys: Vec<K> = ready.iter().map(|ready| ready.landing.key().clone()).collect();
        let alive = || {
            let keep = ready.iter().map(|one| self.keep(one.landing.key(), one.fence, one.held.as_ref()));
            join_all(keep)
        };
        let (loaded, cost) = self.load(self.budget(), || source.load_each_dyn(&keys), alive).await;
        let values = loaded.unwrap_or_else(|error| ready.iter().map(|_| Err(error.clone())).collect());
        self.land_many(ready, values, cost, started).await;
    }

    /// Requests the fences of all keys concurrently, and ends the flights that need no load.
    /// Returns the keys to load now, and those that other processes are loading.
    pub(super) async fn announce_many(
        &self,
        leading: Leading<K, V>,
        approach: Approach,
    ) -> (Vec<Ready<K, V>>, Leading<K, V>) {
        let announced = join_all(leading.into_iter().map(|(landing, known)| async move {
            let held = match approach {
                Approach::Alone | Approach::Overtaking => None,
                _ => match self.try_elect(landing.key()).await {
                    Some(Elected::Chosen(held)) => held,
                    _ => return Some(Either::Right((landing, known))),
                },
            };
            let asked = self.sequence.next();
            match self.announce(landing.key(), approach, known.as_ref()).await {
                Announced::Load(fence) => Some(Either::Left(Ready { landing, fence, held, known })),
                Announced::Hit(entry) => {
                    self.land(landing, Outcome::found(entry, asked));
                    self.resign(held).await;
                    None
                }
            }
        }));
        let (mut ready, mut busy) = (vec![], vec![]);
        for announced in announced.await.into_iter().flatten() {
            match announced {
                Either::Left(loadable) => ready.push(loadable),
                Either::Right(waiting) => busy.push(waiting),
            }
        }
        (ready, busy)
    }

    pub(super) async fn land_many(
        &self,
        ready: Vec<Ready<K, V>>,
        values: Vec<Result<Loaded<V>>>,
        cost: Duration,
        started: u64,
    ) {
        join_all(ready.into_iter().zip(values).map(
            |(Ready { landing, fence, held, known }, value)| async move {
                let outcome = match value {
                    Ok(loaded) => {
                        let replaces = self.strategy.settings.stale.window().is_some();
                        let fetch = Fetch { loaded, known: known.as_ref(), cost, started, replaces };
                        self.fill(landing.key(), fence, fetch).await
                    }
                    Err(error) => {
                        self.withdraw(landing.key(), fence).await;
                        Outcome::source_failed(error)
                    }
                };
                self.resign(held).await;
                self.land(landing, outcome);
            },
        ))
        .await;
    }
}
