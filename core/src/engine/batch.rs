//! Reading many keys: one look near, one round trip far, one load for what is missing.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, join, join_all};
use tokio::time::Instant;

use super::chain::Chain;
use super::elect::{Elected, Held};
use super::flight::{Flight, Landing, Outcome, Role};
use super::load::{Announced, Approach, Boarded, Fetch, Leading, Load, Plan};
use super::read::{Answer, Arrival, Found, patience};
use super::{DynSource, Engine, Key, LoadFuture, Value};
use crate::backend::{CacheBackend, Fence};
use crate::entry::Entry;
use crate::observe::{Event, MissCause, Tier};
use crate::source::Loaded;
use crate::strategy::Verdict;
use crate::{Error, ErrorKind, Result};

/// How many loads a `get_many` has under way when its source loads one key at a time.
const LOADS_AT_ONCE: usize = 32;

/// The keys of a batch that have to be loaded.
struct Absent<'a, K, V> {
    keys: Vec<&'a K>,
    /// How many of them, at the head, were not asked for because an invalidation waits.
    blocked: usize,
    /// What there is of them that is not good enough.
    known: HashMap<&'a K, Entry<V>>,
    approach: Approach,
}

impl<K: Key, V> Absent<'_, K, V> {
    /// Why each of them is missing.
    fn causes(&self) -> Vec<MissCause> {
        let cause = |(at, key): (usize, &&K)| match at {
            at if at < self.blocked => MissCause::Unacknowledged,
            _ if self.approach == Approach::Alone => MissCause::Unreachable,
            _ if self.known.contains_key(*key) => MissCause::Expired,
            _ => MissCause::Absent,
        };
        self.keys.iter().enumerate().map(cause).collect()
    }
}

/// A key of a batch that is to be loaded, and may be stored with its fence.
struct Ready<K: Key, V> {
    landing: Landing<K, V>,
    fence: Option<Fence>,
    held: Option<Held>,
    known: Option<Entry<V>>,
}

impl<K: Key, V: Value> Engine<K, V> {
    /// The answers to `keys`, aligned with them; each distinct missing key is loaded once.
    pub(crate) async fn read_many(self: &Arc<Self>, keys: &[K]) -> Result<Vec<Result<Entry<V>>>> {
        let mut answers: HashMap<&K, Result<Entry<V>>> = HashMap::with_capacity(keys.len());
        let mut seen = HashSet::with_capacity(keys.len());
        let mut missing = Vec::new();
        for key in keys.iter().filter(|key| seen.insert(*key)) {
            match self.peek(key) {
                Some(entry) => _ = answers.insert(key, Ok(entry)),
                None => missing.push(key),
            }
        }
        if !missing.is_empty() {
            let began = self.clock.now();
            let start = self.sequence.now();
            let absent = self.read_far_many(&missing, &mut answers).await?;
            let causes = absent.causes();
            self.load_many(start, absent, &mut answers).await?;
            let elapsed = began.until(self.clock.now());
            causes.into_iter().for_each(|cause| self.recorder.record(&Event::Missed { elapsed, cause }));
        }
        let unanswered = || Err(Error::new(ErrorKind::Closed, "the key was not read"));
        Ok(keys.iter().map(|key| answers.get(key).cloned().unwrap_or_else(unanswered)).collect())
    }

    /// One round trip for all; answers what is there, and refreshes behind what is due.
    async fn read_far_many<'a>(
        self: &Arc<Self>,
        keys: &[&'a K],
        answers: &mut HashMap<&'a K, Result<Entry<V>>>,
    ) -> Result<Absent<'a, K, V>> {
        let (blocked, open): (Vec<&K>, Vec<&K>) = keys.iter().partition(|key| self.pending.holds(key));
        let asked: Vec<K> = open.iter().map(|&key| key.clone()).collect();
        let doubts = self.pending.doubts();
        let found = self.backend.get_many(&asked, self.clock.now()).await.and_then(|found| {
            let message = "get_many answered another number of entries than was asked for";
            let aligned = found.len() == asked.len();
            aligned.then_some(found).ok_or_else(|| Error::new(ErrorKind::Backend, message))
        });
        let (found, approach) = match found {
            Ok(found) => (found, Approach::Missing),
            Err(error) => {
                self.degraded("get_many", &error);
                (vec![], Approach::Alone)
            }
        };
        let now = self.clock.now();
        let mut absent = Absent { blocked: blocked.len(), keys: blocked, known: HashMap::new(), approach };
        let mut due = Vec::new();
        let mut found = found.into_iter();
        for key in open {
            let entry = found.next().flatten();
            let stands = |entry: &Entry<V>| self.stands(key, entry) && !doubts.end(entry);
            let Some(entry) = entry.filter(|entry| entry.is_alive(now) && stands(entry)) else {
                absent.keys.push(key);
                continue;
            };
            let verdict = self.strategy.settings.judge(&entry, now, fastrand::f64);
            match self.serve(key, Found { entry, tier: Tier::Far, verdict, now }) {
                Ok((answer, verdict)) => {
                    if verdict == Verdict::Due && self.is_refreshable(key) {
                        due.push((key, answer.entry.clone()));
                    }
                    answers.insert(key, Ok(answer.entry));
                }
                Err(expired) => {
                    absent.keys.push(key);
                    absent.known.insert(key, expired);
                }
            }
        }
        self.refresh_many_behind(due);
        Ok(absent)
    }

    /// Loads together what is due, behind its reader.
    fn refresh_many_behind(self: &Arc<Self>, mut due: Vec<(&K, Entry<V>)>) {
        if !self.is_batched() {
            // a rush of loads for what can be served: the others are due at their next read too
            due.truncate(LOADS_AT_ONCE);
        }
        let Some(patience) = due.iter().map(|(_, entry)| patience(entry)).max() else { return };
        let keys: Vec<&K> = due.iter().map(|(key, _)| *key).collect();
        let known = due.iter().map(|(key, entry)| (*key, entry.clone())).collect();
        let boarded = self.board_all(&keys, &known, Approach::Missing, Some(patience));
        if let Err(error) = boarded {
            tracing::debug!(%error, "entries were not refreshed");
        }
    }

    async fn load_many<'a>(
        self: &Arc<Self>,
        start: u64,
        absent: Absent<'a, K, V>,
        answers: &mut HashMap<&'a K, Result<Entry<V>>>,
    ) -> Result<()> {
        let Absent { keys, mut known, approach, blocked: _ } = absent;
        let began = Instant::now();
        let batched = self.is_batched();
        let at_once = if batched { keys.len().max(1) } else { LOADS_AT_ONCE };
        for keys in keys.chunks(at_once) {
            let flights = self.board_all(keys, &known, approach, None)?;
            for (&key, boarded) in keys.iter().zip(flights) {
                let known = known.remove(key);
                let reading = self.read_boarded(key, start, boarded, approach);
                let answer = self.awaited(key, known, began, reading).await;
                answers.insert(key, answer.map(|answer| answer.entry));
            }
        }
        Ok(())
    }

    /// The outcome of a flight, or of another one when that is no answer.
    async fn read_boarded(
        self: &Arc<Self>,
        key: &K,
        start: u64,
        boarded: Boarded<V>,
        approach: Approach,
    ) -> Result<Answer<V>> {
        let (answer, approach) = match self.arrival(key, &boarded).await {
            Arrival::Outcome(outcome) => (self.acceptable(&outcome, start, boarded.leads), approach),
            Arrival::InVain => (None, approach),
            Arrival::Hangs => (None, approach.overtaking()),
        };
        match answer {
            Some(answer) => answer,
            None => self.read_source(key, start, Plan::new(Load::Registered, approach)).await,
        }
    }

    /// Joins or starts the flights of keys: one task for all where the source loads many, else one for each.
    fn board_all(
        self: &Arc<Self>,
        keys: &[&K],
        known: &HashMap<&K, Entry<V>>,
        approach: Approach,
        patience: Option<Duration>,
    ) -> Result<Vec<Boarded<V>>> {
        if self.is_batched() {
            return self.board_many(keys, known, approach, patience);
        }
        let board = |key: &&K| {
            let plan = Plan::new(Load::Registered, approach).knowing(known.get(*key).cloned());
            self.board(key, &mut Some(plan), patience)
        };
        keys.iter().map(board).collect()
    }

    /// Joins the flights that are under way and starts one task for all the others.
    fn board_many(
        self: &Arc<Self>,
        keys: &[&K],
        known: &HashMap<&K, Entry<V>>,
        approach: Approach,
        patience: Option<Duration>,
    ) -> Result<Vec<Boarded<V>>> {
        let source = self.source.clone().ok_or_else(|| Error::config("this cache has no source"))?;
        let mut boarded = Vec::with_capacity(keys.len());
        let mut leading: Leading<K, V> = Vec::new();
        let mut chain = Chain::current();
        // all before the first: a refusal half way would abandon flights that others have joined
        keys.iter().try_for_each(|key| self.admit(key))?;
        for &key in keys {
            let flight: Arc<Flight<V>> = match self.flights.join(key, patience) {
                Role::Follow(flight) => {
                    self.recorder.record(&Event::Joined);
                    boarded.push(Boarded { flight, leads: false });
                    continue;
                }
                Role::Lead(landing) => {
                    let flight = landing.flight();
                    leading.push((landing, known.get(key).cloned()));
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
                leading.into_iter().for_each(|(landing, _)| landing.land(Outcome::failed(error.clone())));
                vec![]
            }
        };
        join_all(busy.into_iter().map(|(landing, known)| async {
            let (source, key) = (Arc::clone(&source), landing.key().clone());
            let loader = Box::new(move || -> LoadFuture<V> {
                Box::pin(async move { source.load_dyn(&key, None).await })
            });
            let outcome = self.fly(landing.key(), loader, approach, known).await;
            landing.land(outcome);
        }))
        .await;
    }

    async fn fly_elected_many(&self, source: Arc<dyn DynSource<K, V>>, ready: Vec<Ready<K, V>>) {
        let started = self.sequence.next();
        let began = self.clock.now();
        let keys: Vec<K> = ready.iter().map(|ready| ready.landing.key().clone()).collect();
        let loader = || -> std::pin::Pin<Box<dyn Future<Output = _> + Send>> {
            Box::pin(async move { source.load_each_dyn(&keys).await })
        };
        let alive = join_all(ready.iter().map(|ready| {
            let announced = self.keep_announced(ready.landing.key(), ready.fence);
            join(announced, self.keep_elected(ready.held.as_ref()))
        }));
        let loaded = self.load(loader, async { _ = alive.await }).await;
        let cost = began.until(self.clock.now());
        let values = loaded.unwrap_or_else(|error| ready.iter().map(|_| Err(error.clone())).collect());
        self.land_many(ready, values, cost, started).await;
    }

    /// Announces all loads side by side and lands those that turn out not to be needed. Returns what is to be loaded now,
    /// and what other processes are loading.
    async fn announce_many(
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
                Either::Right(waiting) => busy.push(waiting),
            }
        }
        (ready, busy)
    }

    async fn land_many(
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
                        let fetch = Fetch { loaded, known, cost, started, replaces };
                        self.fill(landing.key(), fence, fetch).await
                    }
                    Err(error) => {
                        self.withdraw(landing.key(), fence).await;
                        self.hold_off(landing.key());
                        Outcome::failed(error)
                    }
                };
                self.resign(held).await;
                landing.land(outcome);
            },
        ))
        .await;
    }
}
