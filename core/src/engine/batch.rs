//! Reading many keys: one look near, one round trip far, one load for what is missing.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, join, join_all};

use super::chain::Chain;
use super::elect::{Elected, Held};
use super::flight::{Flight, Landing, Outcome, Role};
use super::load::{Announced, Approach, Boarded, Leading};
use super::{DynSource, Engine, Key, LoadFuture, Value};
use crate::backend::{CacheBackend, Fence};
use crate::entry::Entry;
use crate::observe::{Event, Tier};
use crate::{Error, Result};

/// How many loads a `get_many` has under way when its source loads one key at a time.
const LOADS_AT_ONCE: usize = 32;

/// A key of a batch that is to be loaded, and may be stored with its fence.
struct Ready<K: Key, V> {
    landing: Landing<K, V>,
    fence: Option<Fence>,
    held: Option<Held>,
}

impl<K: Key, V: Value> Engine<K, V> {
    /// The entries of `keys`, aligned with them; each distinct missing key is loaded once.
    pub(crate) async fn read_many(self: &Arc<Self>, keys: &[K]) -> Result<Vec<Entry<V>>> {
        let mut found: HashMap<&K, Entry<V>> = HashMap::with_capacity(keys.len());
        let mut seen = HashSet::with_capacity(keys.len());
        let mut missing = Vec::new();
        for key in keys.iter().filter(|key| seen.insert(*key)) {
            match self.peek(key) {
                Some(entry) => _ = found.insert(key, entry),
                None => missing.push(key),
            }
        }
        if !missing.is_empty() {
            let began = self.clock.now();
            let start = self.sequence.now();
            let (absent, approach) = self.read_far_many(&missing, &mut found).await;
            self.load_many(start, &absent, approach, &mut found).await?;
            let elapsed = began.until(self.clock.now());
            absent.iter().for_each(|_| self.recorder.record(&Event::Missed { elapsed }));
        }
        Ok(keys.iter().filter_map(|key| found.get(key).cloned()).collect())
    }

    /// One round trip for all; returns the keys that are not there, and how to load them.
    async fn read_far_many<'a>(
        &self,
        keys: &[&'a K],
        found: &mut HashMap<&'a K, Entry<V>>,
    ) -> (Vec<&'a K>, Approach) {
        let (blocked, open): (Vec<&K>, Vec<&K>) = keys.iter().partition(|key| self.pending.holds(key));
        let asked: Vec<K> = open.iter().map(|&key| key.clone()).collect();
        let answers = self.backend.get_many(&asked, self.clock.now()).await.and_then(|answers| {
            let message = "get_many answered another number of entries than was asked for";
            let aligned = answers.len() == asked.len();
            aligned.then_some(answers).ok_or_else(|| Error::new(crate::ErrorKind::Backend, message))
        });
        let (answers, approach) = match answers {
            Ok(answers) => (answers, Approach::Missing),
            Err(error) => {
                self.degraded("get_many", &error);
                (vec![], Approach::Alone)
            }
        };
        let now = self.clock.now();
        let mut absent = blocked;
        let mut answers = answers.into_iter();
        for key in open {
            match answers.next().flatten().filter(|entry| entry.is_alive(now) && !self.pending.holds(key)) {
                Some(entry) => {
                    self.recorder.record(&Event::Hit { tier: Tier::Far });
                    found.insert(key, entry);
                }
                None => absent.push(key),
            }
        }
        (absent, approach)
    }

    async fn load_many<'a>(
        self: &Arc<Self>,
        start: u64,
        keys: &[&'a K],
        approach: Approach,
        found: &mut HashMap<&'a K, Entry<V>>,
    ) -> Result<()> {
        let batched = self.source.as_ref().is_some_and(|source| source.is_batched());
        let at_once = if batched { keys.len().max(1) } else { LOADS_AT_ONCE };
        for keys in keys.chunks(at_once) {
            let flights =
                if batched { self.board_many(keys, approach)? } else { self.board_each(keys, approach)? };
            for (key, boarded) in keys.iter().zip(flights) {
                let outcome = boarded.flight.outcome().await;
                let answer = match self.acceptable(&outcome, start, boarded.leads) {
                    Some(answer) => answer?,
                    None => self.read_source(key, start, self.source_loader(key)?, approach).await?,
                };
                found.insert(key, answer.entry);
            }
        }
        Ok(())
    }

    fn board_each(self: &Arc<Self>, keys: &[&K], approach: Approach) -> Result<Vec<Boarded<V>>> {
        keys.iter().map(|key| self.board(key, &mut Some(self.source_loader(key)?), approach)).collect()
    }

    /// Joins the flights that are under way and starts one task for all the others.
    fn board_many(self: &Arc<Self>, keys: &[&K], approach: Approach) -> Result<Vec<Boarded<V>>> {
        let source = self.source.clone().ok_or_else(|| Error::config("this cache has no source"))?;
        let mut boarded = Vec::with_capacity(keys.len());
        let mut leading: Leading<K, V> = Vec::new();
        let mut chain = Chain::current();
        // all before the first: a refusal half way would abandon flights that others have joined
        keys.iter().try_for_each(|key| self.admit(key))?;
        for &key in keys {
            let flight: Arc<Flight<V>> = match self.flights.join(key) {
                Role::Follow(flight) => {
                    self.recorder.record(&Event::Joined);
                    boarded.push(Boarded { flight, leads: false });
                    continue;
                }
                Role::Lead(landing) => {
                    let flight = landing.flight();
                    leading.push(landing);
                    flight
                }
            };
            chain = Some(Chain::with(chain, self.id, key.clone()));
            boarded.push(Boarded { flight, leads: true });
        }
        if let Some(chain) = chain.filter(|_| !leading.is_empty()) {
            let engine = Arc::clone(self);
            Self::spawn(chain.scope(async move { engine.fly_many(source, leading, approach).await }))?;
        }
        Ok(boarded)
    }

    /// Loads together what this process is elected to load, and then waits for what others load. In that order: two
    /// processes that waited for each other's keys while they hold their own would wait for ever.
    async fn fly_many(&self, source: Arc<dyn DynSource<K, V>>, leading: Leading<K, V>, approach: Approach) {
        let (ready, busy) = self.announce_many(leading, approach).await;
        if !ready.is_empty() {
            self.fly_elected_many(Arc::clone(&source), ready).await;
        }
        join_all(busy.into_iter().map(|landing| async {
            let (source, key) = (Arc::clone(&source), landing.key().clone());
            let loader = Box::new(move || -> LoadFuture<V> {
                Box::pin(async move { Ok(source.load_dyn(&key).await?.into()) })
            });
            let outcome = self.fly(landing.key(), loader, approach).await;
            landing.land(outcome);
        }))
        .await;
    }

    async fn fly_elected_many(&self, source: Arc<dyn DynSource<K, V>>, ready: Vec<Ready<K, V>>) {
        let started = self.sequence.next();
        let began = self.clock.now();
        let keys: Vec<K> = ready.iter().map(|ready| ready.landing.key().clone()).collect();
        let loader = || -> std::pin::Pin<Box<dyn Future<Output = _> + Send>> {
            Box::pin(async move { source.load_many_dyn(&keys).await })
        };
        let alive = join_all(ready.iter().map(|ready| {
            let announced = self.keep_announced(ready.landing.key(), ready.fence);
            join(announced, self.keep_elected(ready.held.as_ref()))
        }));
        let loaded = self.load(loader, async { _ = alive.await }).await;
        let cost = began.until(self.clock.now());
        match loaded {
            Ok(values) => self.land_many(ready, values, cost, started).await,
            Err(error) => self.fail_many(ready, &error).await,
        }
    }

    /// Announces all loads side by side and lands those that turn out not to be needed. Returns what is to be loaded now,
    /// and what other processes are loading.
    async fn announce_many(
        &self,
        leading: Leading<K, V>,
        approach: Approach,
    ) -> (Vec<Ready<K, V>>, Leading<K, V>) {
        let announced = join_all(leading.into_iter().map(|landing| async move {
            let held = match approach {
                Approach::Alone => None,
                _ => match self.try_elect(landing.key()).await {
                    Some(Elected::Chosen(held)) => held,
                    _ => return Some(Either::Right(landing)),
                },
            };
            let asked = self.sequence.next();
            match self.announce(landing.key(), approach).await {
                Announced::Load(fence) => Some(Either::Left(Ready { landing, fence, held })),
                Announced::Hit(entry) => {
                    landing.land(Outcome::found(entry, asked));
                    self.resign(held).await;
                    None
                }
            }
        }));
        let (mut ready, mut busy) = (vec![], vec![]);
        for announced in announced.await.into_iter().flatten() {
            match announced {
                Either::Left(loadable) => ready.push(loadable),
                Either::Right(landing) => busy.push(landing),
            }
        }
        (ready, busy)
    }

    async fn land_many(&self, ready: Vec<Ready<K, V>>, values: Vec<Option<V>>, cost: Duration, started: u64) {
        join_all(ready.into_iter().zip(values).map(|(Ready { landing, fence, held }, value)| async move {
            let outcome = self.fill(landing.key(), fence, value.into(), cost, started).await;
            self.resign(held).await;
            landing.land(outcome);
        }))
        .await;
    }

    async fn fail_many(&self, ready: Vec<Ready<K, V>>, error: &Error) {
        join_all(ready.into_iter().map(|Ready { landing, fence, held }| async move {
            self.withdraw(landing.key(), fence).await;
            self.resign(held).await;
            landing.land(Outcome::failed(error.clone()));
        }))
        .await;
    }
}
